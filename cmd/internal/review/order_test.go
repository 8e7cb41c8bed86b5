package review

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestOrder: how many slots change at once is told in words, of a service on every
// node in nodes.
func TestOrder(t *testing.T) {
	amount := func(n int) *planner.Amount { return &planner.Amount{Count: n} }
	percent := func(n int) *planner.Amount { return &planner.Amount{Count: n, Percent: true} }
	alone := planner.Template{HostNetwork: true}
	tests := []struct {
		name  string
		s     planner.Service
		slots int
		want  string
	}{
		{"default", planner.Service{}, 3, "each instance runs until its successor is available, at most 1 more at a time"},
		{"surge", planner.Service{Update: planner.Update{MaxSurge: percent(50)}}, 4, "each instance runs until its successor is available, at most 2 more at a time"},
		{"both", planner.Service{Update: planner.Update{MaxUnavailable: amount(2)}}, 4, "new instances begin beside old ones, at most 1 more at a time, and at most 2 slots may be without an available one"},
		{"stop-first", planner.Service{Update: planner.Update{StopFirst: true}}, 4, "instances end before their successors begin, one slot after the other"},
		// The last one that is available waits for another.
		{"all", planner.Service{Update: planner.Update{StopFirst: true, MaxUnavailable: percent(100)}}, 4, "instances end before their successors begin, at most 3 slots at a time"},
		{"all of two", planner.Service{Update: planner.Update{StopFirst: true, MaxUnavailable: percent(100)}}, 2, "instances end before their successors begin, one slot after the other"},
		{"the only one", planner.Service{Update: planner.Update{StopFirst: true, MaxUnavailable: amount(5)}}, 1, "instances end before their successors begin"},
		{"one writer", planner.Service{Template: alone, Update: planner.Update{MaxUnavailable: amount(5)}}, 3, "each instance ends before its successor begins, at most 3 slots at a time: it uses the host's network"},
		// Of a service on every node shares are of its nodes.
		{"nodes", planner.Service{EveryNode: true, Update: planner.Update{StopFirst: true, MaxUnavailable: amount(2)}}, 6, "instances end before their successors begin, at most 2 nodes at a time"},
		{"half of the nodes", planner.Service{EveryNode: true, Update: planner.Update{StopFirst: true, MaxUnavailable: percent(50)}}, 6, "instances end before their successors begin, at most 3 nodes at a time"},
		{"half of nobody knows how many", planner.Service{EveryNode: true, Update: planner.Update{StopFirst: true, MaxUnavailable: percent(50)}}, 0, "instances end before their successors begin, at most 50% of the nodes at a time"},
		{"a share more", planner.Service{EveryNode: true, Update: planner.Update{MaxSurge: percent(25)}}, 0, "each instance runs until its successor is available, at most 25% more at a time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := order(planner.Service{}, tt.s, tt.slots); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestOrderHolds: in the steps of a plan no more slots are down at once than its
// words say.
func TestOrderHolds(t *testing.T) {
	for _, kind := range []string{"replicas: 4", "everyNode: true"} {
		for most, want := range map[string]string{"1": "one ", "2": "at most 2 ", "4": "at most 3 ", "50%": "at most 2 ", "100%": "at most 3 "} {
			spec := func(image string) files {
				return files{"a.yaml": service("web", fmt.Sprintf("{image: %q, %s, update: {order: stopFirst, maxUnavailable: %s}}", image, kind, most))}
			}
			r := build(t, spec("w:1"), spec("w:2"), 100, 100, 100, 100)
			if len(r.Services) != 1 {
				t.Fatalf("%s, maxUnavailable %s: %s", kind, most, told(r))
			}
			s := r.Services[0]
			words, down := strings.Join(s.How, "\n"), strings.Fields(s.Down)
			if !strings.Contains(words, want) || len(down) == 0 || !strings.Contains("one 1 of", down[0]) && !strings.Contains(want, down[0]) {
				t.Errorf("%s, maxUnavailable %s: %q, and %q", kind, most, words, s.Down)
			}
		}
	}
}
