package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const rolledFile = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec: {replicas: 2, image: registry.example.com/web:2}\n"

// rolledFleet is a fleet of two nodes whose service web was given a revision
// that failed on node-2, was blocked, and reverted: four values of a document.
func rolledFleet(t *testing.T) (w *recordWriter, dir string, s planner.Service) {
	t.Helper()
	t.Setenv("ORPHEUS_SOCKET", t.TempDir()+"/none.sock") // no agent here
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	remote, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML, "web.yaml": rolledFile})
	s = steppedService(t, rolledFile)
	w = newRecordWriter(t, remote)
	head := gitAs(t, dir, "rev-parse", "HEAD")
	const good = "r1-aaaaaaaa"
	doc := planner.LeaseDoc{
		Format: 1, Service: webService, Commit: strings.Repeat("cd", 20), Tokens: 9, LastGood: good, By: "node-1",
		Leases: []planner.Lease{
			{Slot: "0", Node: "node-1", Epoch: 1, Token: 1, Revision: good}, {Slot: "1", Node: "node-2", Epoch: 1, Token: 2, Revision: good},
		},
		History: []planner.Applied{{Revision: good, Commit: strings.Repeat("12", 20)}},
	}
	for k, node := range []planner.NodeName{"node-1", "node-2"} {
		w.node(w.record(node))
		w.status(node, func(st *planner.NodeStatus) {
			st.Applied = head
			st.Instances = []planner.InstanceStatus{{Slot: planner.SlotID{Service: webService, Name: fmt.Sprint(k)}, Token: uint64(k + 1), Revision: good, Phase: planner.PhaseReady, Reason: hostileText}}
		})
	}
	at := int64(wroteAt)
	put := func(subject string, change func()) {
		change()
		at += 60
		w.write("node-1", at, planner.LeasesRef(webService, 0), subject, doc.Body())
	}
	put("web is placed", func() {})
	put("web-1 changes to "+s.Revision.Short(), func() {
		doc.Leases = append(doc.Leases, planner.Lease{Slot: "1", Node: "node-2", Epoch: 1, Token: 3, Revision: s.Revision})
		doc.History = append([]planner.Applied{{Revision: s.Revision, Commit: head}}, doc.History...)
	})
	put(s.Revision.Short()+" is blocked", func() {
		doc.Leases = doc.Leases[:2]
		doc.Blocked, doc.BlockedWhy = []planner.Revision{s.Revision}, "web-1 on node-2: readiness probe: 503"
	})
	return w, dir, s
}

