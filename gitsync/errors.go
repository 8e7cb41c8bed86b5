package gitsync

import (
	"errors"
	"time"
)

// What a look at the remote can come back with. Callers branch with errors.Is;
// the text around them names the repository, the branch and the remedy.
var (
	// ErrUnreachable: no usable answer; try again.
	ErrUnreachable = errors.New("remote cannot be reached")
	// ErrUnauthorized: the remote wants credentials, or others.
	ErrUnauthorized = errors.New("remote refuses the credentials")
	// ErrRepositoryNotFound: no such repository. Many hosts answer so for a
	// private one, too.
	ErrRepositoryNotFound = errors.New("repository not found")
	// ErrBranchNotFound: the repository has no such branch.
	ErrBranchNotFound = errors.New("branch not found")
	// ErrTagNotFound: the repository has no such tag, none in the range of
	// versions, or one that stands for no commit.
	ErrTagNotFound = errors.New("tag not found")
	// ErrCommitNotFound: the remote does not have, or not give, the one commit
	// that is to be followed.
	ErrCommitNotFound = errors.New("commit not found")
	// ErrEmptyRepository: the repository has no commit at all.
	ErrEmptyRepository = errors.New("repository is empty")
	// ErrCorrupt: what the remote sent, or what the clone holds, is not whole.
	// The clone repairs itself with the next Fetch.
	ErrCorrupt = errors.New("repository data is not whole")
	// ErrStorage: the clone's folder cannot be written (full, read-only).
	ErrStorage = errors.New("clone cannot be written")
	// ErrUnknownCommit: the clone does not hold the commit.
	ErrUnknownCommit = errors.New("commit is not in the clone")
	// ErrLocked: another process has the clone's folder.
	ErrLocked = errors.New("clone is in use by another process")
)

// Stalled reports whether trying again is useless until a person changes the
// commit, the remote or the configuration.
func Stalled(err error) bool {
	var limit *LimitError
	if errors.As(err, &limit) {
		return true
	}
	for _, e := range []error{ErrUnauthorized, ErrRepositoryNotFound, ErrBranchNotFound, ErrTagNotFound, ErrCommitNotFound, ErrEmptyRepository} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// remoteError is an answer of the remote: one of the sentinels above, in
// words that hold no secret.
type remoteError struct {
	kind       error
	text       string
	retryAfter time.Duration
}

func (e *remoteError) Error() string             { return e.kind.Error() + ": " + e.text }
func (e *remoteError) Unwrap() error             { return e.kind }
func (e *remoteError) RetryAfter() time.Duration { return e.retryAfter }
