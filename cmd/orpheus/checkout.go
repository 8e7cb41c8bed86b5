package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// checkout is a work tree of the fleet's repository, worked on with the git
// program: the user's configuration, credentials, hooks and signing key apply.
type checkout struct {
	top    string // of the work tree
	prefix string // of the folder the user is in, below top, with slashes; "." = top
	branch string
	// Of the branch's upstream; "" = it has none.
	remote, merge string
	secret        string   // part of the URL that is not shown
	env           []string // what its git runs with; nil = as this process
}

// gitError is a git command that failed, with what it said.
type gitError struct {
	verb string
	said string
}

func (e *gitError) Error() string {
	if e.said == "" {
		return "git " + e.verb + " did not work and said nothing"
	}
	return "git " + e.verb + ": " + e.said
}

// errNoGit is the lack of the git program.
var errNoGit = errors.New("there is no git program here; install git, or edit the manifest by hand")

// errNoCheckout says that a folder is none, nor lies in one.
var errNoCheckout = errors.New("no checkout of a Git repository")

const (
	maxGitOutput = 16 << 20
	maxGitSaid   = 2000
	// gitPatience is how long a git that was told to end may take.
	gitPatience = 10 * time.Second
)

// git runs one command in the work tree and returns what it printed.
func (c *checkout) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", c.top}, args...)...)
	cmd.Env = append(c.environ(), "LC_ALL=C", "GIT_LITERAL_PATHSPECS=1")
	cmd.Stdin = os.Stdin // it may have to ask for a password
	cmd.WaitDelay = gitPatience
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var out, said limitedBuffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errNoGit
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		for len(args) > 2 && args[0] == "-c" {
			args = args[2:] // settings are not what was asked
		}
		return out.String(), &gitError{args[0], c.saying(said.String() + "\n" + out.String())}
	}
	return out.String(), nil
}

func (c *checkout) environ() []string {
	if c.env != nil {
		return c.env
	}
	return os.Environ()
}

// saying is what git said, without advice, progress and secrets.
func (c *checkout) saying(text string) string {
	var kept []string
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.LastIndexByte(strings.TrimRight(line, "\r"), '\r'); i >= 0 {
			line = line[i+1:] // progress that was written over
		}
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "hint:") && !strings.HasPrefix(line, "Cloning into") {
			kept = append(kept, line)
		}
	}
	said := strings.Join(kept, "; ")
	if c.secret != "" {
		said = strings.ReplaceAll(said, c.secret, "[redacted]")
	}
	return said[:min(len(said), maxGitSaid)]
}

// limitedBuffer keeps the beginning of what is written to it. The buffer is not
// embedded: its ReadFrom would go round Write.
type limitedBuffer struct{ kept bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), max(0, maxGitOutput-b.kept.Len()))])
	return len(p), nil
}

func (b *limitedBuffer) String() string { return b.kept.String() }

// openCheckout finds the work tree that dir lies in, and its branch.
func openCheckout(ctx context.Context, dir string) (*checkout, error) {
	c, err := openWorkTree(ctx, dir)
	if err != nil {
		return nil, err
	}
	return c, c.findBranch(ctx)
}

// openWorkTree finds the work tree that dir lies in.
func openWorkTree(ctx context.Context, dir string) (*checkout, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, usageError(fmt.Errorf("look for a checkout: %w", err))
	} else if !info.IsDir() {
		return nil, usageError(fmt.Errorf("%s is not a folder: name one in a checkout of the fleet's repository", dir))
	}
	c := &checkout{top: dir}
	top, err := c.git(ctx, "rev-parse", "--show-toplevel")
	var failed *gitError
	if errors.As(err, &failed) {
		if strings.Contains(failed.said, "not a git repository") || strings.Contains(failed.said, "must be run in a work tree") {
			return nil, usageError(fmt.Errorf("%s lies in %w; go to one, name it with -C, or work without with --repository URL", dir, errNoCheckout))
		}
		return nil, usageError(err)
	} else if err != nil {
		return nil, err
	}
	prefix, err := c.git(ctx, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, err
	}
	c.top, c.prefix = filepath.FromSlash(strings.TrimRight(top, "\r\n")), path.Clean(strings.TrimRight(prefix, "\r\n"))
	return c, nil
}

