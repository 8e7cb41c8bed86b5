package fleet_test

import (
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestRestartKeepsGeneration: a member that starts while the fleet record
// cannot be read puts documents right at the generation it has on disk, so that
// they are never older than what they replace.
func TestRestartKeepsGeneration(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	for _, m := range s.members {
		m.Able(gitsync.Abilities{Compares: true}) // so that a document needs no fleet record
	}
	s.run(time.Minute)
	gone := 0 // who wrote the document
	if s.doc().By == s.names[1] {
		gone = 1
	}
	for range 3 {
		if err := s.members[gone].ResetFloor("", s.time(gone)); err != nil {
			t.Fatal(err)
		}
		s.run(30 * time.Second)
	}
	s.begin(2) // so that it is written once more
	for _, m := range s.members {
		m.Able(gitsync.Abilities{Compares: true})
	}
	s.run(time.Minute)
	before := s.doc().Generation
	if before == 0 || s.doc().By != s.names[gone] {
		t.Fatalf("the document is of generation %d, by %s", before, s.doc().By)
	}
	// With the record of its writer garbled, all that it signed cannot be read.
	stays := 1 - gone
	s.disk = map[int]fleet.Memory{stays: s.members[stays].Memory()}
	s.members[gone] = nil
	s.write(planner.NodeRef(s.names[gone]), "garbage")
	now := s.members[stays].View()
	s.members[stays] = s.member(stays)
	s.members[stays].Able(gitsync.Abilities{Compares: true})
	id := planner.ServiceID{Namespace: "default", Name: "web"}
	web := planner.Service{ID: id, Replicas: 2, Template: now.Specs[s.doc().Leases[0].Revision]}
	web.Revision = planner.RevisionOf(web.Template)
	s.members[stays].Followed(planner.Followed{
		Commit: planner.Commit{Hash: string(first)}, Services: map[planner.ServiceID]planner.Service{id: web},
	}, s.time(stays))
	s.run(5 * time.Minute)
	if doc := s.doc(); doc.By != s.names[stays] || doc.Generation < before {
		t.Errorf("the document is by %s, generation %d; it was of %d", doc.By, doc.Generation, before)
	}
}

// TestRingValueAgain: a node that writes its record shows life, also where its
// beats stand at the value that they had before. It is not fenced for not having
// beaten.
func TestRingValueAgain(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	s.run(time.Minute)
	since := func() time.Duration { return s.members[0].View().Nodes["n2"].BeatsSince }
	before, value := since(), s.members[0].View().Nodes["n2"].Beats
	if err := s.members[1].ResetFloor("", s.time(1)); err != nil { // has all write their records again
		t.Fatal(err)
	}
	s.run(30 * time.Second)
	if now := s.members[0].View().Nodes["n2"]; now.Beats != value {
		t.Fatal("the beats moved, which proves nothing")
	}
	if since() == before {
		t.Error("the record was written again, and the beats count as unchanged")
	}
}
