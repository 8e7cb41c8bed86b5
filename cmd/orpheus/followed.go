package main

import (
	"context"
	"strings"
)

// minCommit is how much of a commit's id must be given: as many characters as git
// shows.
const minCommit = 7

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

// followedBy reports whether all nodes that are live follow a commit, or a later
// one.
func (st *recordedStatus) followedBy(ctx context.Context, dir, commit string) bool {
	for _, c := range st.Commits {
		if !follows(ctx, dir, c.Commit, commit) {
			return false
		}
	}
	return commit == "" || len(st.Commits) > 0
}
