package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// httpRemote speaks smart HTTP with a client of its own, so that neither its
// trust nor its redirect policy is shared with anything else in the process.
type httpRemote struct {
	url    remoteURL
	base   atomic.Pointer[string] // url, or where the same host redirected the last look to
	idle   time.Duration
	route  *transport.Route
	client *http.Client
	pause  pause
}

const maxRedirects = 5

var _ remote = (*httpRemote)(nil)

func newHTTPRemote(s settings) *httpRemote {
	r := &httpRemote{url: s.remote, idle: s.Limits.Idle, route: s.route}
	r.setBase(s.remote.String())
	r.client = &http.Client{CheckRedirect: r.checkRedirect, Transport: s.route}
	return r
}

func (r *httpRemote) close() { r.route.CloseIdleConnections() }

func (r *httpRemote) setBase(base string) { r.base.Store(&base) }

func (r *httpRemote) advertise(ctx context.Context, c Credentials, s service) (io.ReadCloser, error) {
	// The redirect, if any, is asked for again at every look: a host that
	// moves a repository back is followed back.
	res, err := r.do(ctx, c, s, http.MethodGet, r.url.String()+"/info/refs?service="+s.name(), nil)
	if err != nil {
		return nil, err
	}
	at := *res.Request.URL
	at.RawQuery, at.User = "", nil
	base, ok := strings.CutSuffix(at.String(), "/info/refs")
	if !ok {
		res.Body.Close()
		return nil, r.errorf(ErrUnreachable, "the server redirects to something that is no repository")
	}
	r.setBase(base)
	return res.Body, nil
}

func (r *httpRemote) exchange(ctx context.Context, c Credentials, s service, request []byte) (io.ReadCloser, error) {
	res, err := r.do(ctx, c, s, http.MethodPost, *r.base.Load()+"/"+s.name(), request)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// do sends one request, unless the server asked for a pause. The body of the
// reply must be closed; it ends with the context, or when it brings nothing for
// too long.
func (r *httpRemote) do(ctx context.Context, c Credentials, s service, method, address string, body []byte) (*http.Response, error) {
	if err := r.pause.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// From the moment there is a connection, a part of the request may be on
	// its way whatever becomes of it. (Before that net/http may try again; it
	// never repeats a POST of which a byte was written.)
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(traced, method, address, bytes.NewReader(body))
	if err != nil {
		cancel(err)
		return nil, notDone(&remoteError{kind: ErrUnreachable, text: "make request: bad address"})
	}
	accept := setHeader(req, c, s)
	res, err := r.client.Do(req)
	if err != nil {
		defer cancel(err)
		err = r.sendError(ctx, err)
		if !connected.Load() {
			err = notDone(err)
		}
		return nil, err
	}
	res.Body = newIdleReader(ctx, res.Body, r.idle, cancel)
	if err := r.checkResponse(res, accept); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}

// setHeader fills the request's header and returns the content type that only
// a Git server answers with.
func setHeader(req *http.Request, c Credentials, s service) (accept string) {
	accept = "application/x-" + s.name() + "-advertisement"
	if req.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-"+s.name()+"-request")
		accept = "application/x-" + s.name() + "-result"
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "git/orpheus")
	if s == uploadPackV2 {
		req.Header.Set("Git-Protocol", protocol2)
	}
	switch {
	case c.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.Token)
	case c.Username != "" || c.Password != "":
		req.SetBasicAuth(c.Username, c.Password)
	}
	return accept
}

// sendError names what went wrong without the address net/http adds: after a
// redirect it is the other server's text.
func (r *httpRemote) sendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var known *remoteError
	if errors.As(err, &known) {
		return known
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return &remoteError{kind: ErrUnreachable, text: printable(err.Error(), 500)}
}

// checkResponse turns every answer but the expected one into an error. The
// body of such an answer is never read. A status that says the request was
// refused means that it was not carried out; one that tells of trouble, which
// may be of a proxy after the server has acted, proves nothing.
func (r *httpRemote) checkResponse(res *http.Response, want string) error {
	err := r.statusError(res, want)
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests:
		return notDone(err)
	}
	return err
}

func (r *httpRemote) statusError(res *http.Response, want string) error {
	after := ParseRetryAfter(res.Header, time.Now())
	switch code := res.StatusCode; code {
	case http.StatusOK:
		got, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
		if strings.TrimSpace(got) != want {
			return r.errorf(ErrUnreachable, "%s answers with content type %q: no Git server speaks at this address", speaker(res), printable(got, 60))
		}
		return nil
	case http.StatusUnauthorized:
		if res.Request.Header.Get("Authorization") == "" {
			return r.errorf(ErrUnauthorized, "the server wants credentials (401), and none are configured")
		}
		return r.errorf(ErrUnauthorized, "the server wants credentials (401); check user name and token")
	case http.StatusForbidden:
		if after > 0 { // as some hosts say that it was too much
			return r.pause.begin(answer(code), after)
		}
		return r.errorf(ErrUnauthorized, "the server forbids access (403); check what the token may do")
	case http.StatusNotFound, http.StatusGone:
		return r.errorf(ErrRepositoryNotFound, "the server answers %d; check the address, and whether the token may read it", code)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if after > 0 {
			return r.pause.begin(answer(code), after)
		}
		if code == http.StatusTooManyRequests {
			return r.errorf(ErrUnreachable, "the server answers %s; have fewer nodes or a longer pollInterval in fleet.yaml, if this goes on", answer(code))
		}
	case http.StatusProxyAuthRequired:
		if err := transport.AuthRequired(res); err != nil {
			return r.errorf(ErrUnreachable, "%v", err)
		}
	}
	return r.errorf(ErrUnreachable, "%s answers %s", speaker(res), answer(res.StatusCode))
}

// answer is a status in the standard's words, not the server's.
func answer(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// speaker names who may have answered.
func speaker(res *http.Response) string {
	if proxy := transport.Interposed(res); proxy != "" {
		return "the server, or the proxy " + proxy + " in its place,"
	}
	return "the server"
}

// checkRedirect lets only the first request of a look be redirected, and only
// on the same host: credentials and trust were given for that one. From http
// to https on the same host name is allowed, the other way never.
func (r *httpRemote) checkRedirect(req *http.Request, via []*http.Request) error {
	first, to := via[0].URL, req.URL
	target := printable(to.Scheme+"://"+to.Host, 100)
	switch {
	case via[0].Method != http.MethodGet:
		return r.errorf(ErrUnreachable, "the server redirects a download to %s, which is not followed; use that address if you trust it", target)
	case len(via) >= maxRedirects:
		return r.errorf(ErrUnreachable, "the server redirects without end")
	case to.User != nil:
		return r.errorf(ErrUnreachable, "the server redirects with other credentials, which is not followed")
	case to.Scheme == first.Scheme && strings.EqualFold(to.Host, first.Host):
		return nil
	case to.Scheme == "https" && first.Scheme == "http" && strings.EqualFold(to.Hostname(), first.Hostname()):
		return nil
	}
	return r.errorf(ErrUnreachable, "the server redirects to %s, which is not followed; use that address if you trust it", target)
}

// errorf tells what became of a request.
func (r *httpRemote) errorf(kind error, format string, args ...any) *remoteError {
	return &remoteError{kind: kind, text: fmt.Sprintf(format, args...)}
}
