package gitsync

import (
	"context"
	"errors"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/redact"
)

// scrubber removes the secrets of credentials from errors.
type scrubber struct{ redact.Scrubber }

func newScrubber(c Credentials) scrubber {
	return scrubber{redact.Join(redact.Login(c.Username, c.Password), redact.Token(c.Token))}
}

// error returns err if its text holds no secret, else an error of the same
// kind with the cleaned text and nothing to unwrap but the kind.
func (s scrubber) error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := s.Clean(text)
	if clean == text {
		return err
	}
	return newScrubbedError(clean, err)
}

// newScrubbedError is text, with the kinds that err is of.
func newScrubbedError(text string, err error) *scrubbedError {
	out := &scrubbedError{text: text, retryAfter: RetryAfter(err)}
	for _, kind := range []error{ErrUnreachable, ErrUnauthorized, ErrRepositoryNotFound, ErrBranchNotFound,
		ErrTagNotFound, ErrCommitNotFound, ErrEmptyRepository, ErrCorrupt, ErrStorage, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			out.kinds = append(out.kinds, kind)
		}
	}
	return out
}

type scrubbedError struct {
	text       string
	kinds      []error
	retryAfter time.Duration
}

func (e *scrubbedError) Error() string             { return e.text }
func (e *scrubbedError) Unwrap() []error           { return e.kinds }
func (e *scrubbedError) RetryAfter() time.Duration { return e.retryAfter }

func printable(text string, max int) string { return redact.Printable(text, max) }
