package gitsync

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// clone is the folder on disk: a bare repository that git can read, with
// packs and a detached HEAD, and nothing else. A pack enters it whole, index
// first, by two renames; HEAD follows it. So whatever moment the machine stops
// at, the folder holds the last good state.
type clone struct {
	dir   string
	store *store
	tip   plumbing.Hash // zero: nothing was fetched yet
	// base is the size of the first full download; the clone is made anew
	// when it has grown far beyond, or has more than maxPacks packs.
	base     int64
	maxPacks int
}

// newClone is the clone in dir, with nothing in it. Every one has a maxPacks
// of its own, from half the limit up: nodes that followed a branch together
// do not download it again together.
func newClone(dir string) *clone {
	return &clone{dir: dir, store: newStore(), maxPacks: maxPacks/2 + rand.IntN(maxPacks/2+1)}
}

const (
	unbornHead = "ref: refs/heads/unborn\n"
	baseFile   = "orpheus-base-size"
	cloneSetup = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n"
)

// createClone makes an empty clone in dir, which must not exist.
func createClone(dir string) (*clone, error) {
	for _, sub := range []string{"objects/pack", "refs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, storageError(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(cloneSetup), 0o600); err != nil {
		return nil, storageError(err)
	}
	c := newClone(dir)
	return c, c.writeFile("HEAD", unbornHead)
}

// openClone reads the clone in dir and checks every byte of it: packs and
// indexes carry checksums.
func openClone(dir string) (*clone, error) {
	c := newClone(dir)
	head, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(c.packDir())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, isPack := strings.CutSuffix(e.Name(), ".pack")
		if !isPack {
			continue
		}
		p, err := openPack(filepath.Join(c.packDir(), name), c.store.cache)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		c.store.packs = append(c.store.packs, p)
	}
	if err := c.readHead(string(head)); err != nil {
		c.close()
		return nil, err
	}
	c.removeLeftovers(entries)
	c.base = c.size()
	if text, err := os.ReadFile(filepath.Join(dir, baseFile)); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			c.base = n
		}
	}
	return c, nil
}

func (c *clone) readHead(head string) error {
	if head == unbornHead {
		return nil
	}
	id := strings.TrimSuffix(head, "\n")
	if len(id) != 40 || !plumbing.IsHash(id) {
		return errors.New("HEAD names no commit")
	}
	c.tip = plumbing.NewHash(id)
	_, err := readCommit(c.store, c.tip)
	return err
}

// removeLeftovers deletes what an interrupted fetch left: anything that is not
// a pack or the index of one.
func (c *clone) removeLeftovers(entries []os.DirEntry) {
	packs := map[string]bool{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".pack"); ok {
			packs[name] = true
		}
	}
	for _, e := range entries {
		name, isIndex := strings.CutSuffix(e.Name(), ".idx")
		if strings.HasSuffix(e.Name(), ".pack") || isIndex && packs[name] {
			continue
		}
		os.RemoveAll(filepath.Join(c.packDir(), e.Name())) // an error costs disk, nothing else
	}
}

func (c *clone) packDir() string { return filepath.Join(c.dir, "objects", "pack") }

// size is the sum of all packs.
func (c *clone) size() (n int64) {
	for _, p := range c.store.packs {
		n += p.size
	}
	return n
}

// setTip moves HEAD.
func (c *clone) setTip(id plumbing.Hash) error {
	if err := c.writeFile("HEAD", id.String()+"\n"); err != nil {
		return err
	}
	c.tip = id
	return nil
}

// setBase notes the size after a full download.
func (c *clone) setBase() error {
	c.base = c.size()
	return c.writeFile(baseFile, strconv.FormatInt(c.base, 10)+"\n")
}

// writeFile replaces a small file of the clone: after a crash it is the old
// or the new one.
func (c *clone) writeFile(name, content string) error {
	f, err := os.CreateTemp(c.dir, "tmp-*")
	if err != nil {
		return storageError(err)
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(c.dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
		return storageError(err)
	}
	return storageError(syncDir(c.dir))
}

func (c *clone) close() { c.store.close() }

// syncDir makes renames in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return ignoreUnsupported(d.Sync())
}

// storageError marks err as one of this node's disk.
func storageError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}
