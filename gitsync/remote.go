package gitsync

import (
	"context"
	"errors"
	"io"
)

// remote is the smart protocol of one repository, one exchange at a time: over
// HTTP, or to a fresh process of git. Errors are one of the package's
// sentinels, or of the context. Its methods may be called at once.
type remote interface {
	// advertise returns what the service says before it is asked anything.
	advertise(ctx context.Context, c Credentials, s service) (io.ReadCloser, error)
	// exchange sends one whole request and returns what the service answers,
	// without what it says before it is asked. For uploadPackV2 the error is
	// errNotV2 where it is known that only version 0 is spoken. An error after
	// which the request was certainly not carried out, and never will be, is
	// marked by notDone.
	exchange(ctx context.Context, c Credentials, s service, request []byte) (io.ReadCloser, error)
	// close lets idle connections go.
	close()
}

// service is what one exchange is with.
type service int

const (
	uploadPack   service = iota
	uploadPackV2         // the same, asked for version 2 of the protocol; it may answer in version 0
	receivePack
)

// name is the program's, "git-upload-pack".
func (s service) name() string {
	if s == receivePack {
		return "git-receive-pack"
	}
	return "git-upload-pack"
}

// protocol2 is what asks for version 2: the header Git-Protocol over HTTP, the
// environment variable GIT_PROTOCOL elsewhere.
const protocol2 = "version=2"

var (
	errProtocol = errors.New("remote does not speak the Git protocol")
	errNotV2    = errors.New("remote does not speak version 2 of the Git protocol")
)

// undoneError marks an error after which a request was certainly not carried
// out: it never left this node, or was refused unread.
type undoneError struct{ error }

func (e undoneError) Unwrap() error { return e.error }

func notDone(err error) error { return undoneError{err} }

func isNotDone(err error) bool {
	var u undoneError
	return errors.As(err, &u)
}

// newRemote is the transport for the repository's address.
func newRemote(s settings) remote {
	switch s.remote.scheme {
	case "file":
		return &localRemote{path: s.remote.path, idle: s.Limits.Idle}
	case "ssh":
		return newSSHRemote(s)
	}
	return newHTTPRemote(s)
}
