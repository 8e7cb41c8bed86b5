package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
)

// quarantine is a downloaded pack that has not been let into the clone.
//
// It stands where go-git has PackfileWriter, which lets a pack in as soon as
// it is indexed, without asking for what is in it or syncing it to disk.
type quarantine struct {
	pack  *pack
	sum   plumbing.Hash
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
	limited := &limitReader{r: r, left: limits.Pack, err: &LimitError{
		Limit: "Pack", What: "download of the repository", Max: limits.Pack, Bytes: true}}
	if _, err := io.CopyBuffer(diskWriter{f}, limited, make([]byte, 64*kibi)); err != nil {
		return nil, transferError(ctx, "download", err)
	}
	return q, q.index(ctx, limits, c.store.cache)
}

// index comes after the checksum: a limit that only a damaged size exceeds
// must not count as the remote's.
func (q *quarantine) index(ctx context.Context, limits Limits, c cache.Object) error {
	f := q.pack.file
	sum, size, err := packChecksum(f)
	if err != nil {
		return malformed(err)
	}
	index, err := indexPack(ctx, io.NewSectionReader(f, 0, size), size, sum, limits)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	q.sum, q.pack = sum, newPack(f, size, index, c)
	return nil
}

// commit lets the pack into the clone, durably. The index comes first: a pack
// is in the clone from the moment its own name appears.
func (q *quarantine) commit(c *clone) error {
	idx, err := os.CreateTemp(c.packDir(), "tmp-*.index")
	if err != nil {
		return storageError(err)
	}
	q.paths = append(q.paths, idx.Name())
	err = writeIndex(idx, q.pack.index)
	if err == nil {
		err = idx.Sync()
	}
	err = errors.Join(err, idx.Close())
	if err == nil {
		err = q.pack.file.Sync()
	}
	base := filepath.Join(c.packDir(), "pack-"+q.sum.String())
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
	q.pack.close()
	for _, path := range q.paths {
		os.Remove(path)
	}
}

// diskWriter marks errors as ones of this node's disk.
type diskWriter struct{ w io.Writer }

func (d diskWriter) Write(b []byte) (int, error) {
	n, err := d.w.Write(b)
	return n, storageError(err)
}
