package gitsync

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxReadBytes bounds one download of records, and so what it takes of
	// memory; what is more is asked for in parts.
	maxReadBytes = 32 * mebi
	// maxReadObject bounds an object in such a download: what is larger than a
	// record, but not this much, is found out without a request of its own.
	maxReadObject = 4 * planner.MaxRecordBytes
	// maxReadRequests bounds the requests of one Read. The rest is left for the
	// next one.
	maxReadRequests = 64
	// readParts is how many parts a download that broke off is asked for in:
	// one record that spoils it among n costs 4·log₄ n requests, n of them 4/3·n.
	readParts = 4
)

// Read implements Board: one request for all records, of which only the
// newest commits are asked for, not the history below.
//
// A server answers nothing at all if it lacks one of the objects, which
// happens when a ref moved since the List and the old value was collected; and
// one record that is damaged there, or far too large, spoils the download of
// all. So what comes back without all is asked for in parts, down to the single
// record, which is then either left out or explained. Records that a hostile
// writer made unreadable so cost requests, never the others.
//
// Every Read gets somewhere: one that neither reads nor explains a record has
// an error, unless refs have moved since the List.
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
	if len(ids) == 0 {
		return out, nil
	}
	// In no order, so that some that break every download do not stand in the
	// way of the same others each time.
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	r := reader{link: b.link, found: map[plumbing.Hash][]byte{}, bad: map[plumbing.Hash]string{}}
	if err := b.call(ctx, "read records from", func(ctx context.Context, creds Credentials) error {
		return r.read(ctx, creds, ids)
	}); err != nil {
		return Reading{}, err
	}
	if len(r.found)+len(r.bad)+len(out.Unreadable) == 0 {
		if err := b.moved(ctx, want); err != nil {
			return Reading{}, err
		}
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

// moved is asked when the server had none of the records: nil if that is
// because a ref has another value by now.
func (b *RefBoard) moved(ctx context.Context, want map[planner.Ref]planner.Hash) error {
	l, err := b.List(ctx)
	if err != nil {
		return err
	}
	for _, ref := range slices.Sorted(maps.Keys(want)) {
		if l.Refs[ref] != want[ref] {
			return nil
		}
	}
	return fmt.Errorf("read %s: %w", b, &remoteError{kind: ErrUnreachable,
		text: "it lists records that it does not hand out: look at the repository with git fsck"})
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
// that broke off if nothing at all was read. It goes down to the single record
// before it begins another part: so it comes to some, however many are bad.
func (r *reader) read(ctx context.Context, creds Credentials, ids []plumbing.Hash) error {
	d, err := r.link.dialect(ctx, creds)
	if err != nil {
		return err
	}
	todo := [][]plumbing.Hash{ids} // the last is next
	for len(todo) > 0 && r.requests < maxReadRequests {
		part := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		r.requests++
		fault, err := r.fetch(ctx, creds, d, part)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(part), r.done)
		switch {
		case len(missing) == 0:
		case fault == nil:
			for _, id := range missing {
				r.bad[id] = "its value is no commit"
			}
		case len(part) == 1:
			r.blame(missing[0], fault)
		default:
			size := (len(missing) + readParts - 1) / readParts
			todo = slices.AppendSeq(todo, slices.Chunk(missing, size))
		}
	}
	if len(r.found)+len(r.bad) == 0 {
		return r.failed
	}
	return nil
}

// done reports whether a record was read or explained.
func (r *reader) done(id plumbing.Hash) bool {
	_, bad := r.bad[id]
	return bad || r.found[id] != nil
}

// take takes one commit in.
func (r *reader) take(id plumbing.Hash, data []byte) {
	if len(data) > planner.MaxRecordBytes {
		r.bad[id] = fmt.Sprintf("it is larger than %s", byteSize(planner.MaxRecordBytes))
		return
	}
	r.found[id] = bytes.Clone(data)
}

// blame says why a record that was asked for alone did not come.
func (r *reader) blame(id plumbing.Hash, fault error) {
	var limit *LimitError
	var gone *pktline.ErrorLine
	switch {
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

// fetch downloads records into found and bad. fault is what the reply ended in
// before it was whole; what came until then counts, since ids verify contents.
// err is of the exchange as such, or of the context: no other request would
// fare better.
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
	}
	if err == nil || len(pack) > 0 {
		scanned := scanCommits(ctx, pack, limits, func(id plumbing.Hash, data []byte) {
			if slices.Contains(ids, id) {
				r.take(id, data)
			}
		})
		err = cmp.Or(err, scanned)
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
	l := Limits{Pack: bytes, Inflated: 2 * bytes, Object: maxReadObject, Objects: 2*n + 1}
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
