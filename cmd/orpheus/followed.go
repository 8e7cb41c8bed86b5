package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// minCommit is how much of a commit's id must be given: as many characters as git
// shows.
const minCommit = 7

// maxRevision bounds what people may write for a commit.
const maxRevision = 1000

// isCommit reports whether text is the id of a commit, or the beginning of one.
func isCommit(text string) bool {
	const maxCommit = 64
	return len(text) >= minCommit && len(text) <= maxCommit && strings.Trim(text, "0123456789abcdef") == ""
}

// follows reports whether a node that follows one commit has taken in another,
// given by the beginning of its id ("" = any): it is that one, or comes after it
// in the checkout that dir lies in. Without a checkout that has both that is not
// known.
func follows(ctx context.Context, dir, followed, commit string) bool {
	switch {
	case commit == "" || followed != "" && strings.HasPrefix(followed, commit):
		return true
	case !isCommit(followed):
		return false
	}
	c, err := openWorkTree(ctx, dir)
	if err != nil {
		return false
	}
	_, err = c.git(ctx, "merge-base", "--is-ancestor", commit, followed)
	return err == nil
}

// behind are the nodes that are live and follow neither a commit nor a later one.
func (st *recordedStatus) behind(ctx context.Context, dir, commit string) []planner.NodeName {
	var nodes []planner.NodeName
	for _, c := range st.Commits {
		if !follows(ctx, dir, c.Commit, commit) {
			nodes = append(nodes, c.Nodes...)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// commitMeant is the id of a commit that may be named as git names it, in the
// checkout that dir lies in. An id is taken as it is: no checkout has to have it.
func commitMeant(ctx context.Context, dir, name string) (string, error) {
	if name == "" || isCommit(name) {
		return name, nil
	}
	if strings.HasPrefix(name, "-") || len(name) > maxRevision {
		return "", usageError(fmt.Errorf("--commit %.80q is no commit", name))
	}
	c, err := openWorkTree(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("--commit %.80q: %w; without a checkout write the id of a commit, or at least %d characters of it", name, err, minCommit)
	}
	s, err := c.side(ctx, name)
	return s.Commit, err
}
