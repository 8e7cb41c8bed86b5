package planner

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var holdNow = Time{Boot: time.Hour, Wall: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}

// TestHold: what people order on a node goes before leases, until it is over.
func TestHold(t *testing.T) {
	web := ServiceID{Name: "web"}
	until := holdNow.Wall.Add(time.Hour)
	hold := func(slot string) Hold {
		return Hold{Service: web, Slot: slot, Until: until, By: "ann", Reason: "disk swap"}
	}
	down := func(slot string) Hold {
		h := hold(slot)
		h.Stop = true
		return h
	}
	at := func(slot string, rev Revision) Hold {
		h := hold(slot)
		h.Revision = rev
		return h
	}
	lease := func(slot string, token uint64, rev Revision) Lease {
		return Lease{Slot: slot, Node: "n1", Token: token, Revision: rev}
	}
	running := func(slot string, rev Revision, state InstanceState) Instance {
		return Instance{ID: slot + "-" + string(rev), Driver: "containerd", Slot: SlotID{web, slot}, Revision: rev, State: state}
	}
	const up, gone = StateRunning, StateExited
	single := Template{Volumes: []Volume{{Name: "data", Local: &LocalVolume{}}}, Containers: []Container{{VolumeMounts: []VolumeMount{{Name: "data", MountPath: "/data"}}}}}
	if !single.SingleWriter() {
		t.Fatal("the template of the table is no single writer's")
	}
	tests := []struct {
		name   string
		holds  []Hold
		leases []Lease
		have   []Instance
		spec   Template
		want   []string // actions
		waits  string   // in the reason of every lease
		next   bool     // looks again when the hold is over
	}{
		{"nothing is started", []Hold{hold("0")}, []Lease{lease("0", 1, "r1")}, nil, Template{}, nil, "left alone by ann until 2026-11-22 04:00:00 UTC: disk swap", true},
		{"nothing is restarted", []Hold{hold("0")}, []Lease{lease("0", 1, "r1")}, []Instance{running("0", "r1", gone)}, Template{}, nil, "left alone", true},
		{"nothing is replaced", []Hold{hold("0")}, []Lease{lease("0", 2, "r2")}, []Instance{running("0", "r1", up)}, Template{}, nil, "left alone", true},
		{"nothing is stopped that has no lease", []Hold{hold("0")}, nil, []Instance{running("0", "r1", up)}, Template{}, nil, "", true},
		{"other slots go on", []Hold{hold("0")}, []Lease{lease("1", 1, "r1")}, nil, Template{}, []string{"start web-1"}, "", false},
		{"a service, or the node, is all of its slots", []Hold{{Service: web, Until: until}, {Until: until}}, []Lease{lease("0", 1, "r1"), lease("1", 2, "r1")}, nil, Template{}, nil, "left alone by a person", true},
		{"a slot's hold goes before its service's", []Hold{down("0"), {Service: web, Until: until}}, []Lease{lease("0", 1, "r1")}, []Instance{running("0", "r1", up)}, Template{}, []string{"stop web-0"}, "held down", true},
		{"of two holds the later counts", []Hold{down("0"), hold("0")}, []Lease{lease("0", 1, "r1")}, []Instance{running("0", "r1", up)}, Template{}, nil, "", true},
		{"what is over does not count", []Hold{{Service: web, Stop: true, Until: holdNow.Wall}}, []Lease{lease("0", 1, "r1")}, nil, Template{}, []string{"start web-0"}, "", false},
		{"held down: it is stopped", []Hold{down("0")}, []Lease{lease("0", 1, "r1")}, []Instance{running("0", "r1", up)}, Template{}, []string{"stop web-0"}, "held down", true},
		{"and stays down", []Hold{down("0")}, []Lease{lease("0", 1, "r1")}, nil, Template{}, nil, "held down", true},
		{"also what no lease covers", []Hold{down("0")}, nil, []Instance{running("0", "r1", up)}, Template{}, []string{"stop web-0"}, "", true},
		{"another revision starts beside", []Hold{at("0", "r1")}, []Lease{lease("0", 2, "r2")}, []Instance{running("0", "r2", up)}, Template{}, []string{"start web-0"}, "", true},
		{"and takes over once it runs", []Hold{at("0", "r1")}, []Lease{lease("0", 2, "r2")}, []Instance{running("0", "r2", up), running("0", "r1", up)}, Template{}, []string{"stop web-0"}, "", true},
		{"a single writer stops first", []Hold{at("0", "r1")}, []Lease{lease("0", 2, "r2")}, []Instance{running("0", "r2", up)}, single, []string{"stop web-0"}, "waits for 0-r2 to stop", true},
		{"it is restarted like any other", []Hold{at("0", "r1")}, []Lease{lease("0", 2, "r2")}, []Instance{running("0", "r1", gone)}, Template{}, []string{"restart web-0"}, "", true},
		{"of two leases the newer stands for it", []Hold{at("0", "r0")}, []Lease{lease("0", 1, "r1"), lease("0", 2, "r2")}, []Instance{running("0", "r0", up)}, Template{}, nil, "", true},
		{"of two leases that with the revision", []Hold{at("0", "r1")}, []Lease{lease("0", 1, "r1"), lease("0", 2, "r2")}, []Instance{running("0", "r1", up)}, Template{}, nil, "", true},
		{"a revision that is not known is waited for", []Hold{at("0", "r9")}, []Lease{lease("0", 2, "r2")}, []Instance{running("0", "r2", up)}, Template{}, nil, "not known", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := NodeState{
				Node: "n1", Docs: map[ServiceID]LeaseDoc{web: {Service: web, Leases: tt.leases}}, Have: tt.have, Holds: tt.holds, Now: holdNow,
				Specs:    map[Revision]Template{"r0": tt.spec, "r1": tt.spec, "r2": tt.spec},
				Followed: Followed{Services: map[ServiceID]Service{web: {ID: web, Replicas: 2, Revision: "r2"}}},
			}
			plan := Reconcile(st)
			var got []string
			for _, a := range plan.Actions {
				got = append(got, fmt.Sprintf("%s %s", a.Kind, a.Slot))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("does %v, want %v", plan.Actions, tt.want)
			}
			for _, w := range plan.Waits {
				if !strings.Contains(w.Reason, tt.waits) {
					t.Errorf("waits: %s", w.Reason)
				}
			}
			if tt.waits != "" && len(plan.Waits) == 0 {
				t.Errorf("nothing is said, want %q", tt.waits)
			}
			if next := plan.Next == holdNow.Boot+time.Hour; next != tt.next {
				t.Errorf("looks again at %v", plan.Next)
			}
		})
	}
}

