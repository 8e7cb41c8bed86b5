package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxReadBytes bounds one download of records, and so what it takes of
	// memory; what is more is asked for in parts.
	maxReadBytes = 32 * mebi
	// maxReadRequests bounds the requests of one Read: 2·n find n records that
	// cannot be read among many that can. The rest is left for the next Read.
	maxReadRequests = 64
)

// Read implements Board: one request for all records, of which only the
// newest commits are asked for, not the history below.
//
// A server answers nothing at all if it lacks one of the objects, which
// happens when a ref moved since the List and the old value was collected; and
// one record that is too large, or damaged there, spoils the download of all.
// So what comes back without all is asked for in halves, down to the single
// record, which is then either left out or explained. Records that a hostile
// writer made unreadable so cost requests, never the others.
func (b *RefBoard) Read(ctx context.Context, want map[planner.Ref]planner.Hash) (Reading, error) {
	out := Reading{Records: map[planner.Ref]planner.Record{}, Unreadable: map[planner.Ref]string{}}
	refs := map[plumbing.Hash][]planner.Ref{} // two refs may have one value
	for ref, id := range want {
		if !isID(string(id)) {
			out.Unreadable[ref] = "its value is no object id"
			continue
		}
		h := plumbing.NewHash(string(id))
		refs[h] = append(refs[h], ref)
	}
	ids := make([]plumbing.Hash, 0, len(refs))
	for id := range refs {
		ids = append(ids, id)
	}
	plumbing.HashesSort(ids)
	if len(ids) == 0 {
		return out, nil
	}
	r := reader{link: b.link, found: map[plumbing.Hash][]byte{}, bad: map[plumbing.Hash]string{}}
	if err := b.call(ctx, "read records from", func(ctx context.Context, creds Credentials) error {
		return r.read(ctx, creds, ids)
	}); err != nil {
		return Reading{}, err
	}
	for id, object := range r.found {
		record, err := planner.ParseRecord(object)
		for _, ref := range refs[id] {
			if err != nil {
				out.Unreadable[ref] = err.Error()
			} else {
				out.Records[ref] = record
			}
		}
	}
	for id, why := range r.bad {
		for _, ref := range refs[id] {
			out.Unreadable[ref] = why
		}
	}
	return out, nil
}

// reader is one Read under way.
type reader struct {
	link     *link
	requests int
	found    map[plumbing.Hash][]byte
	bad      map[plumbing.Hash]string
	failed   error // the last download that broke off at a single record
}

// read fills found and bad. Its error is that of the exchange, or of downloads
// that broke off if nothing at all was read.
func (r *reader) read(ctx context.Context, creds Credentials, ids []plumbing.Hash) error {
	d, err := r.link.dialect(ctx, creds)
	if err != nil {
		return err
	}
	todo := [][]plumbing.Hash{ids}
	for len(todo) > 0 && r.requests < maxReadRequests {
		part := todo[0]
		todo = todo[1:]
		r.requests++
		fault, err := r.fetch(ctx, creds, d, part)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(part), func(id plumbing.Hash) bool { return r.found[id] != nil })
		switch {
		case len(missing) == 0:
		case len(part) > 1:
			half := (len(missing) + 1) / 2
			todo = append(todo, missing[:half])
			if half < len(missing) {
				todo = append(todo, missing[half:])
			}
		default:
			r.blame(missing[0], fault)
		}
	}
	if len(r.found)+len(r.bad) == 0 {
		return r.failed
	}
	return nil
}

// blame says why a record that was asked for alone did not come.
func (r *reader) blame(id plumbing.Hash, fault error) {
	var limit *LimitError
	var gone *pktline.ErrorLine
	switch {
	case fault == nil:
		r.bad[id] = "its value is no commit"
	case errors.As(fault, &limit):
		r.bad[id] = fmt.Sprintf("it is larger than %s, or brings other objects along", byteSize(planner.MaxRecordBytes))
	case errors.Is(fault, ErrCorrupt):
		r.bad[id] = "it is damaged: " + printable(fault.Error(), 200)
	case errors.As(fault, &gone):
		// The server does not have it any more: the next List shows what it has.
	default:
		r.failed = fault
	}
}

// fetch downloads records into found. fault is what the reply ended in before
// it was whole; err is of the exchange as such, or of the context: no other
// request would fare better.
func (r *reader) fetch(ctx context.Context, creds Credentials, d *dialect, ids []plumbing.Hash) (fault, err error) {
	s, request, err := packRequest{wants: ids, alone: true}.encode(d)
	if err != nil {
		return nil, transferError(ctx, "download", err)
	}
	body, err := r.link.exchange(ctx, creds, s, request)
	if err != nil {
		r.link.spoken.Store(nil)
		return nil, err
	}
	defer body.Close()
	limits := recordLimits(d, len(ids))
	pack, err := download(body, d, limits.Pack)
	if err == nil {
		drain(body)
		err = scanCommits(ctx, pack, limits, func(id plumbing.Hash, data []byte) {
			if slices.Contains(ids, id) {
				r.found[id] = bytes.Clone(data)
			}
		})
	}
	switch {
	case err == nil:
		return nil, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	var gone *pktline.ErrorLine
	if errors.As(err, &gone) || errors.Is(err, ErrCorrupt) {
		return err, nil
	}
	return transferError(ctx, "download", err), nil
}

// recordLimits bound a pack of n records: each is a commit, and some servers
// send the empty tree along. One that cannot leave out the history below sends
// that, too.
func recordLimits(d *dialect, n int) Limits {
	bytes := min(int64(n+1)*(planner.MaxRecordBytes+kibi), maxReadBytes)
	l := Limits{Pack: bytes, Inflated: 2 * bytes, Object: planner.MaxRecordBytes, Objects: 2*n + 1}
	if !d.can("shallow") {
		l.Pack, l.Inflated, l.Objects = maxReadBytes, 4*maxReadBytes, 100_000
	}
	return l
}

// download returns the pack in a reply.
func download(reply io.Reader, d *dialect, most int64) ([]byte, error) {
	stream, err := newPackStream(reply, d)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(&limitReader{r: stream, left: most, err: &LimitError{Limit: "record", What: "records", Max: most, Bytes: true}})
}
