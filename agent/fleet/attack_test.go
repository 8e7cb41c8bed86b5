package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

func signed(key string, signedAs planner.Ref, subject, body string) string {
	return planner.Message{Subject: subject, Parts: []planner.Part{{Body: body, Signature: sign(key, signedAs, body)}}}.String()
}

// TestAttack33ForgedRecords: who can push but has no node's key changes
// nothing. What was good before holds, it is told, and the coordinator writes
// it again.
func TestAttack33ForgedRecords(t *testing.T) {
	const leases = planner.Ref("leases/default/web")
	empty := func(d planner.LeaseDoc) planner.LeaseDoc {
		d.Leases, d.Tokens = nil, d.Tokens+10
		return d
	}
	for _, row := range []struct {
		name string
		ref  planner.Ref
		text func(s *stage) string
		want string // in what is told
	}{
		{"a document without signature", leases, func(s *stage) string {
			return planner.Message{Subject: "mine", Parts: []planner.Part{{Body: empty(s.doc()).Body()}}}.String()
		}, "not signed"},
		{"signed with a key that is no node's", leases, func(s *stage) string {
			return signed(keyOf("stranger"), leases, "mine", empty(s.doc()).Body())
		}, "not node"},
		{"signed for a node that is not known", leases, func(s *stage) string {
			d := empty(s.doc())
			d.By = "stranger"
			return signed(keyOf("stranger"), leases, "mine", d.Body())
		}, "not known"},
		{"another service's document moved here", leases, func(s *stage) string {
			d := empty(s.doc())
			d.Service.Name = "other"
			return signed(keyOf("n1"), "leases/default/other", "moved", d.Body())
		}, "does not hold"},
		{"a document that names another service", leases, func(s *stage) string {
			d := empty(s.doc())
			d.Service.Name = "other"
			return signed(keyOf("n1"), leases, "moved", d.Body())
		}, "of service"},
		{"no JSON", leases, func(*stage) string { return "garbage\n\n{]\n" }, ""},
		{"no text", leases, func(*stage) string { return "" }, ""},
		{"a status by another node", "status/n2", func(*stage) string {
			st := planner.NodeStatus{Format: planner.FormatStatus, Node: "n2", Incarnation: "x"}
			return signed(keyOf("n1"), "status/n2", "n2 fares well", st.Body())
		}, "not node n2's"},
		{"a node's record with another key", "nodes/n2", func(*stage) string {
			r := planner.NodeRecord{Format: planner.FormatNode, Node: "n2", Key: keyOf("stranger"), Epoch: 1, Since: 1, Reads: [2]int{1, 1}, Life: planner.Life{Machine: "x", State: "x", Boot: "x"}}
			return signed(keyOf("stranger"), "nodes/n2", "n2 moves", r.Body())
		}, "another machine uses the name"},
		{"a fence by nobody", "nodes/n2", func(s *stage) string {
			record, _ := s.records.Record("nodes/n2")
			msg, err := planner.ParseMessage(record.Message)
			if err != nil {
				s.t.Fatal(err)
			}
			body := planner.Fence{Epoch: 9, Fenced: true, By: "n1", Nonce: "x"}.Body()
			msg, err = planner.FenceMessage(msg, "fenced", planner.Part{Body: body, Signature: sign(keyOf("stranger"), "nodes/n2", body)})
			if err != nil {
				s.t.Fatal(err)
			}
			return msg.String()
		}, "fence by n1"},
		{"a fleet record by nobody", planner.FleetRef, func(*stage) string {
			r := planner.FleetRecord{Format: planner.FormatFleet, Generation: 7, By: "n1"}
			return signed(keyOf("stranger"), planner.FleetRef, "reset", r.Body())
		}, "not node n1's"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, 3)
			s.begin(6)
			s.run(40 * time.Second)
			before := s.standing()
			if len(before) != 6 {
				t.Fatalf("standing %q before the attack, want six leases", before)
			}
			s.write(row.ref, row.text(s))
			told := ""
			for range 120 {
				s.run(time.Second)
				if got := s.standing(); !slices.Equal(got, before) {
					t.Fatalf("standing %q, want %q as before", got, before)
				}
				for _, m := range s.members {
					if bad := m.Bad(10); len(bad) > 0 {
						told = strings.Join(bad, "\n")
					}
				}
			}
			refused := uint64(0)
			for _, m := range s.members {
				refused += m.Stats().Refused
			}
			if refused == 0 && !strings.Contains(row.want, "not known") || told != "" && !strings.Contains(told, row.want) {
				t.Errorf("%d records refused, told %q, want %q in it", refused, told, row.want)
			}
			for i, m := range s.members {
				if bad := m.Bad(10); len(bad) > 0 {
					t.Errorf("%s still sees %q two minutes later: nobody repaired it", s.names[i], bad)
				}
				if alarm := m.View().Alarm; alarm != "" {
					t.Errorf("%s: alarm %q", s.names[i], alarm)
				}
			}
		})
	}
}

