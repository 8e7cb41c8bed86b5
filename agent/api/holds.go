package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Hold is a person's order to the node that counts now.
type Hold struct {
	Target   string           `json:"target"` // service, slot or "node"
	Stop     bool             `json:"stop,omitempty"`
	Revision planner.Revision `json:"revision,omitempty"`
	Since    time.Time        `json:"since"`
	Until    time.Time        `json:"until"`
	By       string           `json:"by,omitempty"`
	Reason   string           `json:"reason"`
	Text     string           `json:"text"` // all of it in one sentence, without the target
}

// HoldRequest asks for a hold.
type HoldRequest struct {
	Target   string // service or slot; "" = the node
	For      time.Duration
	Reason   string
	By       string
	Stop     bool
	Revision string // or a prefix of it; only for slots
}

// MaxHold is the longest a hold may last.
const MaxHold = 30 * 24 * time.Hour

// Check says what is wrong with a request.
func (r HoldRequest) Check() error {
	var errs []error
	if r.For < time.Second || r.For > MaxHold {
		errs = append(errs, fmt.Errorf("a hold lasts from a second to 30 days, not %v", r.For))
	}
	if r.Reason == "" {
		errs = append(errs, errors.New("a hold needs a reason: others will ask"))
	}
	if r.Revision != "" && r.Stop {
		errs = append(errs, errors.New("what is stopped runs no revision"))
	}
	if r.Revision != "" && r.Target == "" {
		errs = append(errs, errors.New("a revision is ordered for one slot"))
	}
	for _, s := range []string{r.Target, r.Reason, r.By, r.Revision} {
		if len(s) > 500 {
			errs = append(errs, errors.New("the request is too long"))
			break
		}
	}
	return errors.Join(errs...)
}

func (r HoldRequest) values() url.Values {
	v := url.Values{"target": {r.Target}, "for": {r.For.String()}, "reason": {r.Reason}, "by": {r.By}, "revision": {r.Revision}}
	if r.Stop {
		v.Set("stop", "true")
	}
	return v
}

func parseHold(v url.Values) (HoldRequest, error) {
	r := HoldRequest{Target: v.Get("target"), Reason: v.Get("reason"), By: v.Get("by"), Revision: v.Get("revision"), Stop: v.Get("stop") == "true"}
	var err error
	if r.For, err = time.ParseDuration(v.Get("for")); err != nil {
		return r, errors.New("for: that is no duration")
	}
	return r, r.Check()
}

// hold takes the fields of a HoldRequest in the query.
func (s *server) hold(w http.ResponseWriter, r *http.Request) {
	if s.Hold == nil {
		http.Error(w, "this agent takes no orders", http.StatusNotFound)
		return
	}
	req, err := parseHold(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h, err := s.Hold(r.Context(), req)
	s.answerHold(w, h, err)
}

// release takes ?target=NAME; none = the node's hold.
func (s *server) release(w http.ResponseWriter, r *http.Request) {
	if s.Release == nil {
		http.Error(w, "this agent takes no orders", http.StatusNotFound)
		return
	}
	h, err := s.Release(r.Context(), r.URL.Query().Get("target"))
	s.answerHold(w, h, err)
}

func (s *server) answerHold(w http.ResponseWriter, h Hold, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(h); err != nil {
		s.Log.Debug("answer not taken", "err", err)
	}
}

// Hold asks for a hold; it counts, also after a restart of the agent, once this
// returns.
func (c *Client) Hold(ctx context.Context, req HoldRequest) (Hold, error) {
	return c.order(ctx, http.MethodPost, req.values())
}

// Release ends a hold; target "" is the node's.
func (c *Client) Release(ctx context.Context, target string) (Hold, error) {
	return c.order(ctx, http.MethodDelete, url.Values{"target": {target}})
}

func (c *Client) order(ctx context.Context, method string, query url.Values) (h Hold, err error) {
	res, err := c.do(ctx, method, "/v1/holds", query, "")
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return h, err
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&h); err != nil {
		return h, fmt.Errorf("read the answer of %s: %w", c.address, err)
	}
	return h, nil
}
