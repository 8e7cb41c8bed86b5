package review

import (
	"slices"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestAbandon: a plan names the data that a commit gives up, where it is and where
// the slots go.
func TestAbandon(t *testing.T) {
	const node = "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: n1}\nspec: {abandoned: true}\n"
	base := files{"db.yaml": service("db", `{image: "d:1", replicas: 2, volumes: [{name: data, local: {}}], volumeMounts: [{name: data, mountPath: /data}]}`)}
	head := files{"db.yaml": base["db.yaml"], "nodes/n1.yaml": node}
	// told makes the plan, of a fleet in which n1 is lost or is not.
	told := func(base files, lost bool) (r *Report, findings []string, slot string) {
		in := input(t, base, head, 100, 100)
		for _, l := range in.View.Docs[planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "db"}].Doc.Leases {
			if l.Node == "n1" {
				slot = "db-" + l.Slot
			}
		}
		if n := in.View.Nodes["n1"]; lost {
			n.Record.Fence = &planner.Fence{Epoch: 2, Fenced: true, By: "n2"}
			n.Record.Epoch = 2
			in.View.Nodes["n1"] = n
		}
		r = Build(in)
		for _, f := range r.Findings {
			findings = append(findings, f.Service+" "+f.What)
		}
		return r, findings, slot
	}
	r, got, slot := told(base, true)
	if want := []string{"db gives up what " + slot + " has on n1 in volume data, and begins anew on another node"}; slot == "" || !slices.Equal(got, want) {
		t.Errorf("lost: %q, want %q", got, want)
	}
	if len(r.Unplaced) > 0 || len(r.Services) != 1 || len(r.Services[0].Slots) != 1 || r.Services[0].Slots[0].Slot != slot || r.Services[0].Slots[0].To.Node == "n1" {
		t.Errorf("its slot: %+v, unplaced %+v", r.Services, r.Unplaced)
	}
	if r, got, _ = told(base, false); !slices.Equal(got, []string{"node n1 is given up and is live: it keeps what it has, until it is lost"}) || len(r.Services) > 0 {
		t.Errorf("live: %q, %+v", got, r.Services)
	}
	if _, got, _ = told(head, true); len(got) > 0 {
		t.Errorf("said before: %q", got)
	}
	if got := build(t, base, head).Findings; len(got) != 1 || got[0].Service != "node n1" {
		t.Errorf("without records: %+v", got)
	}
}
