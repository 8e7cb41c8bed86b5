package gitsync

import (
	"context"
	"errors"
)

// credentials reads what the remote is shown. An error means that the remote
// was not asked.
func (s settings) credentials(ctx context.Context) (Credentials, error) {
	if s.Credentials == nil {
		return Credentials{}, nil
	}
	c, err := s.Credentials(ctx)
	if err == nil {
		return c, nil
	}
	out := newScrubbedError("read credentials for "+s.remote.String()+": "+err.Error(), err)
	if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrUnauthorized) {
		out.kinds = append(out.kinds, ErrUnauthorized)
	}
	return Credentials{}, out
}

// refused tells whoever gave the credentials if err may be due to them. Hosts
// hide what one may not see as if it were not there.
func (s settings) refused(c Credentials, err error) {
	if s.Refused != nil && (errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRepositoryNotFound)) {
		s.Refused(c)
	}
}
