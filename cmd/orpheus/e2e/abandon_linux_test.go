package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestAbandon: a slot waits for the lost node that has its data, and says what a
// person may do; once that data is given up it begins anew elsewhere. When the node
// comes back it runs nothing of the slot, and has the data still.
func TestAbandon(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 3})
	db := map[string]int{"db": 1}
	f.begin(map[string]string{
		"fleet.yaml": strings.Replace(threeQuick, "1s}", "1s, failover: fast}", 1),
		"db.yaml":    f.manifest(spec{name: "db", more: "  volumes: [{name: data, local: {}}]\n"}),
	}, db)
	home := f.busiest("db", "")
	marker := func(n *devfleet.Node) string {
		return filepath.Join(n.StateDir(), "volumes", planner.DefaultNamespace, "db", "0", "data", "marker")
	}
	f.must(os.WriteFile(marker(home), []byte("precious"), 0o644))
	f.must(home.Kill())
	remedy := fmt.Sprintf("give it up with \"orpheus abandon %s\"", home.Name)
	f.await("it waits for its data", patience, func(all []*api.Status) string {
		for _, st := range all {
			if st == nil || st.Fleet == nil {
				continue
			}
			for _, u := range st.Fleet.Unplaced {
				if strings.Contains(strings.Join(u.Reasons, "; "), remedy) {
					return ""
				}
			}
		}
		return "nobody names the remedy"
	})
	out, _ := f.orpheus("why", "db", "--repository", f.Repo.Dir)
	contains(t, "orpheus why", out, remedy)
	f.watch("it goes nowhere by itself", 3*time.Second, func(all []*api.Status) string {
		if at := placesOf(all); len(at) > 0 {
			return fmt.Sprintf("it runs: %v", at)
		}
		return ""
	})

	out, code := f.orpheus("abandon", home.Name, "--repository", f.Repo.Dir)
	if code != 0 {
		t.Fatalf("abandon: %d\n%s", code, out)
	}
	f.await("it runs elsewhere", patience, func(all []*api.Status) string { return placesOf(all).exactly(db) })
	next := f.busiest("db", "")
	if _, err := os.Stat(filepath.Dir(marker(next))); err != nil {
		t.Errorf("the new volume: %v", err)
	}
	if _, err := os.Stat(marker(next)); !os.IsNotExist(err) {
		t.Errorf("the new volume is not empty: %v", err)
	}
	f.comesBack(home, db)
	if text, err := os.ReadFile(marker(home)); err != nil || string(text) != "precious" {
		t.Errorf("what the lost node had is %q, %v", text, err)
	}
	if got := f.busiest("db", ""); got != next {
		t.Errorf("it went to %s", got.Name)
	}
	if out, code := f.orpheus("abandon", next.Name, "--repository", f.Repo.Dir); code == 0 || !strings.Contains(out, "is live") {
		t.Errorf("a live node is given up: %d\n%s", code, out)
	}
}
