//go:build linux

package main

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// lines are the connections of a server that ends as a good one does: it never
// closes a connection on which the next request may be under way, but with its
// next answer.
type lines struct {
	linger time.Duration

	mu     sync.Mutex
	open   map[net.Conn]bool
	ending bool
	none   chan struct{} // closed when the last one is, while it ends
}

// newLines waits for that long at most; "" = not at all.
func newLines(linger string) *lines {
	l := &lines{open: map[net.Conn]bool{}, none: make(chan struct{})}
	if linger != "" {
		var err error
		l.linger, err = time.ParseDuration(linger)
		check(err)
	}
	return l
}

func (l *lines) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		if l.ending {
			w.Header().Set("Connection", "close")
		}
		l.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

func (l *lines) note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		l.open[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(l.open, c)
		l.tell()
	}
}

// tell is called with mu held.
func (l *lines) tell() {
	if l.ending && len(l.open) == 0 {
		select {
		case <-l.none:
		default:
			close(l.none)
		}
	}
}

// close returns once all connections are closed, or it has lingered for long
// enough.
func (l *lines) close() {
	l.mu.Lock()
	l.ending = true
	l.tell()
	l.mu.Unlock()
	select {
	case <-l.none:
	case <-time.After(l.linger):
	}
}
