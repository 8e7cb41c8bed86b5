package devfleet

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// staged keeps a commit before it is published. It lies outside refs/heads, so
// nobody who watches the branches takes notice.
const staged = "refs/staged/next"

// Stage makes a commit on top of main with some files changed, and leaves main
// where it is: what writing objects costs is no part of what comes after
// Publish.
func (h *Hub) Stage(files map[string]string, message string) (commit string, err error) {
	var in strings.Builder
	fmt.Fprintf(&in, "commit %s\ncommitter Ada Test <ada@example.com> now\ndata %d\n%s\n", staged, len(message), message)
	if _, err := h.Repo.Git("", "rev-parse", "--verify", "--quiet", "refs/heads/main"); err == nil {
		in.WriteString("from refs/heads/main^0\n")
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(files[path]), files[path])
	}
	if _, err := h.Repo.Git(in.String(), "fast-import", "--quiet", "--force", "--date-format=now"); err != nil {
		return "", err
	}
	return h.Repo.Git("", "rev-parse", staged)
}

// Publish moves main to a staged commit as git does, by renaming the lock file
// over the reference, and returns the instant right before the rename.
func (h *Hub) Publish(commit string) (time.Time, error) {
	ref := filepath.Join(h.Repo.Dir, "refs", "heads", "main")
	if err := os.WriteFile(ref+".lock", []byte(commit+"\n"), 0o644); err != nil {
		return time.Time{}, err
	}
	at := time.Now()
	return at, os.Rename(ref+".lock", ref)
}
