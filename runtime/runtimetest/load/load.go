// Package load asks an HTTP server without pause, as clients do who notice
// everything: new connections without a second try, connections that are kept,
// and one stream that never ends. The server is our payload.
package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say how a server is asked.
type Options struct {
	URL string // of a server whose "/" answers "hostname version pid", and whose "/stream" never ends
	// Rate of new connections a second; 0 = none.
	Rate int
	// Kept is how many clients ask over one connection each, 20 times a second.
	Kept int
	// Stream: one connection is held open all the time, too.
	Stream bool
	// Timeout of one request; 0 = 10 s.
	Timeout time.Duration
	// Dial replaces the machine's own way to connect; nil = that.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Result is what became of the requests.
type Result struct {
	Asked        int // requests on connections of their own
	Failed       int
	Kept         int            // requests on kept connections
	KeptFailed   int            // those whose connection broke, or could not be opened
	StreamBroken string         // what ended the stream; "" = nothing did
	Lines        int            // of the stream
	Hosts        map[string]int // answers by host name
	Errors       map[string]int // by text, a few
	Longest      time.Duration  // of the requests that were answered
	Slow         int            // answered requests that took longer than a second and a half
	// FailedAt is when new connections that failed were begun, the last few.
	FailedAt []time.Time
}

// Run is one server being asked.
type Run struct {
	opts   Options
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu     sync.Mutex
	result Result
}

// Start begins to ask.
func Start(opts Options) *Run {
	if opts.Timeout == 0 {
		opts.Timeout = 10 * time.Second
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{}).DialContext
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{opts: opts, cancel: cancel, result: Result{Hosts: map[string]int{}, Errors: map[string]int{}}}
	if opts.Rate > 0 {
		r.ended.Go(func() { r.fresh(ctx) })
	}
	for range opts.Kept {
		r.ended.Go(func() { r.kept(ctx) })
	}
	if opts.Stream {
		r.ended.Go(func() { r.stream(ctx) })
	}
	return r
}

// SoFar returns what became of the requests that have ended.
func (r *Run) SoFar() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.result
	now.FailedAt = slices.Clone(now.FailedAt)
	now.Hosts, now.Errors = maps.Clone(now.Hosts), maps.Clone(now.Errors)
	return now
}

// Stop waits for the requests under way and tells what became of all.
func (r *Run) Stop() Result {
	r.cancel()
	r.ended.Wait()
	return r.SoFar()
}

// fresh asks at the wanted rate, whether earlier requests have ended or not.
// What a busy machine makes it miss it makes up for, up to four times as fast.
func (r *Run) fresh(ctx context.Context) {
	every, began := time.Second/time.Duration(r.opts.Rate), time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for asked := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for range owed(asked, time.Since(began), every) {
			asked++
			r.ended.Go(func() { r.one() })
		}
	}
}

// owed is how many are to be begun now, of one every so often since it began.
func owed(asked int, since, every time.Duration) int {
	return max(0, min(int(since/every)-asked, 4))
}

// one asks once, on a connection of its own that is asked for once.
func (r *Run) one() {
	began := time.Now()
	host, err := r.ask(&http.Client{Timeout: r.opts.Timeout, Transport: &http.Transport{
		DialContext: r.opts.Dial, DisableKeepAlives: true,
	}})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Asked++
	r.note(host, err, time.Since(began), &r.result.Failed)
	if err != nil {
		r.result.FailedAt = append(r.result.FailedAt, began)
		r.result.FailedAt = r.result.FailedAt[max(0, len(r.result.FailedAt)-1000):]
	}
}

func (r *Run) note(host string, err error, took time.Duration, failed *int) {
	if err == nil {
		r.result.Hosts[host]++
		r.result.Longest = max(r.result.Longest, took)
		if took > 1500*time.Millisecond {
			r.result.Slow++
		}
		return
	}
	*failed++
	text := err.Error()
	if _, there := r.result.Errors[text]; !there && len(r.result.Errors) >= 20 {
		text = "others"
	}
	r.result.Errors[text]++
}

func (r *Run) ask(c *http.Client) (host string, err error) {
	answer, err := c.Get(r.opts.URL)
	if err != nil {
		return "", err
	}
	return read(answer)
}

// read takes the host name out of an answer.
func read(answer *http.Response) (host string, err error) {
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", answer.StatusCode)
	}
	host, _, _ = strings.Cut(string(body), " ")
	return host, nil
}

// kept asks over one connection, and opens another only when it is broken or
// the server has said with an answer that it was the last one on it. It does
// without http.Transport, which hides what breaks between two requests.
func (r *Run) kept(ctx context.Context) {
	var line *line
	defer func() {
		if line != nil {
			line.conn.Close()
		}
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		var host string
		var err error
		if line == nil {
			line, err = r.open()
		}
		if err == nil {
			var last bool
			if host, last, err = line.ask(r.opts.Timeout); err != nil || last {
				line.conn.Close()
				line = nil
			}
		}
		r.mu.Lock()
		r.result.Kept++
		r.note(host, err, time.Since(began), &r.result.KeptFailed)
		r.mu.Unlock()
	}
}

// line is a connection that is kept.
type line struct {
	conn    net.Conn
	answers *bufio.Reader
	request *http.Request
}

func (r *Run) open() (*line, error) {
	request, err := http.NewRequest(http.MethodGet, r.opts.URL, nil)
	if err != nil {
		return nil, err
	}
	address := request.URL.Host
	if request.URL.Port() == "" {
		address = net.JoinHostPort(request.URL.Hostname(), "80")
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.opts.Timeout)
	defer cancel()
	conn, err := r.opts.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &line{conn: conn, answers: bufio.NewReader(conn), request: request}, nil
}

// ask reports with last that the server closes the connection now.
func (l *line) ask(timeout time.Duration) (host string, last bool, err error) {
	if err := l.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", false, err
	}
	if err := l.request.Write(l.conn); err != nil {
		return "", false, fmt.Errorf("kept connection: %w", err)
	}
	answer, err := http.ReadResponse(l.answers, l.request)
	if err != nil {
		return "", false, fmt.Errorf("kept connection: %w", err)
	}
	host, err = read(answer)
	return host, answer.Close, err
}

// stream reads one answer that never ends.
func (r *Run) stream(ctx context.Context) {
	err := r.follow(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.StreamBroken = err.Error()
}

func (r *Run) follow(ctx context.Context) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(r.opts.URL, "/")+"/stream", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: r.opts.Dial}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(ask)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		r.mu.Lock()
		r.result.Lines++
		r.mu.Unlock()
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the server ended the stream")
}

// String is one line for a test's log.
func (r Result) String() string {
	return fmt.Sprintf("%d new connections, %d failed; %d requests on kept ones, %d failed; stream %d lines %s; longest answer %s, %d over 1.5 s; errors %v",
		r.Asked, r.Failed, r.Kept, r.KeptFailed, r.Lines, r.StreamBroken, r.Longest.Round(time.Millisecond), r.Slow, r.Errors)
}
