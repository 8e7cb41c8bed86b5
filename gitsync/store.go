package gitsync

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// store reads objects from packs by id. Its list of packs never changes; it
// is safe for concurrent use.
type store struct {
	packs []*pack
	cache *objectCache
}

// pack is one indexed pack, held open.
type pack struct {
	file  *os.File
	size  int64
	index *packIndex
}

var errNoObject = errors.New("object is missing")

// with returns a store that has p, too.
func (s *store) with(p ...*pack) *store {
	return &store{packs: append(append([]*pack{}, s.packs...), p...), cache: s.cache}
}

// has reports whether the object is there, without reading it.
func (s *store) has(id plumbing.Hash) bool {
	_, _, ok := s.find(id)
	return ok
}

func (s *store) find(id plumbing.Hash) (*pack, int64, bool) {
	for _, p := range s.packs {
		if offset, ok := p.index.find(id); ok {
			return p, offset, true
		}
	}
	return nil, 0, false
}

// size returns the inflated bytes of the object without inflating it (of a
// delta, its first bytes).
func (s *store) size(id plumbing.Hash) (int64, error) {
	p, offset, ok := s.find(id)
	if !ok {
		return 0, fmt.Errorf("object %s: %w", id, errNoObject)
	}
	r := newEntryReader(p.file, p.size-packTrailerSize)
	h, err := r.header(offset)
	if err != nil {
		return 0, err
	}
	return resultSize(r, h)
}

// resultSize is the size of what the entry stands for.
func resultSize(r *entryReader, h entryHeader) (int64, error) {
	if h.kind != kindOfsDelta && h.kind != kindRefDelta {
		return h.size, nil
	}
	head := fixedBuffer(make([]byte, 0, 20))
	r.seek(h.data)
	if err := r.inflate(&head, h.size); err != nil {
		return 0, err
	}
	_, size, err := deltaSizes(head)
	return size, err
}

// object returns the kind and content of an object of at most limit bytes.
// The content is shared: it must not be changed.
func (s *store) object(id plumbing.Hash, limit int64) (byte, []byte, error) {
	p, offset, ok := s.find(id)
	if !ok {
		return 0, nil, fmt.Errorf("object %s: %w", id, errNoObject)
	}
	kind, data, err := s.read(p, offset, limit)
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, err)
	}
	return kind, data, nil
}

// read walks down from the entry at offset to a whole object (or one in the
// cache), then applies the deltas on the way back. Sizes of bases were bounded
// when the pack was indexed.
func (s *store) read(p *pack, offset, limit int64) (byte, []byte, error) {
	r := newEntryReader(p.file, p.size-packTrailerSize)
	var deltas []entryHeader
	var at []int64 // offset of each delta
	var kind byte
	var data []byte
	for {
		if cached, ok := s.cache.get(cacheKey{p, offset}); ok {
			kind, data = cached.kind, cached.data
			break
		}
		h, err := r.header(offset)
		if err != nil {
			return 0, nil, err
		}
		if len(deltas) == 0 {
			if size, err := resultSize(r, h); err != nil {
				return 0, nil, err
			} else if size > limit {
				return 0, nil, &LimitError{Limit: "Object", What: "an object of the repository", Max: limit, Value: size, Bytes: true}
			}
		}
		if h.kind != kindOfsDelta && h.kind != kindRefDelta {
			if data, err = r.read(h); err != nil {
				return 0, nil, err
			}
			kind = h.kind
			s.cache.put(cacheKey{p, offset}, cachedObject{kind, data})
			break
		}
		if len(deltas) == maxDeltaDepth {
			return 0, nil, fmt.Errorf("%w: deltas without end", errPack)
		}
		deltas, at = append(deltas, h), append(at, offset)
		if offset, err = baseOffset(p, h); err != nil {
			return 0, nil, err
		}
	}
	for i := len(deltas) - 1; i >= 0; i-- {
		delta, err := r.read(deltas[i])
		if err != nil {
			return 0, nil, err
		}
		if data, err = patch(data, delta, maxDeltaMemory); err != nil {
			return 0, nil, err
		}
		s.cache.put(cacheKey{p, at[i]}, cachedObject{kind, data})
	}
	if int64(len(data)) > limit { // from the cache, read under a higher limit
		return 0, nil, &LimitError{Limit: "Object", What: "an object of the repository", Max: limit, Value: int64(len(data)), Bytes: true}
	}
	return kind, data, nil
}

func baseOffset(p *pack, h entryHeader) (int64, error) {
	if h.kind == kindOfsDelta {
		return h.base, nil
	}
	offset, ok := p.index.find(h.ref)
	if !ok {
		return 0, fmt.Errorf("%w: base %s is not in the pack", errPack, h.ref)
	}
	return offset, nil
}

// closeExcept closes the packs of s that keep does not have.
func (s *store) closeExcept(keep *store) {
	kept := map[*pack]bool{}
	for _, p := range keep.packs {
		kept[p] = true
	}
	for _, p := range s.packs {
		if !kept[p] {
			p.file.Close() // opened for reading: nothing can be lost
		}
	}
}

// objectCache keeps recently read objects up to a total of bytes; it exists
// for delta bases and folders, which are read many times in a row.
type objectCache struct {
	mu    sync.Mutex
	bytes int64
	order *list.List // of cacheItem, most recent first
	items map[cacheKey]*list.Element
}

type cacheKey struct {
	pack   *pack
	offset int64
}

type cachedObject struct {
	kind byte
	data []byte
}

type cacheItem struct {
	key    cacheKey
	object cachedObject
}

const (
	maxCacheBytes  = 8 * mebi
	maxCacheObject = 1 * mebi
)

func newObjectCache() *objectCache {
	return &objectCache{order: list.New(), items: map[cacheKey]*list.Element{}}
}

func (c *objectCache) get(k cacheKey) (cachedObject, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[k]
	if !ok {
		return cachedObject{}, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cacheItem).object, true
}

func (c *objectCache) put(k cacheKey, o cachedObject) {
	if len(o.data) > maxCacheObject {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[k]; ok {
		return
	}
	c.items[k] = c.order.PushFront(cacheItem{k, o})
	c.bytes += int64(len(o.data))
	for c.bytes > maxCacheBytes {
		last := c.order.Back()
		item := c.order.Remove(last).(cacheItem)
		delete(c.items, item.key)
		c.bytes -= int64(len(item.object.data))
	}
}
