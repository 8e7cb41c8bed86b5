package gitsync

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatchFiles changes a file in every way it is done; the timer alone would
// come much too late.
func TestWatchFiles(t *testing.T) {
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(parts ...string) {
		t.Helper()
		must(os.WriteFile(filepath.Join(parts[:len(parts)-1]...), []byte(parts[len(parts)-1]), 0o600))
	}
	for _, tt := range []struct {
		name            string
		prepare, change func(dir string)
	}{
		{"written in place", func(d string) { put(d, "token", "one") }, func(d string) { put(d, "token", "other") }},
		{"replaced by a rename", func(d string) { put(d, "token", "one") }, func(d string) {
			put(d, ".token.tmp", "two")
			must(os.Rename(filepath.Join(d, ".token.tmp"), filepath.Join(d, "token")))
		}},
		{"made", func(string) {}, func(d string) { put(d, "token", "one") }},
		{"removed", func(d string) { put(d, "token", "one") }, func(d string) { must(os.Remove(filepath.Join(d, "token"))) }},
		// As Kubernetes mounts secrets: token -> ..data/token, ..data -> ..1.
		{"exchanged by its folder's link", func(d string) {
			must(os.Mkdir(filepath.Join(d, "..1"), 0o700), os.Symlink("..1", filepath.Join(d, "..data")),
				os.Symlink("..data/token", filepath.Join(d, "token")))
			put(d, "..1", "token", "one")
		}, func(d string) {
			must(os.Mkdir(filepath.Join(d, "..2"), 0o700))
			put(d, "..2", "token", "two")
			must(os.Symlink("..2", filepath.Join(d, "..data_tmp")), os.Rename(filepath.Join(d, "..data_tmp"), filepath.Join(d, "..data")),
				os.RemoveAll(filepath.Join(d, "..1")))
		}},
		{"written where a link leads to", func(d string) {
			must(os.Mkdir(filepath.Join(d, "elsewhere"), 0o700), os.Symlink("elsewhere/secret", filepath.Join(d, "token")))
			put(d, "elsewhere", "secret", "one")
		}, func(d string) { put(d, "elsewhere", "secret", "other") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tt.prepare(dir)
			w := newFileWatch([]string{filepath.Join(dir, "token"), filepath.Join(dir, "other")}, time.Hour)
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.run(t.Context())
			}()
			t.Cleanup(func() { <-done }) // the context ends first
			tt.change(dir)
			select {
			case <-w.out:
			case <-time.After(time.Minute):
				t.Fatal("not noticed")
			}
		})
	}
}

// TestWatchFilesNothingNew: neighbours are nobody's business.
func TestWatchFilesNothingNew(t *testing.T) {
	dir := t.TempDir()
	w := newFileWatch([]string{filepath.Join(dir, "token"), filepath.Join(dir, "none", "token")}, time.Hour)
	defer w.watcher.Close()
	if err := os.WriteFile(filepath.Join(dir, "neighbour"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if w.changed() {
		t.Error("a neighbour counts as a change")
	}
	// A folder that comes later is found by the timer.
	if err := os.Mkdir(filepath.Join(dir, "none"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "none", "token"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !w.changed() || w.changed() {
		t.Error("a file in a new folder counts other than once")
	}
}
