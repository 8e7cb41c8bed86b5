package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// refuses waits until the node refuses a commit, and checks that the status
// that people read says why and what to do.
func (n *node) refuses(hash string, parts ...string) {
	n.t.Helper()
	n.await(hash[:8]+" is refused", func(st *api.Status) string {
		switch {
		case st.Repository.Seen.Hash != hash:
			return "it was not seen"
		case st.Repository.Refused == "":
			return "it is not refused"
		}
		return ""
	})
	out, _ := n.orpheus("status", "--socket", n.Socket())
	said := strings.Join(strings.Fields(out), " ") // lines are broken to fit
	contains(n.t, "orpheus status", said, append(parts, "orpheus floor reset "+hash)...)
	if events, code := n.orpheus("events", "--socket", n.Socket()); code != 0 || !strings.Contains(events, "commit refused") {
		n.t.Errorf("orpheus events (exit %d) does not tell of the refusal:\n%s", code, events)
	}
}

// floor runs a verb of orpheus floor.
func (n *node) floor(args ...string) string {
	n.t.Helper()
	out, code := n.orpheus(append(append([]string{"floor"}, args...), "--socket", n.Socket())...)
	if code != 0 {
		n.t.Fatalf("orpheus floor %s: exit %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// point makes a commit the tip of the branch, as git push --force does.
func (n *node) point(hash string) {
	n.t.Helper()
	if err := n.Repo.SetBranch("main", hash); err != nil {
		n.t.Fatal(err)
	}
}

// TestAttack08ForcePushAlone: on a node without records an older tip (attack 7)
// and a rewritten branch change nothing, also through kill -9, and the status
// says what to do; floor reset moves on; the next rewriting is refused again.
func TestAttack08ForcePushAlone(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		files := n.bystanders()
		files["web.yaml"] = n.manifest(spec{name: "web", env: map[string]string{"COLOUR": "0"}})
		first := n.apply("first version", files)
		second := n.apply("second version", map[string]string{"web.yaml": n.manifest(spec{name: "web", env: map[string]string{"COLOUR": "1"}})})
		contains(t, "floor show", n.floor("show"), second)
		before := n.lives()

		n.point(first)
		n.refuses(first, "branch main was set back or rewritten", "git revert")
		n.kill()
		n.agent()
		n.refuses(first, "set back")
		n.untouched("an older tip", before)

		forced := n.commit("another second version", map[string]string{"web.yaml": n.manifest(spec{name: "web", env: map[string]string{"COLOUR": "2"}})})
		n.refuses(forced, "rewritten")
		n.untouched("a rewritten branch", before)
		contains(t, "floor reset", n.floor("reset", forced), "The floor of this node is reset")
		n.await("the rewritten branch is followed", devfleet.SettledAt(forced))
		n.untouched("a floor reset to another version of web", before, "web")
		contains(t, "floor show", n.floor("show"), forced)

		before = n.lives()
		n.point(second)
		n.refuses(second, "rewritten")
		n.untouched("rewritten again", before)
	})
}

// loseState deletes the state folder. A running agent may write into it just
// then.
func (n *node) loseState() {
	n.t.Helper()
	n.eventually("the state folder is deleted", func() string {
		if err := os.RemoveAll(n.StateDir()); err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestAttack44StateFolderDeletedEndToEnd: without its state folder a node adopts
// what runs and refuses an older tip all the same: the floor is known from the
// run folder. A folder deleted under the agent is made anew.
func TestAttack44StateFolderDeletedEndToEnd(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		first := n.apply("first version", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": n.manifest(spec{name: "web"})})
		second := n.apply("second version", map[string]string{"api.yaml": n.manifest(spec{name: "api"})})
		before := n.lives()
		if err := n.EndAgent(syscall.SIGTERM); err != nil {
			n.t.Fatal(err)
		}
		n.loseState()
		n.point(first)
		n.agent()
		n.refuses(first, "which this node has followed")
		n.untouched("the state folder was deleted", before)
		n.point(second)
		n.await("the newest tip is followed", devfleet.SettledAt(second))
		n.untouched("the newest tip is back", before)

		n.loseState()
		third := n.apply("third version", map[string]string{"more.yaml": n.manifest(spec{name: "more"})})
		n.untouched("the state folder was deleted under the agent", before)
		before = n.lives()
		n.kill()
		n.agent()
		n.await("it knows everything", devfleet.SettledAt(third))
		n.untouched("killed after that", before)
		n.point(second)
		n.refuses(second, "which this node has followed")
		n.untouched("an older tip", before)
	})
}

// TestFollowRangeEndToEnd: a node follows the highest version among tags; a
// lower one is refused when that goes away, and exactly one commit is a
// person's word.
func TestFollowRangeEndToEnd(t *testing.T) {
	n := newNode(t, devfleet.Options{Driver: planner.DriverProcess})
	colour := func(c string) map[string]string {
		return map[string]string{"web.yaml": n.manifest(spec{name: "web", env: map[string]string{"COLOUR": c}})}
	}
	tag := func(args ...string) {
		if out, err := n.Repo.Git("", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com", "tag"}, args...)...); err != nil {
			t.Fatalf("git tag %s: %v %s", args, err, out)
		}
	}
	n.push("app:1", "1")
	files := colour("0")
	files["fleet.yaml"] = fleetYAML
	first := n.commit("first version", files)
	tag("v1.2.0")
	n.configure("repository: {branch: \"\", semver: \">=1.2 <2\"}\n")
	n.agent()
	n.await("v1.2.0 runs", devfleet.SettledAt(first))
	second := n.commit("second version", colour("1"))
	tag("--annotate", "--message", "release", "v1.3.0")
	n.commit("not released", colour("2"))
	n.await("v1.3.0 runs", devfleet.SettledAt(second))
	out, _ := n.orpheus("status", "--socket", n.Socket())
	contains(t, "orpheus status", out, "tag v1.3.0 of range >=1.2 <2")
	before := n.lives()
	tag("--delete", "v1.3.0")
	n.refuses(first, "tag v1.2.0 of range >=1.2 <2 was moved or taken away")
	n.untouched("the best tag is gone", before)

	if err := n.EndAgent(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n.configure("repository: {commit: " + first + "}\n")
	n.agent()
	n.await("exactly the first commit", devfleet.SettledAt(first))
	n.untouched("an exact commit", before, "web")
}
