package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/orpheus-cd/orpheus/planner"
)

// RestartRequest asks a node that stands alone to restart a service.
type RestartRequest struct {
	Service string // as people write it: NAME or NAMESPACE/NAME
	Pull    bool   // run what the tags of its images stand for now
	By      string // who asks, for others who look
}

// Check says what is wrong with a request.
func (r RestartRequest) Check() error {
	if r.Service == "" {
		return errors.New("name a service")
	}
	if len(r.Service) > 500 || len(r.By) > 500 {
		return errors.New("the request is too long")
	}
	return nil
}

// Restart is what a restart is about to do.
type Restart struct {
	Service  string           `json:"service"`
	Slots    int              `json:"slots"`    // that are replaced, one after the other
	Revision planner.Revision `json:"revision"` // they will have
	// Images are those whose tag was resolved anew, by name.
	Images []RestartImage `json:"images,omitempty"`
}

// RestartImage is what a tag stood for, and what it stands for now.
type RestartImage struct {
	Image  string `json:"image"`
	Before string `json:"before,omitempty"` // digest; "" = it was not pinned yet
	After  string `json:"after"`
}

// restart takes the fields of a RestartRequest in the query.
func (s *server) restart(w http.ResponseWriter, r *http.Request) {
	if s.Restart == nil {
		http.Error(w, "this agent takes no orders", http.StatusNotFound)
		return
	}
	q := r.URL.Query()
	req := RestartRequest{Service: q.Get("service"), Pull: q.Get("pull") == "true", By: q.Get("by")}
	if err := req.Check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	done, err := s.Restart(r.Context(), req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(done); err != nil {
		s.Log.Debug("answer not taken", "err", err)
	}
}

// Restart asks for a restart; it goes on, also after a restart of the agent,
// once this returns.
func (c *Client) Restart(ctx context.Context, req RestartRequest) (done Restart, err error) {
	query := url.Values{"service": {req.Service}, "by": {req.By}}
	if req.Pull {
		query.Set("pull", "true")
	}
	res, err := c.do(ctx, http.MethodPost, "/v1/restart", query, "")
	if err != nil {
		return done, err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return done, err
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&done); err != nil {
		return done, fmt.Errorf("read the answer of %s: %w", c.address, err)
	}
	return done, nil
}
