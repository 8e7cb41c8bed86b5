package gitsync

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// maxWatches bounds the folders watched below refs.
	maxWatches = 1000
	// rewatch is how often a repository that went away is looked for.
	rewatch = 5 * time.Second
)

// WatchLocal gives a hint whenever a branch or tag of the repository at path (bare,
// or with .git in it) may have moved: within milliseconds of the write. It
// never misses on purpose, but file systems differ (none over NFS), so hints
// only shorten the wait of Follow. The channel is closed when ctx ends; an
// error means that there will be no hints at all.
func WatchLocal(ctx context.Context, path string) (<-chan struct{}, error) {
	dir, err := gitDir(path)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	lw := &localWatch{dir: dir, watcher: w, out: make(chan struct{}, 1)}
	if err := w.Add(dir); err != nil {
		w.Close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	lw.addAll()
	go lw.run(ctx)
	return lw.out, nil
}

// gitDir is where the references are.
func gitDir(path string) (string, error) {
	for _, dir := range []string{filepath.Join(path, ".git"), path} {
		if info, err := os.Stat(filepath.Join(dir, "objects")); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no Git repository: %w", fs.ErrNotExist)
}

type localWatch struct {
	dir     string
	watcher *fsnotify.Watcher
	out     chan struct{}
}

// addAll watches the folders that references are written in. Watching one
// twice does no harm; one that is gone is found again through its parent.
func (w *localWatch) addAll() {
	for _, name := range []string{"refs", "reftable"} {
		w.add(filepath.Join(w.dir, name))
	}
	for _, name := range watchedRefs {
		w.addTree(filepath.Join(w.dir, filepath.FromSlash(name)))
	}
}

// watchedRefs are the folders of what can be followed.
var watchedRefs = []string{"refs/heads", "refs/tags"}

func (w *localWatch) add(path string) bool {
	return len(w.watcher.WatchList()) < maxWatches && w.watcher.Add(path) == nil
}

func (w *localWatch) addTree(root string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went away while we looked
		}
		if d.IsDir() && !w.add(path) {
			return fs.SkipDir
		}
		return nil
	})
}

func (w *localWatch) run(ctx context.Context) {
	defer close(w.out)
	defer w.watcher.Close()
	tick := time.NewTicker(rewatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.watcher.Events:
			if !ok {
				return
			}
			w.event(e)
		case _, ok := <-w.watcher.Errors: // events were lost: look
			if !ok {
				return
			}
			w.addAll()
			w.hint()
		case <-tick.C:
			if len(w.watcher.WatchList()) == 0 && w.watcher.Add(w.dir) == nil {
				w.addAll()
				w.hint()
			}
		}
	}
}

func (w *localWatch) event(e fsnotify.Event) {
	rel, err := filepath.Rel(w.dir, e.Name)
	if err != nil || strings.HasSuffix(rel, ".lock") || strings.HasSuffix(rel, ".new") || e.Op == fsnotify.Chmod {
		return
	}
	rel = filepath.ToSlash(rel)
	inRefs := rel == "refs" || slices.ContainsFunc(watchedRefs, func(dir string) bool {
		return rel == dir || strings.HasPrefix(rel, dir+"/")
	})
	if !inRefs && rel != "packed-refs" && rel != "reftable" && !strings.HasPrefix(rel, "reftable/") {
		return
	}
	if info, err := os.Lstat(e.Name); e.Has(fsnotify.Create) && err == nil && info.IsDir() {
		// A reference may be in it before the watch is: the hint comes after.
		w.addAll()
	}
	w.hint()
}

func (w *localWatch) hint() {
	select {
	case w.out <- struct{}{}:
	default: // one is pending
	}
}
