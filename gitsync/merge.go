package gitsync

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
)

// mergePacks makes one pack of all. Every pack stands on its own and deltas
// name their base by distance or id, so the entries are copied as they are,
// pack after pack, and only their offsets shift. An object that is in two
// packs stays twice on disk and once in the index.
func (r *Repository) mergePacks(ctx context.Context) error {
	c := r.clone
	old := c.store
	q, err := c.mergedPack(ctx)
	if err != nil {
		return fmt.Errorf("merge packs: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.commit(c); err != nil {
		q.discard()
		return fmt.Errorf("merge packs: %w", err)
	}
	c.store = &store{packs: []*pack{q.pack}, cache: newObjectCache()}
	old.closeExcept(c.store)
	for _, p := range old.packs {
		base := c.packBase(p.index)
		os.Remove(base + ".pack") // the index goes last, and alone it is nothing
		os.Remove(base + ".idx")
	}
	return nil
}

// packBase is the path of a pack without its extension.
func (c *clone) packBase(x *packIndex) string {
	return filepath.Join(c.packDir(), fmt.Sprintf("pack-%x", x.pack))
}

func (c *clone) mergedPack(ctx context.Context) (_ *quarantine, err error) {
	f, err := os.CreateTemp(c.packDir(), "tmp-*.merged")
	if err != nil {
		return nil, storageError(err)
	}
	q := &quarantine{pack: &pack{file: f}, paths: []string{f.Name()}}
	defer func() {
		if err != nil {
			q.discard()
		}
	}()
	m := &merger{sum: sha1.New(), seen: map[plumbing.Hash]bool{}}
	m.w = bufio.NewWriterSize(io.MultiWriter(f, m.sum), 64*kibi)
	if err := m.merge(ctx, c); err != nil {
		return nil, err
	}
	trailer := [sha1.Size]byte(m.sum.Sum(nil))
	if _, err := f.Write(trailer[:]); err != nil {
		return nil, storageError(err)
	}
	q.pack.size = m.offset + packTrailerSize
	q.pack.index, q.crcs = newPackIndex(m.entries, trailer)
	return q, nil
}

// merger writes the body of a merged pack.
type merger struct {
	w   *bufio.Writer
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
	offset  int64
	entries []packEntry
	seen    map[plumbing.Hash]bool
}

func (m *merger) merge(ctx context.Context, c *clone) error {
	total := uint32(0)
	for _, p := range c.store.packs {
		n, err := p.count()
		if err != nil {
			return err
		}
		total += n
	}
	header := append([]byte("PACK\x00\x00\x00\x02"), binary.BigEndian.AppendUint32(nil, total)...)
	m.w.Write(header)
	m.offset = packHeaderSize
	for _, p := range c.store.packs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := m.add(p, c.packBase(p.index)+".idx"); err != nil {
			return err
		}
	}
	return storageError(m.w.Flush())
}

// count is the number of entries the pack declares.
func (p *pack) count() (uint32, error) {
	var b [4]byte
	_, err := p.file.ReadAt(b[:], packHeaderSize-4)
	return binary.BigEndian.Uint32(b[:]), err
}

// add copies the entries of one pack. Their checksums are read again from the
// index on disk: nobody else needs them in memory.
func (m *merger) add(p *pack, indexPath string) error {
	data, err := os.ReadFile(indexPath)
	if err != nil {
		return err
	}
	x, crcs, err := readPackIndex(data, p.size)
	if err != nil {
		return err
	}
	shift := m.offset - packHeaderSize
	for i, crc := range crcs {
		hash := plumbing.Hash(x.name(i))
		if m.seen[hash] {
			continue
		}
		m.seen[hash] = true
		m.entries = append(m.entries, packEntry{offset: x.offsets[i] + shift, crc: crc, hash: hash})
	}
	n, err := io.Copy(m.w, io.NewSectionReader(p.file, packHeaderSize, p.size-packHeaderSize-packTrailerSize))
	m.offset += n
	if err != nil {
		return storageError(err)
	}
	return nil
}
