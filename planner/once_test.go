package planner

import (
	"strings"
	"testing"
)

// TestReconcileOnce: what runs once is started once under its lease, and ends
// with it.
func TestReconcileOnce(t *testing.T) {
	hook := hookOf(HookPreRollout, plainB)
	slot := SlotID{web, string(HookPreRollout)}
	lease := func(token uint64) Lease {
		return Lease{Slot: slot.Name, Node: "n1", Token: token, Revision: hook.Revision, Hook: HookPreRollout}
	}
	run := func(token uint64) Instance { return instanceOf(lease(token), hook.Template) }
	tests := []struct {
		name    string
		leases  []Lease
		have    []Instance
		started bool // under token 1
		unknown bool // its template is
		action  string
		wait    string
	}{
		{name: "begins", leases: []Lease{lease(1)}, action: "start"},
		{name: "runs", leases: []Lease{lease(1)}, have: []Instance{run(1)}, started: true},
		// Ended, well or not: it stays listed, so that its outcome can be told.
		{name: "succeeded", leases: []Lease{lease(1)}, have: []Instance{run(1).exited(Exit{})}, started: true, wait: "it runs once: exited with code 0"},
		{name: "failed", leases: []Lease{lease(1)}, have: []Instance{run(1).exited(Exit{Code: 3})}, started: true, wait: "it runs once: exited with code 3"},
		{name: "cut off", leases: []Lease{lease(1)}, have: []Instance{run(1).in(StatePartial)}, started: true, wait: "it runs once: its start was cut off"},
		{name: "ended, and forgotten by the agent", leases: []Lease{lease(1)}, have: []Instance{run(1).exited(Exit{})}, wait: "it runs once"},
		// Its lease says that it is a hook, whatever else is known of it.
		{name: "ended, template unknown", leases: []Lease{lease(1)}, have: []Instance{run(1).exited(Exit{})}, unknown: true, wait: "it runs once"},
		// Nothing is left of it.
		{name: "gone", leases: []Lease{lease(1)}, started: true, wait: "was started before: nothing is left"},
		// Another lease is another run, once nothing of the one before is left.
		{name: "again", leases: []Lease{lease(2)}, have: []Instance{run(1).exited(Exit{})}, started: true, action: "remove"},
		{name: "again, the other runs", leases: []Lease{lease(2)}, have: []Instance{run(1)}, started: true, action: "stop", wait: "it is of an earlier run"},
		// No lease covers it any more.
		{name: "over", have: []Instance{run(1)}, started: true, action: "stop"},
		{name: "over, ended", have: []Instance{run(1).exited(Exit{})}, started: true, action: "remove"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := NodeState{
				Node: "n1", Docs: map[ServiceID]LeaseDoc{web: {Leases: tt.leases}}, Have: tt.have,
				Specs: map[Revision]Template{hook.Revision: hook.Template}, Started: map[LeaseKey]bool{{web, 1}: tt.started},
			}
			if tt.unknown {
				st.Specs = nil
			}
			plan := Reconcile(st)
			actions, waits := "", ""
			for _, a := range plan.Actions {
				actions += string(a.Kind) + " "
			}
			for _, w := range plan.Waits {
				waits += w.Reason
			}
			if !strings.HasPrefix(actions, tt.action) || tt.action == "" && actions != "" || !strings.Contains(waits, tt.wait) || tt.wait == "" && waits != "" {
				t.Errorf("%q, waits %q; want %q, %q", actions, waits, tt.action, tt.wait)
			}
		})
	}
}

