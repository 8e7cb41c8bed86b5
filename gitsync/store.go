package gitsync

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
)

// store finds objects in packs by id. Its list of packs never changes; it is
// safe for concurrent use.
//
// It stands where go-git has storage/filesystem.ObjectStorage, which looks for
// a loose object and for other repositories' objects first, knows a pack only
// once it is in the folder of the clone, and must not be used concurrently.
type store struct {
	packs []*pack
	cache cache.Object // shared by all packs
}

// maxCacheBytes bounds the objects that are kept for being read soon again:
// bases of deltas, folders.
const maxCacheBytes = 8 * cache.MiByte

var (
	errNoObject = errors.New("object is missing")
	// errWrongKind: the object is of another kind than it should be.
	errWrongKind = errors.New("object is of another kind")
)

func newStore() *store { return &store{cache: cache.NewObjectLRU(maxCacheBytes)} }

// with returns a store that has p, too.
func (s *store) with(p *pack) *store {
	return &store{packs: append(append([]*pack{}, s.packs...), p), cache: s.cache}
}

// has reports whether the object is there, without reading it.
func (s *store) has(id plumbing.Hash) bool { return s.find(id) != nil }

func (s *store) find(id plumbing.Hash) *pack {
	for _, p := range s.packs {
		if p.has(id) {
			return p
		}
	}
	return nil
}

// size returns the inflated bytes of the object without reading it.
func (s *store) size(id plumbing.Hash) (int64, error) {
	p := s.find(id)
	if p == nil {
		return 0, fmt.Errorf("object %s: %w", id, errNoObject)
	}
	size, err := p.objectSize(id)
	if err != nil {
		return 0, fmt.Errorf("object %s: %w: %w", id, err, ErrCorrupt)
	}
	return size, nil
}

// object returns an object of at most limit bytes, which must be of the kind.
func (s *store) object(kind plumbing.ObjectType, id plumbing.Hash, limit int64) (plumbing.EncodedObject, error) {
	size, err := s.size(id)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &LimitError{Limit: "Object", What: "an object of the repository", Max: limit, Value: size, Bytes: true}
	}
	o, err := s.find(id).object(id)
	switch {
	case err != nil:
		return nil, fmt.Errorf("object %s: %w: %w", id, err, ErrCorrupt)
	case o.Type() != kind:
		return nil, fmt.Errorf("object %s is a %s, not a %s: %w: %w", id, o.Type(), kind, errWrongKind, ErrCorrupt)
	}
	return o, nil
}

// content returns a copy of the bytes of an object as of object.
func (s *store) content(kind plumbing.ObjectType, id plumbing.Hash, limit int64) ([]byte, error) {
	o, err := s.object(kind, id, limit)
	if err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, o.Size())
	_, err = io.ReadFull(r, data)
	return data, err
}

func (s *store) close() {
	for _, p := range s.packs {
		p.close()
	}
}
