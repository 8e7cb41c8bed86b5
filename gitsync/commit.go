package gitsync

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/orpheus-cd/orpheus/planner"
)

// maxCommitSize bounds a commit object; a real one is below 2 KiB, one with a
// very long message some 100 KiB.
const maxCommitSize = 1 * mebi

// readCommit reads and parses a commit object.
func readCommit(s *store, id plumbing.Hash) (*object.Commit, error) {
	o, err := s.object(plumbing.CommitObject, id, maxCommitSize)
	switch {
	case errors.Is(err, errNoObject):
		return nil, fmt.Errorf("commit %s: %w", id, ErrUnknownCommit)
	case err != nil:
		return nil, err
	}
	c, err := object.DecodeCommit(nil, o) // the storer is for lazy methods, which are not used
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w: %w", id, err, ErrCorrupt)
	}
	return c, nil
}

// describe is the commit in the words of the planner, its texts fit for a
// terminal.
func describe(c *object.Commit) planner.Commit {
	subject, _, _ := strings.Cut(strings.TrimLeft(c.Message, "\n"), "\n")
	return planner.Commit{
		Hash:    c.Hash.String(),
		Subject: printable(subject, 200),
		Author:  printable(c.Author.Name, 100),
		Time:    c.Committer.When.UTC().Truncate(time.Second),
	}
}

// approvalKey is the trailer that approves a deletion.
const approvalKey = "prune-approved:"

// approvals returns the commits named by the trailers of a message: lines of
// its last paragraph.
func approvals(message string) []string {
	message = strings.TrimSpace(strings.ReplaceAll(message, "\r\n", "\n"))
	if i := strings.LastIndex(message, "\n\n"); i >= 0 {
		message = message[i+2:]
	} else {
		return nil // a subject alone has no trailers
	}
	var out []string
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if len(line) < len(approvalKey) || !strings.EqualFold(line[:len(approvalKey)], approvalKey) {
			continue
		}
		if id := strings.ToLower(strings.TrimSpace(line[len(approvalKey):])); isAbbreviation(id) {
			out = append(out, id)
		}
	}
	return out
}

// isAbbreviation reports whether s is an object id or enough of one.
func isAbbreviation(s string) bool {
	return len(s) >= 7 && len(s) <= 40 && strings.Trim(s, "0123456789abcdef") == ""
}
