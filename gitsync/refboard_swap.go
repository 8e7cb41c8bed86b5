package gitsync

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/orpheus-cd/orpheus/planner"
)

// Swap implements Board. Every record is sent along, also one the server may
// have: it may have been collected there as garbage. Nothing is concluded from
// texts of the server, and nothing from an error but that some requests never
// left this node or were refused unread.
//
// A deletion compares only while the server still has the object of the old
// value: git takes one that it lacks for a damaged ref, and deletes whatever
// is there. It keeps what it has for two weeks at least (gc.pruneExpire), so a
// deletion must follow from a read that is younger.
func (b *RefBoard) Swap(ctx context.Context, push Push) ([]Result, error) {
	results := make([]Result, len(push.Changes))
	if len(push.Changes) == 0 {
		return results, nil
	}
	request, err := b.pushRequest(push)
	if err != nil {
		return lost(results), fmt.Errorf("push to %s: %w", b, err)
	}
	undone := false
	err = b.call(ctx, "push to", func(ctx context.Context, creds Credentials) error {
		body, err := b.link.exchange(ctx, creds, receivePack, request)
		if err != nil {
			undone = isNotDone(err)
			return err
		}
		defer body.Close()
		said := &headBuffer{}
		report, err := readReport(body, said, len(push.Changes))
		if err != nil {
			if text := said.line(); text != "" {
				err = fmt.Errorf("%w; remote says %q", err, text)
			}
			return transferError(ctx, "read what became of it", err)
		}
		b.judge(results, push, report, said.line())
		return nil
	})
	if undone || isNotDone(err) {
		results = lost(results)
	}
	return results, err
}

func lost(results []Result) []Result {
	for i := range results {
		results[i] = Result{Outcome: Lost, Reason: "it was not carried out"}
	}
	return results
}

// judge takes the outcomes from the report. A change it does not speak of
// stays Unknown.
func (b *RefBoard) judge(results []Result, push Push, report *packp.ReportStatus, said string) {
	status := map[string]string{}
	for _, s := range report.CommandStatuses {
		status[s.ReferenceName.String()] = s.Status
	}
	for i, c := range push.Changes {
		s, ok := status[b.prefix+string(c.Ref)]
		switch {
		case !ok:
			results[i].Reason = "the server's report does not speak of it"
		case s == "ok":
			results[i].Outcome = Won
		default:
			results[i] = Result{Outcome: Lost, Reason: printable(s, 200)}
			if report.UnpackStatus != "ok" {
				results[i].Reason += ": " + printable(report.UnpackStatus, 200)
			}
			if said != "" {
				results[i].Reason += ": " + said
			}
		}
	}
}

// pushRequest is the request for receive-pack: commands, and a pack with all
// records unless nothing is written.
func (b *RefBoard) pushRequest(push Push) ([]byte, error) {
	if err := push.Check(); err != nil {
		return nil, err
	}
	req := packp.NewReferenceUpdateRequest()
	err := errors.Join(
		req.Capabilities.Set(capability.Agent, "orpheus"),
		req.Capabilities.Set(capability.ReportStatus),
		req.Capabilities.Set(capability.Sideband64k))
	if push.Atomic && len(push.Changes) > 1 {
		err = errors.Join(err, req.Capabilities.Set(capability.Atomic))
	}
	if err != nil {
		return nil, err
	}
	var pack recordPack
	for _, c := range push.Changes {
		cmd := &packp.Command{Name: plumbing.ReferenceName(b.prefix + string(c.Ref)), Old: plumbing.NewHash(string(c.Old))}
		if c.New != nil {
			if cmd.New, err = pack.add(*c.New); err != nil {
				return nil, fmt.Errorf("record %s: %w", c.Ref, err)
			}
		}
		req.Commands = append(req.Commands, cmd)
	}
	if pack.count > 0 { // receive-pack reads no pack if nothing but deletions is asked for
		req.Packfile = io.NopCloser(bytes.NewReader(pack.bytes()))
	}
	var out bytes.Buffer
	err = req.Encode(&out)
	return out.Bytes(), err
}

// emptyTreeEntry is the tree of all records, as an entry of a pack. Git knows
// it by heart; JGit and others can read no record without it.
const emptyTreeEntry = "\x20\x78\x9c\x03\x00\x00\x00\x00\x01"

// recordPack is a pack of commits and their tree, whole and in any order.
type recordPack struct {
	entries bytes.Buffer
	count   uint32
	has     map[plumbing.Hash]bool
}

func (p *recordPack) add(r planner.Record) (plumbing.Hash, error) {
	object := r.Object()
	id := plumbing.ComputeHash(plumbing.CommitObject, object)
	if p.has[id] {
		return id, nil
	}
	if p.has == nil {
		p.has = map[plumbing.Hash]bool{}
	}
	p.has[id] = true
	p.count++
	// Kind and the low four bits of the size; then seven bits a byte.
	size := len(object)
	first := byte(plumbing.CommitObject)<<4 | byte(size&15)
	if size >>= 4; size > 0 {
		first |= 0x80
	}
	p.entries.WriteByte(first)
	if size > 0 {
		p.entries.Write(binary.AppendUvarint(nil, uint64(size)))
	}
	z := zlib.NewWriter(&p.entries)
	_, err := z.Write(object)
	return id, errors.Join(err, z.Close())
}

func (p *recordPack) bytes() []byte {
	out := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), p.count+1)
	out = append(out, p.entries.Bytes()...)
	out = append(out, emptyTreeEntry...)
	sum := sha1.Sum(out)
	return append(out, sum[:]...)
}

// readReport reads the answer to a push of so many changes, to its end: the
// report must be whole. What the server says beside it goes to said.
func readReport(r io.Reader, said io.Writer, changes int) (*packp.ReportStatus, error) {
	most := int64(64*kibi + kibi*changes)
	reply := bufio.NewReader(&limitReader{r: r, left: most, err: fmt.Errorf("report without end: %w", errProtocol)})
	start, err := reply.Peek(5)
	if err != nil {
		return nil, fmt.Errorf("no report came: %w", noEOF(err))
	}
	report := packp.NewReportStatus()
	if start[4] > 3 { // not in bands, though asked to
		err = report.Decode(reply)
	} else {
		bands := sideband.NewDemuxer(sideband.Sideband64k, reply)
		bands.Progress = said
		err = report.Decode(bands)
	}
	if err != nil {
		return nil, fmt.Errorf("report: %w", noEOF(err))
	}
	// The service ends when its answer was read; cut off, it might be stopped
	// before it has cleaned up.
	_, _ = io.Copy(io.Discard, reply)
	return report, nil
}
