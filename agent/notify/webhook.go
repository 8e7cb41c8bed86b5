package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/orpheus-cd/orpheus/gitsync/redact"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// HookConfig says who is told of events.
type HookConfig struct {
	// Name is for people: "webhooks[0]".
	Name string
	// URL is asked for before every request: it may be a secret, and is treated
	// as one.
	URL func() (string, error)
	// Plain: it is no secret, and stands in the configuration. New checks it then,
	// and http to other hosts is allowed.
	Plain bool
	On    []Kind // nil = all
	Route transport.Options
}

const (
	// maxQueue bounds the events that wait for one webhook: the oldest go.
	maxQueue = 256
	// maxBatch is how many of them are sent at once.
	maxBatch = 20
	// maxAge is how long an event is worth telling.
	maxAge = time.Hour
	// sendEvery and sendBurst bound what one webhook is sent; Slack takes one a
	// second.
	sendEvery = time.Second
	sendBurst = 5
)

// hook sends events to one webhook, in order, several at once where they wait.
type hook struct {
	cfg    HookConfig
	client client
	limit  *rate.Limiter
	pace   pace
	count  func(result string, n int)
	told   func(error) // how it fares

	mu    sync.Mutex
	queue []queued
	wake  chan struct{}
}

// queued is an event that waits.
type queued struct {
	event Event
	fleet string
	node  string // that tells it
	at    time.Time
}

func newHook(c HookConfig, count func(string, int), told func(error)) (*hook, error) {
	for _, kind := range c.On {
		if !slices.Contains(Kinds, kind) {
			return nil, fmt.Errorf("events: %q is no event; there are %s", kind, joined(Kinds))
		}
	}
	if c.Plain {
		address, err := c.URL()
		if err == nil {
			_, err = hookURL(address, true)
		}
		if err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	cl, err := newClient(c.Route)
	if err != nil {
		return nil, err
	}
	return &hook{cfg: c, client: cl, pace: usualPace, count: count, told: told, limit: rate.NewLimiter(rate.Every(sendEvery), sendBurst), wake: make(chan struct{}, 1)}, nil
}

func joined(kinds []Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// add has events sent. It does not wait for anything.
func (h *hook) add(f Facts, events []Event, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		if h.cfg.On == nil || slices.Contains(h.cfg.On, e.Kind) {
			h.queue = append(h.queue, queued{e, f.Fleet, string(f.Node), now})
		}
	}
	if over := len(h.queue) - maxQueue; over > 0 {
		h.queue = slices.Delete(h.queue, 0, over)
		h.count("dropped", over)
	}
	if len(h.queue) > 0 {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// run sends until ctx ends; what has not been sent then is lost.
func (h *hook) run(ctx context.Context) {
	for failures := 0; ; {
		batch := h.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-h.wake:
			}
			continue
		}
		err := h.send(ctx, batch)
		if ctx.Err() != nil {
			return
		}
		var f *failure
		switch {
		case err == nil:
			failures = 0
			h.count("sent", len(batch))
			h.told(nil)
			continue
		case errors.As(err, &f) && (f.status == http.StatusBadRequest || f.status == http.StatusRequestEntityTooLarge || f.status == http.StatusUnprocessableEntity):
			h.count("dropped", len(batch)) // it is they that are refused
		default:
			h.back(batch)
		}
		failures++
		h.count("failed", 1)
		if failures > 1 || f != nil && f.lasting {
			h.told(err)
		}
		if !pause(ctx, h.pace.backoff(failures, err)) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// take is what is sent next; it is no longer in the queue.
func (h *hook) take() []queued {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	n := min(len(h.queue), maxBatch)
	batch := slices.Clone(h.queue[:n])
	h.queue = slices.Delete(h.queue, 0, n)
	return batch
}

// back puts what could not be sent before what waits.
func (h *hook) back(batch []queued) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(batch, h.queue...)
	if over := len(h.queue) - maxQueue; over > 0 {
		h.queue = slices.Delete(h.queue, 0, over)
		h.count("dropped", over)
	}
}

// expire drops what nobody wants to know any more.
func (h *hook) expire(now time.Time) {
	old := 0
	for old < len(h.queue) && now.Sub(h.queue[old].at) > maxAge {
		old++
	}
	if old > 0 {
		h.queue = slices.Delete(h.queue, 0, old)
		h.count("dropped", old)
	}
}

// send makes one request with all events of a batch.
func (h *hook) send(ctx context.Context, batch []queued) error {
	address, err := h.cfg.URL()
	if err != nil {
		return &failure{text: err.Error(), lasting: true}
	}
	u, err := hookURL(address, h.cfg.Plain)
	if err != nil {
		return &failure{text: err.Error(), lasting: true}
	}
	body, err := payload(batch)
	if err != nil {
		return fmt.Errorf("encode events: %w", err)
	}
	if err := h.limit.Wait(ctx); err != nil {
		return err
	}
	_, err = h.client.do(ctx, call{method: http.MethodPost, url: u, body: body, secrets: secretsOf(address, u)})
	var f *failure
	if errors.As(err, &f) {
		named := *f
		named.text = u.Hostname() + ": " + f.text
		return &named
	}
	return err
}

// hookURL reads the address of a webhook. Its errors hold nothing of it.
func hookURL(raw string, plain bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, errors.New("the file is empty: it is to hold the webhook's address")
	case err != nil || len(raw) > 4096 || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("is no address such as https://HOST/PATH")
	case u.Scheme == "http" && !plain && !loopback(u.Hostname()):
		return nil, errors.New("over plain http the address, which is a secret, can be read on the way; use https")
	}
	u.Fragment = ""
	return u, nil
}

// minSecret is from how many characters on a part of an address is one.
const minSecret = 6

// secretsOf are the parts of an address that nobody is to see, in all
// spellings: all but its host.
func secretsOf(raw string, u *url.URL) redact.Scrubber {
	parts := []string{raw, u.String(), u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery}
	parts = append(parts, strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	var all []redact.Scrubber
	for _, part := range parts {
		if len(part) >= minSecret {
			all = append(all, redact.Token(part))
		}
	}
	if password, ok := u.User.Password(); ok {
		all = append(all, redact.Login(u.User.Username(), password))
	} else if u.User != nil {
		all = append(all, redact.Login(u.User.Username(), ""))
	}
	return redact.Join(all...)
}

// told is an event as a receiver gets it.
type told struct {
	Event
	At time.Time `json:"at"`
}

// payload is what a webhook is sent: text for chats, in Slack's form, and the
// events for programs.
func payload(batch []queued) ([]byte, error) {
	out := struct {
		Text   string `json:"text"`
		Fleet  string `json:"fleet,omitempty"`
		Node   string `json:"node"` // that tells it
		Events []told `json:"events"`
	}{Fleet: batch[0].fleet, Node: batch[0].node}
	var lines []string
	for _, q := range batch {
		line := q.event.Text
		if q.fleet != "" {
			line = "[" + q.fleet + "] " + line
		}
		lines = append(lines, chat(line))
		out.Events = append(out.Events, told{q.event, q.at.UTC().Truncate(time.Second)})
	}
	out.Text = strings.Join(lines, "\n")
	return json.Marshal(out)
}

// chat makes text fit for a chat: what calls everybody, or is a link, is a word
// like others.
func chat(text string) string {
	text = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
	const zeroWidth = "\u200b"
	for _, all := range []string{"@all", "@channel", "@everyone", "@here"} {
		text = strings.ReplaceAll(text, all, "@"+zeroWidth+all[1:])
	}
	return text
}
