package api_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestEvents: those of a service or slot, the last ones, and those to come.
func TestEvents(t *testing.T) {
	events, err := event.Open("")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(events.Handler(slog.DiscardHandler))
	w := serve(t, func(o *api.Options) { o.Events = events })
	web := planner.ServiceID{Namespace: "default", Name: "web"}
	for _, slot := range []string{"0", "1", "0"} {
		log.Info("action", "action", "start", "slot", planner.SlotID{Service: web, Name: slot})
	}
	log.Warn("repository cannot be read")
	read := func(req api.EventRequest) (seqs []uint64) {
		t.Helper()
		if err := w.client.Events(t.Context(), req, func(e event.Event) error {
			seqs = append(seqs, e.Seq)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return seqs
	}
	for _, tt := range []struct {
		req  api.EventRequest
		want int
	}{
		{api.EventRequest{Tail: -1}, 4},
		{api.EventRequest{Tail: 2}, 2},
		{api.EventRequest{Tail: 0}, 0},
		{api.EventRequest{Target: "web", Tail: -1}, 3},
		{api.EventRequest{Target: "web-0", Tail: -1}, 2},
		{api.EventRequest{Target: "web-0", Tail: 1}, 1},
		{api.EventRequest{Target: "db", Tail: -1}, 0},
		{api.EventRequest{Since: time.Now().Add(time.Hour), Tail: -1}, 0},
		{api.EventRequest{Since: time.Now().Add(-time.Hour), Tail: -1}, 4},
	} {
		if got := read(tt.req); len(got) != tt.want {
			t.Errorf("%+v: %v, want %d events", tt.req, got, tt.want)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var followed []string
	err = w.client.Events(ctx, api.EventRequest{Tail: 1, Follow: true}, func(e event.Event) error {
		followed = append(followed, e.What)
		switch len(followed) {
		case 1:
			log.Info("repository can be read again")
		case 2:
			stop()
		}
		return nil
	})
	if err != nil || strings.Join(followed, ", ") != "repository cannot be read, repository can be read again" {
		t.Errorf("followed %q: %v", followed, err)
	}
}

// TestHolds: an order reaches the agent as it was given, and its answer comes
// back; what is wrong with one is said before it is sent, and by the agent.
func TestHolds(t *testing.T) {
	var got api.HoldRequest
	refuse := errors.New(`nothing here is called "wbe"`)
	w := serve(t, func(o *api.Options) {
		o.Hold = func(_ context.Context, req api.HoldRequest) (api.Hold, error) {
			if got = req; req.Target == "wbe" {
				return api.Hold{}, refuse
			}
			return api.Hold{Target: req.Target, Text: "held"}, nil
		}
		o.Release = func(_ context.Context, target string) (api.Hold, error) { return api.Hold{Target: target}, nil }
	})
	req := api.HoldRequest{Target: "shop/web-0", For: 90 * time.Minute, Reason: "a & b = 100 %", By: "ann", Stop: true}
	h, err := w.client.Hold(t.Context(), req)
	if err != nil || got != req || h.Text != "held" {
		t.Errorf("%+v arrives as %+v: %+v, %v", req, got, h, err)
	}
	if h, err := w.client.Release(t.Context(), "shop/web-0"); err != nil || h.Target != "shop/web-0" {
		t.Errorf("release: %+v, %v", h, err)
	}
	req.Target = "wbe"
	if _, err := w.client.Hold(t.Context(), req); err == nil || !strings.Contains(err.Error(), refuse.Error()) {
		t.Errorf("a refusal reads %v", err)
	}
	req.For = 0
	if _, err := w.client.Hold(t.Context(), req); err == nil || !strings.Contains(err.Error(), "30 days") {
		t.Errorf("no time reads %v", err)
	}
	deaf := serve(t, nil)
	if _, err := deaf.client.Release(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), "takes no orders") {
		t.Error(err)
	}
}
