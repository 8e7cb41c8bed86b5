package gitsync

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// quarantine is a downloaded pack that has not been let into the clone.
type quarantine struct {
	pack  *pack
	crcs  []uint32
	paths []string // temporary files
}

// receivePack streams a pack to disk, checks its checksum and indexes it. On
// an error nothing stays behind.
func (c *clone) receivePack(ctx context.Context, r io.Reader, limits Limits) (_ *quarantine, err error) {
	f, err := os.CreateTemp(c.packDir(), "tmp-*.incoming")
	if err != nil {
		return nil, storageError(err)
	}
	q := &quarantine{pack: &pack{file: f}, paths: []string{f.Name()}}
	defer func() {
		if err != nil {
			q.discard()
		}
	}()
	sum, err := q.stream(ctx, r, limits)
	if err != nil {
		return nil, err
	}
	entries, err := indexPack(ctx, f, q.pack.size, limits)
	if err != nil {
		return nil, err
	}
	q.pack.index, q.crcs = newPackIndex(entries, sum)
	return q, nil
}

// stream copies the pack to disk and returns its checksum, which its last
// bytes must repeat.
func (q *quarantine) stream(ctx context.Context, r io.Reader, limits Limits) (sum [sha1.Size]byte, err error) {
	limited := &limitReader{r: r, left: limits.Pack, err: &LimitError{
		Limit: "Pack", What: "download of the repository", Max: limits.Pack, Bytes: true}}
	w := &trailingHash{w: q.pack.file, hash: sha1.New()}
	if q.pack.size, err = io.CopyBuffer(w, limited, make([]byte, 64*kibi)); err != nil {
		return sum, transferError(ctx, "download", err)
	}
	if len(w.tail) < packTrailerSize || string(w.hash.Sum(nil)) != string(w.tail) {
		return sum, fmt.Errorf("%w: wrong checksum: %w", errPack, ErrCorrupt)
	}
	return [sha1.Size]byte(w.tail), nil
}

// commit lets the pack into the clone, durably. The index comes first: a pack
// is in the clone from the moment its own name appears.
func (q *quarantine) commit(c *clone) error {
	idx, err := os.CreateTemp(c.packDir(), "tmp-*.index")
	if err != nil {
		return storageError(err)
	}
	q.paths = append(q.paths, idx.Name())
	err = q.pack.index.write(idx, q.crcs)
	if err == nil {
		err = idx.Sync()
	}
	if cerr := idx.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = q.pack.file.Sync()
	}
	base := filepath.Join(c.packDir(), "pack-"+hex.EncodeToString(q.pack.index.pack[:]))
	if err == nil {
		err = os.Rename(idx.Name(), base+".idx")
	}
	if err == nil {
		err = os.Rename(q.paths[0], base+".pack")
	}
	if err == nil {
		err = syncDir(c.packDir())
	}
	if err != nil {
		return storageError(err)
	}
	c.store = c.store.with(q.pack)
	return nil
}

// discard removes what commit has not taken.
func (q *quarantine) discard() {
	q.pack.file.Close()
	for _, path := range q.paths {
		os.Remove(path)
	}
}

// trailingHash hashes everything but the last 20 bytes, which it keeps. An
// error of the writer below is one of this node's disk.
type trailingHash struct {
	w    io.Writer
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	tail []byte
}

func (t *trailingHash) Write(b []byte) (int, error) {
	t.tail = append(t.tail, b...)
	if over := len(t.tail) - packTrailerSize; over > 0 {
		t.hash.Write(t.tail[:over])
		t.tail = t.tail[:copy(t.tail, t.tail[over:])]
	}
	n, err := t.w.Write(b)
	return n, storageError(err)
}
