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

// pullError says in the user's words why an image could not be made ready.
// Texts with addresses in them are not passed on: a redirect's address may
// hold a signature that is as good as a password.
func (d *Driver) pullError(image string, ref imageRef, err error) error {
	pulling := "pull image " + image
	var (
		answer   remoteerrors.ErrUnexpectedStatus
		urlError *url.Error
		netError net.Error
		internal internalAddress
	)
	switch answered := native(err); {
	case classified(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &urlError):
		return fmt.Errorf("%s: %w", pulling, err)
	case errors.As(err, &internal):
		return fmt.Errorf("%s: registry %s %w: %w", pulling, ref.host, internal, runtime.ErrInvalid)
	case errors.As(err, &answer):
		return fmt.Errorf("%s: registry %s answers %s: %w", pulling, ref.host, answer.Status, classOfStatus(answer.StatusCode))
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return fmt.Errorf("%s: registry %s refuses the credentials or wants some: %w", pulling, ref.host, runtime.ErrUnauthorized)
	case errors.As(err, &urlError):
		return fmt.Errorf("%s: registry %s does not answer: %s: %w", pulling, ref.host, withoutAddress(urlError.Err), classOfTransport(urlError.Err))
	case errors.Is(err, errTooBig):
		return fmt.Errorf("%s: %w: %w", pulling, runtime.ErrInvalid, err)
	case errors.As(err, &netError), errors.Is(err, errStalled):
		return fmt.Errorf("%s: registry %s broke off: %s: %w", pulling, ref.host, withoutAddress(err), runtime.ErrUnavailable)
	case strings.Contains(err.Error(), "no match for platform"):
		return fmt.Errorf("%s: the image has no %s: %w", pulling, platforms.DefaultString(), runtime.ErrInvalid)
	case strings.Contains(err.Error(), "byte manifest"):
		return fmt.Errorf("%s: its manifest is larger than %d bytes: %w", pulling, docker.MaxManifestSize, runtime.ErrInvalid)
	case errdefs.IsUnavailable(answered), isStatus(err):
		return d.fail(pulling, answered)
	case errdefs.IsNotFound(answered):
		return fmt.Errorf("%s: registry %s has no such image: %w", pulling, ref.host, runtime.ErrNotFound)
	case errdefs.IsInvalidArgument(answered), errdefs.IsNotImplemented(answered):
		return fmt.Errorf("%s: %w: %w", pulling, runtime.ErrInvalid, answered)
	}
	return fmt.Errorf("%s: %w", pulling, err)
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
