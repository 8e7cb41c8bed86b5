package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestNotifier is the service manager of an agent: it hears that it is ready,
// how it fares, that its loop turns as long as it does, and that it stops.
func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "400000")
	t.Setenv("WATCHDOG_PID", "1") // of another process
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if n := newNotifier(log); n.patience != 0 || n.socket != path {
		t.Errorf("somebody else's watchdog: %+v", n)
	}
	if n := newNotifier(log); n.socket != "" {
		t.Errorf("children would talk to the manager: %+v", n)
	}
	n := &notifier{socket: path, patience: 400 * time.Millisecond, log: log}

	var hangs atomic.Bool
	asked, told := make(chan struct{}, 1000), 0
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.follow(ctx, func(ctx context.Context) error {
			if hangs.Load() {
				asked <- struct{}{}
				return errors.New("the loop does not answer")
			}
			return ctx.Err()
		}, func() *api.Status {
			return &api.Status{
				Repository: api.Repository{Applied: planner.Commit{Hash: "0123456789abcdef"}, Error: "refused\nREADY=0"},
				Services:   []api.Service{{Replicas: 3, Ready: 2}, {Replicas: 1, Ready: 1}},
			}
		})
	}()
	hear := func(want string) string {
		t.Helper()
		buf := make([]byte, 4096)
		for deadline := time.Now().Add(time.Minute); ; {
			if err := conn.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			k, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("waited in vain for %s: %v", want, err)
			}
			if text := string(buf[:k]); strings.Contains(text, want) {
				return text
			}
		}
	}
	if first := hear("READY=1"); first != "READY=1\nSTATUS=commit 01234567, 3 of 4 ready; Git cannot be read: refused READY=0" {
		t.Errorf("the first message is %q", first)
	}
	hear("WATCHDOG=1")
	hangs.Store(true)
	<-asked // one that was asked before may still be told
	<-asked
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; {
		k, err := conn.Read(buf)
		if err != nil {
			break
		}
		if told++; told > 1 {
			t.Errorf("a loop that hangs is told to turn: %q", buf[:k])
		}
	}
	cancel()
	hear("STOPPING=1")
	<-ended
	new(notifier).follow(t.Context(), nil, nil) // nobody listens: it returns
}
