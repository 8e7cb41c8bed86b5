package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/proxy"
)

// Dial connects to host:port for another protocol than HTTP: through the proxy
// of Options, else straight. The environment names proxies for HTTP only. Its
// errors are *Error, or of the context.
func (r *Route) Dial(ctx context.Context, target string) (net.Conn, error) {
	if r.proxies.fixed == nil {
		conn, err := r.dialer().DialContext(ctx, "tcp", target)
		if err != nil {
			return nil, hop{}.explain(ctx, err)
		}
		return conn, nil
	}
	h, err := r.proxies.hop(ctx, &url.URL{Scheme: "tcp", Host: target})
	if err != nil {
		return nil, h.explain(ctx, err)
	}
	conn, err := r.dialThrough(ctx, h, target)
	if err != nil {
		return nil, h.explain(ctx, err)
	}
	return conn, nil
}

func (r *Route) dialThrough(ctx context.Context, h hop, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*r.opts.Patience, errSlow) // to the proxy, and on
	defer cancel()
	conn, err := r.dialer().DialContext(ctx, "tcp", address(h.proxy))
	if err != nil {
		return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	through, err := r.tunnel(ctx, h, conn, target)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		if context.Cause(ctx) == errSlow {
			err = errSlow
		}
		return nil, err
	}
	return through, nil
}

var errSlow = errors.New("it takes too long to connect")

// tunnel turns a connection to a proxy into one to the target.
func (r *Route) tunnel(ctx context.Context, h hop, conn net.Conn, target string) (net.Conn, error) {
	switch h.proxy.Scheme {
	case "https":
		pool, err := r.transport()
		if err != nil {
			return nil, err
		}
		config := pool.TLSClientConfig.Clone()
		config.ServerName, config.NextProtos = h.proxy.Hostname(), []string{"http/1.1"}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
		}
		return connect(h.proxy, secure, target)
	case "http":
		return connect(h.proxy, conn, target)
	}
	var auth *proxy.Auth
	if user := h.proxy.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", address(h.proxy), auth, already{conn})
	if err != nil {
		return nil, err
	}
	return dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
}

// already is a dialer for a connection that is there.
type already struct{ net.Conn }

func (a already) Dial(string, string) (net.Conn, error) { return a.Conn, nil }

func (a already) DialContext(context.Context, string, string) (net.Conn, error) { return a.Conn, nil }

// connect asks an HTTP proxy for a connection to the target.
func connect(proxy *url.URL, conn net.Conn, target string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("ask for a connection: %w", err)
	}
	limited := &io.LimitedReader{R: conn, N: maxResponseHeader}
	buffered := bufio.NewReader(limited)
	res, err := http.ReadResponse(buffered, req)
	if err != nil {
		return nil, fmt.Errorf("ask for a connection: %w", err)
	}
	if err := refusedBy(proxy, target, res.StatusCode); err != nil {
		return nil, err
	}
	// The server may have spoken already.
	early, _ := buffered.Peek(buffered.Buffered()) // they are there
	return &tunnelled{Conn: conn, early: early}, nil
}

// tunnelled is a connection of which a part was read before.
type tunnelled struct {
	net.Conn
	early []byte
}

func (t *tunnelled) Read(b []byte) (int, error) {
	if len(t.early) > 0 {
		n := copy(b, t.early)
		t.early = t.early[n:]
		return n, nil
	}
	return t.Conn.Read(b)
}