// findBranch reads which branch is checked out, and what it follows.
func (c *checkout) findBranch(ctx context.Context) error {
	name, err := c.git(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	var failed *gitError
	if errors.As(err, &failed) {
		return errors.New("no branch is checked out here: a commit would be on none; check out the one that the agents follow")
	} else if err != nil {
		return err
	}
	c.branch = strings.TrimSpace(name)
	if _, err := c.git(ctx, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err != nil {
		return fmt.Errorf("branch %s has no commit yet; commit a fleet.yaml first", c.branch)
	}
	remote, err := c.git(ctx, "config", "--get", "branch."+c.branch+".remote")
	if errors.As(err, &failed) {
		return nil // no upstream
	} else if err != nil {
		return err
	}
	merge, err := c.git(ctx, "config", "--get", "branch."+c.branch+".merge")
	if err == nil {
		c.remote, c.merge = strings.TrimSpace(remote), strings.TrimSpace(merge)
	}
	return nil
}

// findFleet returns the folder of fleet.yaml: inside, or the nearest above the
// folder the user is in, or the only one that is committed.
func (c *checkout) findFleet(ctx context.Context, inside string) (string, error) {
	const mark = "fleet.yaml"
	if inside != "" {
		folder := path.Clean(filepath.ToSlash(inside))
		if path.IsAbs(folder) || folder == ".." || strings.HasPrefix(folder, "../") {
			return "", usageError(fmt.Errorf("--path %s does not lie in the repository; write it relative to its top", inside))
		}
		if _, err := os.Stat(filepath.Join(c.top, filepath.FromSlash(folder), mark)); err != nil {
			return "", usageError(fmt.Errorf("--path %s: there is no %s", inside, path.Join(folder, mark)))
		}
		return folder, nil
	}
	for folder := c.prefix; ; folder = path.Dir(folder) {
		if _, err := os.Stat(filepath.Join(c.top, filepath.FromSlash(folder), mark)); err == nil {
			return folder, nil
		}
		if folder == "." {
			break
		}
	}
	tracked, err := c.git(ctx, "ls-files", "-z")
	if err != nil {
		return "", err
	}
	var folders []string
	for name := range strings.SplitSeq(tracked, "\x00") {
		if path.Base(name) == mark {
			folders = append(folders, path.Dir(name))
		}
	}
	switch len(folders) {
	case 0:
		return "", usageError(errors.New("there is no fleet.yaml in this repository; is it the fleet's?"))
	case 1:
		return folders[0], nil
	}
	return "", usageError(fmt.Errorf("there are several fleets here; choose one with --path: %s", strings.Join(folders[:min(len(folders), 20)], ", ")))
}

// clean refuses a file that has changes of its own.
func (c *checkout) clean(ctx context.Context, name string) error {
	status, err := c.git(ctx, "status", "--porcelain", "--ignored", "--untracked-files=all", "--", name)
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(status, "!!"):
		return fmt.Errorf("%s is ignored by this repository's .gitignore; allow it there", name)
	case strings.TrimSpace(status) != "":
		return fmt.Errorf("%s has changes that are not committed; commit or undo them first", name)
	}
	if _, err := os.Lstat(filepath.Join(c.top, filepath.FromSlash(name))); err == nil {
		return nil
	}
	if _, err := c.git(ctx, "cat-file", "-e", "HEAD:"+name); err == nil {
		return fmt.Errorf("%s is committed but not checked out here; check out all of the fleet's folder", name)
	}
	return nil
}

// commit makes a commit of one file and of nothing else, whatever is staged,
// and returns its hash. If it does not come about the file is as it was.
func (c *checkout) commit(ctx context.Context, f *fileChange, subject, body string) (string, error) {
	full := filepath.Join(c.top, filepath.FromSlash(f.path))
	made, err := writeFile(full, f)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", f.path, err)
	}
	if f.before == nil {
		_, err = c.git(ctx, "add", "--intent-to-add", "--", f.path)
	}
	if err == nil {
		_, err = c.git(ctx, "commit", "--quiet", "--only", "-m", subject, "-m", body, "--", f.path)
	}
	if err != nil {
		return "", errors.Join(err, c.undo(context.WithoutCancel(ctx), f, full, made))
	}
	hash, err := c.git(ctx, "rev-parse", "HEAD")
	return strings.TrimSpace(hash), err
}

