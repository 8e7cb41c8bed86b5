package gitsync

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a change of files may take: what is written in two
	// steps is one.
	settle = 100 * time.Millisecond
	// maxLinks bounds the links that lead to a file, as systems do.
	maxLinks = 40
)

// WatchFiles gives a hint whenever what stands in one of the files may have
// changed: it was written, replaced, made or removed, or a link on the way to
// it leads elsewhere now (as Kubernetes exchanges the files of a secret). That
// is noticed at once, or where a folder cannot be watched, within seconds. The
// channel is closed when ctx ends.
func WatchFiles(ctx context.Context, files ...string) <-chan struct{} {
	w := newFileWatch(files, rewatch)
	go w.run(ctx)
	return w.out
}

type fileWatch struct {
	files   []string
	every   time.Duration
	watcher *fsnotify.Watcher // nil = there can be none
	out     chan struct{}
	seen    map[string]os.FileInfo // by file; none = it could not be looked at
}

// newFileWatch takes the files as they are now for known.
func newFileWatch(files []string, every time.Duration) *fileWatch {
	w := &fileWatch{files: files, every: every, out: make(chan struct{}, 1), seen: map[string]os.FileInfo{}}
	if watcher, err := fsnotify.NewWatcher(); err == nil { // else there is the timer
		w.watcher = watcher
	}
	w.changed()
	return w
}

func (w *fileWatch) run(ctx context.Context) {
	defer close(w.out)
	var events chan fsnotify.Event
	var lost chan error
	if w.watcher != nil {
		defer w.watcher.Close()
		events, lost = w.watcher.Events, w.watcher.Errors
	}
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	var settled <-chan time.Time // nil = nothing has happened
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if settled == nil {
				settled = time.After(settle)
			}
			continue
		case <-lost:
		case <-settled:
		case <-tick.C:
		}
		settled = nil
		if w.changed() {
			select {
			case w.out <- struct{}{}:
			default: // one is pending
			}
		}
	}
}

// changed reports whether a file is another one than when it was last asked.
func (w *fileWatch) changed() bool {
	w.watch() // first: what changes after it is looked at again
	any := false
	for _, file := range w.files {
		before, known := w.seen[file]
		now, err := os.Stat(file)
		switch {
		case err != nil:
			any = any || known
			delete(w.seen, file)
			continue
		case !known, !os.SameFile(before, now), before.Size() != now.Size(), !before.ModTime().Equal(now.ModTime()):
			any = true
		}
		w.seen[file] = now
	}
	return any
}

// watch watches the folders on the way to the files. Watching one twice does
// no harm, and follows one that was exchanged.
func (w *fileWatch) watch() {
	if w.watcher == nil {
		return
	}
	for _, file := range w.files {
		for range maxLinks {
			if len(w.watcher.WatchList()) >= maxWatches {
				return
			}
			_ = w.watcher.Add(filepath.Dir(file)) // a folder that is not there may come
			target, err := os.Readlink(file)
			if err != nil {
				break
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(file), target)
			}
			file = target
		}
	}
}