// TestAttack34WallClocks: nobody compares the time others write.
func TestAttack34WallClocks(t *testing.T) {
	s := newStage(t, 3)
	s.skew = []time.Duration{-10 * time.Minute, 10 * time.Minute, 24 * time.Hour}
	s.begin(6)
	s.run(40 * time.Second)
	before := s.standing()
	s.run(5 * time.Minute)
	if got := s.standing(); len(got) != 6 || !slices.Equal(got, before) {
		t.Errorf("standing %q, want %q as before", got, before)
	}
	for i, m := range s.members {
		if st := m.Stats(); st.Challenges+st.Fences > 0 {
			t.Errorf("%s challenged %d and fenced %d times", s.names[i], st.Challenges, st.Fences)
		}
	}
}

// TestAttack36LostReplies: every second push is carried out, but its sender
// never learns. No slot is leased twice, and all are leased.
func TestAttack36LostReplies(t *testing.T) {
	s := newStage(t, 3)
	n := 0
	s.lose = func(gitsync.Push) bool { n++; return n%2 == 0 }
	s.begin(6)
	s.run(2 * time.Minute)
	slots := map[string]int{}
	tokens := map[uint64]bool{}
	for _, l := range s.doc().Leases {
		slots[l.Slot]++
		if tokens[l.Token] {
			t.Errorf("token %d was given twice", l.Token)
		}
		tokens[l.Token] = true
	}
	for slot := range 6 {
		if slots[fmt.Sprint(slot)] != 1 {
			t.Errorf("slot %d has %d leases", slot, slots[fmt.Sprint(slot)])
		}
	}
}

// TestAttack38JunkRecords: thousands of refs that look like records are read
// in bounded portions, are none, and are told in a bounded way; the fleet goes
// on.
func TestAttack38JunkRecords(t *testing.T) {
	s := newStage(t, 2)
	for i := range 10_000 {
		s.write(planner.NodeRef(planner.NodeName(fmt.Sprintf("junk-%d", i))), "junk\n\n{}\n")
	}
	s.begin(4)
	s.run(30 * time.Second)
	if got := s.standing(); len(got) != 4 {
		t.Errorf("standing %q, want four leases", got)
	}
	if s.largest > 256 {
		t.Errorf("%d records were read at once", s.largest)
	}
	m := s.members[0]
	if n := len(m.View().Nodes); n != 2 {
		t.Errorf("%d nodes are known, want 2", n)
	}
	if n := len(m.Bad(50)); n != 50 {
		t.Errorf("%d bad records are told of when asked for 50", n)
	}
}

// TestAttack33NoCommit: a document is put right also where its ref has a value
// that cannot be a commit's parent.
func TestAttack33NoCommit(t *testing.T) {
	const leases = planner.Ref("leases/default/web")
	s := newStage(t, 3)
	s.begin(6)
	s.run(40 * time.Second)
	before := s.standing()
	blob := planner.Hash(strings.Repeat("b", 40))
	s.records.Corrupt(leases, blob, "its value is no commit")
	s.run(2 * time.Minute)
	if got := s.standing(); !slices.Equal(got, before) {
		t.Errorf("standing %q, want %q as before", got, before)
	}
	record, ok := s.records.Record(leases)
	if !ok || record.Parent == blob {
		t.Errorf("the ref has a record: %t, whose parent is %q", ok, record.Parent)
	}
}
