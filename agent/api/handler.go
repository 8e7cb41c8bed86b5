package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Options are what a node tells, and where.
type Options struct {
	// Socket is the path of the unix socket; "" = none. Its folder is made, or
	// must be closed to other users.
	Socket string
	// Address is a loopback "host:port"; "" = none.
	Address string

	// Status returns the newest status, never nil, and never changes one it
	// has returned.
	Status func() *Status
	// Rollout tells how a service stands in the fleet, also where this node has
	// nothing to do with it; nil = no manifest that is followed has it. A nil
	// function: the status tells of all.
	Rollout func(context.Context, planner.ServiceID) (*Rollout, error)
	// Health says what keeps the agent from doing its work; nil = nothing ever.
	Health func(context.Context) error
	// Endpoints returns how connections are led, nil as long as that is not
	// known, and never changes what it has returned. A nil function: the node
	// leads none.
	Endpoints func() *Endpoints
	// Network looks at the node's network; nil = it has none.
	Network func(context.Context) (*NetworkState, error)
	// Usage measures what the node's instances use; nil = not offered.
	Usage func(context.Context) (*Usage, error)
	// Metrics serves /metrics; nil = not served.
	Metrics http.Handler
	// LogRoot holds <namespace>/<service>/<slot>/<container>.log and older
	// parts beside them; "" = logs are not served.
	LogRoot string
	// Events are served on the unix socket; nil = not served.
	Events *event.Log
	// Sync asks for a look at the repository now; nil = not offered. It must
	// not block, and may be called as often as it likes.
	Sync func()
	// ResetFloor is a person's word that what is followed goes on from a commit
	// ("" = the one in force), and in a fleet that its records are as they should
	// be; nil = not offered.
	ResetFloor func(ctx context.Context, commit string) error
	// Hold carries out an order of a person, Release takes one back; nil = not
	// offered.
	Hold    func(context.Context, HoldRequest) (Hold, error)
	Release func(ctx context.Context, target string) (Hold, error)
	// Restart replaces what runs of a service; nil = not offered.
	Restart func(context.Context, RestartRequest) (Restart, error)

	// Exec runs a command in an instance and returns its exit code, as
	// runtime.Execer does; nil = not offered.
	Exec func(context.Context, ExecRequest, runtime.Streams) (int, error)

	Log *slog.Logger // nil = silent
}

const (
	healthTimeout = 2 * time.Second
	maxStreams    = 64   // of logs, events and commands at once
	maxBody       = 1024 // bytes of a request; none of ours has a body
)

// local marks requests that came over the unix socket, whose sender may do
// what the agent's user may.
type local struct{}

// server answers requests.
type server struct {
	Options
	streams chan struct{} // a token per stream

	sessions sync.WaitGroup // on connections that were taken over

	mu     sync.Mutex
	last   *Status // what the answers were made of
	answer [2]encoded
}

// encoded is a status as it is sent.
type encoded struct {
	body []byte
	etag string
}

// Handler serves the API to anyone: health, metrics, status and the node's
// network, no more. The server of the unix socket, made by Listen, offers logs
// and sync as well.
func Handler(o Options) http.Handler { return newServer(o).handler() }

func newServer(o Options) *server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &server{Options: o, streams: make(chan struct{}, maxStreams)}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /v1/status", s.status)
	led := &leading{endpoints: s.Endpoints, network: s.Network}
	mux.HandleFunc("GET /v1/endpoints", led.serveEndpoints)
	mux.HandleFunc("GET /v1/http_sd", led.serveTargets)
	mux.HandleFunc("GET /v1/network", led.serveNetwork)
	mux.HandleFunc("GET /v1/rollout", onlyLocal(s.rollout))
	mux.HandleFunc("GET /v1/usage", onlyLocal(s.usage))
	mux.HandleFunc("GET /v1/logs", onlyLocal(s.logs))
	mux.HandleFunc("GET /v1/events", onlyLocal(s.events))
	mux.HandleFunc("POST /v1/sync", onlyLocal(s.sync))
	mux.HandleFunc("POST /v1/floor", onlyLocal(s.resetFloor))
	mux.HandleFunc("POST /v1/holds", onlyLocal(s.hold))
	mux.HandleFunc("DELETE /v1/holds", onlyLocal(s.release))
	mux.HandleFunc("POST /v1/restart", onlyLocal(s.restart))
	mux.HandleFunc("POST /v1/exec", onlyLocal(s.exec))
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	return guard(mux)
}

// guard keeps web pages out, which reach loopback through the browser of
// somebody on this machine: a name of theirs that points here is refused by
// its Host header, and nothing is readable across origins.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		if !isLocal(r) && !loopbackHost(r.Host) {
			http.Error(w, "this address answers only to localhost, 127.0.0.1 and [::1]", http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func isLocal(r *http.Request) bool { return r.Context().Value(local{}) != nil }

// loopbackHost reports whether a Host header names this machine as only its
// own users can.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = trimBrackets(host)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// trimBrackets takes those off that stand around an IPv6 address.
func trimBrackets(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func onlyLocal(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r) {
			http.Error(w, r.URL.Path+" is served on the agent's unix socket only", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.Health != nil {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		if err := s.Health(ctx); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	answer, err := s.encoded(isLocal(r))
	if err != nil {
		s.Log.Error("encode status", "err", err)
		http.Error(w, "the status cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", answer.etag)
	if r.Header.Get("If-None-Match") == answer.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer.body) // an error means that the client has gone
}

// encoded returns the status as JSON, encoded once however many ask. Only who
// may read logs gets what containers wrote.
func (s *server) encoded(logs bool) (encoded, error) {
	st := s.Status()
	s.mu.Lock()
	defer s.mu.Unlock()
	if st != s.last {
		s.last, s.answer = st, [2]encoded{}
	}
	answer := &s.answer[0]
	if logs {
		answer = &s.answer[1]
	}
	if answer.body == nil {
		told := st
		if !logs {
			told = st.withoutLogs()
		}
		body, err := json.Marshal(told)
		if err != nil {
			return encoded{}, err
		}
		sum := sha256.Sum256(body)
		*answer = encoded{append(body, '\n'), `"` + hex.EncodeToString(sum[:12]) + `"`}
	}
	return *answer, nil
}

func (s *server) sync(w http.ResponseWriter, _ *http.Request) {
	if s.Sync == nil {
		http.Error(w, "this agent does not take hints", http.StatusNotFound)
		return
	}
	s.Sync()
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintln(w, "looking at the repository")
}

// resetFloor takes ?commit=ID.
func (s *server) resetFloor(w http.ResponseWriter, r *http.Request) {
	if s.ResetFloor == nil {
		http.Error(w, "this agent has no floor to reset", http.StatusNotFound)
		return
	}
	commit := r.URL.Query().Get("commit")
	if len(commit) > 64 {
		http.Error(w, "that is no commit", http.StatusBadRequest)
		return
	}
	if err := s.ResetFloor(r.Context(), commit); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintln(w, "resetting the floor")
}
