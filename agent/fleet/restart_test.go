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
	memory := s.members[stays].Memory()
	memory.Keys = nil
	s.disk = map[int]fleet.Memory{stays: memory}
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

// TestRestartRemembersKeys: what a node signed is read although its own record
// was garbled while this member was down.
func TestRestartRemembersKeys(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	s.run(time.Minute)
	writer := 0
	if s.doc().By == s.names[1] {
		writer = 1
	}
	stays := 1 - writer
	s.disk = map[int]fleet.Memory{stays: s.members[stays].Memory()}
	s.members[writer] = nil
	s.write(planner.NodeRef(s.names[writer]), "garbage")
	s.members[stays] = s.member(stays)
	s.members[stays].Able(gitsync.Abilities{Compares: true, Atomic: true})
	s.run(10 * time.Second)
	if dv := s.members[stays].View().Docs[s.doc().Service]; dv.Broken != "" || dv.Doc.Tokens == 0 {
		t.Errorf("the document is not read: %q", dv.Broken)
	}
}

// TestOwnOlderLife: a record of an earlier life of this node, of the epoch it has
// now, comes from a backup: who takes the name over raises it. The node takes
// its name back.
func TestOwnOlderLife(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	s.run(time.Minute)
	older := s.members[0].View().Nodes["n1"].Record
	older.Life.State, older.Incarnation = "lost", "lost"
	s.write(planner.NodeRef("n1"), signed(keyOf("n1"), planner.NodeRef("n1"), "before", older.Body()))
	s.run(time.Minute)
	if why := s.members[0].Foreign(); why != "" || !s.members[0].Registered() {
		t.Errorf("foreign: %q, registered %v", why, s.members[0].Registered())
	}
	if now := s.members[0].View().Nodes["n1"].Record; now.Epoch != older.Epoch+1 {
		t.Errorf("epoch %d after %d", now.Epoch, older.Epoch)
	}
}
