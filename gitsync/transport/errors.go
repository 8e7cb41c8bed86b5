package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/orpheus-cd/orpheus/gitsync/redact"
)

// Error says why there is no answer, and if it was by a proxy, by which. Its
// text holds no secret and is one line.
type Error struct {
	text string
	err  error // what it was made from; nil = text says it all
}

func (e *Error) Error() string { return e.text }

// Timeout reports whether something took too long.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.err, &t) && t.Timeout()
}

// explain puts an error into words that name the proxy, if there is one, and
// the remedy, if it is known.
func (h hop) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var known *Error
	if errors.As(err, &known) {
		return h.clean(known)
	}
	out := &Error{err: err, text: explained(err)}
	var dial *net.OpError
	switch {
	case h.proxy == nil:
	case errors.As(err, &dial) && dial.Op == "proxyconnect":
		out.text = fmt.Sprintf("the proxy %s cannot be reached: %s; check %s", Shown(h.proxy), explained(dial.Err), h.origin)
	default:
		out.text = fmt.Sprintf("through the proxy %s: %s", Shown(h.proxy), out.text)
	}
	return h.clean(out)
}

// clean takes the proxy's credentials out: it may have sent them back.
func (h hop) clean(e *Error) *Error {
	return &Error{text: redact.Printable(h.secrets.Clean(e.text), 500), err: e.err}
}

// explained adds the remedy to an error of TLS.
func explained(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	text := err.Error() // clean makes it fit for people
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	case errors.As(err, &authority):
		return "an authority that this node does not know signed the server's certificate (" + text +
			"); compare it with the server's owner, then name a file with that authority's certificate as caFile"
	case errors.As(err, &name):
		return text + "; use a name that the certificate is for"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return text + "; let it be renewed there, or set this node's clock"
	case errors.As(err, &record):
		return text + "; something that is no TLS server answers there"
	}
	return text
}

// judgeConnect is asked what a proxy's answer to CONNECT means.
func judgeConnect(_ context.Context, proxy *url.URL, req *http.Request, res *http.Response) error {
	return refusedBy(proxy, req.Host, res.StatusCode)
}

// refusedBy is what a proxy's status says about a connection to target; nil =
// it has made one.
func refusedBy(proxy *url.URL, target string, status int) error {
	text := fmt.Sprintf("the proxy %s answers %d %s when asked for the way to %s",
		Shown(proxy), status, http.StatusText(status), redact.Printable(target, 100))
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusProxyAuthRequired:
		return authRequired(proxy)
	case status == http.StatusForbidden:
		text += "; have its owner allow that"
	case status < 500:
		text += "; is it a proxy?"
	}
	return &Error{text: text}
}

// authRequired is what a proxy's 407 says.
func authRequired(proxy *url.URL) *Error {
	text := "the proxy " + Shown(proxy) + " answers 407 Proxy Authentication Required; "
	if proxy.User == nil {
		return &Error{text: text + "give it a user name and a password"}
	}
	return &Error{text: text + "check the user name and the password that are configured for it"}
}

// Interposed names the proxy that may have answered in place of the server, as
// one can in plain http; "" = none.
func Interposed(res *http.Response) string {
	if h, _ := res.Request.Context().Value(hopKey{}).(hop); h.proxy != nil && res.Request.URL.Scheme == "http" {
		return Shown(h.proxy)
	}
	return ""
}

// AuthRequired is what a response with status 407 means if it is a proxy's;
// nil = it is not.
func AuthRequired(res *http.Response) error {
	if Interposed(res) == "" {
		return nil
	}
	return authRequired(res.Request.Context().Value(hopKey{}).(hop).proxy)
}
