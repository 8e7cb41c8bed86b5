package transport

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Options say how requests leave this node.
type Options struct {
	// Proxy is http://, https:// or socks5://[USER:PASSWORD@]HOST[:PORT], through
	// which everything goes. None: nothing does. "": HTTP goes as HTTPS_PROXY,
	// HTTP_PROXY and NO_PROXY (or in lower case) say, by the rules of net/http.
	Proxy string
	// ProxyLogin returns what the proxy is shown, anew for every request; nil =
	// what Proxy holds.
	ProxyLogin func(context.Context) (username, password string, err error)
	// CAFile holds PEM certificates of authorities that are trusted beside the
	// system's. It is read for every request.
	CAFile string
	// Patience bounds each step of connecting; 0 = 10 s.
	Patience time.Duration
	// Answer bounds the wait for an answer to begin; 0 = 30 s.
	Answer time.Duration
}

// String shows nothing: the proxy's URL may hold credentials.
func (o Options) String() string { return "transport options" }

// GoString is String.
func (o Options) GoString() string { return o.String() }

// maxResponseHeader bounds the header of an answer, also of a proxy.
const maxResponseHeader = 64 << 10

// Route is a way out of this node. It is safe for concurrent use.
type Route struct {
	opts    Options
	proxies proxies

	mu      sync.Mutex
	pem     []byte          // of CAFile, as current trusts it
	current *http.Transport // replaced when CAFile changes
}

var _ http.RoundTripper = (*Route)(nil)

// New checks the form of o: the error lists every fault, without a secret. It
// reads no file and touches no network: a CAFile that cannot be read is an error
// of each request, until it can be.
func New(o Options) (*Route, error) {
	o.Patience, o.Answer = cmp.Or(o.Patience, 10*time.Second), cmp.Or(o.Answer, 30*time.Second)
	proxies, err := newProxies(o)
	if err != nil {
		return nil, err
	}
	return &Route{opts: o, proxies: proxies}, nil
}

// CheckFiles says why requests could not be made now with the files that o
// names.
func (o Options) CheckFiles() error {
	if o.CAFile == "" {
		return nil
	}
	pem, err := readCAFile(o.CAFile)
	if err == nil {
		_, err = newPool(o.CAFile, pem)
	}
	return err
}

// Proxy names the proxy through which requests to a URL go, without
// credentials; "" = none.
func (r *Route) Proxy(target *url.URL) string {
	h, err := r.proxies.choose(target)
	if err != nil || h.proxy == nil {
		return ""
	}
	return Shown(h.proxy)
}

// CloseIdleConnections lets idle connections go.
func (r *Route) CloseIdleConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil {
		r.current.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. Its errors are *Error, or of the
// request's context.
func (r *Route) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.roundTrip(req)
	if err != nil && req.Body != nil {
		req.Body.Close() // harmless if it was
	}
	return res, err
}

func (r *Route) roundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	h, err := r.proxies.hop(ctx, req.URL)
	if err != nil {
		return nil, h.explain(ctx, err)
	}
	through, err := r.transport()
	if err != nil {
		return nil, h.explain(ctx, err)
	}
	res, err := through.RoundTrip(req.WithContext(context.WithValue(ctx, hopKey{}, h)))
	if err != nil {
		return nil, h.explain(ctx, err)
	}
	return res, nil
}

// hopKey is under which a request carries its hop to the transport.
type hopKey struct{}

// transport is one that trusts what CAFile holds now. Answers under way are
// read to their end from an older one.
func (r *Route) transport() (*http.Transport, error) {
	var pem []byte
	if r.opts.CAFile != "" {
		var err error
		if pem, err = readCAFile(r.opts.CAFile); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && bytes.Equal(pem, r.pem) {
		return r.current, nil
	}
	var pool *x509.CertPool // nil = the system's
	if r.opts.CAFile != "" {
		var err error
		if pool, err = newPool(r.opts.CAFile, pem); err != nil {
			return nil, err
		}
	}
	if r.current != nil {
		r.current.CloseIdleConnections()
	}
	r.current, r.pem = r.newTransport(pool), pem
	return r.current, nil
}

func (r *Route) newTransport(pool *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy: func(req *http.Request) (*url.URL, error) {
			h, _ := req.Context().Value(hopKey{}).(hop)
			return h.proxy, nil
		},
		OnProxyConnectResponse: judgeConnect,
		DialContext:            r.dialer().DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		TLSHandshakeTimeout:    r.opts.Patience,
		ResponseHeaderTimeout:  r.opts.Answer,
		MaxResponseHeaderBytes: maxResponseHeader,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    2,    // a look beside a push
		DisableCompression:     true, // packs are compressed; limits count wire bytes
		ForceAttemptHTTP2:      true,
	}
}

func (r *Route) dialer() *net.Dialer {
	return &net.Dialer{Timeout: r.opts.Patience, KeepAlive: 30 * time.Second}
}
