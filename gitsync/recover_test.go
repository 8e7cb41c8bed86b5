package gitsync_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// await takes updates until one is as wanted.
func await(t *testing.T, updates <-chan gitsync.Update, what string, ok func(gitsync.Update) bool) gitsync.Update {
	t.Helper()
	deadline := time.After(time.Minute)
	var last gitsync.Update
	for {
		select {
		case u, open := <-updates:
			if last = u; open && ok(u) {
				return u
			}
			if !open {
				t.Fatalf("%s: no more updates", what)
			}
		case <-deadline:
			t.Fatalf("%s: not within a minute; last %v", what, last.Err)
		}
	}
}

func failing(kind error) func(gitsync.Update) bool {
	return func(u gitsync.Update) bool { return errors.Is(u.Err, kind) }
}

func well(u gitsync.Update) bool { return u.Err == nil }

// TestRenewedFilesEndTheWait: with looks an hour apart, whatever is mended on
// disk is found out at once.
func TestRenewedFilesEndTheWait(t *testing.T) {
	git := newBehind(t, gitsynctest.Options{TLS: true, Token: "right"})
	token := filepath.Join(t.TempDir(), "token")
	c := git.config(t)
	c.URL = git.RepoURL(git.repo)
	c.Credentials = func(context.Context) (gitsync.Credentials, error) {
		text, err := os.ReadFile(token)
		return gitsync.Credentials{Token: string(text)}, err
	}
	ca := string(gitsynctest.Must(os.ReadFile(c.CAFile))(t))
	r := open(t, c)
	writeFile(t, token, "wrong")
	ctx, cancel := context.WithCancel(t.Context())
	updates := gitsync.Follow(ctx, r, gitsync.FollowOptions{
		Interval: func() time.Duration { return time.Hour }, MaxBackoff: 24 * time.Hour, Hints: gitsync.WatchFiles(ctx, token, c.CAFile)})
	defer func() {
		cancel()
		for range updates { // before the clone is closed
		}
	}()
	await(t, updates, "wrong token", failing(gitsync.ErrUnauthorized))
	writeFile(t, token, "right")
	await(t, updates, "right token", well)
	writeFile(t, c.CAFile, strings.Replace(ca, "BEGIN", "BEGUN", 1))
	await(t, updates, "no CA", failing(gitsync.ErrUnreachable))
	writeFile(t, c.CAFile, ca)
	await(t, updates, "CA again", well)
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	await(t, updates, "token gone", failing(gitsync.ErrUnauthorized))
	writeFile(t, filepath.Join(filepath.Dir(token), "new"), "right")
	if err := os.Rename(filepath.Join(filepath.Dir(token), "new"), token); err != nil {
		t.Fatal(err)
	}
	await(t, updates, "token back", well)
}

// TestRetryAfterIsKept: no request comes before the time a real server asked
// for, and the first one after it is well, from branch and board alike.
func TestRetryAfterIsKept(t *testing.T) {
	git := newBehind(t, gitsynctest.Options{})
	var mu sync.Mutex
	var asked []time.Time
	git.SetFault(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked = append(asked, time.Now())
			first := len(asked) == 1
			mu.Unlock()
			if first {
				w.Header().Set("Retry-After", "2")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	check := func(who string) {
		mu.Lock()
		defer mu.Unlock()
		if len(asked) < 2 || asked[1].Sub(asked[0]) < 1900*time.Millisecond {
			t.Errorf("%s asks at %v", who, asked)
		}
		asked = nil
	}
	r := open(t, gitsync.Config{URL: git.RepoURL(git.repo)})
	ctx, cancel := context.WithCancel(t.Context())
	updates := gitsync.Follow(ctx, r, gitsync.FollowOptions{Interval: func() time.Duration { return 100 * time.Millisecond }})
	if u := await(t, updates, "busy", failing(gitsync.ErrUnreachable)); !strings.Contains(u.Err.Error(), "not asked again before ") {
		t.Errorf("error %v", u.Err)
	}
	await(t, updates, "no longer busy", well)
	cancel()
	for range updates { // before the next one counts
	}
	check("Follow")

	b := openBoard(t, gitsync.BoardConfig{URL: git.RepoURL(git.repo)})
	deadline := time.Now().Add(time.Minute)
	for tries := 0; ; tries++ {
		_, err := b.List(t.Context())
		if err == nil {
			break
		}
		if gitsync.RetryAfter(err) == 0 || time.Now().After(deadline) {
			t.Fatalf("after %d tries: %v", tries, err)
		}
		time.Sleep(20 * time.Millisecond) // as an impatient caller
	}
	check("the board")
}
