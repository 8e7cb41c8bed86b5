package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// devSource is the user's repository that a fleet gets a copy of.
type devSource struct {
	given   string // as the user named it
	top     string // of the work tree; "" = a bare repository
	path    string // of the fleet.yaml's folder in the repository, "." = its top
	branch  string // "" = no branch is checked out
	commit  string
	changed int // files that are not as in the commit
}

// findSource looks at what the fleet is to have; nil = an example.
func findSource(ctx context.Context, given string) (*devSource, error) {
	s := &devSource{given: given, path: "."}
	if given == "" {
		if _, err := os.Stat("fleet.yaml"); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		s.given = "."
	}
	if info, err := os.Stat(s.given); err != nil || !info.IsDir() {
		return nil, usageError(fmt.Errorf("--repository %s is not a folder: name the folder of the fleet.yaml, or a bare repository", s.given))
	}
	bare, err := s.git(ctx, "rev-parse", "--is-bare-repository")
	if err != nil {
		return nil, usageError(fmt.Errorf("%s is in no Git repository: %w", s.given, err))
	}
	if s.commit, err = s.git(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		return nil, usageError(fmt.Errorf("the repository of %s has no commit yet: commit your manifests first", s.given))
	}
	s.branch, _ = s.git(ctx, "symbolic-ref", "--quiet", "--short", "HEAD") // none: HEAD is detached
	if bare == "true" {
		return s, nil
	}
	if s.top, err = s.git(ctx, "rev-parse", "--show-toplevel"); err != nil {
		return nil, err
	}
	prefix, err := s.git(ctx, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		s.path = strings.TrimSuffix(prefix, "/")
	}
	if _, err := s.git(ctx, "cat-file", "-e", "HEAD:"+strings.TrimPrefix(s.path+"/fleet.yaml", "./")); err != nil {
		return nil, usageError(fmt.Errorf("%s has no fleet.yaml that is committed; name the folder that has it with --repository", s.given))
	}
	status, err := s.git(ctx, "status", "--porcelain")
	if status != "" {
		s.changed = strings.Count(status, "\n") + 1
	}
	return s, err
}

// push copies the commit into the fleet's repository. Hooks of the user's, which
// are for other remotes, do not run.
func (s *devSource) push(ctx context.Context, repository string) error {
	if _, err := s.git(ctx, "push", "--quiet", "--no-verify", "--no-follow-tags", repository, s.commit+":refs/heads/main"); err != nil {
		return fmt.Errorf("copy %s into the fleet's repository: %w", s.given, err)
	}
	return nil
}

func (s *devSource) describe() string {
	where := s.top
	if where == "" {
		where = s.given
	}
	what := "commit " + s.commit[:min(8, len(s.commit))]
	if s.branch != "" {
		what = s.branch + " at " + s.commit[:min(8, len(s.commit))]
	}
	return fmt.Sprintf("%s (%s)", where, what)
}

func (s *devSource) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", s.given}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}
