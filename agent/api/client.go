package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	dialTimeout   = 5 * time.Second
	answerTimeout = 10 * time.Second // until the headers are there
	maxAnswer     = 64 << 20
	maxRecord     = 8 * maxLine // a line of a stream, every byte escaped
)

// Errors that callers branch on; the ones returned say more.
var (
	// ErrNotRunning: nobody answers at the address.
	ErrNotRunning = errors.New("no agent answers")
	// ErrDenied: the address belongs to another user.
	ErrDenied = errors.New("permission denied")
)

// Client talks to the agent of one node. It understands agents of other
// versions: fields it does not know are ignored, and those it misses are zero.
type Client struct {
	address string // as given
	base    string
	http    *http.Client

	mu   sync.Mutex
	etag string
	last *Status
}

// NewClient returns a client of the agent at address: the path of its unix
// socket, or an http URL.
func NewClient(address string) (*Client, error) {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		ResponseHeaderTimeout:  answerTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
	c := &Client{address: address, http: &http.Client{Transport: transport, CheckRedirect: noRedirect}}
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" && u.Host != "" {
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("address %s: write it as http://127.0.0.1:7717", u.Redacted())
		}
		c.base = "http://" + u.Host
		return c, nil
	}
	if address == "" || strings.Contains(address, "://") {
		return nil, fmt.Errorf("address %q is neither the path of a socket nor an http URL", address)
	}
	c.base = "http://agent" // names nobody: the transport has one place to go
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", address)
	}
	return c, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Address is what the client was made with.
func (c *Client) Address() string { return c.address }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns the node's status: the same pointer as long as it is the
// same, and not to be written to.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	c.mu.Lock()
	etag, last := c.etag, c.last
	c.mu.Unlock()
	res, err := c.do(ctx, http.MethodGet, "/v1/status", nil, etag)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified && last != nil {
		return last, nil
	}
	if err := c.expect(res, http.StatusOK); err != nil {
		return nil, err
	}
	st := &Status{}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(st); err != nil {
		return nil, fmt.Errorf("read the status from %s: %w; is it an Orpheus agent?", c.address, err)
	}
	c.mu.Lock()
	c.etag, c.last = res.Header.Get("ETag"), st
	c.mu.Unlock()
	return st, nil
}

// Sync asks the agent to look at the repository now. It does not wait for it.
func (c *Client) Sync(ctx context.Context) error {
	res, err := c.do(ctx, http.MethodPost, "/v1/sync", nil, "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return c.expect(res, http.StatusAccepted)
}

// ResetFloor says that what is followed goes on from commit, a full id; "" = the
// one in force. A node alone has it on disk then; one of a fleet, whose records
// are by that as they should be, writes it with its next push.
func (c *Client) ResetFloor(ctx context.Context, commit string) error {
	res, err := c.do(ctx, http.MethodPost, "/v1/floor", url.Values{"commit": {commit}}, "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return c.expect(res, http.StatusAccepted)
}

// Health returns nil if the agent says that it does its work.
func (c *Client) Health(ctx context.Context) error {
	res, err := c.do(ctx, http.MethodGet, "/healthz", nil, "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return c.expect(res, http.StatusOK)
}

// Logs hands over the lines of a request one by one. It ends with the last of
// them, with the context (nil), with an error of emit, or, when following,
// with an error that says why the agent ended the stream.
func (c *Client) Logs(ctx context.Context, req LogRequest, emit func(LogLine) error) error {
	res, err := c.do(ctx, http.MethodGet, "/v1/logs", req.values(), "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return err
	}
	return readLines(ctx, c.address, "logs", res.Body, req.Follow, func(l LogLine) error {
		if l.Error != "" {
			return errors.New(l.Error)
		}
		return emit(l)
	})
}

// readLines hands over the JSON documents of a stream, one a line. A stream that
// follows has no end of its own.
func readLines[T any](ctx context.Context, address, what string, body io.Reader, follow bool, emit func(T) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 32<<10), maxRecord)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return fmt.Errorf("read %s from %s: %w", what, address, err)
		}
		if err := emit(v); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("read %s from %s: %w", what, address, err)
	case follow:
		return fmt.Errorf("the agent at %s ended the stream: it is stopping or restarting; run this again", address)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, etag string) (*http.Response, error) {
	target := c.base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent at %s: %w", c.address, err)
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return res, nil
}

// explain says what an error of the connection means, and what to do.
func (c *Client) explain(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket %s; start the agent with \"orpheus agent\", or name its socket with --socket", ErrNotRunning, c.address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w on socket %s: the agent runs as another user; use sudo, or name another socket with --socket", ErrDenied, c.address)
	case refused(err):
		return fmt.Errorf("%w: nobody listens on %s, the agent has ended; start it with \"orpheus agent\", or name another socket with --socket", ErrNotRunning, c.address)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the agent at %s does not answer in time; look at its log", c.address)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which names nothing real
	}
	return fmt.Errorf("ask the agent at %s: %w", c.address, err)
}

// refused recognises a refused connection on every system: Windows has its
// own number for it.
func refused(err error) bool {
	const windowsRefused = syscall.Errno(10061)
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, windowsRefused)
}

// expect turns any other answer into an error with what the agent said.
func (c *Client) expect(res *http.Response, code int) error {
	if res.StatusCode == code {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // what there is of it
	said := strings.TrimSpace(string(text))
	switch {
	case res.StatusCode == http.StatusNotFound && said == "404 page not found":
		return fmt.Errorf("the agent at %s does not know %s: it is older than this orpheus, or not an agent; update it", c.address, res.Request.URL.Path)
	case said == "":
		said = http.StatusText(res.StatusCode)
	}
	return fmt.Errorf("the agent at %s answers: %s", c.address, said)
}
