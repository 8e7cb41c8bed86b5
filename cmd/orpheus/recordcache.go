package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
)

// recordCache is a bare repository of the user's with the records that were
// fetched. It is a cache: it may be removed at any time.
type recordCache struct {
	place   recordPlace
	repo    *checkout
	kept    bool // it was there before
	cleanup func()
	newest  map[planner.Ref]planner.Hash
	reader  *objectReader
}

var _ recordStore = (*recordCache)(nil)

const (
	// cachedRefs is where records are in the cache, whatever their prefix.
	cachedRefs = "refs/records/"
	// maxCachedRefs bounds how many are looked at, as agents do.
	maxCachedRefs = 20_000
)

// fetchRecords brings the cache of a place up to date and opens it.
func fetchRecords(ctx context.Context, place recordPlace, want wantedRecords) (recordStore, error) {
	c, err := openRecordCache(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("make a cache for the %s: %w", place, err)
	}
	err = c.fetch(ctx, want)
	if err != nil && c.kept && ctx.Err() == nil && !c.sound(ctx) {
		if err = c.remake(ctx); err == nil {
			err = c.fetch(ctx, want)
		}
	}
	if err == nil {
		err = c.list(ctx)
	}
	if err == nil {
		c.reader, err = newObjectReader(ctx, c.repo)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("read the %s: %w", place, err)
	}
	return c, nil
}

// openRecordCache finds or makes the folder of a place. While another process
// uses it, or where there can be none, a folder of this process's own serves.
func openRecordCache(ctx context.Context, place recordPlace) (*recordCache, error) {
	c := &recordCache{place: place, repo: &checkout{secret: place.secret}, cleanup: func() {}}
	dir, unlock := sharedCache(place)
	if dir == "" {
		own, err := os.MkdirTemp("", "orpheus-records-")
		if err != nil {
			return nil, err
		}
		dir, unlock = filepath.Join(own, "git"), func() { os.RemoveAll(own) }
	}
	c.cleanup = unlock
	c.repo.top, c.repo.env = dir, cacheEnviron(dir, place.config)
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		c.kept = true
		return c, nil
	}
	if err := c.remake(ctx); err != nil {
		unlock()
		return nil, err
	}
	return c, nil
}

// sharedCache is the folder of a place below the user's caches, locked; "" =
// it cannot be had.
func sharedCache(place recordPlace) (dir string, unlock func()) {
	caches, err := os.UserCacheDir()
	if err != nil {
		return "", nil
	}
	sum := sha256.Sum256([]byte(place.url + "\x00" + place.prefix))
	top := filepath.Join(caches, "orpheus", "records", hex.EncodeToString(sum[:12]))
	if err := os.MkdirAll(top, 0o700); err != nil {
		return "", nil
	}
	lock, err := os.OpenFile(filepath.Join(top, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil
	}
	if !lockCache(lock) {
		lock.Close()
		return "", nil
	}
	return filepath.Join(top, "git"), func() { lock.Close() }
}

// cacheEnviron makes git work on the cache and on nothing else: no hooks, no
// repository that the environment names, no transport that runs a program.
func cacheEnviron(dir string, config []string) []string {
	foreign := []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
		"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_CONFIG_COUNT", "GIT_QUARANTINE_PATH", "GIT_PREFIX"}
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		return slices.Contains(foreign, key)
	})
	env = append(env, "GIT_DIR="+dir, "GIT_ALLOW_PROTOCOL=file:http:https:ssh", "GIT_NO_REPLACE_OBJECTS=1")
	if os.Getenv("GIT_TERMINAL_PROMPT") == "" && !terminal.Is(os.Stdin) {
		env = append(env, "GIT_TERMINAL_PROMPT=0") // nobody is there to answer
	}
	n, _ := strconv.Atoi(os.Getenv("GIT_CONFIG_COUNT")) // none is 0
	config = append(slices.Clone(config),
		"core.hooksPath", os.DevNull,
		// Nothing of it may go on when this program has ended.
		"gc.autoDetach", "false", "maintenance.autoDetach", "false")
	for i := 0; i+1 < len(config); i += 2 {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", n, config[i]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", n, config[i+1]))
		n++
	}
	return append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(n))
}

// remake begins the cache anew. This process holds its lock.
func (c *recordCache) remake(ctx context.Context) error {
	if err := os.RemoveAll(c.repo.top); err != nil {
		return err
	}
	if err := os.MkdirAll(c.repo.top, 0o700); err != nil {
		return err
	}
	c.kept = false
	_, err := c.repo.git(ctx, "init", "--quiet", "--bare", "--template=", "--object-format=sha1")
	return err
}

