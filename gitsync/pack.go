package gitsync

import (
	"bufio"
	"crypto/sha1"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// pack is one indexed pack, held open. Its objects never change; go-git reads
// them through one scanner, hence the lock.
type pack struct {
	file  *os.File
	size  int64
	index *idxfile.MemoryIndex

	mu     sync.Mutex
	reader *packfile.Packfile
}

// packTrailerSize is the length of the checksum a pack ends with.
const packTrailerSize = sha1.Size

// newPack reads file by index. Recently read objects and bases of deltas stay
// in c. Content is always read into memory, never lazily from disk: every
// object of a pack was bounded when it was indexed.
func newPack(file *os.File, size int64, index *idxfile.MemoryIndex, c cache.Object) *pack {
	return &pack{file: file, size: size, index: index,
		reader: packfile.NewPackfileWithCache(index, nil, billyFile{file}, c, 0)}
}

// openPack opens base.pack and base.idx and checks every byte of both.
func openPack(base string, c cache.Object) (_ *pack, err error) {
	f, err := os.Open(base + ".pack")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	sum, size, err := packChecksum(f)
	if err != nil {
		return nil, err
	}
	index, err := readIndex(base + ".idx")
	if err != nil {
		return nil, err
	}
	if index.PackfileChecksum != sum {
		return nil, fmt.Errorf("index is of pack %x", index.PackfileChecksum)
	}
	return newPack(f, size, index, c), nil
}

// packChecksum returns the checksum at the end of a pack, having compared it
// to the rest.
func packChecksum(f *os.File) (sum plumbing.Hash, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return sum, 0, err
	}
	body := info.Size() - packTrailerSize
	hash := sha1.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, 0, max(body, 0))); err != nil {
		return sum, 0, err
	}
	if _, err := f.ReadAt(sum[:], max(body, 0)); err != nil || plumbing.Hash(hash.Sum(nil)) != sum {
		return sum, 0, fmt.Errorf("%w: wrong checksum", packfile.ErrMalformedPackFile)
	}
	return sum, info.Size(), nil
}

func readIndex(path string) (*idxfile.MemoryIndex, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	return index, idxfile.NewDecoder(indexFile{bufio.NewReader(f), f}).Decode(index)
}

func writeIndex(w io.Writer, index *idxfile.MemoryIndex) error {
	b := bufio.NewWriter(w)
	if _, err := idxfile.NewEncoder(b).Encode(index); err != nil {
		return err
	}
	return b.Flush()
}

func (p *pack) has(id plumbing.Hash) bool {
	ok, _ := p.index.Contains(id) // an index in memory has no errors
	return ok
}

// objectSize returns the inflated bytes of an object the pack has, of a delta
// by inflating nothing but the delta.
func (p *pack) objectSize(id plumbing.Hash) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	offset, err := p.index.FindOffset(id)
	if err != nil {
		return 0, err
	}
	return p.reader.GetSizeByOffset(offset)
}

// object reads an object the pack has.
func (p *pack) object(id plumbing.Hash) (plumbing.EncodedObject, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reader.Get(id)
}

// close ends reading; the file was only read, nothing can be lost.
func (p *pack) close() { p.file.Close() }

// indexFile is a buffered file that go-git can still ask for its size, which
// it holds against the number of objects before it makes room for them.
type indexFile struct {
	io.Reader
	file *os.File
}

func (f indexFile) Stat() (os.FileInfo, error) { return f.file.Stat() }

// billyFile is an *os.File as go-git wants it. It asks for locks it never
// takes: the clone's folder has one of its own.
type billyFile struct{ *os.File }

func (billyFile) Lock() error   { return nil }
func (billyFile) Unlock() error { return nil }
