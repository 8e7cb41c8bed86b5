package main

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
)

const nodeHead = "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: node-2}\n"

// One field changes, every other byte stays.
func TestSetNodeField(t *testing.T) {
	rows := []struct {
		name, before string
		value        bool
		after        string
	}{
		// Comments, blank lines and odd indents are the writer's.
		{"below spec", nodeHead + "spec:   # what we know\n\n    # fast ones\n    labels: {disk: ssd}   # two\n", true,
			nodeHead + "spec:   # what we know\n    drain: true\n\n    # fast ones\n    labels: {disk: ssd}   # two\n"},
		{"set before", nodeHead + "spec:\n  labels: {a: b}\n  drain:   false  # not yet\n", true,
			nodeHead + "spec:\n  labels: {a: b}\n  drain:   true  # not yet\n"},
		{"taken back", nodeHead + "spec:\n  drain: true\n", false, nodeHead + "spec:\n  drain: false\n"},
		{"no spec", nodeHead, true, nodeHead + "spec:\n  drain: true\n"},
		{"no spec, no line end", strings.TrimSuffix(nodeHead, "\n"), true, nodeHead + "spec:\n  drain: true\n"},
		{"empty spec", nodeHead + "spec: {}\n", true, nodeHead + "spec: {drain: true}\n"},
		{"in braces", nodeHead + "spec: {labels: {ü: \"ß\"}, taints: []} # x\n", true, nodeHead + "spec: {drain: true, labels: {ü: \"ß\"}, taints: []} # x\n"},
		{"in braces, behind letters of two bytes", "{apiVersion: orpheus/v1, kind: Node, metadata: {name: node-2, annotations: {a: üß}}, spec: {drain: false}}", true,
			"{apiVersion: orpheus/v1, kind: Node, metadata: {name: node-2, annotations: {a: üß}}, spec: {drain: true}}"},
		{"all in braces", "{kind: Node, metadata: {name: node-2}}\n", true, "{spec: {drain: true}, kind: Node, metadata: {name: node-2}}\n"},
		{"a byte order mark", "\uFEFF{kind: Node, metadata: {name: node-2}}\n", true, "\uFEFF{spec: {drain: true}, kind: Node, metadata: {name: node-2}}\n"},
		{"line ends of Windows", strings.ReplaceAll(nodeHead+"spec:\n  labels: {a: b}\n", "\n", "\r\n"), true,
			strings.ReplaceAll(nodeHead+"spec:\n  drain: true\n  labels: {a: b}\n", "\n", "\r\n")},
		// The second of three documents; the others are not touched.
		{"among others", "kind: Node\nmetadata: {name: node-1}\nspec:\n  drain: false\n---\n" + nodeHead + "# end\n---\nkind: Node\nmetadata: {name: node-3}\n", true,
			"kind: Node\nmetadata: {name: node-1}\nspec:\n  drain: false\n---\n" + nodeHead + "# end\nspec:\n  drain: true\n---\nkind: Node\nmetadata: {name: node-3}\n"},
		{"spec first", "spec:\n  labels: {a: b}\nkind: Node\nmetadata: {name: node-2}\n", true, "spec:\n  drain: true\n  labels: {a: b}\nkind: Node\nmetadata: {name: node-2}\n"},
	}
	for _, row := range rows {
		got, err := setNodeField([]byte(row.before), "node-2", "drain", row.value)
		if err != nil || string(got) != row.after {
			t.Errorf("%s: %v\n%s\nwant:\n%s", row.name, err, got, row.after)
		}
	}
}

// What cannot be edited is said, and nothing is guessed.
func TestSetNodeFieldRefuses(t *testing.T) {
	for _, text := range []string{
		nodeHead + "spec: none\n",
		nodeHead + "spec: {drain: {}}\n",
		nodeHead + "spec: {drain: \"true\"}\n",
	} {
		if got, err := setNodeField([]byte(text), "node-2", "drain", true); !errors.Is(err, errNotEditable) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a: [", "- x\n", strings.ReplaceAll(nodeHead, "node-2", "node-3")} {
		if got, err := setNodeField([]byte(text), "node-2", "drain", true); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// fleetWith is a fleet with one file beside fleet.yaml.
func fleetWith(name, text string) fstest.MapFS {
	return fstest.MapFS{"fleet.yaml": {Data: []byte(fleetYAML)}, name: {Data: []byte(text)}}
}

func drainIt(n planner.NodeSpec) []fieldChange { return nodeVerbs[0].want(n) }

// A new file is a good manifest whatever the name looks like to YAML.
func TestNewNodeFile(t *testing.T) {
	for _, name := range []planner.NodeName{"node-2", "1", "on", "n", "0x1f", "1e3", "null"} {
		text, err := newNodeFile(name, "drain")
		if err != nil {
			t.Fatal(err)
		}
		d, err := readFleet(t.Context(), fleetWith("nodes/x.yaml", string(text)), ".")
		if err != nil || !d.Nodes[name].Drain || len(d.Faults) > 0 {
			t.Errorf("%s:\n%s\n%v %v", name, text, err, d.Faults)
		}
	}
}

// FuzzSetNodeField: whatever a manifest looks like, either the node drains and
// nothing else is different, or there is an error.
func FuzzSetNodeField(f *testing.F) {
	for _, text := range []string{
		nodeHead, nodeHead + "spec:\n  labels: {a: b}\n  drain: false # x\n", nodeHead + "spec: {}\n---\n" + goodYAML,
		"{apiVersion: orpheus/v1, kind: Node, metadata: {name: node-2}}", nodeHead + "spec:\n  unschedulable: true\n...\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fleet := fleetWith("nodes/x.yaml", text)
		before, err := readFleet(t.Context(), fleet, ".")
		if err != nil || before.Nodes["node-2"].Name == "" || before.Nodes["node-2"].Drain {
			return
		}
		change, err := changeNode(t.Context(), fleet, ".", "node-2", drainIt)
		if err != nil {
			return
		}
		after, err := readFleet(t.Context(), fleetWith("nodes/x.yaml", string(change.after)), ".")
		if err != nil || !after.Nodes["node-2"].Drain || len(after.Nodes) != len(before.Nodes) {
			t.Errorf("%q became %q: %v", text, change.after, err)
		}
	})
}
