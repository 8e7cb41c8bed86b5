package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/orpheus-cd/orpheus/planner"
)

// rollout takes ?service=NAME and answers with its rollout, null where no manifest
// that is followed has the service.
func (s *server) rollout(w http.ResponseWriter, r *http.Request) {
	id := planner.ParseServiceID(r.URL.Query().Get("service"))
	switch {
	case s.Rollout == nil:
		http.Error(w, "this agent knows of its own services alone", http.StatusNotFound)
		return
	case !isName(id.Namespace, false) || !isName(id.Name, false):
		http.Error(w, "parameter service must be NAME or NAMESPACE/NAME", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	found, err := s.Rollout(ctx, id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(found); err != nil {
		s.Log.Debug("answer not taken", "err", err)
	}
}

// Rollout asks how a service stands in the fleet: one, that is, that the status
// does not tell of, for nothing of it runs on the node and nothing of it changes.
// nil = no manifest that is followed has it.
func (c *Client) Rollout(ctx context.Context, id planner.ServiceID) (*Rollout, error) {
	res, err := c.do(ctx, http.MethodGet, "/v1/rollout", url.Values{"service": {id.Namespace + "/" + id.Name}}, "")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return nil, err
	}
	var found *Rollout
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&found); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.address, err)
	}
	return found, nil
}
