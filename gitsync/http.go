package gitsync

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// httpRemote speaks smart HTTP with a client of its own, so that neither its
// trust nor its redirect policy is shared with anything else in the process.
type httpRemote struct {
	url    remoteURL
	base   atomic.Pointer[string] // url, or where the same host redirected the last look to
	idle   time.Duration
	client *http.Client
}

const (
	maxRedirects      = 5
	maxResponseHeader = 64 * kibi
	maxRetryAfter     = 15 * time.Minute
)

var _ remote = (*httpRemote)(nil)

func newHTTPRemote(s settings) *httpRemote {
	r := &httpRemote{url: s.remote, idle: s.Limits.Idle}
	r.setBase(s.remote.String())
	r.client = &http.Client{
		CheckRedirect: r.checkRedirect,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			OnProxyConnectResponse: checkProxy,
			DialContext:            (&net.Dialer{Timeout: min(10*time.Second, r.idle), KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots},
			TLSHandshakeTimeout:    min(10*time.Second, r.idle),
			ResponseHeaderTimeout:  r.idle,
			MaxResponseHeaderBytes: maxResponseHeader,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    2,    // a look beside a push
			DisableCompression:     true, // packs are compressed; limits count wire bytes
			ForceAttemptHTTP2:      true,
		},
	}
	return r
}

func (r *httpRemote) close() { r.client.CloseIdleConnections() }

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
		return nil, r.errorf(ErrUnreachable, "redirects to something that is no repository")
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

// do sends one request. The body of the reply must be closed; it ends with
// the context, or when it brings nothing for too long.
func (r *httpRemote) do(ctx context.Context, c Credentials, s service, method, address string, body []byte) (*http.Response, error) {
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
	if errors.Is(err, io.EOF) {
		err = errors.New("the connection was closed without an answer")
	}
	return &remoteError{kind: ErrUnreachable, text: explainSend(err)}
}

// explainSend adds the remedy where the library's own words lack it.
func explainSend(err error) string {
	text := printable(err.Error(), 300)
	var stranger x509.UnknownAuthorityError
	if errors.As(err, &stranger) {
		return "an authority that this node does not know signed the server's certificate (" + text +
			"); compare it with the server's owner, then name a file with that authority's certificate as caFile"
	}
	if way, ok := strings.CutPrefix(text, "proxyconnect tcp: "); ok {
		return "the proxy cannot be talked to: " + way
	}
	return text
}

// checkProxy tells what a proxy does not do for us: net/http would give the
// status alone, as if it were the server's.
func checkProxy(_ context.Context, proxy *url.URL, req *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text := fmt.Sprintf("the proxy %s answers %d %s when asked for the way to %s",
		printable(proxy.Host, 100), res.StatusCode, http.StatusText(res.StatusCode), printable(req.Host, 100))
	switch res.StatusCode {
	case http.StatusProxyAuthRequired:
		text += "; check user name and password in the proxy's address"
	case http.StatusForbidden:
		text += "; have its owner allow that"
	}
	return &remoteError{kind: ErrUnreachable, text: text}
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
	switch res.StatusCode {
	case http.StatusOK:
		got, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
		if strings.TrimSpace(got) != want {
			return r.errorf(ErrUnreachable, "answers with content type %q: no Git server speaks at this address", printable(got, 60))
		}
		return nil
	case http.StatusUnauthorized:
		return r.errorf(ErrUnauthorized, "wants credentials (401); check user name and token")
	case http.StatusForbidden:
		return r.errorf(ErrUnauthorized, "forbids access (403); check what the token may do")
	case http.StatusNotFound, http.StatusGone:
		return r.errorf(ErrRepositoryNotFound, "answers %d; check the address, and whether the token may read it", res.StatusCode)
	}
	err := r.errorf(ErrUnreachable, "answers %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable {
		err.retryAfter = parseRetryAfter(res.Header.Get("Retry-After"), time.Now())
	}
	switch {
	case err.retryAfter > 0:
		err.text += fmt.Sprintf(" and asks to be left alone for %s, which it is", err.retryAfter.Round(time.Second))
	case res.StatusCode == http.StatusTooManyRequests:
		err.text += "; have fewer nodes or a longer pollInterval in fleet.yaml, if this goes on"
	}
	return err
}

// parseRetryAfter reads seconds or a date; 0 = not given. What a server may
// ask for is bounded.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		return min(time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// checkRedirect lets only the first request of a look be redirected, and only
// on the same host: credentials and trust were given for that one. From http
// to https on the same host name is allowed, the other way never.
func (r *httpRemote) checkRedirect(req *http.Request, via []*http.Request) error {
	first, to := via[0].URL, req.URL
	target := printable(to.Scheme+"://"+to.Host, 100)
	switch {
	case via[0].Method != http.MethodGet:
		return r.errorf(ErrUnreachable, "redirects a download to %s, which is not followed; use that address if you trust it", target)
	case len(via) >= maxRedirects:
		return r.errorf(ErrUnreachable, "redirects without end")
	case to.User != nil:
		return r.errorf(ErrUnreachable, "redirects with other credentials, which is not followed")
	case to.Scheme == first.Scheme && strings.EqualFold(to.Host, first.Host):
		return nil
	case to.Scheme == "https" && first.Scheme == "http" && strings.EqualFold(to.Hostname(), first.Hostname()):
		return nil
	}
	return r.errorf(ErrUnreachable, "redirects to %s, which is not followed; use that address if you trust it", target)
}

// errorf tells what the server did.
func (r *httpRemote) errorf(kind error, format string, args ...any) *remoteError {
	return &remoteError{kind: kind, text: "the server " + fmt.Sprintf(format, args...)}
}
