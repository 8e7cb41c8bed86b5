package gitsync

import (
	"errors"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
)

const (
	branchPrefix = "refs/heads/"
	tagPrefix    = "refs/tags/"
	// peeled ends the name under which a list of references gives the commit
	// that an annotated tag stands for.
	peeled = "^{}"
)

// Selection says which commit of a repository is followed: the tip of a branch,
// the one under a tag, the one under the highest version among the tags, or one
// by its id. Exactly one of Tag, Semver and Commit may be given; without them
// it is Branch.
type Selection struct {
	Branch string // short name, "main"
	Tag    string // short name, "v1.4.2"
	// Semver is a range such as ">=1.2 <2". Tags that are versions (a leading v
	// is allowed) compete, pre-releases only if the range names one.
	Semver string
	// Commit is a full id. Branch, if given, is where it is looked for on servers
	// that give away no commits by id.
	Commit string
}

// String names what is selected, for people: "branch main".
func (s Selection) String() string {
	switch {
	case s.Tag != "":
		return "tag " + printable(s.Tag, 80)
	case s.Semver != "":
		return "tags in " + printable(s.Semver, 80)
	case s.Commit != "":
		return "commit " + printable(s.Commit, 40)
	}
	return "branch " + printable(s.Branch, 80)
}

// Validate lists everything wrong with s.
func (s Selection) Validate() error {
	_, err := s.parse()
	return err
}

// selector is a Selection that was found to be sound.
type selector struct {
	Selection
	versions *semver.Constraints // of Semver
	commit   plumbing.Hash       // of Commit
}

func (s Selection) parse() (selector, error) {
	out := selector{Selection: s}
	var faults []error
	var given []string
	for _, field := range []struct{ name, value string }{{"tag", s.Tag}, {"semver", s.Semver}, {"commit", s.Commit}} {
		if field.value != "" {
			given = append(given, field.name)
		}
	}
	if len(given) > 1 {
		faults = append(faults, fmt.Errorf("%s are given together: one of them says which commit is followed", strings.Join(given, " and ")))
	}
	if s.Branch != "" || len(given) == 0 {
		faults = append(faults, checkBranch(s.Branch))
	}
	if s.Branch != "" && (s.Tag != "" || s.Semver != "") {
		faults = append(faults, fmt.Errorf("branch and %s are given together: leave one out", given[0]))
	}
	if s.Tag != "" && (strings.HasPrefix(s.Tag, "refs/") || !goodRefName(s.Tag)) {
		faults = append(faults, fmt.Errorf("tag %q is not the name of a tag such as v1.4.2", printable(s.Tag, 80)))
	}
	if s.Semver != "" {
		var err error
		if out.versions, err = semver.NewConstraint(s.Semver); err != nil {
			faults = append(faults, fmt.Errorf("semver %q is no range of versions such as \">=1.2 <2\" or 1.4.x: %w", printable(s.Semver, 80), err))
		}
	}
	if s.Commit != "" {
		var err error
		if out.commit, err = parseID(strings.ToLower(s.Commit)); err != nil {
			faults = append(faults, fmt.Errorf("commit %q is not a full object id of 40 digits", printable(s.Commit, 50)))
		}
	}
	return out, errors.Join(faults...)
}

// tagged reports whether a tag says which commit is followed.
func (s selector) tagged() bool { return s.Tag != "" || s.versions != nil }

// prefixes are the references to ask for.
func (s selector) prefixes() []string {
	switch {
	case s.Tag != "":
		return []string{tagPrefix + s.Tag}
	case s.versions != nil:
		return []string{tagPrefix}
	}
	return []string{branchPrefix + s.Branch}
}

// choice is what a list of references comes to, read line by line: of a hundred
// thousand tags only the best one is kept.
type choice struct {
	by      selector
	id      plumbing.Hash // the commit; zero: nothing fits
	ref     plumbing.Hash // what the reference holds: id, or a tag that stands for it
	name    string        // of the tag
	version *semver.Version
}

// offer takes in one reference. The commit of an annotated tag comes after the
// tag itself.
func (c *choice) offer(name string, id plumbing.Hash) {
	if !c.by.tagged() {
		if name == branchPrefix+c.by.Branch {
			c.id, c.ref = id, id
		}
		return
	}
	name, ok := strings.CutPrefix(name, tagPrefix)
	if !ok {
		return
	}
	if tag, is := strings.CutSuffix(name, peeled); is {
		if c.name == tag {
			c.id = id
		}
		return
	}
	switch {
	case c.by.Tag == "":
		c.compete(name, id)
	case name == c.by.Tag:
		c.name, c.id, c.ref = name, id, id
	}
}

// compete takes a tag if it is the best so far. Of tags of one version (v1.2.0
// and 1.2.0, or with different builds) the last by name is taken, so that all
// nodes take the same.
func (c *choice) compete(tag string, id plumbing.Hash) {
	if len(tag) > maxTagName || !goodRefName(tag) {
		return
	}
	v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
	if err != nil {
		return
	}
	if c.version != nil {
		if order := v.Compare(c.version); order < 0 || order == 0 && tag < c.name {
			return
		}
	}
	if c.by.versions.Check(v) {
		c.version, c.name, c.id, c.ref = v, tag, id, id
	}
}

// maxTagName bounds the tags that count as versions.
const maxTagName = 128

// following names what was found, for people: "tag v1.4.2 of range >=1.2 <2".
func (c *choice) following() string {
	if c.by.versions != nil && c.name != "" {
		return "tag " + c.name + " of range " + c.by.Semver
	}
	return c.by.String()
}
