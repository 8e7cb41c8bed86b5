package planner

import (
	"slices"
	"testing"
	"time"
)

func TestRunsHere(t *testing.T) {
	node := Node{Name: "n1", OS: "linux", Arch: "arm64", Labels: map[string]string{"disk": "ssd", "empty": "", LabelNode: "n2", LabelArch: "amd64"}}
	tests := []struct {
		name     string
		nodes    []NodeName
		selector map[string]string
		want     bool
	}{
		// Without a selector: wherever the fleet lists no other node.
		{"no list", nil, nil, true},
		{"only this node", []NodeName{"n1"}, nil, true},
		{"others, too", []NodeName{"n1", "n2"}, nil, false},
		{"only others", []NodeName{"n2"}, nil, false},
		// With one: every label must match, the list says nothing.
		{"matches", []NodeName{"n1", "n2"}, map[string]string{"disk": "ssd"}, true},
		{"one of two", nil, map[string]string{"disk": "ssd", "zone": "a"}, false},
		{"another value", nil, map[string]string{"disk": "hdd"}, false},
		{"an empty value is a value", nil, map[string]string{"empty": ""}, true},
		{"a missing label is not an empty one", nil, map[string]string{"missing": ""}, false},
		// Built-in labels, which labels of the node cannot replace.
		{"name", nil, map[string]string{LabelNode: "n1"}, true},
		{"another name", nil, map[string]string{LabelNode: "n2"}, false},
		{"os and arch", nil, map[string]string{LabelOS: "linux", LabelArch: "arm64"}, true},
		{"another arch", nil, map[string]string{LabelArch: "amd64"}, false},
	}
	for _, tt := range tests {
		if got := RunsHere(node, Fleet{Nodes: tt.nodes}, Service{NodeSelector: tt.selector}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestServiceID(t *testing.T) {
	for text, id := range map[string]ServiceID{"web": {DefaultNamespace, "web"}, "shop/web": {"shop", "web"}} {
		if id.String() != text || ParseServiceID(text) != id {
			t.Errorf("%q is written %q and read as %+v", text, id, ParseServiceID(text))
		}
	}
	if got := (SlotID{ServiceID{"shop", "web"}, "3"}).String(); got != "shop/web-3" {
		t.Errorf("slot %q", got)
	}
}

// TestSlotOrder: numbers in numeric order, then names; only equal names are
// equal.
func TestSlotOrder(t *testing.T) {
	ordered := []string{"0", "1", "2", "007", "7", "9", "10", "n1", "n10", "n2"}
	shuffled := reversed(ordered)
	slices.SortFunc(shuffled, compareSlotNames)
	if !slices.Equal(shuffled, ordered) {
		t.Errorf("order %q", shuffled)
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareSlotNames(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%q to %q is %d", a, b, got)
			}
		}
	}
}

func TestEarlier(t *testing.T) {
	// Never is later than everything.
	for _, tt := range [][3]time.Duration{{Never, Never, Never}, {Never, 5, 5}, {5, Never, 5}, {5, 3, 3}, {3, 5, 3}} {
		if got := earlier(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%v: %v", tt, got)
		}
	}
}
