package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

// Repository is what is followed of one remote, and the clone that holds what
// was seen of it. All methods are safe for concurrent use; one Fetch runs at a
// time.
type Repository struct {
	settings settings
	link     *link
	lock     *os.File

	fetching sync.Mutex // held for a whole Fetch; guards what follows
	whole    map[plumbing.Hash]bool
	refused  refusal
	vain     plumbing.Hash // tip of a branch that does not lead to the commit selected

	// damaged is set by whoever reads something unreadable in the clone: the
	// next Fetch makes the clone anew.
	damaged atomic.Bool

	following atomic.Pointer[string] // what the last commit was found under

	lineage lineage

	mu    sync.RWMutex // guards clone; read-held while objects are read
	clone *clone
}

// refusal remembers a tip that was over a limit, so that it is not downloaded
// again at every look.
type refusal struct {
	tip plumbing.Hash
	err error
}

// Folders below Config.Dir. Only one of cloneDir and oldDir may be missing.
const (
	cloneDir  = "clone"
	newDir    = "clone.new"    // a re-clone under way; thrown away by Open
	oldDir    = "clone.old"    // the last one, for the moment of the exchange
	brokenDir = "clone.broken" // the last one that could not be read
)

// Open checks cfg, takes the folder for this process and opens the clone in
// it, or makes an empty one. It never touches the network. A clone that is
// damaged is set aside and replaced by an empty one, which the next Fetch
// fills; the only errors are of the configuration, the folder and its lock
// (ErrLocked after lockPatience).
func Open(cfg Config) (*Repository, error) {
	s, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("repository configuration: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, storageError(err)
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, storageError(err)
	}
	if err := waitLock(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", s.Dir, err)
	}
	r := &Repository{settings: s, lock: lock, whole: map[plumbing.Hash]bool{}}
	if r.clone, err = r.openOrCreate(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open clone in %s: %w", s.Dir, err)
	}
	r.link = &link{remote: newRemote(s), limits: s.Limits}
	if s.remote.scheme == "http" && !s.remote.loopback() {
		s.Log.Warn("repository is followed over plain http: anybody on the way can change what runs here", "url", s.remote.String())
	}
	return r, nil
}

const (
	// lockPatience is how long Open waits for the lock: a process killed while
	// it starts git leaves it to that child for an instant.
	lockPatience = time.Second
	lockRetry    = 5 * time.Millisecond
)

func waitLock(f *os.File) error {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockRetry) {
		if err := lockFile(f); !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return err
		}
	}
}

func (r *Repository) path(name string) string { return filepath.Join(r.settings.Dir, name) }

func (r *Repository) openOrCreate() (*clone, error) {
	if err := os.RemoveAll(r.path(newDir)); err != nil {
		return nil, storageError(err)
	}
	if _, err := os.Lstat(r.path(cloneDir)); errors.Is(err, fs.ErrNotExist) {
		// Stopped between the two renames of an exchange, or the first start.
		if err := os.Rename(r.path(oldDir), r.path(cloneDir)); errors.Is(err, fs.ErrNotExist) {
			return createClone(r.path(cloneDir))
		}
	}
	_ = os.RemoveAll(r.path(oldDir)) // an error costs disk, nothing else
	c, err := openClone(r.path(cloneDir))
	if err == nil {
		return c, nil
	}
	r.settings.Log.Warn("clone is damaged, it is made anew at the next look", "dir", r.path(cloneDir), "err", err)
	if err := os.RemoveAll(r.path(brokenDir)); err != nil {
		return nil, storageError(err)
	}
	if err := os.Rename(r.path(cloneDir), r.path(brokenDir)); err != nil {
		return nil, storageError(err)
	}
	return createClone(r.path(cloneDir))
}

// Close lets the folder go. A Fetch under way must have ended.
func (r *Repository) Close() error {
	r.fetching.Lock()
	defer r.fetching.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link.close()
	r.clone.close()
	return r.lock.Close()
}

// String names what is followed and the repository, without credentials.
func (r *Repository) String() string { return r.settings.Config.String() }

// Has reports whether the clone holds the commit.
func (r *Repository) Has(commit string) bool {
	_, err := r.Commit(commit)
	return err == nil
}

// Commit returns a commit of the clone by its full id, ErrUnknownCommit if it
// is not there.
func (r *Repository) Commit(id string) (planner.Commit, error) {
	hash, err := parseID(id)
	if err != nil {
		return planner.Commit{}, err
	}
	var out planner.Commit
	err = r.reading(func(s *store) error {
		c, err := readCommit(s, hash)
		if err == nil {
			out = describe(c)
		}
		return err
	})
	return out, err
}

// Tip returns the commit of the last Fetch that found one, also after a
// restart without the remote; ErrUnknownCommit if there was none.
func (r *Repository) Tip() (planner.Commit, error) {
	r.mu.RLock()
	tip := r.clone.tip
	r.mu.RUnlock()
	if tip.IsZero() {
		return planner.Commit{}, fmt.Errorf("nothing was fetched yet: %w", ErrUnknownCommit)
	}
	return r.Commit(tip.String())
}

func parseID(id string) (plumbing.Hash, error) {
	if len(id) != 40 || !plumbing.IsHash(id) {
		return plumbing.ZeroHash, fmt.Errorf("commit %q is not a full object id: %w", printable(id, 50), ErrUnknownCommit)
	}
	return plumbing.NewHash(id), nil
}

// reading runs f over the clone as it is now. What f finds unreadable makes
// the next Fetch repair the clone.
func (r *Repository) reading(f func(*store) error) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	err := f(r.clone.store)
	var limit *LimitError
	if err == nil || errors.As(err, &limit) || errors.Is(err, ErrUnknownCommit) || isContextError(err) {
		return err
	}
	r.damaged.Store(true)
	if !errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return err
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
