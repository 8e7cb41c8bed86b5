package fleet_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// follow has all members follow services with a port each, but for those whose
// name begins with "-".
func (s *stage) follow(commit string, names ...string) {
	services := map[planner.ServiceID]planner.Service{}
	for _, name := range names {
		name, portless := strings.CutPrefix(name, "-")
		id := planner.ServiceID{Namespace: "default", Name: name}
		service := planner.Service{ID: id, Replicas: 1, Template: planner.Template{Driver: planner.DriverProcess, Containers: []planner.Container{{Name: "main", Command: []string{"/" + name}}}}}
		if !portless {
			service.Ports = []planner.Port{{Container: 8080, Protocol: "tcp", Port: 80}}
		}
		service.Revision = planner.RevisionOf(service.Template)
		services[id] = service
	}
	for i, m := range s.members {
		if m != nil {
			m.Followed(planner.Followed{Commit: planner.Commit{Hash: commit}, Services: services}, s.time(i))
		}
	}
}

// fleet is the fleet record as it stands.
func (s *stage) fleet() planner.FleetRecord {
	s.t.Helper()
	record, _ := s.records.Record(planner.FleetRef)
	msg, err := planner.ParseMessage(record.Message)
	if err != nil {
		s.t.Fatal(err)
	}
	rec, err := planner.ParseFleetRecord(msg.Parts[0].Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return rec
}

func (s *stage) addressesOf(names ...string) {
	s.t.Helper()
	s.run(time.Minute)
	now := s.fleet().Addresses
	have := slices.Sorted(maps.Keys(now))
	if !slices.Equal(have, names) {
		s.t.Fatalf("addresses of %v, want %v", have, names)
	}
}

// TestAddressesComeBack: what the fleet record lacks after it was restored from
// a backup, garbled or lost, is there again as it was, also by a member that was
// started in between. Nobody's address moves or is missing meanwhile.
func TestAddressesComeBack(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s := newStage(t, 2)
		s.begin(1)
		s.follow(string(first), "a", "svc172")
		s.addressesOf("default/a", "default/svc172")
		backup := s.records.Snapshot()
		// The second asks for the place that the first has, and gets another.
		s.follow(string(first), "a", "svc118", "svc172")
		s.addressesOf("default/a", "default/svc118", "default/svc172")
		before := s.fleet().Addresses
		same := func(when string) {
			t.Helper()
			for i, m := range s.members {
				if now := m.View().Fleet.Addresses; !reflect.DeepEqual(now, before) {
					t.Errorf("%s: %s knows %v, which were %v", when, s.names[i], now, before)
				}
			}
		}
		same("at first")
		again := func() {
			if !restart {
				return
			}
			s.disk = map[int]fleet.Memory{}
			for i, m := range s.members {
				s.disk[i] = m.Memory()
			}
			for i := range s.members {
				s.members[i] = s.member(i)
				s.members[i].Able(gitsync.Abilities{Compares: true, Atomic: true})
			}
			same("before anything was read")
			s.follow(string(first), "a", "svc118", "svc172")
		}
		s.write(planner.FleetRef, "garbage")
		again()
		s.addressesOf("default/a", "default/svc118", "default/svc172")
		same("after garbage")

		s.records.Restore(backup)
		again()
		s.run(time.Minute)
		same("in alarm")
		if s.members[0].View().Alarm == "" {
			t.Fatal("no alarm")
		}
		if err := s.members[0].ResetFloor("", s.time(0)); err != nil {
			t.Fatal(err)
		}
		s.addressesOf("default/a", "default/svc118", "default/svc172")
		same("after the reset")
		if now := s.fleet().Addresses; !reflect.DeepEqual(now, before) {
			t.Errorf("the record has %v, it had %v", now, before)
		}
	}
}

// TestAddressesAreWrittenOnce: by one node, all at once; the next stands in for
// one that does not.
func TestAddressesAreWrittenOnce(t *testing.T) {
	s := newStage(t, 3)
	s.begin(1)
	s.run(time.Minute) // web has no port
	if n := len(s.fleet().Addresses); n > 0 {
		t.Fatalf("%d addresses that nobody needs", n)
	}
	changes := 0
	last := s.records.Refs()[planner.FleetRef]
	settle := func(d time.Duration) {
		for end := s.now + d; s.now < end; {
			s.run(100 * time.Millisecond)
			if now := s.records.Refs()[planner.FleetRef]; now != last {
				changes++
				last = now
			}
		}
	}
	// The service that there is gets a port: no document is written.
	s.follow(string(first), "web")
	settle(30 * time.Second)
	if a := s.fleet().Addresses["default/web"]; changes != 1 || a.At == 0 || a.Slots["0"] == 0 {
		t.Errorf("%d changes, %+v", changes, a)
	}
	// Who ranks first for it is silent.
	by := slices.Index(s.names, s.fleet().By)
	silent := s.members[by]
	s.members[by] = nil
	s.follow(string(first), "web", "api")
	settle(time.Minute)
	s.members[by] = silent
	if a := s.fleet().Addresses["default/api"]; a.At == 0 || s.fleet().By == s.names[by] {
		t.Errorf("nobody stands in: %+v by %s", a, s.fleet().By)
	}
}

