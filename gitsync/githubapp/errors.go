package githubapp

import (
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
)

// refusal is why there is no token, in words without a secret.
type refusal struct {
	kind  error // of gitsync
	text  string
	until time.Time // the API is not to be asked before; zero = it may be
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

// RetryAfter is what gitsync.RetryAfter finds.
func (r *refusal) RetryAfter() time.Duration { return time.Until(r.until) }

// refused is a refusal that only a person can mend.
func refused(format string, args ...any) *refusal {
	return &refusal{kind: gitsync.ErrUnauthorized, text: fmt.Sprintf(format, args...)}
}

// unreachable is a refusal that may pass.
func unreachable(format string, args ...any) *refusal {
	return &refusal{kind: gitsync.ErrUnreachable, text: fmt.Sprintf(format, args...)}
}
