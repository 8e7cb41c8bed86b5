package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// TestLifecycle is what a user does in the first week: deploy, change, go
// back, move, delete, and make mistakes.
func TestLifecycle(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		first := n.push("app:1", "1")
		n.agent()
		n.apply("first version", map[string]string{
			"fleet.yaml":     fleetYAML,
			"web.yaml":       n.manifest(spec{name: "web", replicas: 2, env: map[string]string{"COLOUR": "blue"}}),
			"worker.yaml":    n.manifest(spec{name: "worker", args: []string{"lines"}}),
			"apps/db.yaml":   n.manifest(spec{name: "db"}),
			"apps/mail.yaml": n.manifest(spec{name: "mail"}),
		})
		begin := n.lives()
		if len(begin) != 5 {
			t.Fatalf("5 instances were asked for, these run: %v", begin)
		}
		web := service(n.status(), "web")

		n.apply("web turns green", map[string]string{
			"web.yaml": n.manifest(spec{name: "web", replicas: 2, env: map[string]string{"COLOUR": "green"}}),
		})
		n.untouched("one value of web's environment changed", begin, "web")
		if got := service(n.status(), "web").Revision; got == web.Revision {
			t.Errorf("web has its old revision %s still", got)
		}

		n.push("app:1", "an impostor")
		n.revert(web, first)
		n.untouched("the change was reverted", begin, "web")
		n.deleteOne(begin)
		n.harmless()
		n.refused()
		n.deleteAll()
	})
}

// revert goes back to the commit before and demands the revision from before,
// with the image it began with.
func (n *node) revert(web api.Service, digest string) {
	n.t.Helper()
	hash, err := n.Repo.Revert()
	if err != nil {
		n.t.Fatal(err)
	}
	now := service(n.await("the change is reverted", devfleet.SettledAt(hash)), "web")
	if now.Revision != web.Revision {
		n.t.Errorf("reverted, web has revision %s, not the earlier %s", now.Revision, web.Revision)
	}
	for _, i := range now.Instances {
		for ref, pinned := range i.Images {
			if pinned != digest {
				n.t.Errorf("reverted, web-%s runs %s of %s, not the earlier %s", i.Slot, pinned, ref, digest)
			}
		}
		if n.Registry != nil && len(i.Images) != 1 {
			n.t.Errorf("status of web-%s names images %v, not the one it runs", i.Slot, i.Images)
		}
	}
}

func (n *node) deleteOne(begin map[string]life) {
	n.t.Helper()
	hash := n.commit("no worker any more", map[string]string{"worker.yaml": gitsynctest.Delete})
	n.await("worker goes", func(st *api.Status) string {
		if service(st, "worker").Name != "" {
			return "worker is still there"
		}
		return devfleet.SettledAt(hash)(st)
	})
	if pid := begin["worker/0"].PID; running(pid) {
		n.t.Errorf("worker was deleted, and its process %d lives", pid)
	}
	n.untouched("worker was deleted", begin, "web", "worker")
}

// harmless commits what concerns no service.
func (n *node) harmless() {
	n.t.Helper()
	before := n.lives()
	n.apply("web moves into a folder", map[string]string{
		"web.yaml":        gitsynctest.Delete,
		"shop/front.yaml": n.manifest(spec{name: "web", replicas: 2, env: map[string]string{"COLOUR": "blue"}}),
	})
	n.untouched("a file was moved", before)
	if file := service(n.status(), "web").File; file != "shop/front.yaml" {
		n.t.Errorf("web's file is %q after it moved to shop/front.yaml", file)
	}
	const parsed, loads = "orpheus_manifest_blobs_parsed_total", "orpheus_manifest_loads_total"
	blobs, commits := n.metric(parsed), n.metric(loads)
	n.apply("words for people", map[string]string{"README.md": "Hello.\n", "shop/README.md": "The shop.\n"})
	n.untouched("a README was committed", before)
	if now := n.metric(parsed); now != blobs {
		n.t.Errorf("a README made the agent parse %v manifests again", now-blobs)
	}
	if n.metric(loads) == commits {
		n.t.Error("the commit of the README was not read at all")
	}
}

// refused commits what is no fleet; nothing may change, and status says why.
func (n *node) refused() {
	n.t.Helper()
	before, good := n.lives(), n.status().Repository.Applied.Hash
	files, err := n.Repo.Git("", "ls-tree", "-r", "--name-only", "main")
	if err != nil {
		n.t.Fatal(err)
	}
	everything := map[string]string{}
	for _, name := range strings.Fields(files) {
		everything[name] = gitsynctest.Delete
	}
	for what, change := range map[string]map[string]string{
		"fleet.yaml is deleted":     {"fleet.yaml": gitsynctest.Delete},
		"fleet.yaml is renamed":     {"fleet.yaml": gitsynctest.Delete, "fleet.yml.bak": fleetYAML},
		"the repository is emptied": everything,
	} {
		hash := n.commit(what, change)
		st := n.await(what, func(st *api.Status) string {
			if st.Repository.Seen.Hash != hash || st.Repository.Refused == "" {
				return fmt.Sprintf("commit %.8s is not refused", hash)
			}
			return ""
		})
		contains(n.t, "status after "+what, st.Repository.Refused, "fleet.yaml")
		out, _ := n.orpheus("status", "--socket", n.Socket())
		contains(n.t, "orpheus status", out, hash[:7], "REFUSED", "fleet.yaml", "Nothing changed")
		contains(n.t, "the agent's log", n.AgentLog(20), "commit refused: nothing changes", hash[:7], "fleet.yaml")
		n.untouched(what, before)
		if err := n.Repo.SetBranch("main", good); err != nil {
			n.t.Fatal(err)
		}
		n.await("back to the good commit", devfleet.SettledAt(good))
	}
	n.untouched("refused commits were taken back", before)
}

// deleteAll deletes every manifest but fleet.yaml: more than may go at once.
func (n *node) deleteAll() {
	n.t.Helper()
	before := n.lives()
	hash := n.commit("oops", map[string]string{
		"shop/front.yaml": gitsynctest.Delete, "apps/db.yaml": gitsynctest.Delete, "apps/mail.yaml": gitsynctest.Delete,
	})
	st := n.await("everything is deleted", func(st *api.Status) string {
		for _, s := range st.Services {
			if s.Approve == "" {
				return s.Name + " does not say how its deletion is approved"
			}
		}
		return devfleet.SettledAt(hash)(st)
	})
	n.untouched("everything was deleted", before)
	trailer := st.Services[0].Approve
	out, _ := n.orpheus("status", "--socket", n.Socket())
	contains(n.t, "orpheus status", out, trailer, "approve")

	// A killed agent must not forget that it waits for a word.
	n.kill()
	n.agent()
	n.await("the agent is back", devfleet.SettledAt(hash))
	n.untouched("the agent was killed while deletions waited", before)

	n.commit("yes, all of it\n\n"+trailer, map[string]string{"README.md": "Empty now.\n"})
	n.await("the deletion was approved", func(st *api.Status) string {
		if len(st.Services) > 0 {
			return st.Services[0].Name + " is still there"
		}
		return ""
	})
	for slot, l := range before {
		if running(l.PID) {
			n.t.Errorf("%s was deleted, and its process %d lives", slot, l.PID)
		}
	}
}
