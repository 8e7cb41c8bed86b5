package planner

import (
	"strings"
	"testing"
)

// TestStandingOf: what n1 makes of the document of web.
func TestStandingOf(t *testing.T) {
	tests := []struct {
		name   string
		nodes  string
		before string
		theirs bool   // the record shows another life
		since  uint64 // epoch at which the life in the record took the name

		runs, keeps string
		behind      string // token that must not start yet
		unsure      string
		change      func(v *View, d *DocView)
	}{
		{name: "in force", nodes: "n1 n2", before: "0:a1@n1 1:a2@n2 2:a3@n1", runs: "0:a1@n1 2:a3@n1"},
		{name: "none of its own", nodes: "n1 n2", before: "0:a1@n2"},
		// Fenced: everything goes on, nothing is started.
		{name: "fenced", nodes: "n1:fenced n2", before: "0:a1@n1v 1:a2@n1", keeps: "0:a1@n1v 1:a2@n1"},
		{name: "returned", nodes: "n1 n2", before: "0:a1@n1v", keeps: "0:a1@n1v"},
		// Replaced: only once its successor is ready (L9).
		{name: "successor on its way", nodes: "n1 n2", before: "0:a1@n1v 0:a2@n2", keeps: "0:a1@n1v"},
		{name: "successor ready", nodes: "n1 n2", before: "0:a1@n1v 0:a2@n2+"},
		{name: "successor lost, too", nodes: "n1 n2:fenced", before: "0:a1@n1v 0:a2@n2v+", keeps: "0:a1@n1v"},
		{name: "successor here", nodes: "n1 n2", before: "0:a1@n1v 0:b2@n1", runs: "0:b2@n1", keeps: "0:a1@n1v"},
		// Another slot's readiness says nothing.
		{name: "other slot ready", nodes: "n1 n2", before: "0:a1@n1v 1:a2@n2+", keeps: "0:a1@n1v"},
		// A successor whose agent restarted has not said that it is ready.
		{name: "successor restarting", nodes: "n1 n2:restarting", before: "0:a1@n1v 0:a2@n2+", keeps: "0:a1@n1v"},
		{name: "retired", nodes: "n1:retired n2", before: "0:a1@n1", keeps: "0:a1@n1"},
		// Another life has the name: what is older goes on, nothing is in force.
		{name: "another life", nodes: "n1 n2", before: "0:a1@n1v 1:a2@n1", theirs: true, since: 2, keeps: "0:a1@n1v"},
		// A lease that is to end, or that may run once only, is not kept.
		{name: "ending", nodes: "n1", before: "0:a1@n1e"},
		{name: "exclusive and void", nodes: "n1", before: "0:a1@n1v", change: func(_ *View, d *DocView) { d.Doc.Leases[0].Exclusive = &Exclusive{} }},
		// Torn: neither started nor stopped, and nothing else of it stopped.
		{name: "torn", nodes: "n1", before: "0:a1@n1 1:a2@n1", runs: "1:a2@n1", keeps: "0:a1@n1^", unsure: "web: what was read is of two instants",
			change: func(_ *View, d *DocView) { d.Doc.Leases[0].Epoch = 3 }},
		{name: "no record", nodes: "n2", before: "0:a1@n1", keeps: "0:a1@n1", unsure: "web: what was read is of two instants"},
		// What cannot be read or trusted stops nothing.
		{name: "too new", nodes: "n1", before: "0:a1@n1", keeps: "0:a1@n1", unsure: "web: its document is of a later version", change: func(_ *View, d *DocView) { d.TooNew = true }},
		// ... and of what stands as it did when it could be read what crashes is
		// started again; the rest may ask for more than is known.
		{name: "too new, as before", nodes: "n1", before: "0:a1@n1 1:a2@n1 2:a3@n1v", runs: "0:a1@n1", keeps: "1:a2@n1 2:a3@n1v", unsure: "web: its document is of a later version",
			change: func(_ *View, d *DocView) {
				d.TooNew, d.Before.Leases = true, []Lease{d.Doc.Leases[0], {Slot: "1", Node: "n1", Epoch: 2, Token: 9, Revision: d.Doc.Leases[1].Revision}, d.Doc.Leases[2]}
			}},
		{name: "too new, taken back", nodes: "n1", before: "1:a2@n1", keeps: "1:a2@n1", unsure: "web: its document is of a later version",
			change: func(_ *View, d *DocView) {
				l := d.Doc.Leases[0]
				l.Slot, l.Token = "0", 1
				d.TooNew, d.Before.Leases = true, []Lease{l}
			}},
		{name: "garbled", nodes: "n1", before: "0:a1@n1", runs: "0:a1@n1", change: func(_ *View, d *DocView) { d.Broken = "not signed" }},
		{name: "garbled, never good", nodes: "n1", before: "0:a1@n1", unsure: "web: its document is garbled: not signed", change: func(_ *View, d *DocView) { *d = DocView{Broken: "not signed"} }},
		{name: "alarm", nodes: "n1", before: "0:a1@n1 1:a2@n1v", runs: "0:a1@n1", keeps: "1:a2@n1v", unsure: ": records went back", change: func(v *View, _ *DocView) { v.Alarm = "records went back" }},
		// Of a single writer the younger waits for the older on another node, ...
		{name: "single writer moves", nodes: "n1 n2", before: "0:H1@n2+ 0:H2@n1", runs: "0:H2@n1", behind: "2"},
		{name: "single writer before", nodes: "n1 n2", before: "0:H1@n2+ 0:a2@n1", runs: "0:a2@n1", behind: "2"},
		{name: "single writer stays", nodes: "n1 n2", before: "0:H1@n1 0:H2@n2", runs: "0:H1@n1"},
		// ... as long as that one is in force.
		{name: "single writer was fenced", nodes: "n1 n2:fenced", before: "0:H1@n2v 0:H2@n1", runs: "0:H2@n1"},
		{name: "not single", nodes: "n1 n2", before: "0:a1@n2+ 0:a2@n1", runs: "0:a2@n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes := tt.nodes
			_, v := fleetCase{nodes: nodes, replicas: 1, target: "a", before: tt.before}.buildAny(t)
			if !strings.Contains(nodes, "n1") {
				delete(v.Nodes, "n1")
			}
			d := v.Docs[web]
			if tt.change != nil {
				tt.change(&v, &d)
			}
			v.Docs[web] = d
			s := StandingOf("n1", !tt.theirs, tt.since, v)
			if got := showFleetLeases(s.Docs[web].Leases); got != tt.runs {
				t.Errorf("runs %q, want %q", got, tt.runs)
			}
			if got := showFleetLeases(s.Keep[web]); got != tt.keeps {
				t.Errorf("keeps %q, want %q", got, tt.keeps)
			}
			behind, unsure := "", ""
			for key := range s.Behind {
				behind += string('0' + rune(key.Token))
			}
			for id, why := range s.Unsure {
				unsure += strings.TrimPrefix(id.String(), "/") + ": " + why
			}
			if behind != tt.behind || unsure != tt.unsure {
				t.Errorf("behind %q, unsure %q; want %q, %q", behind, unsure, tt.behind, tt.unsure)
			}
			if v.Docs[web].Doc.Leases != nil && len(v.Docs[web].Doc.Leases) != len(strings.Fields(tt.before)) {
				t.Error("the document given was changed")
			}
		})
	}
}

