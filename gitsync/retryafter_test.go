package gitsync

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const ownClock = "Thu, 01 Jan 2026 05:00:00 GMT" // five hours ahead of ours
	for _, tt := range []struct {
		value, date string
		want        time.Duration
	}{
		{"7", "", 7 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"0", "", 0},
		{"3600", "", time.Hour},
		// More than we grant, more than an int32, more than an int64.
		{"3601", "", time.Hour},
		{"99999999999", "", time.Hour},
		{strings.Repeat("9", 5000), "", time.Hour},
		{"Thu, 01 Jan 2026 00:01:00 GMT", "", time.Minute},
		{"Thu, 01 Jan 2099 00:01:00 GMT", "", time.Hour},
		{"Thu, 01 Jan 1970 00:01:00 GMT", "", 0},
		// Dates are by the server's clock.
		{"Thu, 01 Jan 2026 05:01:00 GMT", ownClock, time.Minute},
		{"Thu, 01 Jan 2026 00:01:00 GMT", ownClock, 0},
		{"Thu, 01 Jan 2026 00:01:00 GMT", "no date", time.Minute},
		// Says nothing.
		{"", "", 0}, {"x", "", 0}, {"-5", "", 0}, {"1e9", "", 0}, {"0x10", "", 0}, {"5s", "", 0}, {"1.5", "", 0},
		{"\x00", "", 0}, {"٣", "", 0}, {"Thu, 01 Jan 99999999999 00:01:00 GMT", "", 0},
	} {
		header := http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}
		if got := ParseRetryAfter(header, now); got != tt.want {
			t.Errorf("%.50q, date %q: %s, want %s", tt.value, tt.date, got, tt.want)
		}
	}
	if got := ParseRetryAfter(nil, now); got != 0 {
		t.Errorf("no header: %s", got)
	}
}

// FuzzRetryAfter: no server keeps us away for more than the bound.
func FuzzRetryAfter(f *testing.F) {
	f.Add("7", "")
	f.Add("Thu, 01 Jan 2026 00:01:00 GMT", "Thu, 01 Jan 2026 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, value, date string) {
		d := ParseRetryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Now())
		if d < 0 || d > maxRetryAfter {
			t.Errorf("%q, %q: %s", value, date, d)
		}
	})
}

// busyServer is an HTTP server without a network, so that it can be in a bubble
// of synctest. It answers with a status, and a Retry-After if given.
type busyServer struct {
	requests atomic.Int64
	status   atomic.Int64
	after    atomic.Pointer[string]
}

func (b *busyServer) say(status int, after string) {
	b.status.Store(int64(status))
	b.after.Store(&after)
}

func (b *busyServer) RoundTrip(req *http.Request) (*http.Response, error) {
	b.requests.Add(1)
	res := &http.Response{StatusCode: int(b.status.Load()), Header: http.Header{}, Body: http.NoBody, Request: req}
	if after := *b.after.Load(); after != "" {
		res.Header.Set("Retry-After", after)
	}
	if res.StatusCode == http.StatusOK {
		// As a server of version 0 with no refs at all.
		res.Header.Set("Content-Type", "application/x-git-upload-pack-advertisement")
		res.Body = io.NopCloser(strings.NewReader("001e# service=git-upload-pack\n00000000"))
	}
	return res, nil
}

// newBusy is a board of a server that never was.
func newBusy(t *testing.T) (*busyServer, *RefBoard) {
	t.Helper()
	b, err := NewBoard(BoardConfig{URL: "https://git.example.com/fleet.git"})
	if err != nil {
		t.Fatal(err)
	}
	srv := &busyServer{}
	b.link.remote.(*httpRemote).client.Transport = srv
	return srv, b
}

// looker follows what a board shows, for want of a clone.
type looker struct{ board *RefBoard }

func (l looker) Fetch(ctx context.Context) (planner.Commit, error) {
	_, err := l.board.List(ctx)
	return planner.Commit{Hash: "a"}, err
}

// TestFollowPausesAsAsked: for the whole time that the server asked for, it is
// sent no request, whoever hints; then it is well again by itself.
func TestFollowPausesAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, board := newBusy(t)
		srv.say(http.StatusTooManyRequests, "600")
		ctx, cancel := context.WithCancel(t.Context())
		hints := make(chan struct{})
		begin := time.Now()
		updates := Follow(ctx, looker{board}, FollowOptions{Interval: func() time.Duration { return 10 * time.Second }, Hints: hints})
		u := <-updates
		until := begin.Add(10 * time.Minute).UTC().Format("15:04:05 UTC")
		if !errors.Is(u.Err, ErrUnreachable) || !strings.Contains(u.Err.Error(), "429 Too Many Requests") || !strings.Contains(u.Err.Error(), until) {
			t.Errorf("error %v does not tell until when (%s)", u.Err, until)
		}
		for time.Since(begin) < 599*time.Second {
			hints <- struct{}{}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := srv.requests.Load(); n != 1 {
			t.Errorf("%d requests while the server wanted none", n)
		}
		nothing(t, updates)
		// It asks for another pause: status shows the new end.
		srv.say(http.StatusServiceUnavailable, "60")
		if again := <-updates; !strings.Contains(again.Err.Error(), "503 Service Unavailable") || !again.Since.Equal(u.Since) {
			t.Errorf("update %+v", again)
		}
		srv.say(http.StatusOK, "")
		if u = <-updates; u.Err != nil || u.At.Sub(begin) < 660*time.Second {
			t.Errorf("update %+v", u)
		}
		cancel()
		for range updates { // closed once the goroutines are gone
		}
	})
}

// TestBoardPausesAsAsked: every call of the board fails at once meanwhile, with
// the same words, and a push is known not to have been made.
func TestBoardPausesAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, board := newBusy(t)
		srv.say(http.StatusForbidden, "90") // as some hosts say it
		_, first := board.List(t.Context())
		time.Sleep(30 * time.Second)
		push := Push{Changes: []Change{{"x/y", "", &planner.Record{Author: "n", Message: "m\n"}}}}
		results, second := board.Swap(t.Context(), push)
		if RetryAfter(first) != 90*time.Second || RetryAfter(second) != time.Minute {
			t.Errorf("waits %s, then %s: %v", RetryAfter(first), RetryAfter(second), second)
		}
		if Stalled(second) || results[0].Outcome != Lost || srv.requests.Load() != 1 {
			t.Errorf("stalled %t, %+v, %d requests", Stalled(second), results, srv.requests.Load())
		}
		if a, b := strings.SplitN(first.Error(), ": ", 2)[1], strings.SplitN(second.Error(), ": ", 2)[1]; a != b {
			t.Errorf("first %q, then %q", a, b)
		}
		time.Sleep(time.Minute)
		srv.say(http.StatusOK, "")
		if _, err := board.List(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestScrubbedErrorsKeepTheirPause: a password that is an everyday word must not
// cost the server its peace.
func TestScrubbedErrorsKeepTheirPause(t *testing.T) {
	err := newScrubber(Credentials{Username: "ada", Password: "busy"}).error(
		&remoteError{kind: ErrUnreachable, text: "busy", retryAfter: time.Minute})
	if RetryAfter(err) != time.Minute || !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "busy") {
		t.Errorf("error %v, retry after %s", err, RetryAfter(err))
	}
}
