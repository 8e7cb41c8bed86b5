//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
)

// selection is which commit of the repository is followed.
func (r repositoryConfig) selection() gitsync.Selection {
	return gitsync.Selection{Branch: r.Branch, Tag: r.Tag, Semver: r.Semver, Commit: strings.ToLower(r.Commit)}
}

// completeSelection fills in the branch where nothing else says what is
// followed, or where one is needed to look for a commit in.
func (r *repositoryConfig) completeSelection() {
	if r.Branch == "" && r.Tag == "" && r.Semver == "" {
		r.Branch = "main"
	}
}

// overrideSelection lays what flags say is followed over the file: what the
// file says of it does not count any more, but for the branch that a commit is
// looked for in.
func (r *repositoryConfig) overrideSelection(flags repositoryConfig) {
	switch {
	case flags.Tag != "" || flags.Semver != "":
		r.Branch = ""
	case flags.Branch == "" && flags.Commit == "":
		return
	}
	r.Tag, r.Semver, r.Commit = flags.Tag, flags.Semver, flags.Commit
	if flags.Branch != "" {
		r.Branch = flags.Branch
	}
}

// selectionFaults lists what is wrong with what is followed, by field.
func (r repositoryConfig) selectionFaults() []error {
	var faults []error
	err := r.selection().Validate()
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			faults = append(faults, fmt.Errorf("repository: %w", e))
		}
	}
	if r.Floor != "" && !fullCommit(r.Floor) {
		faults = append(faults, errors.New("repository.floor: give the full id of a commit, 40 digits"))
	}
	return faults
}

func fullCommit(id string) bool {
	return len(id) == 40 && strings.Trim(strings.ToLower(id), "0123456789abcdef") == ""
}
