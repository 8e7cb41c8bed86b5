package planner

import (
	"encoding/json"
	"testing"
)

// What people say of a node stands as the commit has it, and is kept for nodes
// that a commit with faults lacks.
func TestSettleNodes(t *testing.T) {
	drained := map[NodeName]NodeSpec{"a": {Name: "a", Drain: true}, "b": {Name: "b"}}
	fault := []Fault{{File: "nodes/a.yaml", Line: 3, Reason: "not YAML"}}
	rows := []struct {
		name   string
		prev   map[NodeName]NodeSpec
		next   map[NodeName]NodeSpec
		faults []Fault
		drains bool // node a
		nodes  int
		keeps  bool // node a, as it was
	}{
		// The first commit is taken as it is.
		{"first", nil, drained, nil, true, 2, false},
		// Deleting the file ends the drain, if all could be read.
		{"deleted", drained, map[NodeName]NodeSpec{"b": {Name: "b"}}, nil, false, 1, false},
		// A broken file may be the one that drains it.
		{"broken", drained, map[NodeName]NodeSpec{"b": {Name: "b"}}, fault, true, 2, true},
		// What the commit does say of a node holds, also beside a broken file.
		{"said", drained, map[NodeName]NodeSpec{"a": {Name: "a"}}, fault, false, 2, false},
		// Warnings hold nothing back.
		{"warning", drained, nil, []Fault{{File: "x.yaml", Reason: "x", Warning: true}}, false, 0, false},
	}
	for _, row := range rows {
		before := len(row.prev)
		f := Settle(Followed{Nodes: row.prev}, Desired{Nodes: row.next, Faults: row.faults}, nil)
		if f.Nodes["a"].Drain != row.drains || len(f.Nodes) != row.nodes || f.Nodes["a"].Kept != row.keeps || f.Unread != (row.name == "broken" || row.name == "said") {
			t.Errorf("%s: %+v", row.name, f.Nodes)
		}
		if len(row.prev) != before {
			t.Errorf("%s: the earlier map was changed", row.name)
		}
	}
}

// A list of no labels is not the absence of a list, also after a restart of
// the agent: the one forbids the node every label of its own, the other none.
func TestOwnLabelsSurviveJSON(t *testing.T) {
	for _, want := range []NodeSpec{{Name: "a"}, {Name: "a", OwnLabels: []string{}}} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got NodeSpec
		if err := json.Unmarshal(text, &got); err != nil || (got.OwnLabels == nil) != (want.OwnLabels == nil) {
			t.Errorf("%s: own labels %#v, want %#v (%v)", text, got.OwnLabels, want.OwnLabels, err)
		}
	}
}

// Which labels a node may give itself.
func TestMayOwn(t *testing.T) {
	rows := []struct {
		own  []string
		key  string
		want bool
	}{
		// Without a list all but ours.
		{nil, "disk", true},
		{nil, "topology.kubernetes.io/zone", true},
		{nil, LabelNode, false},
		// An empty list allows none.
		{[]string{}, "disk", false},
		// Ours cannot be allowed.
		{[]string{"*"}, "orpheus/node", false},
		{[]string{"*"}, "disk", true},
		{[]string{"disk"}, "disk", true},
		{[]string{"disk"}, "disks", false},
		{[]string{"disk"}, "a/disk", false},
		{[]string{"disk*"}, "disk", true},
		{[]string{"disk*"}, "disk-2", true},
		{[]string{"hardware.example.com/*"}, "hardware.example.com/gpu", true},
		{[]string{"hardware.example.com/*"}, "hardware.example.com.evil/gpu", false},
		{[]string{"*/gpu"}, "example.com/gpu", true},
		{[]string{"*/gpu"}, "example.com/gpus", false},
		// A star between: head and tail may not overlap.
		{[]string{"a*a"}, "a", false},
		{[]string{"a*a"}, "aa", true},
		{[]string{"a*b*c"}, "a-b-c", true},
		{[]string{"a*b*c"}, "a-c-b", false},
		{[]string{"x", "y*"}, "yes", true},
	}
	for _, row := range rows {
		if got := (NodeSpec{OwnLabels: row.own}).MayOwn(row.key); got != row.want {
			t.Errorf("%q may own %s: %v", row.own, row.key, got)
		}
	}
}
