package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// TestAttack03ExecUnread: a client that is stopped, or whose network is, ends
// its session as one that has gone does: neither the command nor one of the
// streams that logs and events need, too, is its for ever.
func TestAttack03ExecUnread(t *testing.T) {
	for _, c := range []struct {
		name string
		stop time.Duration // after which the agent stops
		want time.Duration // after which the session is over
	}{
		{"the client reads nothing", 24 * time.Hour, streamStall},
		{"and the agent stops meanwhile", time.Minute, time.Minute + endTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { unread(t, c.stop, c.want) })
		})
	}
}

func unread(t *testing.T, stop, want time.Duration) {
	var commandEnded atomic.Bool
	s := newServer(Options{Exec: func(ctx context.Context, _ ExecRequest, streams runtime.Streams) (int, error) {
		// As drivers do: what copies the output is waited for.
		copied := make(chan struct{})
		go func() {
			defer close(copied)
			for {
				if _, err := io.WriteString(streams.Out, "output without an end"); err != nil {
					return
				}
			}
		}()
		<-ctx.Done()
		<-copied
		commandEnded.Store(true)
		return 0, ctx.Err()
	}})
	client, conn := net.Pipe()
	defer client.Close()
	agent, cancel := context.WithTimeout(t.Context(), stop)
	defer cancel()
	req, err := http.NewRequestWithContext(agent, http.MethodPost, "/v1/exec", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Upgrade", execProtocol)
	begin, over := time.Now(), make(chan struct{})
	go func() {
		defer close(over)
		s.exec(&hijacked{conn: conn}, req)
	}()
	answer := bufio.NewReader(client)
	if res, err := http.ReadResponse(answer, req); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", res, err)
	}
	if err := newFrames(nil, client).writeJSON(frameRequest, ExecRequest{Target: "web", Argv: []string{"yes"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-over:
	case <-time.After(25 * time.Hour):
		client.Close()
		<-over
	}
	if took := time.Since(begin); took != want || !commandEnded.Load() || len(s.streams) != 0 {
		t.Errorf("after %v, the command ended: %t, streams taken: %d; want it over after %v", took, commandEnded.Load(), len(s.streams), want)
	}
}

// hijacked gives its connection away.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Header() http.Header { return http.Header{} }

func (h *hijacked) Write([]byte) (int, error) { return 0, errors.New("taken over") }

func (h *hijacked) WriteHeader(int) {}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}
