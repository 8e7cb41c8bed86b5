package agent

import (
	"context"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// givenUpOn has the document of web say on which nodes slot 0 was given up.
func (w *world) givenUpOn(nodes ...planner.NodeName) {
	w.t.Helper()
	if err := w.agent.onLoop(context.Background(), func() error {
		for id, doc := range w.agent.state.docs {
			doc.Failed = nil
			for _, node := range nodes {
				doc.Failed = append(doc.Failed, planner.FailedOn{Slot: "0", Node: node, Revision: doc.Leases[0].Revision})
			}
			w.agent.state.docs[id] = doc
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantSteady(when string, want bool) {
	w.t.Helper()
	if i := w.tellsOne(); i.Steady != want {
		w.t.Errorf("%s: steady %v, want %v (%s %q)", when, i.Steady, want, i.Phase, i.Reason)
	}
}

// A slot that was given up elsewhere holds once it has run for ten minutes
// without a failure. Of others nothing is told.
func TestSteady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(15 * time.Minute)
		w.wantSteady("nothing was given up", false)
		w.givenUpOn("n9")
		w.wantSteady("it runs for long", true)
		w.givenUpOn()
		w.wantSteady("it was forgotten", false)

		w.givenUpOn("n9")
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
		w.settle(9 * time.Minute)
		w.wantSteady("it failed nine minutes ago", false)
		w.settle(3 * time.Minute)
		w.wantSteady("it failed twelve minutes ago", true)
	})
}

// The back-off of a slot grows with the nodes on which it was given up, and says
// how often it was tried here.
func TestBackOffGoesWithTheSlot(t *testing.T) {
	for nodes, want := range []time.Duration{7 * time.Second, 15 * time.Second, 30 * time.Second, 60 * time.Second} {
		inWorld(t, func(w *world) {
			w.commit(service("web", "a"))
			w.settle(5 * time.Second)
			w.givenUpOn([]planner.NodeName{"n7", "n8", "n9"}[:nodes]...)
			w.crashes(100*time.Millisecond, planner.Exit{Code: 7})
			began := time.Now()
			w.driver.Exit(w.ids()[0], planner.Exit{Code: 7})
			for !w.tellsOne().Failing {
				w.settle(200 * time.Millisecond)
			}
			if took := time.Since(began); took < want || took > want+5*time.Second {
				t.Errorf("given up elsewhere on %d nodes: here after %v, want %v", nodes, took, want)
			}
		})
	}
}

// A release that is ready for a moment on every node and then exits moves each
// slot to each node once, and does not return.
func TestReleaseBadOnAllNodes(t *testing.T) {
	play(t, 3, func(b *band) {
		exit := planner.Exit{Code: 1}
		for _, p := range b.nodes {
			p.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
				return runtimetest.Behaviour{RunFor: 2500 * time.Millisecond, Exit: &exit}
			})
		}
		b.commit(service("web", "a", replicas(3)))
		b.settle(30 * time.Minute)
		var doc planner.LeaseDoc
		b.nodes[0].ask(func(a *Agent) {
			for _, d := range a.fleet.member.View().Docs {
				doc = d.Doc
			}
		})
		if moves := doc.Tokens - 3; moves == 0 || moves > 6 {
			t.Errorf("%d moves of three slots, want 1 to 6: %v", moves, doc.Leases)
		}
	})
}