// A laptop needs the records alone to say what failed, what runs, and what to
// do: for all services, one, and a slot.
func TestRolloutFromRecords(t *testing.T) {
	w, dir, s := rolledFleet(t)
	head := gitAs(t, dir, "rev-parse", "HEAD")[:8]
	failed := "revision " + s.Revision.Short() + " of commit " + head + ` failed: web-1 on node-2: readiness probe: 503; reverted to r1-aaaaaaaa of commit 12121212`
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"status"}, 0, []string{"COMMIT    " + head + " is followed by node-1, node-2", "web   2/2    REVERTED  r1-aaaaaaaa  node-1,node-2", failed}},
		{[]string{"status", "--exit-code"}, exitNotReady, []string{"REVERTED"}},
		{[]string{"status", "web"}, 0, []string{
			"READY     2 of 2", "ROLLOUT   reverted: all 2 slots at r1-aaaaaaaa again", "FAILED    R" + failed[1:],
			"web-0  node-1  ready  r1-aaaaaaaa", "  - mend web.yaml and commit, or git revert " + head, "orpheus restart web",
		}},
		{[]string{"why", "default/web"}, 0, []string{
			"FAILED", "DECIDED", "· rollout blocked: revision " + s.Revision.Short() + " of commit " + head + ": web-1 on node-2: readiness probe",
			"· web-1 is taken from node-2", "TO DO",
		}},
		{[]string{"why", "web-1", "-C", dir}, 0, []string{"web-1  node-2  ready  r1-aaaaaaaa"}},
		{[]string{"history"}, 0, []string{"· rollout blocked: "}},
		{[]string{"history", "web"}, 0, []string{"· rollout reverted: all slots have revision r1-aaaaaaaa of commit 12121212 again"}},
		{[]string{"status", "wep"}, 1, []string{`there is no service "wep" among the records below refs/orpheus/`, "there are web"}},
		{[]string{"status", "web-1"}, 1, []string{`web-1 is a slot of web; "orpheus why web-1" explains it`}},
		{[]string{"status", "-C", dir, "--network"}, 2, []string{"asks the agent of this node"}},
		{[]string{"status", "--socket", dir + "/none.sock"}, 1, []string{"no agent answers"}},
	} {
		code, stdout, stderr := orpheus(t, dir, c.args...)
		out := stdout + stderr
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.args, code, c.code)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in\n%s", c.args, want, out)
			}
		}
		if strings.ContainsAny(out, "\x1b\u202e") {
			t.Errorf("%v: what nodes write acts on the terminal", c.args)
		}
	}
	out := mustRun(t, dir, "status", "web", "-o", "json")
	var st recordedStatus
	if err := json.Unmarshal([]byte(out), &st); err != nil || len(st.Services) != 1 || st.Services[0].State != planner.RolloutReverted || len(st.Services[0].Slots) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	if st.Grade != gradeBad || !strings.HasPrefix(st.Summary, "REVERTED: "+failed) || len(st.ToDo) == 0 || !strings.Contains(st.ToDo[0], "git revert "+head) {
		t.Errorf("the verdict is %+v", st.verdictReport)
	}
	// What is not pushed yet is not what the fleet is judged by.
	writeFiles(t, dir, map[string]string{"web.yaml": strings.Replace(rolledFile, "web:2", "web:3", 1)})
	gitAs(t, dir, "commit", "-qam", "web: 3")
	if out := mustRun(t, dir, "status", "web"); !strings.Contains(out, "FAILED") || !strings.Contains(out, "AHEAD     the manifest here asks for r1-") {
		t.Errorf("ahead: %s", out)
	}
	// A document that is not verified is told of, and counts for nothing.
	forged := planner.LeaseDoc{Format: 1, Service: webService, Commit: strings.Repeat("cd", 20), By: "node-1", Tokens: 10}
	w.write("node-2", wroteAt+900, planner.LeasesRef(webService, 0), "forged", forged.Body())
	if out := mustRun(t, dir, "status"); !strings.Contains(out, "leases/default/web is not verified") {
		t.Errorf("forged: %s", out)
	}
}

// Without a checkout and without an agent it is the agent that is missed.
func TestStatusWithoutCheckout(t *testing.T) {
	t.Setenv("ORPHEUS_SOCKET", t.TempDir()+"/none.sock")
	for _, args := range [][]string{{"status"}, {"why", "web"}} {
		if code, _, stderr := orpheus(t, t.TempDir(), args...); code != 1 || !strings.Contains(stderr, "no agent answers") || strings.Contains(stderr, "records") {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	}
}

// What the manifests here lack, or have faults in, is not silently missing.
func TestRecordsOfWhatIsNotInTheManifests(t *testing.T) {
	w, dir, _ := rolledFleet(t)
	follow := func() {
		head := gitAs(t, dir, "rev-parse", "HEAD")
		for _, node := range []planner.NodeName{"node-1", "node-2"} {
			w.status(node, func(st *planner.NodeStatus) { st.Applied = head })
		}
	}
	for _, c := range []struct {
		name   string
		change func()
		args   []string
		code   int
		want   []string
		not    string
	}{
		{"deleted, not followed yet", func() { gitAs(t, dir, "rm", "-q", "web.yaml"); gitAs(t, dir, "commit", "-qm", "no web") },
			[]string{"status", "--exit-code"}, exitNotReady, []string{"deleted", "do not have it; no node follows them yet"}, "REVERTED"},
		{"deleted", follow, []string{"why", "web"}, 0,
			[]string{"DELETED   commit ", "it ends, or runs on until a person approves its deletion", "Prune-Approved"}, "wait: the fleet is at work"},
		{"another has a fault", func() {
			writeFiles(t, dir, map[string]string{"api.yaml": strings.NewReplacer("name: web", "name: api", "replicas: 2", "replicas: many").Replace(rolledFile)})
			gitAs(t, dir, "add", "-A")
			gitAs(t, dir, "commit", "-qm", "api")
			follow()
		}, []string{"status", "--exit-code"}, exitNotReady, []string{"FAULTS in the manifests here", "api.yaml:4"}, "never saw"},
		{"its own file has a fault", func() {
			writeFiles(t, dir, map[string]string{"web.yaml": rolledFile + "  nonsense: 1\n"})
			gitAs(t, dir, "add", "-A")
			gitAs(t, dir, "commit", "-qm", "web")
			follow()
		}, []string{"why", "web"}, 0, []string{"MESSAGE   kept as it was: the manifests here (", "- mend what stands under FAULTS, and commit"}, "as its manifest asks"},
		{"its own file has a fault, in the table", func() {}, []string{"status"}, 0, []string{"kept as it was: the manifests here ("}, ""},
		{"of which nothing is recorded", func() {}, []string{"why", "api"}, 1, []string{"faults of the manifests here may hide it"}, ""},
	} {
		c.change()
		code, stdout, stderr := orpheus(t, dir, c.args...)
		out := stdout + stderr
		if code != c.code || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%s: %d, want %d, without %q\n%s", c.name, code, c.code, c.not, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, out)
			}
		}
	}
}

