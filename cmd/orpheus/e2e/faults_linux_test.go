package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// TestBrokenManifest commits a change of twenty good manifests and of one with
// three faults.
func TestBrokenManifest(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		files := func(colour string) map[string]string {
			out := map[string]string{"fleet.yaml": fleetYAML}
			for k := range 20 {
				name := fmt.Sprintf("good-%d", k)
				out["good/"+name+".yaml"] = n.manifest(spec{name: name, env: map[string]string{"COLOUR": colour}})
			}
			out["broken.yaml"] = n.manifest(spec{name: "broken", env: map[string]string{"COLOUR": colour}})
			return out
		}
		n.apply("all blue", files("blue"))
		before := n.lives()
		revision := service(n.status(), "broken").Revision

		next := files("green")
		next["broken.yaml"] = strings.NewReplacer(
			"replicas: 1", "replicas: many", // line 5
			"  env:", "  enviroment:", // line 8
		).Replace(next["broken.yaml"]) + "  terminationGracePeriodSeconds: -1\n" // line 11
		hash := n.commit("all green", next)
		// Where, which field, and what to do about it.
		faults := []struct {
			line                  int
			field, reason, remedy string
		}{
			{5, "spec.replicas", "many", "write a number from 0 to 1000"},
			{8, "spec", "enviroment", "remove it"},
			{11, "spec.terminationGracePeriodSeconds", "-1 is out of range", "from 0 to 3600"},
		}
		st := n.await("the good ones turn green", devfleet.SettledAt(hash))
		n.untouched("its file is broken", map[string]life{"broken/0": before["broken/0"]})
		if got := service(st, "broken"); got.Revision != revision {
			t.Errorf("broken has revision %s, not its old %s", got.Revision, revision)
		}
		contains(t, "message of broken", service(st, "broken").Message, "kept as it was", "broken.yaml")
		delete(before, "broken/0")
		good := make([]string, 20)
		for k := range good {
			good[k] = fmt.Sprintf("good-%d", k)
		}
		n.untouched("they are good", before, good...)

		n.checkFaults(st)
		text, _ := n.orpheus("status", "--socket", n.Socket())
		log := n.agentLog()
		clone := filepath.Join(n.Dir, "clone")
		if out, err := exec.Command("git", "clone", "--quiet", n.Repo.Dir, clone).CombinedOutput(); err != nil {
			t.Fatalf("clone: %v\n%s", err, out)
		}
		plain, code := n.orpheus("validate", clone)
		if code != 1 {
			t.Errorf("orpheus validate ends with %d, not 1", code)
		}
		github, _ := n.orpheus("validate", clone, "-o", "github")
		for _, f := range faults {
			contains(t, "status", text, fmt.Sprintf("broken.yaml:%d", f.line), f.field, f.reason, f.remedy)
			contains(t, "the agent's log", log, "file=broken.yaml", fmt.Sprintf("line=%d", f.line), "field="+f.field, "remedy=")
			contains(t, "orpheus validate", plain, "broken.yaml", fmt.Sprintf("  %d:", f.line), f.field, f.reason, f.remedy)
			contains(t, "orpheus validate -o github", github, fmt.Sprintf("file=broken.yaml,line=%d", f.line), f.field, f.remedy)
		}
		n.checkJSON(clone)

		hash, err := n.Repo.Revert()
		if err != nil {
			t.Fatal(err)
		}
		st = n.await("reverted", devfleet.SettledAt(hash))
		if len(st.Faults) > 0 {
			t.Errorf("the commit has no faults, status lists %v", st.Faults)
		}
		n.untouched("its file was never in force", map[string]life{"broken/0": n.lives()["broken/0"]})
	})
}

func (n *node) checkFaults(st *api.Status) {
	n.t.Helper()
	if len(st.Faults) != 3 {
		n.t.Errorf("3 faults were made, status lists %v", st.Faults)
	}
	for _, f := range st.Faults {
		if f.File != "broken.yaml" || f.Line == 0 || f.Field == "" || f.Reason == "" || f.Remedy == "" {
			n.t.Errorf("fault without a place, reason or remedy: %+v", f)
		}
	}
}

// checkJSON demands the same of the form for programs.
func (n *node) checkJSON(dir string) {
	n.t.Helper()
	out, _ := n.orpheus("validate", dir, "-o", "json")
	var report struct {
		Faults []struct {
			File, Field, Reason, Remedy string
			Line                        int
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		n.t.Fatalf("orpheus validate -o json: %v\n%s", err, out)
	}
	if len(report.Faults) != 3 {
		n.t.Errorf("orpheus validate -o json lists %d faults:\n%s", len(report.Faults), out)
	}
	for _, f := range report.Faults {
		if f.File != "broken.yaml" || f.Line == 0 || f.Field == "" || f.Reason == "" || f.Remedy == "" {
			n.t.Errorf("orpheus validate -o json: a fault lacks something: %+v", f)
		}
	}
}
