package gitsync

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxRetryAfter bounds for how long a server can keep itself from being asked.
const maxRetryAfter = time.Hour

// RetryAfter is for how long from now on the remote asked not to be asked
// again, at most an hour; 0 = it did not say.
func RetryAfter(err error) time.Duration {
	var r interface{ RetryAfter() time.Duration }
	if errors.As(err, &r) {
		return min(max(r.RetryAfter(), 0), maxRetryAfter)
	}
	return 0
}

// ParseRetryAfter reads the header Retry-After of a response that came at now:
// seconds, or a date; 0 = it says nothing usable. What it asks for is bounded
// by an hour, and a date is compared with the server's own clock.
func ParseRetryAfter(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds > int(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if sent, err := http.ParseTime(header.Get("Date")); err == nil {
		now = sent
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// pause keeps a server from being asked for as long as it asked for.
type pause struct {
	mu     sync.Mutex
	until  time.Time
	answer string // what the server said, with the status
}

// begin takes down what the server asked for and returns it in words.
func (p *pause) begin(answer string, d time.Duration) *remoteError {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if until := now.Add(d); until.After(p.until) {
		p.until, p.answer = until, answer
	}
	return p.error(now)
}

// check is an error while the server must not be asked.
func (p *pause) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !now.Before(p.until) {
		return nil
	}
	return notDone(p.error(now))
}

// error is the same text for the whole pause.
func (p *pause) error(now time.Time) *remoteError {
	return &remoteError{kind: ErrUnreachable, retryAfter: p.until.Sub(now),
		text: "the server answers " + p.answer + "; as it wishes, it is not asked again before " + p.until.UTC().Format("15:04:05 UTC")}
}