// TestTakeOnOnce: what runs once is refused before it began, for as long as its
// lease stands, and never after: the others would have it run again.
func TestTakeOnOnce(t *testing.T) {
	hook := hookOf(HookPreRollout, plainB)
	key := RevisionKey{web, hook.Revision}
	lease := Lease{Slot: string(HookPreRollout), Node: "n1", Token: 1, Revision: hook.Revision, Hook: HookPreRollout}
	s := service(web, 1, plainB)
	s.Hooks = map[HookKind]Hook{HookPreRollout: hook}
	tests := []struct {
		name    string
		leases  []Lease
		have    []Instance
		started bool
		against bool // the node's policy is
		before  bool // it was refused
		refused bool
	}{
		{name: "fits", leases: []Lease{lease}},
		// The policy is asked about the template of the hook.
		{name: "policy", leases: []Lease{lease}, against: true, refused: true},
		{name: "refused before", leases: []Lease{lease}, before: true, refused: true},
		{name: "refused before, taken back", before: true},
		// It is here, or was: a refusal would be a lie.
		{name: "ended", leases: []Lease{lease}, have: []Instance{instanceOf(lease, hook.Template).exited(Exit{})}, against: true},
		{name: "started", leases: []Lease{lease}, started: true, against: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := NodeState{
				Node: "n1", Docs: map[ServiceID]LeaseDoc{web: {Leases: tt.leases}}, Have: tt.have,
				Followed: Followed{Services: map[ServiceID]Service{web: s}},
				Specs:    map[Revision]Template{hook.Revision: hook.Template}, Started: map[LeaseKey]bool{{web, 1}: tt.started},
			}
			before := map[RevisionKey]string{}
			if tt.before {
				before[key] = "no room"
			}
			taken := TakeOn(st, ResourceList{}, func(s Service) string {
				if tt.against && s.Template.Once {
					return "not here"
				}
				return ""
			}, before)
			if got := taken.Refused[key] != ""; got != tt.refused || (len(taken.Docs[web].Leases) == 0) != (tt.refused || len(tt.leases) == 0) {
				t.Errorf("refused: %v, takes %v", taken.Refused, taken.Docs[web].Leases)
			}
		})
	}
}

// TestReconcileStopFirst: a lease that is stop-first waits for the one before
// it, and for what that ran.
func TestReconcileStopFirst(t *testing.T) {
	old, next := leased(1, plainA), leased(2, plainB)
	next.StopFirst = true
	tests := []struct {
		name   string
		leases []Lease
		have   []Instance
		wait   string
	}{
		{"both stand", []Lease{old, next}, []Instance{instanceOf(old, plainA)}, "has the old instance stopped first"},
		{"both stand, nothing runs", []Lease{old, next}, nil, "waits until its predecessor's lease is taken back"},
		{"the old one still runs", []Lease{next}, []Instance{instanceOf(old, plainA)}, "waits for " + InstanceID(web0, old) + " to stop"},
		{"alone", []Lease{next}, nil, ""},
		{"alone, what the old one ran has ended", []Lease{next}, []Instance{instanceOf(old, plainA).exited(Exit{})}, ""},
	}
	for _, tt := range tests {
		plan := Reconcile(NodeState{
			Node: "n1", Docs: map[ServiceID]LeaseDoc{web: {Leases: tt.leases}}, Have: tt.have,
			Specs: map[Revision]Template{old.Revision: plainA, next.Revision: plainB},
		})
		starts, waits := 0, ""
		for _, a := range plan.Actions {
			if a.Kind == ActionStart && a.Lease == next {
				starts++
			}
		}
		for _, w := range plan.Waits {
			waits += w.Reason
		}
		if (starts == 1) != (tt.wait == "") || !strings.Contains(waits, tt.wait) {
			t.Errorf("%s: %v, waits %q", tt.name, plan.Actions, waits)
		}
	}
}

// TestStandingStopFirst: the same where the one before it is another node's.
func TestStandingStopFirst(t *testing.T) {
	for before, behind := range map[string]bool{
		"0:a1@n2 0:a2@n1s":  true,  // both are in force
		"0:a1@n2 0:a2@n1":   false, // it is start-first
		"0:a1@n2v 0:a2@n1s": false, // the other is void
		"0:a2@n1s":          false,
	} {
		_, v := fleetCase{nodes: "n1 n2", replicas: 1, target: "a", before: before}.build(t)
		s := StandingOf("n1", true, 1, v)
		if got := s.Behind[LeaseKey{web, 2}] != ""; got != behind {
			t.Errorf("%s: behind %v", before, s.Behind)
		}
	}
}
