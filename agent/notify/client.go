package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/redact"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

const (
	// patience bounds one request with its answer.
	patience = 20 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 1 << 20
	// maxSaid bounds what is told of it.
	maxSaid = 150
	// maxRedirects are followed, all to the same host.
	maxRedirects = 3
)

// call is one request. Whatever of it is secret is known to secrets.
type call struct {
	method  string
	url     *url.URL
	header  http.Header
	body    []byte
	secrets redact.Scrubber
}

// answer is what came back.
type answer struct {
	status int
	body   []byte // at most maxAnswer
	said   string // the beginning of body, for people
}

// failure is why a request came to nothing, in words without a secret.
type failure struct {
	text string
	// after is how long the server wants to be left alone; 0 = it does not say.
	after time.Duration
	// lasting: the same request will be refused again, unless a person changes
	// something.
	lasting bool
	// status of the answer; 0 = there was none. said is what it said.
	status int
	said   string
}

func (f *failure) Error() string { return f.text }

// client makes requests.
type client struct{ http *http.Client }

func newClient(o transport.Options) (client, error) {
	if o.Answer == 0 {
		o.Answer = patience
	}
	route, err := transport.New(o)
	if err != nil {
		return client{}, err
	}
	return client{&http.Client{Transport: route, Timeout: patience, CheckRedirect: sameHost}}, nil
}

// sameHost lets a server move what it has to another of its paths. What is sent
// elsewhere, less safely, or not as it was meant, is not sent at all.
func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0]
	if next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host || next.Method != first.Method || len(before) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

// do makes a request. Its error is a *failure, or of ctx.
func (c client) do(ctx context.Context, r call) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), bytes.NewReader(r.body))
	if err != nil {
		return answer{}, &failure{text: "its address cannot be used", lasting: true}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "orpheus")
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, r.unanswered(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	// What is cut off is looked through again: part of a secret may be left.
	said := redact.Printable(r.secrets.Clean(string(body)), maxSaid)
	out := answer{status: res.StatusCode, body: body, said: r.secrets.Clean(said)}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		if err != nil && r.method == http.MethodGet {
			return out, r.unanswered(ctx, err)
		}
		return out, nil // done, whatever becomes of the words about it
	}
	return out, r.refused(res, out)
}

// unanswered is a failure without an answer.
func (r call) unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var outer *url.Error // has the address in its text
	if errors.As(err, &outer) {
		err = outer.Err
	}
	text := err.Error()
	var timed interface{ Timeout() bool }
	if errors.As(err, &timed) && timed.Timeout() {
		text = fmt.Sprintf("no answer within %s", patience)
	}
	return &failure{text: r.secrets.Clean(redact.Printable(text, 300))}
}

// refused is what an answer means that is no success.
func (r call) refused(res *http.Response, a answer) error {
	f := &failure{status: a.status, said: a.said, after: wish(res, time.Now())}
	f.text = fmt.Sprintf("it answers %d %s", a.status, http.StatusText(a.status))
	switch {
	case a.status >= 300 && a.status < 400:
		f.lasting = true
		f.text += ": it sends requests elsewhere, where they are not sent; write the address it has now"
	case a.status == http.StatusProxyAuthRequired && transport.AuthRequired(res) != nil:
		f.text = transport.AuthRequired(res).Error()
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status == http.StatusTooManyRequests:
	case a.status < 500:
		f.lasting = f.after == 0
	}
	if a.said != "" && a.status >= 400 {
		f.text += fmt.Sprintf(", and says %q", a.said)
	}
	return f
}

// wish is how long a server wants to be left alone; 0 = it does not say.
func wish(res *http.Response, now time.Time) time.Duration {
	header := res.Header
	if after := gitsync.ParseRetryAfter(header, now); after > 0 {
		return after
	}
	reset, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || header.Get("X-RateLimit-Remaining") != "0" {
		return 0
	}
	header = http.Header{"Retry-After": {time.Unix(reset, 0).UTC().Format(http.TimeFormat)}, "Date": header.Values("Date")}
	return gitsync.ParseRetryAfter(header, now)
}

// pace is how fast things go; tests are in more of a hurry.
type pace struct {
	second  time.Duration // that back-off begins with
	standIn time.Duration // that each next node in rank leaves to those before it
	acting  time.Duration // the same for one that found them not to do it
	rewrite time.Duration // between two texts of one state
	recheck time.Duration // after which a post that ended something is looked at again
}

var usualPace = pace{second: time.Second, standIn: 20 * time.Second, acting: 3 * time.Second, rewrite: 30 * time.Second, recheck: 2 * time.Minute}

// backoff is the pause after so many failures in a row: 1 s, doubling to 5 min,
// and longer where only a person can help, or the server wants it.
func (p pace) backoff(failures int, err error) time.Duration {
	pause := min(p.second<<min(max(failures, 1)-1, 10), 300*p.second)
	var f *failure
	if errors.As(err, &f) {
		if f.lasting {
			pause = 600 * p.second
		}
		pause = max(pause, f.after)
	}
	return pause
}
