package gitsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
)

// packEntry is one object of a pack that is being indexed.
type packEntry struct {
	offset int64
	size   int64 // inflated bytes of the entry; of a delta, not of its result
	crc    uint32
	kind   byte // of the object, once it is known; before that a delta's
	hash   plumbing.Hash
}

// scanner indexes a pack on disk in two passes. The first inflates every entry
// once, streaming, and learns the ids of all whole objects; whatever is over
// a limit stops it before it is held in memory. The second resolves deltas.
type scanner struct {
	ctx     context.Context
	limits  Limits
	r       *entryReader
	size    int64
	entries []packEntry // by offset

	// The deltas that stand on an entry, as lists: first[base], then next.
	first, next []int32
	// waiting holds the deltas on a base known by id only, until that id
	// turns up.
	waiting map[plumbing.Hash][]int32
	held    int64
}

const none int32 = -1

// indexPack returns the entries of the pack, by offset, all with their ids.
// The caller has compared the trailing checksum.
func indexPack(ctx context.Context, file io.ReaderAt, size int64, limits Limits) ([]packEntry, error) {
	s := &scanner{ctx: ctx, limits: limits, size: size,
		r: newEntryReader(file, size-packTrailerSize), waiting: map[plumbing.Hash][]int32{}}
	count, err := s.header()
	if err != nil {
		return nil, err
	}
	if err := s.scan(count); err != nil {
		return nil, err
	}
	if err := s.resolve(); err != nil {
		return nil, err
	}
	return s.entries, nil
}

// header returns the number of objects, which the size of the pack must allow.
func (s *scanner) header() (int, error) {
	if s.size < packHeaderSize+packTrailerSize {
		return 0, fmt.Errorf("%w: %d bytes", errPack, s.size)
	}
	var h [packHeaderSize]byte
	s.r.seek(0)
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return 0, fmt.Errorf("%w: %w", errPack, noEOF(err))
	}
	if !bytes.Equal(h[:4], []byte("PACK")) || binary.BigEndian.Uint32(h[4:]) != 2 {
		return 0, fmt.Errorf("%w: no version 2 header", errPack)
	}
	count := int64(binary.BigEndian.Uint32(h[8:]))
	if count > int64(s.limits.Objects) {
		return 0, &LimitError{Limit: "Objects", What: "objects in one pack", Max: int64(s.limits.Objects), Value: count}
	}
	if count > (s.size-packHeaderSize-packTrailerSize)/minEntrySize {
		return 0, fmt.Errorf("%w: %d objects in %d bytes", errPack, count, s.size)
	}
	return int(count), nil
}

// scan is the first pass.
func (s *scanner) scan(count int) error {
	s.entries = make([]packEntry, 0, count)
	s.first, s.next = make([]int32, count), make([]int32, count)
	offset, total := int64(packHeaderSize), int64(0)
	for i := range int32(count) {
		if i%1024 == 0 && s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		s.first[i], s.next[i] = none, none
		h, err := s.r.header(offset)
		if err != nil {
			return err
		}
		if h.size > s.limits.Object {
			return s.tooLarge(h.size)
		}
		if total += h.size; total > s.limits.Inflated {
			return &LimitError{Limit: "Inflated", What: "all objects of one pack, inflated", Max: s.limits.Inflated, Bytes: true}
		}
		e := packEntry{offset: offset, size: h.size, kind: h.kind}
		if err := s.file(&e, h, i); err != nil {
			return err
		}
		e.crc = s.r.sum()
		s.entries = append(s.entries, e)
		offset = s.r.offset()
	}
	if offset != s.r.end {
		return fmt.Errorf("%w: %d bytes after the last object", errPack, s.r.end-offset)
	}
	return nil
}

// file inflates one entry and files it: whole objects by their id, deltas
// under their base.
func (s *scanner) file(e *packEntry, h entryHeader, i int32) error {
	switch h.kind {
	case kindOfsDelta:
		base, ok := s.at(h.base)
		if !ok {
			return fmt.Errorf("%w: entry at %d has no base", errPack, e.offset)
		}
		s.next[i], s.first[base] = s.first[base], i
		return s.r.inflate(io.Discard, h.size)
	case kindRefDelta:
		s.waiting[h.ref] = append(s.waiting[h.ref], i)
		return s.r.inflate(io.Discard, h.size)
	}
	hasher := plumbing.NewHasher(plumbing.ObjectType(h.kind), h.size)
	if err := s.r.inflate(hasher, h.size); err != nil {
		return err
	}
	e.hash = hasher.Sum()
	return nil
}

// at finds the entry at exactly offset.
func (s *scanner) at(offset int64) (int32, bool) {
	lo, hi := 0, len(s.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.entries[mid].offset < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return int32(lo), lo < len(s.entries) && s.entries[lo].offset == offset
}

func (s *scanner) tooLarge(size int64) error {
	return &LimitError{Limit: "Object", What: "an object of the repository", Max: s.limits.Object, Value: size, Bytes: true}
}
