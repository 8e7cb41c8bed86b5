package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestRolloutAsked: who may be on the socket learns how any service of the fleet
// stands.
func TestRolloutAsked(t *testing.T) {
	w := serve(t, func(o *api.Options) {
		o.Rollout = func(_ context.Context, id planner.ServiceID) (*api.Rollout, error) {
			switch id.String() {
			case "shop/web":
				return &api.Rollout{Service: id.String(), State: planner.RolloutDone, Replicas: 3}, nil
			case "busy":
				return nil, errors.New("the agent's loop does not answer")
			}
			return nil, nil
		}
	})
	for name, want := range map[string]struct {
		found bool
		err   string
	}{
		"shop/web": {true, ""},
		"web":      {false, ""},
		"busy":     {false, "does not answer"},
		"../etc":   {false, "must be NAME or NAMESPACE/NAME"},
	} {
		r, err := w.client.Rollout(t.Context(), planner.ParseServiceID(name))
		if (r != nil) != want.found || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if r, err := serve(t, nil).client.Rollout(t.Context(), planner.ParseServiceID("web")); r != nil || err == nil {
		t.Errorf("an agent that does not offer it: %+v, %v", r, err)
	}
}
