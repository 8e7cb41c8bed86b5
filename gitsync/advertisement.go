package gitsync

import (
	"context"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// advertisement is what one look says about the branch.
type advertisement struct {
	tip      plumbing.Hash // zero: no such branch
	refs     int           // counted; no more than asked for by servers of version 2
	branches []string      // the first few by name, for the error that names them
}

const (
	maxNamedBranches = 5
	branchPrefix     = "refs/heads/"
)

// look asks for the branch. Only if it is not there, what else is there is
// asked for as well.
func (l *link) look(ctx context.Context, creds Credentials, branch string) (advertisement, error) {
	adv, err := l.lookBelow(ctx, creds, branch, branchPrefix+branch)
	if d := l.spoken.Load(); err == nil && adv.tip.IsZero() && d != nil && d.v2 {
		adv, err = l.lookBelow(ctx, creds, branch, branchPrefix, "refs/tags/")
	}
	return adv, err
}

func (l *link) lookBelow(ctx context.Context, creds Credentials, branch string, prefixes ...string) (advertisement, error) {
	var adv advertisement
	err := l.listRefs(ctx, creds, prefixes, func(name string, id plumbing.Hash) error {
		if adv.refs++; adv.refs > l.limits.Refs {
			return &LimitError{Limit: "Refs", What: "references of the repository", Max: int64(l.limits.Refs)}
		}
		if name == branchPrefix+branch {
			adv.tip = id
		}
		if short, ok := strings.CutPrefix(name, branchPrefix); ok {
			adv.name(printable(short, 60))
		}
		return nil
	})
	return adv, err
}

// name keeps the first few branches.
func (a *advertisement) name(branch string) {
	at, _ := slices.BinarySearch(a.branches, branch)
	a.branches = slices.Insert(a.branches, at, branch)
	a.branches = a.branches[:min(len(a.branches), maxNamedBranches)]
}
