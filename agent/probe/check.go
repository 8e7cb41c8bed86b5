package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxOutput is how much of an answer or of a command's output is read.
	maxOutput  = 10 << 10
	maxHeaders = 64 << 10
	userAgent  = "orpheus-probe"
)

// Check makes one check of a container, as long as the probe allows.
func Check(ctx context.Context, t Target, p *planner.Probe) outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, p.Timeout(), errTimeout)
	defer cancel()
	var out outcome
	switch {
	case p.HTTPGet != nil:
		out = httpGet(ctx, t, p.HTTPGet)
	case p.TCPSocket != nil:
		out = tcpSocket(ctx, t, p.TCPSocket)
	case p.GRPC != nil:
		out = grpcHealth(ctx, t, p.GRPC)
	case p.Exec != nil:
		out = command(ctx, t, p.Exec.Command)
	default:
		out = unknown("this version does not know how")
	}
	if out.result == planner.CheckFailure && context.Cause(ctx) == errTimeout {
		out.said = fmt.Sprintf("no answer within %v", p.Timeout())
		if p.Exec != nil {
			out.said = fmt.Sprintf("took longer than %v and was killed", p.Timeout())
		}
	}
	out.said, out.wrote = planner.OneLine(out.said, maxSaid), planner.OneLine(out.wrote, maxSaid)
	return out
}

// maxSaid bounds what a check says, and what is shown of an answer, in bytes.
const maxSaid = 256

var errTimeout = errors.New("the check has timed out")

// tcpSocket succeeds when a connection comes about.
func tcpSocket(ctx context.Context, t Target, p *planner.ProbePort) outcome {
	address, err := t.address(p.Host, p.Port)
	if err != nil {
		return unknown(err.Error())
	}
	conn, err := t.Place.dial(ctx, address)
	if err != nil {
		return refused(err)
	}
	conn.Close()
	return succeeded
}

// address is where a check of a host ("" = the instance) and a port, by number
// or name, goes to.
func (t Target) address(host, port string) (string, error) {
	n := t.Container.PortNumber(port)
	if n == 0 {
		return "", fmt.Errorf("the container has no port %q", port)
	}
	if host == "" {
		host = t.Place.Address
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(n)), nil
}

// httpGet succeeds on a status from 200 to 399.
func httpGet(ctx context.Context, t Target, h *planner.ProbeHTTP) outcome {
	req, err := request(ctx, t, h)
	if err != nil {
		return unknown(err.Error())
	}
	client := httpClient(t.Place)
	defer client.CloseIdleConnections()
	answer, err := client.Do(req)
	if err != nil {
		return refused(err)
	}
	defer answer.Body.Close()
	// What is read decides nothing, but an answer that breaks off is none.
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxOutput)); err != nil {
		return refused(err)
	}
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return failed(strconv.Itoa(answer.StatusCode))
	}
	return succeeded
}

// request is Kubernetes' request: a path may have a query, the header Host
// chooses the virtual host, and an empty Accept or User-Agent sends none.
func request(ctx context.Context, t Target, h *planner.ProbeHTTP) (*http.Request, error) {
	address, err := t.address(h.Host, h.Port)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(h.Path)
	if err != nil {
		at = &url.URL{Path: h.Path}
	}
	at.Scheme, at.Host, at.User = "http", address, nil
	if strings.EqualFold(h.Scheme, "https") {
		at.Scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, errors.New("its path makes no URL")
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "*/*")
	given := http.Header{}
	for _, header := range h.Headers {
		given.Add(header.Name, header.Value)
		if strings.EqualFold(header.Name, "Host") {
			req.Host = header.Value
		}
	}
	for name, values := range given {
		req.Header[name] = values
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Del("Accept")
	}
	return req, nil
}

// httpClient makes one request: no proxy, no connection kept, certificates not
// verified, redirects followed to the same host only. One to another host is
// the answer.
func httpClient(place Place) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return place.dial(ctx, address)
			},
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, // as in Kubernetes: a check of life, not of identity
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Hostname() != via[0].URL.Hostname() || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("more than ten redirects")
			}
			return nil
		},
	}
}

// refused is the outcome of a connection that failed. URLs have no place in
// it: they may hold secrets.
func refused(err error) outcome {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, errNoPlace) {
		return unknown(err.Error())
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" && op.Addr != nil {
		return failed(fmt.Sprintf("connect to %s: %v", op.Addr, op.Err))
	}
	// What stands in quotes is of the server's.
	said, _, _ := strings.Cut(err.Error(), `"`)
	return failed(strings.TrimSpace(said))
}
