//go:build linux

package containerd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"google.golang.org/grpc/status"

	"github.com/orpheus-cd/orpheus/runtime"
)

// placeError is why an image could not be had at one place.
type placeError struct {
	place place
	err   error
}

// nowhere is why an image could be had at no place, in the order they were
// asked. There is at least one.
type nowhere []placeError

func (n nowhere) Error() string   { return n.decides().err.Error() }
func (n nowhere) Unwrap() []error { return []error{n.decides().err} }

// decides is what the registry itself said, if it was asked.
func (n nowhere) decides() placeError {
	for _, f := range n {
		if !f.place.mirror {
			return f
		}
	}
	return n[len(n)-1]
}

// pullError says in the user's words why an image could not be made ready: as
// the registry has it, and what its mirrors said.
func (d *Driver) pullError(image string, err error) error {
	pulling := "pull image " + image
	var failed nowhere
	if !errors.As(err, &failed) || final(context.Background(), err) {
		return d.fail(pulling, err)
	}
	decides := failed.decides()
	err = fmt.Errorf("%s: %w", pulling, d.whyNot(decides.place, decides.err))
	var mirrors []string
	for _, f := range failed {
		if f.place.mirror && f.place.name != decides.place.name {
			mirrors = append(mirrors, d.whyNot(f.place, f.err).Error())
		}
	}
	if len(mirrors) > 0 {
		err = fmt.Errorf("%w (%s)", err, strings.Join(mirrors, "; "))
	}
	return err
}

// final reports an error that no other place can help with: nobody waits any
// more, or containerd does not answer.
func final(ctx context.Context, err error) bool {
	return ctx.Err() != nil || isStatus(err) && errdefs.IsUnavailable(native(err)) || errors.Is(err, runtime.ErrUnavailable) || errors.Is(err, context.Canceled)
}

// unreachable reports that a place did not answer at all.
func unreachable(err error) bool {
	var urlError *url.Error
	return errors.Is(err, errSlow) || errors.As(err, &urlError) && !errors.As(err, new(internalAddress)) && classOfTransport(urlError.Err) == runtime.ErrUnavailable
}

// whyNot says in the user's words why a place could not serve an image. Texts
// with addresses in them are not passed on: a redirect's address may hold a
// signature that is as good as a password.
func (d *Driver) whyNot(p place, err error) error {
	who := "registry " + p.name
	if p.mirror {
		who = "mirror " + p.name
	}
	var (
		answer   remoteerrors.ErrUnexpectedStatus
		urlError *url.Error
		netError net.Error
		internal internalAddress
		login    *loginError
		roots    *rootsError
	)
	switch answered := native(err); {
	case errors.As(err, &login):
		return fmt.Errorf("%s wants credentials, and those configured cannot be read: %w: %w", who, login.err, runtime.ErrUnauthorized)
	case errors.As(err, &roots):
		return fmt.Errorf("%s is not asked, whom to trust there cannot be read: %w: %w", who, roots.err, runtime.ErrUnavailable)
	case classified(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &urlError):
		return err
	case errors.As(err, &internal):
		return fmt.Errorf("%s %w: %w", who, internal, runtime.ErrInvalid)
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return fmt.Errorf("%s %s: %w", who, refusal(p), runtime.ErrUnauthorized)
	case errors.As(err, &answer):
		class := classOfStatus(answer.StatusCode)
		if class == runtime.ErrUnauthorized {
			return fmt.Errorf("%s answers %s: it %s: %w", who, answer.Status, refusal(p), class)
		}
		return fmt.Errorf("%s answers %s: %w", who, answer.Status, class)
	case errors.Is(err, errSlow):
		return fmt.Errorf("%s does not answer within %v: %w", who, d.patience, runtime.ErrUnavailable)
	case errors.As(err, &urlError):
		return fmt.Errorf("%s does not answer: %s: %w", who, withoutAddress(urlError.Err), classOfTransport(urlError.Err))
	case errors.Is(err, errTooBig):
		return fmt.Errorf("%w: %w", runtime.ErrInvalid, err)
	case errors.As(err, &netError), errors.Is(err, errStalled):
		return fmt.Errorf("%s broke off: %s: %w", who, withoutAddress(err), runtime.ErrUnavailable)
	case strings.Contains(err.Error(), "no match for platform"):
		return fmt.Errorf("the image has no %s: %w", platforms.DefaultString(), runtime.ErrInvalid)
	case strings.Contains(err.Error(), "byte manifest"):
		return fmt.Errorf("its manifest is larger than %d bytes: %w", docker.MaxManifestSize, runtime.ErrInvalid)
	case otherContent(err):
		return fmt.Errorf("%s serves other content than was asked for: %w", who, runtime.ErrUnavailable)
	case isStatus(err):
		return d.fail(who, answered)
	case errdefs.IsNotFound(answered):
		return fmt.Errorf("%s has no such image: %w", who, runtime.ErrNotFound)
	case errdefs.IsInvalidArgument(answered), errdefs.IsNotImplemented(answered):
		return fmt.Errorf("%w: %w", runtime.ErrInvalid, answered)
	}
	return fmt.Errorf("%s: %w", who, err)
}

// refusal says what a place makes of the credentials it was shown.
func refusal(p place) string {
	switch from, doubt := p.login.get(); {
	case from != "":
		return "refuses the credentials from " + from
	case doubt != nil:
		return "wants credentials, and those configured cannot be read: " + doubt.Error()
	}
	return "wants credentials: none are configured for it (registries." + p.host + ".passwordFile, dockerConfig)"
}

// isStatus reports an error that containerd itself returned.
func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

func classOfStatus(code int) error {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return runtime.ErrUnauthorized
	case http.StatusNotFound:
		return runtime.ErrNotFound
	case http.StatusBadRequest, http.StatusMethodNotAllowed:
		return runtime.ErrInvalid
	}
	return runtime.ErrUnavailable
}

// classOfTransport tells a registry we must not trust from one that is down.
func classOfTransport(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return runtime.ErrInvalid
	}
	return runtime.ErrUnavailable
}

// withoutAddress is the text of an error without the addresses of the request.
func withoutAddress(err error) string {
	var inner *url.Error
	for errors.As(err, &inner) && inner.Err != err {
		err = inner.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
