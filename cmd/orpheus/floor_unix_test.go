//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestFloorResetTold: a reset that the agent has taken is no error, also if the
// agent answers nothing more.
func TestFloorResetTold(t *testing.T) {
	dir, err := os.MkdirTemp("", "orph") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "orpheus.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var resets atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/floor", func(w http.ResponseWriter, _ *http.Request) {
		resets.Add(1)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		if resets.Load() > 0 {
			http.Error(w, "the agent is stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "{}")
	})
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	code, stdout, stderr := orpheus(t, ".", "floor", "reset", "--socket", socket)
	if code != 0 || !strings.Contains(stdout, "floor of this node is reset") || resets.Load() != 1 {
		t.Errorf("exit %d after %d resets: %s%s", code, resets.Load(), stdout, stderr)
	}
}
