package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// notKnown is answered until the agent has led connections for the first time:
// an empty answer would say that there is nothing.
const notKnown = "the agent has just started and does not know its endpoints yet; ask again in some seconds"

// leading serves what the node's agent knows of its network and of the
// endpoints it leads connections to.
type leading struct {
	endpoints func() *Endpoints // nil = connections are led nowhere
	network   func(context.Context) (*NetworkState, error)

	mu     sync.Mutex
	last   *Endpoints // what answer was made of
	answer []byte
}

// newest returns the endpoints, or tells why there are none.
func (l *leading) newest(w http.ResponseWriter) *Endpoints {
	if l.endpoints == nil {
		http.Error(w, "this agent leads no connections: its node has no network of its own", http.StatusNotFound)
		return nil
	}
	e := l.endpoints()
	if e == nil {
		http.Error(w, notKnown, http.StatusServiceUnavailable)
	}
	return e
}

func (l *leading) serveEndpoints(w http.ResponseWriter, _ *http.Request) {
	e := l.newest(w)
	if e == nil {
		return
	}
	body, err := l.encoded(e)
	if err != nil {
		http.Error(w, "the endpoints cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // an error means that the client has gone
}

// encoded returns the endpoints as JSON, encoded once however many ask.
func (l *leading) encoded(e *Endpoints) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e != l.last || l.answer == nil {
		body, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		l.last, l.answer = e, append(body, '\n')
	}
	return l.answer, nil
}

func (l *leading) serveNetwork(w http.ResponseWriter, r *http.Request) {
	if l.network == nil {
		http.Error(w, "this node has no network of its own", http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	state, err := l.network(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(state) // an error means that the client has gone
}

// Endpoints returns how connections are led, as the node's agent sees it.
func (c *Client) Endpoints(ctx context.Context) (*Endpoints, error) {
	return getJSON[Endpoints](ctx, c, "/v1/endpoints")
}

// Network returns the node's network as it is now.
func (c *Client) Network(ctx context.Context) (*NetworkState, error) {
	return getJSON[NetworkState](ctx, c, "/v1/network")
}

func getJSON[T any](ctx context.Context, c *Client, path string) (*T, error) {
	res, err := c.do(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(v); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.address, err)
	}
	return v, nil
}
