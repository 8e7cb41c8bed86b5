package fleet_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// stage is a few members on records in memory, moved by hand: no fault but
// those a test brings about. Whole fleets under faults are in fleettest.
type stage struct {
	t       *testing.T
	records *gitsynctest.Memory
	board   gitsync.Board
	members []*fleet.Member
	names   []planner.NodeName
	now     time.Duration
	skew    []time.Duration      // of each member's wall clock
	disk    map[int]fleet.Memory // what members find that start again
	lose    func(gitsync.Push) bool
	largest int // records asked for in one read
}

const first = planner.Hash("1111111111111111111111111111111111111111")

func newStage(t *testing.T, n int) *stage {
	s := &stage{t: t, records: gitsynctest.NewMemory(), now: time.Hour, skew: make([]time.Duration, n)}
	s.board = s.records.Board()
	for i := range n {
		s.names = append(s.names, planner.NodeName(fmt.Sprintf("n%d", i+1)))
		s.members = append(s.members, s.member(i))
	}
	return s
}

func keyOf(n planner.NodeName) string { return "ssh-ed25519 " + string(n) }

// sign stands for a signature that only the holder of the key can make.
func sign(key string, ref planner.Ref, body string) string {
	sum := sha256.Sum256([]byte(key + "\x00" + string(planner.SignedText(ref, body))))
	return "-----BEGIN SSH SIGNATURE-----\n" + hex.EncodeToString(sum[:]) + "\n-----END SSH SIGNATURE-----"
}

func (s *stage) verify(ref planner.Ref, body, signature string) (string, error) {
	for _, n := range append(slices.Clone(s.names), "stranger") {
		if sign(keyOf(n), ref, body) == signature {
			return keyOf(n), nil
		}
	}
	return "", errors.New("no key made it")
}

func (s *stage) member(i int) *fleet.Member {
	name := s.names[i]
	return fleet.New(fleet.Config{
		Self: planner.NodeRecord{
			Node: name, Key: keyOf(name), Address: string(name) + ":7718",
			Life: planner.Life{Machine: string(name), State: string(name), Boot: "1"},
		},
		Sign:   func(ref planner.Ref, body string) (string, error) { return sign(keyOf(name), ref, body), nil },
		Verify: s.verify,
		Memory: s.disk[i],
		Relate: func(string, string) planner.Relation { return planner.RelationUnknown },
		Random: rand.New(rand.NewPCG(uint64(i), 7)).Uint64,
		Log:    slog.New(slog.DiscardHandler),
	}, s.time(i))
}

func (s *stage) time(i int) planner.Time {
	return planner.Time{Boot: s.now, Wall: time.Unix(1_800_000_000, 0).Add(s.now + s.skew[i])}
}

// begin has all members follow one service and answer to each other.
func (s *stage) begin(replicas int) {
	id := planner.ServiceID{Namespace: "default", Name: "web"}
	web := planner.Service{ID: id, Replicas: replicas, Template: planner.Template{Driver: planner.DriverProcess, Containers: []planner.Container{{Name: "main", Command: []string{"/web"}}}}}
	web.Revision = planner.RevisionOf(web.Template)
	followed := planner.Followed{Commit: planner.Commit{Hash: string(first)}, Services: map[planner.ServiceID]planner.Service{id: web}}
	for i, m := range s.members {
		m.Able(gitsync.Abilities{Compares: true, Atomic: true})
		m.Followed(followed, s.time(i))
		for _, other := range s.names {
			if other != s.names[i] {
				m.Heard(fleet.Sighting{Node: other, State: planner.ProbeUp}, s.time(i))
			}
		}
	}
}

// run lets d pass. Every member is asked ten times a second, probed by its
// peers, and its instances are ready as soon as they are leased.
func (s *stage) run(d time.Duration) {
	s.t.Helper()
	for end := s.now + d; s.now < end; s.now += 100 * time.Millisecond {
		for i, m := range s.members {
			if m == nil {
				continue
			}
			m.Probed(s.time(i))
			m.Report(s.report(m), s.time(i))
			s.do(i, m, m.Step(s.time(i)))
		}
	}
}

func (s *stage) report(m *fleet.Member) fleet.Report {
	r := fleet.Report{Applied: string(first), Drivers: []string{planner.DriverProcess}}
	for id, doc := range m.Standing().Docs {
		for _, l := range doc.Leases {
			r.Instances = append(r.Instances, planner.InstanceStatus{
				Slot: planner.SlotID{Service: id, Name: l.Slot}, Token: l.Token, Revision: l.Revision, Phase: planner.PhaseReady,
			})
		}
	}
	return r
}

func (s *stage) do(i int, m *fleet.Member, todo fleet.Todo) {
	ctx := context.Background()
	if todo.List {
		list, err := s.board.List(ctx)
		m.Listed(list, err, s.time(i))
	}
	if len(todo.Read) > 0 {
		s.largest = max(s.largest, len(todo.Read))
		reading, err := s.board.Read(ctx, todo.Read)
		m.Read(reading, err, s.time(i))
	}
	if todo.Push != nil {
		results, err := s.board.Swap(ctx, *todo.Push)
		if s.lose != nil && s.lose(*todo.Push) {
			results, err = make([]gitsync.Result, len(todo.Push.Changes)), errors.New("the reply was lost")
		}
		m.Pushed(results, err, s.time(i))
	}
}

// doc is the document of the service as it stands.
func (s *stage) doc() planner.LeaseDoc {
	s.t.Helper()
	record, ok := s.records.Record("leases/default/web")
	if !ok {
		s.t.Fatal("there is no document")
	}
	msg, err := planner.ParseMessage(record.Message)
	if err != nil {
		s.t.Fatal(err)
	}
	doc, err := planner.ParseLeaseDoc(msg.Parts[0].Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return doc
}

// standing lists "slot node token" of what members hold to be in force.
func (s *stage) standing() []string {
	var out []string
	for i, m := range s.members {
		if m == nil {
			continue
		}
		for _, doc := range m.Standing().Docs {
			for _, l := range doc.Leases {
				out = append(out, fmt.Sprintf("%s %s %d", l.Slot, s.names[i], l.Token))
			}
		}
	}
	slices.Sort(out)
	return out
}

// write puts a record on a ref as somebody with the right to push could.
func (s *stage) write(ref planner.Ref, message string) {
	record := planner.Record{Author: "mallory", Message: message}
	s.records.Set(ref, &record)
}
