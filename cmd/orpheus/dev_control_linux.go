package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// devState is what the supervisor tells about its fleet.
type devState struct {
	Name       string    `json:"name"`
	PID        int       `json:"pid"` // of the supervisor
	StartedAt  time.Time `json:"startedAt"`
	Driver     string    `json:"driver"`
	GitURL     string    `json:"gitURL"`
	Repository string    `json:"repository"` // the same, by its path
	Registry   string    `json:"registry,omitempty"`
	Host       string    `json:"host,omitempty"` // address at which nodes reach this machine
	Nodes      []devNode `json:"nodes"`
}

// devNode is what the supervisor tells about a node.
type devNode struct {
	Name       string        `json:"name"`
	On         bool          `json:"on"`
	Address    string        `json:"address"` // for peers
	Agent      int           `json:"agentPID,omitempty"`
	Containerd int           `json:"containerdPID,omitempty"`
	Processes  []int         `json:"processes,omitempty"` // all of the node's
	Cut        devfleet.Side `json:"cut,omitempty"`
	Socket     string        `json:"socket"`
	Log        string        `json:"log"`
}

// devOrder is what the supervisor is asked to do with a node.
type devOrder struct {
	Verb string        `json:"verb"` // kill, start, cut, heal
	Node string        `json:"node"`
	From devfleet.Side `json:"from,omitempty"` // of cut
	// AgentOnly kills the agent and nothing else.
	AgentOnly bool `json:"agentOnly,omitempty"`
}

// maxControl bounds what either side reads of the other.
const maxControl = 4 << 20

// control asks a fleet's supervisor, over its socket. There is no bound on the
// time: what is asked for may take long, and the caller can be interrupted.
func control(ctx context.Context, dir, path string, order, answer any) error {
	body, err := json.Marshal(order)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://supervisor/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, devControl))
	}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the supervisor of the fleet: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxControl))
	if err != nil {
		return fmt.Errorf("ask the supervisor of the fleet: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// controlHandler serves control. Orders are carried out one after the other.
func (s *supervisor) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /state", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, s.state())
	})
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		var o devOrder
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControl)).Decode(&o); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.obey(o); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		s.log.Info("done", "verb", o.Verb, "node", o.Node, "from", string(o.From), "agentOnly", o.AgentOnly)
		answer(w, s.state())
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.down(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, struct{}{})
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller has gone
}