// writeFile writes what the commit will have. made is the topmost folder that
// had to be made, "" = none.
func writeFile(full string, f *fileChange) (made string, err error) {
	if f.before != nil {
		return "", os.WriteFile(full, f.after, 0o644) // it keeps its mode
	}
	for dir := filepath.Dir(full); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			break
		}
		made = dir
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return made, err
	}
	file, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return made, err
	}
	_, err = file.Write(f.after)
	return made, errors.Join(err, file.Close())
}

// undo puts back what writeFile and commit did.
func (c *checkout) undo(ctx context.Context, f *fileChange, full, made string) error {
	if f.before != nil {
		return os.WriteFile(full, f.before, 0o644)
	}
	// The index may not know it: then there is nothing to forget.
	_, _ = c.git(ctx, "rm", "--quiet", "--cached", "--force", "--ignore-unmatch", "--", f.path)
	err := os.Remove(full)
	if made != "" {
		err = errors.Join(err, os.Remove(made))
	}
	return err
}

// ahead counts the commits of the branch that its upstream, as last seen, does
// not have.
func (c *checkout) ahead(ctx context.Context) int {
	out, err := c.git(ctx, "rev-list", "--count", "@{upstream}..HEAD")
	n := 0
	if err == nil {
		_, _ = fmt.Sscan(out, &n) // no number is none
	}
	return n
}

// errRejected says that the branch of the remote has moved.
var errRejected = errors.New("the branch has moved")

// push sends the branch, and only it, to its upstream.
func (c *checkout) push(ctx context.Context) error {
	_, err := c.git(ctx, "push", "--porcelain", c.remote, "HEAD:"+c.merge)
	var failed *gitError
	if errors.As(err, &failed) && (strings.Contains(failed.said, "[rejected]") || strings.Contains(failed.said, "cannot lock ref")) {
		return fmt.Errorf("%w: %w", errRejected, err)
	}
	return err
}

// diff is the change as a patch.
func (c *checkout) diff(ctx context.Context, f *fileChange) (string, error) {
	dir, err := os.MkdirTemp("", "orpheus-diff-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	name := filepath.FromSlash(f.path)
	sides := map[string][]byte{"a": f.before, "b": f.after}
	for side, text := range sides {
		full := filepath.Join(dir, side, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return "", err
		}
		if text != nil {
			if err := os.WriteFile(full, text, 0o644); err != nil {
				return "", err
			}
		}
	}
	patch, err := (&checkout{top: dir}).git(ctx, "diff", "--no-index", "--no-color", "--no-ext-diff", "--no-prefix", "a", "b")
	if patch == "" && err != nil {
		return "", err
	}
	return patch, nil // git exits with 1 for what differs
}

// cloneFor makes a shallow clone for one commit. done removes it.
func cloneFor(ctx context.Context, repository, branch string) (c *checkout, done func(), err error) {
	if strings.HasPrefix(repository, "-") {
		return nil, nil, usageError(errors.New("--repository begins with a hyphen; write a URL or an absolute path"))
	}
	secret := secretOf(repository)
	if _, err := os.Stat(repository); err == nil { // git will run elsewhere
		if repository, err = filepath.Abs(repository); err != nil {
			return nil, nil, err
		}
	}
	dir, err := os.MkdirTemp("", "orpheus-clone-")
	if err != nil {
		return nil, nil, err
	}
	done = func() { os.RemoveAll(dir) }
	c = &checkout{top: dir, secret: secret}
	args := []string{"clone", "--quiet", "--depth=1", "--no-tags", "--single-branch"}
	if branch != "" {
		args = append(args, "--branch="+branch)
	}
	if _, err = c.git(ctx, append(args, "--", repository, "fleet")...); err == nil {
		c.top, c.prefix = filepath.Join(dir, "fleet"), "."
		err = c.findBranch(ctx)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return c, done, nil
}

// secretOf is what stands before the host of a URL.
func secretOf(repository string) string {
	if u, err := url.Parse(repository); err == nil && u.User != nil && u.Scheme != "ssh" {
		return u.User.String()
	}
	return ""
}
