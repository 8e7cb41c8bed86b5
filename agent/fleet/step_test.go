package fleet_test

import (
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// A pause of a rollout counts from when its step was first seen, whatever else
// of the document changes.
func TestStepSince(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	s.run(30 * time.Second)
	id := planner.ServiceID{Namespace: "default", Name: "web"}
	since := func() time.Duration {
		t.Helper()
		since := s.members[0].View().Docs[id].StepSince
		if since == 0 || since > s.now {
			t.Fatalf("step since %v at %v", since, s.now)
		}
		return since
	}
	first := since()
	s.begin(3) // more slots: another document, the same revision
	s.run(30 * time.Second)
	if doc := s.members[0].View().Docs[id]; doc.StepSince != first || doc.Since == first || len(doc.Doc.Leases) != 3 {
		t.Errorf("step since %v, document since %v, want %v and later; %d leases", doc.StepSince, doc.Since, first, len(doc.Doc.Leases))
	}
}

func TestSameStep(t *testing.T) {
	given := func(revs ...planner.Revision) planner.LeaseDoc {
		var d planner.LeaseDoc
		for _, r := range revs {
			d.History = append(d.History, planner.Applied{Revision: r})
		}
		return d
	}
	step := func(d planner.LeaseDoc, n int) planner.LeaseDoc { d.Step = n; return d }
	blocked := func(d planner.LeaseDoc, revs ...planner.Revision) planner.LeaseDoc { d.Blocked = revs; return d }
	for _, tt := range []struct {
		name string
		a, b planner.LeaseDoc
		same bool
	}{
		{"nothing yet", given(), given(), true},
		{"the first revision", given(), given("r1-a"), false},
		{"the same step", step(given("r1-b", "r1-a"), 1), step(given("r1-b", "r1-a"), 1), true},
		{"what was given long ago does not count", given("r1-b", "r1-a"), given("r1-b"), true},
		{"a newer revision", given("r1-a"), given("r1-b", "r1-a"), false},
		{"the next step", step(given("r1-a"), 1), step(given("r1-a"), 2), false},
		{"it was blocked", given("r1-a"), blocked(given("r1-a"), "r1-a"), false},
	} {
		if got := fleet.SameStep(tt.a, tt.b); got != tt.same {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
