package gitsync

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// advertisement is what one look says about what is followed.
type advertisement struct {
	tip plumbing.Hash // the commit; zero: there is none
	// want is asked for in order to get tip: what a reference holds, since many
	// servers give away nothing else. Zero = tip itself.
	want      plumbing.Hash
	following string // what tip was found under, for people

	refs  int      // counted; no more than asked for by servers of version 2
	names []string // the first few branches or tags, for the error that names them
}

const maxNamed = 5

// look asks for what is selected. Only if it is not there, what else is there
// is asked for as well.
func (l *link) look(ctx context.Context, creds Credentials, by selector) (advertisement, error) {
	adv, err := l.lookBelow(ctx, creds, by, by.prefixes()...)
	if d := l.spoken.Load(); err == nil && adv.tip.IsZero() && d != nil && d.v2 {
		adv, err = l.lookBelow(ctx, creds, by, branchPrefix, tagPrefix)
	}
	return adv, err
}

func (l *link) lookBelow(ctx context.Context, creds Credentials, by selector, prefixes ...string) (advertisement, error) {
	var adv advertisement
	best := choice{by: by}
	kind := branchPrefix
	if by.tagged() {
		kind = tagPrefix
	}
	err := l.listPeeled(ctx, creds, prefixes, func(name string, id plumbing.Hash) error {
		best.offer(name, id)
		if strings.HasSuffix(name, peeled) {
			return nil
		}
		if adv.refs++; adv.refs > l.limits.Refs {
			return &LimitError{Limit: "Refs", What: "references of the repository", Max: int64(l.limits.Refs)}
		}
		if short, ok := strings.CutPrefix(name, kind); ok {
			adv.name(printable(short, 60))
		}
		return nil
	})
	adv.tip, adv.want, adv.following = best.id, best.ref, best.following()
	return adv, err
}

// name keeps the first few names.
func (a *advertisement) name(name string) {
	if len(a.names) == maxNamed && name >= a.names[maxNamed-1] {
		return
	}
	at, _ := slices.BinarySearch(a.names, name)
	a.names = slices.Insert(a.names, at, name)
	a.names = a.names[:min(len(a.names), maxNamed)]
}

// missing says that nothing is there to follow.
func (a advertisement) missing(by selector) error {
	switch {
	case a.refs == 0:
		return fmt.Errorf("%w: push a commit to %s", ErrEmptyRepository, by.Selection)
	case by.Tag != "":
		return fmt.Errorf("%w: %s; the repository has %s", ErrTagNotFound, printable(by.Tag, 80), a.named("tags"))
	case by.versions != nil:
		return fmt.Errorf("%w: none is a version in %s; the repository has %s", ErrTagNotFound, by.Semver, a.named("tags"))
	}
	return fmt.Errorf("%w: %s; the repository has %s", ErrBranchNotFound, by.Branch, a.named("branches"))
}

func (a advertisement) named(what string) string {
	if len(a.names) == 0 {
		return "no " + what
	}
	list := strings.Join(a.names, ", ")
	if len(a.names) == maxNamed {
		list += ", …"
	}
	return list
}
