package fleet_test

import (
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestHalfFence: where the server cannot change two refs at once, a fence is a
// fence value and then the record. Between the two the node may write its record
// again, and beat: only the process that wrote the fence value knows that it has
// not. Another one begins anew.
func TestHalfFence(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	alone := func() {
		s.members[0].Able(gitsync.Abilities{Compares: true})
		s.members[0].Heard(fleet.Sighting{Node: "n2", State: planner.ProbeDown}, s.time(0))
	}
	s.run(time.Minute)
	followed := s.members[0].View()
	s.members[1] = nil // n2 is off
	alone()
	var marks, fences int
	s.lose = func(p gitsync.Push) bool {
		for _, c := range p.Changes {
			switch msg, err := planner.ParseMessage(c.New.Message); {
			case err != nil:
				t.Error(err)
			case c.Ref == planner.BeatsRef("n2"):
				if mark, err := planner.ParseBeatMark(msg.Parts[0].Body); err == nil && !mark.Challenge {
					marks++
				}
			case c.Ref == planner.NodeRef("n2"):
				fences++
			}
		}
		return false
	}
	for end := s.now + 10*time.Minute; marks == 0 && s.now < end; {
		s.run(100 * time.Millisecond)
	}
	if marks != 1 || fences != 0 {
		t.Fatalf("%d fence values, %d fences", marks, fences)
	}
	// Another process of n1 finds the fence value.
	s.disk = map[int]fleet.Memory{0: s.members[0].Memory()}
	s.members[0] = s.member(0)
	web := planner.Service{ID: planner.ServiceID{Namespace: "default", Name: "web"}, Replicas: 1, Template: followed.Specs[s.doc().Leases[0].Revision]}
	web.Revision = planner.RevisionOf(web.Template)
	s.members[0].Followed(planner.Followed{
		Commit: planner.Commit{Hash: string(first)}, Services: map[planner.ServiceID]planner.Service{web.ID: web},
	}, s.time(0))
	alone()
	for end := s.now + 10*time.Minute; fences == 0 && s.now < end; {
		s.run(100 * time.Millisecond)
	}
	if marks != 2 || fences != 1 {
		t.Errorf("%d fence values, %d fences: who did not write the fence value went on with it", marks, fences)
	}
}