// TestAddressesWithoutTransactions: where a push cannot change two refs at once
// new services have addresses all the same.
func TestAddressesWithoutTransactions(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	for _, m := range s.members {
		m.Able(gitsync.Abilities{Compares: true})
	}
	s.follow(string(first), "web")
	s.addressesOf("default/web")
	s.follow(string(first), "web", "api")
	s.addressesOf("default/api", "default/web")
}

// TestAddressRests: a service that is deleted keeps its address as long as its
// document is there and ten minutes longer, and then until an address is
// written for another.
func TestAddressRests(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	s.follow(string(first), "a", "b")
	s.addressesOf("default/a", "default/b")
	s.follow(string(first), "a")
	s.run(30 * time.Second)
	s.follow(string(first), "a", "c")
	s.addressesOf("default/a", "default/b", "default/c")
	// Nobody deletes the document here, as no commit did the service.
	for ref := range s.records.Refs() {
		if ref.Parse().Service.Name == "b" {
			s.records.Set(ref, nil)
		}
	}
	if err := s.members[0].ResetFloor("", s.time(0)); err != nil { // it was meant so
		s.t.Fatal(err)
	}
	s.run(5 * time.Minute)
	s.follow(string(first), "a", "c", "d")
	s.addressesOf("default/a", "default/b", "default/c", "default/d")
	s.run(6 * time.Minute)
	s.addressesOf("default/a", "default/b", "default/c", "default/d")
	s.follow(string(first), "a", "c", "d", "e")
	s.addressesOf("default/a", "default/c", "default/d", "default/e")
}

// TestAddressRestsWithoutPort: a service that needs no address any more keeps
// the one it has for ten minutes.
func TestAddressRestsWithoutPort(t *testing.T) {
	s := newStage(t, 2)
	s.begin(1)
	s.follow(string(first), "a", "b")
	s.addressesOf("default/a", "default/b")
	before := s.fleet().Addresses["default/b"]
	s.follow(string(first), "a", "-b", "c")
	s.addressesOf("default/a", "default/b", "default/c")
	if now := s.fleet().Addresses["default/b"]; !reflect.DeepEqual(now, before) {
		t.Errorf("b has %+v, it had %+v", now, before)
	}
	s.run(10 * time.Minute)
	s.follow(string(first), "a", "-b", "c", "d")
	s.addressesOf("default/a", "default/c", "default/d")
}

// TestEndpointsInStatus: endpoints are in the status soon, but not one push for
// each change; more than it has room for are left out, and told so.
func TestEndpointsInStatus(t *testing.T) {
	s := newStage(t, 1)
	s.begin(1)
	s.run(30 * time.Second)
	m, pushes := s.members[0], s.members[0].Stats().Pushes
	report := s.report(m)
	for n := uint64(1); n <= 20; n++ {
		report.Serving = n
		report.Instances = slices.Clone(report.Instances)
		report.Instances[0].Endpoints = []planner.Endpoint{{Container: 8080, Host: 20000 + int(n)}}
		m.Report(report, s.time(0))
		s.do(0, m, m.Step(s.time(0)))
		s.now += 100 * time.Millisecond
	}
	for range 30 {
		s.do(0, m, m.Step(s.time(0)))
		s.now += 100 * time.Millisecond
	}
	st := m.View().Nodes["n1"].Status
	if st.Serving != 20 || st.Instances[0].Endpoints[0].Host != 20020 {
		t.Errorf("the status is %+v", st)
	}
	if n := m.Stats().Pushes - pushes; n < 1 || n > 2 {
		t.Errorf("%d pushes", n)
	}
	many := make([]planner.Endpoint, 64)
	for k := range many {
		many[k] = planner.Endpoint{Container: k + 1, Host: 20000 + k}
	}
	report.Instances = nil
	for k := range 100 {
		report.Instances = append(report.Instances, planner.InstanceStatus{
			Slot:     planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Name: string(rune('a'+k/26)) + string(rune('a'+k%26))},
			Revision: "r1-x", Phase: planner.PhaseReady, Endpoints: many,
		})
	}
	report.Serving = 21
	m.Report(report, s.time(0))
	for range 30 {
		s.do(0, m, m.Step(s.time(0)))
		s.now += 100 * time.Millisecond
	}
	st = m.View().Nodes["n1"].Status
	if st.Serving != 0 || len(st.Instances) != 100 || len(st.Instances[0].Endpoints) != 64 || len(st.Instances[99].Endpoints) != 0 {
		t.Errorf("the status has serving %d, %d instances", st.Serving, len(st.Instances))
	}
}

// TestPeersWithoutGit: a process that cannot read the records yet listens to
// the nodes that the last one knew, and tells them what it has.
func TestPeersWithoutGit(t *testing.T) {
	s := newStage(t, 3)
	s.begin(1)
	s.run(time.Minute)
	want := []fleet.Peer{{Node: "n2", Address: "n2:7718", Key: keyOf("n2")}, {Node: "n3", Address: "n3:7718", Key: keyOf("n3")}}
	if got := s.members[0].Peers().Tell; !slices.Equal(got, want) {
		t.Errorf("tells %v", got)
	}
	s.disk = map[int]fleet.Memory{0: s.members[0].Memory()}
	m := s.member(0)
	w := m.Peers()
	if !slices.Equal(w.Tell, want) || w.Known[keyOf("n2")] != "n2" || len(w.Known) != 2 || len(w.Probe) != 0 {
		t.Errorf("before the records are read it knows %+v", w)
	}
}