// TestReconcileStanding: what the parts of Standing mean to a node.
func TestReconcileStanding(t *testing.T) {
	running := instanceOf(leased(1, plainA), plainA)
	old := leased(1, plainA)
	next := leased(2, plainB)
	single, singleNext := leased(1, volumeA), leased(2, volumeB)
	tests := []struct {
		name string
		st   NodeState
		want string // kinds of the actions, and of the waits
	}{
		// Without a lease it ends ...
		{"gone", NodeState{Have: []Instance{running}}, "stop"},
		// ... unless a void lease keeps it: neither stopped nor, once it ended, restarted.
		{"kept", NodeState{Have: []Instance{running}, Keep: map[ServiceID][]Lease{web: {old}}}, ""},
		{"kept, exited", NodeState{Have: []Instance{running.in(StateExited)}, Keep: map[ServiceID][]Lease{web: {old}}}, ""},
		{"kept, not there", NodeState{Keep: map[ServiceID][]Lease{web: {old}}}, ""},
		{"kept, other revision", NodeState{Have: []Instance{running}, Keep: map[ServiceID][]Lease{web: {next}}}, "stop"},
		// Nothing of a service, or of any, may be stopped.
		{"unsure", NodeState{Have: []Instance{running}, Unsure: map[ServiceID]string{web: "torn"}}, ""},
		{"unsure of all", NodeState{Have: []Instance{running}, Unsure: map[ServiceID]string{{}: "alarm"}}, ""},
		{"unsure of another", NodeState{Have: []Instance{running}, Unsure: map[ServiceID]string{{Name: "x"}: "torn"}}, "stop"},
		// Covered by a lease in force as well: it is restarted.
		{"in force and kept", NodeState{Have: []Instance{running.in(StateExited)}, Docs: docsOf(leased(3, plainA)), Keep: map[ServiceID][]Lease{web: {old}}}, "restart"},
		// Two leases of a single writer: the younger waits, also when nothing runs.
		{"two single writers", NodeState{Docs: docsOf(single, singleNext)}, "start wait"},
		{"two single writers, the older runs", NodeState{Have: []Instance{instanceOf(single, volumeA)}, Docs: docsOf(single, singleNext)}, "wait"},
		{"two that may", NodeState{Docs: docsOf(old, next)}, "start start"},
		// Another node has the older one.
		{"behind", NodeState{Docs: docsOf(singleNext), Behind: map[LeaseKey]string{{web, 2}: "waits for n2"}}, "wait"},
		{"another behind", NodeState{Docs: docsOf(singleNext), Behind: map[LeaseKey]string{{web, 3}: "waits for n2"}}, "start"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := tt.st
			st.Node = here.Name
			st.Specs = map[Revision]Template{}
			for _, tmpl := range revs {
				st.Specs[RevisionOf(tmpl)] = tmpl
			}
			plan := Reconcile(st)
			var got []string
			for _, a := range plan.Actions {
				got = append(got, string(a.Kind))
			}
			for range plan.Waits {
				got = append(got, "wait")
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("does %q, want %q: %+v", text, tt.want, plan)
			}
		})
	}
}

func docsOf(leases ...Lease) map[ServiceID]LeaseDoc {
	return map[ServiceID]LeaseDoc{web: {Service: web, Leases: leases}}
}
