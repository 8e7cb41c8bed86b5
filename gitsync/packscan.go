package gitsync

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sort"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// packEntry is one object of a pack that is being indexed.
type packEntry struct {
	offset int64
	crc    uint32
	kind   plumbing.ObjectType // of the object, once it is known; before that a delta's
	hash   plumbing.Hash
	// The deltas that stand on this entry are a list: first of the base, then
	// next of each.
	first, next int32
	depth       int16 // deltas below it, as far as known
	isBase      bool  // of a delta that names it by its offset
}

const none int32 = -1

// indexer makes the index of a pack on disk in two passes. The first inflates
// every entry once, streaming, and learns the ids of all whole objects;
// whatever is over a limit stops it before it is held in memory. The second
// resolves deltas (packresolve.go).
//
// It does what go-git's packfile.Parser does, within bounds: that makes room
// for all objects of a chain of deltas at once, so that a pack of 17 KiB (250
// deltas on 4 MiB of zeros) took 1.9 GiB of memory, eight times as much at
// our limit of an object. A limit on the sum along a chain would refuse honest
// repositories: 50 versions of a file of 10 MiB. The formats are go-git's
// business: Scanner, PatchDelta, and idxfile.
type indexer struct {
	ctx     context.Context
	limits  Limits
	scan    *packfile.Scanner
	entries []packEntry // by offset
	// waiting holds the deltas on a base known by id only, until that id
	// turns up.
	waiting map[plumbing.Hash][]int32
	held    int64 // bytes of the bases in memory
	// found, if not nil, is given the content of every commit, once.
	found func(id plumbing.Hash, data []byte)
}

// indexPack returns the index of a pack whose checksum was found to be sum.
// Errors are ErrCorrupt, a LimitError or the context's.
func indexPack(ctx context.Context, r io.ReadSeeker, size int64, sum plumbing.Hash, limits Limits) (*idxfile.MemoryIndex, error) {
	x := &indexer{ctx: ctx, limits: limits, scan: packfile.NewScanner(r), waiting: map[plumbing.Hash][]int32{}}
	if err := x.run(size); err != nil {
		return nil, err
	}
	return x.index(sum)
}

// scanCommits tells found of every commit in a pack that is in memory, by the
// id its content has. Errors are as of indexPack; what came before one was
// told. That makes the checksum of the pack needless.
func scanCommits(ctx context.Context, pack []byte, limits Limits, found func(id plumbing.Hash, data []byte)) error {
	x := &indexer{ctx: ctx, limits: limits, scan: packfile.NewScanner(bytes.NewReader(pack)),
		waiting: map[plumbing.Hash][]int32{}, found: found}
	return x.run(int64(len(pack)))
}

func (x *indexer) run(size int64) error {
	if err := x.readAll(size - packTrailerSize); err != nil {
		return err
	}
	return x.resolve()
}

// malformed says that a pack is broken.
func malformed(err error) error {
	return fmt.Errorf("pack: %w: %w", err, ErrCorrupt)
}

func malformedAt(offset int64, format string, args ...any) error {
	return malformed(fmt.Errorf("entry at %d %w", offset, fmt.Errorf(format, args...)))
}

// readAll is the first pass; entries must end at end.
func (x *indexer) readAll(end int64) error {
	_, count, err := x.scan.Header()
	if err != nil {
		return malformed(err)
	}
	if int64(count) > int64(x.limits.Objects) {
		return &LimitError{Limit: "Objects", What: "objects in one pack", Max: int64(x.limits.Objects), Value: int64(count)}
	}
	total := int64(0)
	for i := range count {
		if i%1024 == 0 && x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		h, err := x.scan.NextObjectHeader()
		if err != nil {
			return malformed(err)
		}
		if h.Length > x.limits.Object {
			return x.tooLarge(h.Length)
		}
		if total += h.Length; total > x.limits.Inflated {
			return &LimitError{Limit: "Inflated", What: "all objects of one pack, inflated", Max: x.limits.Inflated, Bytes: true}
		}
		if err := x.read(h); err != nil {
			return err
		}
	}
	// Seeking tells where the scanner was: it reads ahead, the file cannot say.
	if at, err := x.scan.SeekFromStart(0); err != nil || at != end {
		return malformed(fmt.Errorf("%d bytes after the last object", end-at))
	}
	return nil
}

// read inflates one entry and files it: whole objects by their id, deltas
// under their base.
func (x *indexer) read(h *packfile.ObjectHeader) error {
	e := packEntry{offset: h.Offset, kind: h.Type, first: none, next: none}
	i := int32(len(x.entries))
	var sink io.Writer = io.Discard
	var hasher plumbing.Hasher
	var content *bytes.Buffer
	switch h.Type {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
		hasher = plumbing.NewHasher(h.Type, h.Length)
		sink = hasher
		if h.Type == plumbing.CommitObject && x.found != nil {
			content = &bytes.Buffer{}
			sink = io.MultiWriter(hasher, content)
		}
	case plumbing.OFSDeltaObject:
		base, ok := x.at(h.OffsetReference)
		if !ok {
			return malformedAt(h.Offset, "has no base")
		}
		b := &x.entries[base]
		e.next, b.first, b.isBase = b.first, i, true
		if err := e.stand(b); err != nil {
			return err
		}
	case plumbing.REFDeltaObject:
		x.waiting[h.Reference] = append(x.waiting[h.Reference], i)
	default:
		return malformedAt(h.Offset, "is of unknown type %d", h.Type)
	}
	n, crc, err := x.scan.NextObject(sink) // stops where more comes than declared
	switch {
	case err != nil:
		return malformedAt(h.Offset, "cannot be inflated: %w", err)
	case n != h.Length:
		return malformedAt(h.Offset, "inflates to %d of the %d bytes declared", n, h.Length)
	}
	if e.crc = crc; !h.Type.IsDelta() {
		e.hash = hasher.Sum()
	}
	if content != nil {
		x.found(e.hash, content.Bytes())
	}
	x.entries = append(x.entries, e)
	return nil
}

// stand counts the deltas below e, which stands on base.
func (e *packEntry) stand(base *packEntry) error {
	if e.depth = base.depth + 1; e.depth > maxDeltaDepth {
		return &LimitError{Limit: "delta depth", What: "deltas that stand on each other", Max: maxDeltaDepth}
	}
	return nil
}

// at finds the entry at exactly offset.
func (x *indexer) at(offset int64) (int, bool) {
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].offset >= offset })
	return i, i < len(x.entries) && x.entries[i].offset == offset
}

func (x *indexer) tooLarge(size int64) error {
	return &LimitError{Limit: "Object", What: "an object of the repository", Max: x.limits.Object, Value: size, Bytes: true}
}

// index lists the entries by id.
func (x *indexer) index(sum plumbing.Hash) (*idxfile.MemoryIndex, error) {
	w := &idxfile.Writer{}
	_ = w.OnHeader(uint32(len(x.entries))) // has no errors
	for _, e := range x.entries {
		w.Add(e.hash, uint64(e.offset), e.crc)
	}
	if err := w.OnFooter(sum); err != nil {
		return nil, malformed(err)
	}
	index, err := w.Index()
	if err != nil {
		return nil, malformed(err)
	}
	// go-git finds the base of a delta by the id at its offset, which only the
	// first copy of an object has. No git puts an object into a pack twice.
	for _, e := range x.entries {
		if !e.isBase {
			continue
		}
		if at, err := index.FindOffset(e.hash); err != nil || at != e.offset {
			return nil, malformedAt(e.offset, "is the base of a delta, and stands in the pack twice")
		}
	}
	return index, nil
}