func (c *recordCache) fetch(ctx context.Context, want wantedRecords) error {
	args := []string{"fetch", "--quiet", "--prune", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"}
	from := []string{"--", c.place.url}
	for _, room := range want.rooms {
		from = append(from, "+"+c.place.prefix+room+":"+cachedRefs+room)
	}
	_, err := c.repo.git(ctx, slices.Concat(args, []string{"--depth=" + strconv.Itoa(want.depth)}, from)...)
	var failed *gitError
	if errors.As(err, &failed) && failed.said == "" {
		// So git ends where it is given a depth and there is nothing to fetch.
		_, err = c.repo.git(ctx, slices.Concat(args, from)...)
	}
	return err
}

// sound reports whether the cache is whole: no git that was killed has left a
// lock in it, no object is missing or damaged.
func (c *recordCache) sound(ctx context.Context) bool {
	for _, pattern := range []string{"*.lock", "refs/*.lock", "objects/*/*.lock"} {
		if left, err := filepath.Glob(filepath.Join(c.repo.top, filepath.FromSlash(pattern))); err != nil || len(left) > 0 {
			return false
		}
	}
	_, err := c.repo.git(ctx, "fsck", "--no-dangling", "--no-progress")
	return err == nil
}

// list finds the records among the refs.
func (c *recordCache) list(ctx context.Context) error {
	out, err := c.repo.git(ctx, "for-each-ref", "--count="+strconv.Itoa(maxCachedRefs+1), "--format=%(objectname) %(refname)", cachedRefs)
	if err != nil {
		return err
	}
	if strings.Count(out, "\n") > maxCachedRefs {
		return fmt.Errorf("there are more than %d refs of records", maxCachedRefs)
	}
	c.newest = map[planner.Ref]planner.Hash{}
	for line := range strings.Lines(out) {
		id, name, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		ref := planner.Ref(strings.TrimPrefix(name, cachedRefs))
		if ref.Parse().Kind != planner.RefOther {
			c.newest[ref] = planner.Hash(id)
		}
	}
	return nil
}

func (c *recordCache) values() map[planner.Ref]planner.Hash { return c.newest }

func (c *recordCache) read(_ planner.Ref, id planner.Hash) (planner.Record, error) {
	object, err := c.reader.commit(id)
	if err != nil {
		return planner.Record{}, err
	}
	return planner.ParseRecord(object)
}

func (c *recordCache) close() {
	if c.reader != nil {
		c.reader.close()
	}
	c.cleanup()
}

// objectReader reads commits with one git that stays.
type objectReader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newObjectReader(ctx context.Context, repo *checkout) (*objectReader, error) {
	r := &objectReader{cmd: exec.CommandContext(ctx, "git", "cat-file", "--batch")}
	r.cmd.Dir, r.cmd.Env, r.cmd.WaitDelay = repo.top, append(repo.env, "LC_ALL=C"), gitPatience
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewReader(out)
	return r, r.cmd.Start()
}

// commit returns the content of a commit that may be a record. What is none is
// passed over, however large it is.
func (r *objectReader) commit(id planner.Hash) ([]byte, error) {
	if len(id) != 40 || strings.Trim(string(id), "0123456789abcdef") != "" {
		return nil, errors.New("it is no object id")
	}
	if _, err := io.WriteString(r.in, string(id)+"\n"); err != nil {
		return nil, r.broken(err)
	}
	head, err := r.out.ReadString('\n')
	if err != nil {
		return nil, r.broken(err)
	}
	words := strings.Fields(head)
	if len(words) != 3 {
		return nil, errors.New("it was not fetched")
	}
	size, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return nil, r.broken(err)
	}
	if words[1] != "commit" || size > planner.MaxRecordBytes {
		if _, err := io.CopyN(io.Discard, r.out, size+1); err != nil {
			return nil, r.broken(err)
		}
		if words[1] != "commit" {
			return nil, errors.New("its value is no commit")
		}
		return nil, fmt.Errorf("it has %d bytes, more than %d", size, planner.MaxRecordBytes)
	}
	object := make([]byte, size+1) // a line end follows
	if _, err := io.ReadFull(r.out, object); err != nil {
		return nil, r.broken(err)
	}
	return object[:size], nil
}

func (r *objectReader) broken(err error) error {
	return fmt.Errorf("%w: git cat-file in %s: %w; that folder is a cache and may be removed", errStore, r.cmd.Dir, err)
}

func (r *objectReader) close() {
	_ = r.in.Close() // it ends at the end of its input
	_, _ = io.Copy(io.Discard, r.out)
	_ = r.cmd.Wait()
}
