package gitsynctest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

// Repo is a bare repository that commits are written to without a work tree.
type Repo struct {
	Dir string

	mu    sync.Mutex
	clock int64 // seconds; rises with every commit
}

// NewRepo makes an empty bare repository in dir, whose HEAD is main.
func NewRepo(dir string) (*Repo, error) {
	r := &Repo{Dir: dir, clock: 1_700_000_000}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := r.Git("", "init", "--quiet", "--bare", "--initial-branch=main", "."); err != nil {
		return nil, err
	}
	_, err := r.Git("", "config", "gc.auto", "0")
	return r, err
}

// Git runs git in the repository with a fixed identity and nothing of the
// user's configuration, and returns what it printed, without the last newline.
func (r *Repo) Git(stdin string, args ...string) (string, error) {
	r.mu.Lock()
	r.clock++
	date := fmt.Sprintf("%d +0000", r.clock)
	r.mu.Unlock()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(cleanEnv(),
		"GIT_AUTHOR_NAME=Ada Test", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME=Ada Test", "GIT_COMMITTER_EMAIL=ada@example.com", "GIT_COMMITTER_DATE="+date)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, stderr.String())
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// cleanEnv keeps the user's configuration and any surrounding repository out.
func cleanEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + os.DevNull,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
}

// Commit writes files on top of main and returns the new commit's id. The
// value Delete removes a file.
func (r *Repo) Commit(files map[string]string, message string) (string, error) {
	return r.CommitTo("main", files, message)
}

// Delete as a file's content removes the file.
const Delete = "\x00delete"

// CommitTo is Commit on another branch, which begins empty if it does not
// exist.
func (r *Repo) CommitTo(branch string, files map[string]string, message string) (string, error) {
	ref := "refs/heads/" + branch
	var in strings.Builder
	fmt.Fprintf(&in, "commit %s\ncommitter Ada Test <ada@example.com> %d +0000\n", ref, r.tick())
	fmt.Fprintf(&in, "data %d\n%s\n", len(message), message)
	if _, err := r.Git("", "rev-parse", "--verify", "--quiet", ref); err == nil {
		fmt.Fprintf(&in, "from %s^0\n", ref)
	}
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		if files[path] == Delete {
			fmt.Fprintf(&in, "D %s\n", path)
			continue
		}
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(files[path]), files[path])
	}
	if _, err := r.Git(in.String(), "fast-import", "--quiet", "--force"); err != nil {
		return "", err
	}
	return r.Git("", "rev-parse", ref)
}

func (r *Repo) tick() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	return r.clock
}

// Revert commits the tree of main before its last commit.
func (r *Repo) Revert() (string, error) {
	subject, err := r.Git("", "log", "-1", "--format=%s", "main")
	if err != nil {
		return "", err
	}
	id, err := r.Git("", "commit-tree", "main~1^{tree}", "-p", "main", "-m", fmt.Sprintf("Revert %q", subject))
	if err != nil {
		return "", err
	}
	return id, r.SetBranch("main", id)
}

// SetBranch moves (or makes) a branch, whatever it was.
func (r *Repo) SetBranch(branch, id string) error {
	_, err := r.Git("", "update-ref", "refs/heads/"+branch, id)
	return err
}

// DeleteBranch removes a branch.
func (r *Repo) DeleteBranch(branch string) error {
	_, err := r.Git("", "update-ref", "-d", "refs/heads/"+branch)
	return err
}

// Tip is the commit of a branch.
func (r *Repo) Tip(branch string) (string, error) {
	return r.Git("", "rev-parse", "refs/heads/"+branch)
}

// Name is the repository's path below its server's root.
func (r *Repo) Name() string { return filepath.Base(r.Dir) }
