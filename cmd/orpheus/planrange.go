package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/cmd/internal/review"
	"github.com/orpheus-cd/orpheus/planner"
)

// planSide is one of the two revisions that a plan compares.
type planSide struct {
	review.Side
	commit planner.Commit // as the planner names it: of the work tree its tree
	tree   string         // "" = there is nothing
}

// planRange is what the user asks to compare. An empty base is what the fleet
// follows, an empty head the work tree.
type planRange struct {
	base, head string
	// merged: the base is where both have a commit in common.
	merged bool
}

// parseRange reads A..B, A...B, A.., ..B or A, with git's meaning.
func parseRange(args []string) (planRange, error) {
	if len(args) == 0 {
		return planRange{}, nil
	}
	text := args[0]
	base, head, dotted := strings.Cut(text, "..")
	r := planRange{base: base}
	if dotted {
		r.head, r.merged = strings.CutPrefix(head, ".")
		if r.head == "" {
			r.head = "HEAD"
		}
		if r.base == "" {
			r.base = "HEAD"
		}
	}
	for _, name := range []string{r.base, r.head} {
		if strings.HasPrefix(name, "-") || strings.Contains(name, "..") || strings.ContainsAny(name, "\x00\n") || len(name) > 1000 {
			return r, fmt.Errorf("%q is no range of commits: write A..B, or one commit to compare the work tree with", text)
		}
	}
	return r, nil
}

// side finds a commit.
func (c *checkout) side(ctx context.Context, name string) (planSide, error) {
	s := planSide{Side: review.Side{Name: name}}
	out, err := c.git(ctx, "rev-parse", "--quiet", "--verify", name+"^{commit}")
	var failed *gitError
	if errors.As(err, &failed) {
		return s, usageError(fmt.Errorf("there is no commit %q here%s", name, c.shallowRemedy(ctx)))
	} else if err != nil {
		return s, err
	}
	s.Commit = strings.TrimSpace(out)
	out, err = c.git(ctx, "log", "-1", "--no-show-signature", "--format=%T%n%s", s.Commit)
	if err != nil {
		return s, err
	}
	tree, subject, _ := strings.Cut(strings.TrimRight(out, "\n"), "\n")
	s.tree, s.Subject = tree, subject
	s.commit = planner.Commit{Hash: s.Commit, Subject: subject}
	return s, nil
}

// shallowRemedy says what to do in a clone that lacks history.
func (c *checkout) shallowRemedy(ctx context.Context) string {
	if out, err := c.git(ctx, "rev-parse", "--is-shallow-repository"); err == nil && strings.TrimSpace(out) == "true" {
		return ": this is a shallow clone; have it fetch all history (git fetch --unshallow; in CI fetch-depth: 0, or GIT_DEPTH: 0)"
	}
	return "; fetch it, or see \"git log\""
}

// mergeBase is the last commit that two have in common.
func (c *checkout) mergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := c.git(ctx, "merge-base", a, b)
	var failed *gitError
	if errors.As(err, &failed) {
		return "", usageError(fmt.Errorf("%s and %s have no commit in common here%s", a, b, c.shallowRemedy(ctx)))
	}
	return strings.TrimSpace(out), err
}

// contains reports whether one commit comes after another, or is it.
func (c *checkout) contains(ctx context.Context, commit, earlier string) bool {
	_, err := c.git(ctx, "merge-base", "--is-ancestor", earlier, commit)
	return err == nil
}

// has reports whether a commit is in the clone.
func (c *checkout) has(ctx context.Context, commit string) bool {
	if !isCommit(commit) {
		return false
	}
	_, err := c.git(ctx, "cat-file", "-e", commit+"^{commit}")
	return err == nil
}

// messages are those of the commits that to has and from does not, newest first;
// from "" = of to alone.
func (c *checkout) messages(ctx context.Context, from, to string) ([]string, error) {
	args := []string{"log", "--no-show-signature", "--format=%B%x00", "--max-count=1000", to}
	if from == "" {
		args[3] = "--max-count=1"
	} else {
		args = append(args, "^"+from)
	}
	out, err := c.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	return strings.Split(out, "\x00"), nil
}