// TestObserve: what would be done is told, and left.
func TestObserve(t *testing.T) {
	web := ServiceID{Name: "web"}
	plan := Reconcile(NodeState{
		Node: "n1", Now: holdNow, Specs: map[Revision]Template{"r2": {}},
		Docs: map[ServiceID]LeaseDoc{web: {Service: web, Leases: []Lease{{Slot: "0", Node: "n1", Token: 2, Revision: "r2"}}}},
		Have: []Instance{{ID: "old", Slot: SlotID{web, "0"}, Revision: "r1", State: StateRunning}},
		Followed: Followed{Services: map[ServiceID]Service{
			web: {ID: web, Replicas: 1, Revision: "r2", Observe: true},
		}},
	})
	if len(plan.Actions) > 0 || len(plan.Observed) == 0 || plan.Observed[0].Kind != ActionStop {
		t.Errorf("does %v, tells %v", plan.Actions, plan.Observed)
	}
}

// TestSuspend: a suspended service keeps its leases as they are, alone and in a
// fleet, and goes on when the time has come.
func TestSuspend(t *testing.T) {
	web := ServiceID{Name: "web"}
	old := LeaseDoc{Format: FormatLeases, Service: web, Tokens: 1, Leases: []Lease{{Slot: "0", Node: "n1", Token: 1, Revision: "r1"}}}
	alone := func(now Time) Coordination {
		return CoordinateAlone(
			Followed{Commit: Commit{Hash: "c"}, Services: map[ServiceID]Service{web: {
				ID: web, Replicas: 2, Revision: "r2", Suspend: &Suspension{Until: holdNow.Wall.Add(time.Hour), Reason: "freeze"},
			}}},
			Alone{Node: Node{Name: "n1"}, Docs: map[ServiceID]LeaseDoc{web: old}, Prepared: map[RevisionKey]bool{{web, "r2"}: true}, Now: now},
		)
	}
	if out := alone(holdNow); len(out.Docs)+len(out.Prepare) > 0 || out.Next != holdNow.Boot+time.Hour {
		t.Errorf("changes %v, prepares %v, looks again at %v", out.Docs, out.Prepare, out.Next)
	}
	later := Time{Boot: holdNow.Boot + time.Hour, Wall: holdNow.Wall.Add(time.Hour)}
	if out := alone(later); len(out.Docs) != 1 || out.Next != Never {
		t.Errorf("afterwards: changes %v, looks again at %v", out.Docs, out.Next)
	}
}

// TestHoldVoidLease: what goes on under a void lease is held down like the rest.
func TestHoldVoidLease(t *testing.T) {
	web := ServiceID{Name: "web"}
	st := NodeState{
		Node: "n1", Now: holdNow, Holds: []Hold{{Service: web, Stop: true, Until: holdNow.Wall.Add(time.Hour)}},
		Keep:     map[ServiceID][]Lease{web: {{Slot: "0", Node: "n1", Token: 1, Revision: "r1"}}},
		Have:     []Instance{{ID: "i", Slot: SlotID{web, "0"}, Revision: "r1", State: StateRunning}},
		Followed: Followed{Services: map[ServiceID]Service{web: {ID: web, Replicas: 1, Revision: "r1"}}},
	}
	if plan := Reconcile(st); len(plan.Actions) != 1 || plan.Actions[0].Kind != ActionStop || !plan.Actions[0].Ordered {
		t.Errorf("does %v", plan.Actions)
	}
	st.Holds = nil
	if plan := Reconcile(st); len(plan.Actions) > 0 {
		t.Errorf("without a hold: %v", plan.Actions)
	}
}
