package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// plannedFleet is a fleet repository of some nodes at rest: what its first commit
// asks for has a lease and is available.
type plannedFleet struct {
	*recordWriter
	dir string
}

const planFleetYAML = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: home}\n"

// planService is a manifest of a service.
func planService(name, spec string) string {
	return "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec:\n  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
}

func newPlannedFleet(t testing.TB, files map[string]string) *plannedFleet {
	t.Helper()
	return newPlannedFleetOn(t, 3, files)
}

func newPlannedFleetOn(t testing.TB, nodes int, files map[string]string) *plannedFleet {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if files["fleet.yaml"] == "" {
		files["fleet.yaml"] = planFleetYAML
	}
	remote, dir := fleetRemote(t, files)
	f := &plannedFleet{newRecordWriter(t, remote), dir}
	f.rest(nodes)
	return f
}

// rest writes the records of a fleet that has done all that the checkout's commit
// asks for.
func (f *plannedFleet) rest(nodes int) {
	f.t.Helper()
	head := gitAs(f.t, f.dir, "rev-parse", "HEAD")
	d, err := readFleet(f.t.Context(), os.DirFS(f.dir), ".")
	if err != nil {
		f.t.Fatal(err)
	}
	d.Commit = planner.Commit{Hash: head}
	view := planner.View{Nodes: map[planner.NodeName]planner.NodeView{}}
	for k := range nodes {
		r := f.record(planner.NodeName(fmt.Sprintf("n%d", k+1)))
		r.Capacity = planner.ResourceList{CPUMillis: 2000, MemoryBytes: 1 << 30}
		if k > 0 {
			r.Labels = nil
		}
		view.Nodes[r.Node] = planner.NodeView{Record: r}
		f.node(r)
	}
	at := planner.Foresee(planner.Settle(planner.Followed{}, d, nil), view).View
	for _, dv := range at.Docs {
		doc := dv.Doc
		doc.Format, doc.By = planner.FormatLeases, "n1"
		f.write("n1", wroteAt, planner.LeasesRef(doc.Service, 0), "leases", doc.Body())
	}
	for name, n := range at.Nodes {
		f.status(name, func(st *planner.NodeStatus) {
			st.Applied = head
			st.Instances = slices.Clone(n.Status.Instances)
		})
	}
}

// change commits files; "" removes one.
func (f *plannedFleet) change(files map[string]string) {
	f.t.Helper()
	f.edit(files)
	gitAs(f.t, f.dir, "add", "-A")
	gitAs(f.t, f.dir, "commit", "-q", "-m", "change")
}

// edit changes files in the work tree.
func (f *plannedFleet) edit(files map[string]string) {
	f.t.Helper()
	for name, text := range files {
		if text == "" {
			if err := os.Remove(f.dir + "/" + name); err != nil {
				f.t.Fatal(err)
			}
			delete(files, name)
		}
	}
	writeFiles(f.t, f.dir, files)
}