// Where the manifest says autoRevert: false nothing is said to go back.
func TestHistoryWithoutRevert(t *testing.T) {
	_, dir, _ := rolledFleet(t)
	writeFiles(t, dir, map[string]string{"web.yaml": strings.Replace(rolledFile, "replicas: 2", "replicas: 2, update: {autoRevert: false}", 1)})
	gitAs(t, dir, "commit", "-qam", "stay")
	if out := mustRun(t, dir, "history", "web"); !strings.Contains(out, "rollout blocked") || !strings.Contains(out, "what runs stays") || strings.Contains(out, "reverted") {
		t.Error(out)
	}
}

// TestSilentNodeFromRecords: a node that does not reach the repository tells nothing
// of what it was given. Who looks from elsewhere is told which, for how long, and
// what to do; and before anything was given who is to decide.
func TestSilentNodeFromRecords(t *testing.T) {
	t.Setenv("ORPHEUS_SOCKET", t.TempDir()+"/none.sock")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	remote, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML, "web.yaml": rolledFile})
	s := steppedService(t, rolledFile)
	w := newRecordWriter(t, remote)
	head := gitAs(t, dir, "rev-parse", "HEAD")
	const before = "1212121212121212121212121212121212121212"
	for _, node := range []planner.NodeName{"node-1", "node-2"} {
		w.node(w.record(node)) // long ago
		w.status(node, func(st *planner.NodeStatus) { st.Applied = before })
	}
	if out := mustRun(t, dir, "why", "web"); !strings.Contains(out, "not begun: ") || !strings.Contains(out, "which decides on it, has not told yet that it follows commit "+head[:8]+": it follows 12121212") {
		t.Errorf("not begun:\n%s", out)
	}
	doc := planner.LeaseDoc{
		Format: 1, Service: webService, Commit: head, Tokens: 2, By: "node-1", History: []planner.Applied{{Revision: s.Revision, Commit: head}},
		Leases: []planner.Lease{
			{Slot: "0", Node: "node-1", Epoch: 1, Token: 1, Revision: s.Revision}, {Slot: "1", Node: "node-2", Epoch: 1, Token: 2, Revision: s.Revision},
		},
	}
	w.status("node-1", func(st *planner.NodeStatus) {
		st.Applied = head
		st.Instances = []planner.InstanceStatus{{Slot: planner.SlotID{Service: webService, Name: "0"}, Token: 1, Revision: s.Revision, Phase: planner.PhaseReady}}
	})
	given := time.Now().Add(-3 * time.Hour).Unix()
	w.write("node-1", given, planner.LeasesRef(webService, 0), "web is placed", doc.Body())
	for _, args := range [][]string{{"status", "web"}, {"why", "web"}} {
		out := mustRun(t, dir, args...)
		for _, want := range []string{
			"web-1 on node-2 is not available yet: the node has not told of it for 3h", ", nor of anything else for ",
			"see whether node-2 is up and reaches the fleet's Git repository: orpheus nodes node-2, and on node-2 itself: orpheus doctor",
		} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("%v: no %q in\n%s", args, want, out)
			}
		}
	}
}
