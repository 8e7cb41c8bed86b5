package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestRolloutUnderFaults: in the middle of a rollout comes a newer commit, the
// agent that decides is killed, Git goes away, and a node dies, one after the
// other. At every moment that is seen from outside the service has all it may
// not lose, and in the end all of the newest version.
func TestRolloutUnderFaults(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	slots := map[string]int{"web": 4, "lone": 1}
	version := func(web int, lone string) map[string]string {
		ports := "  ports: [{name: http, containerPort: 8080, port: 80}]\n" + readyWhenAsked
		return map[string]string{
			"web.yaml": f.manifest(spec{name: "web", replicas: 4, args: []string{"serve"}, env: map[string]string{"GENERATION": fmt.Sprint(web)}, more: ports}),
			"lone.yaml": f.manifest(spec{name: "lone", args: []string{"serve"}, env: map[string]string{"PAGES": lone},
				more: ports + "  progressDeadlineSeconds: 8\n"}),
		}
	}
	files := version(1, "")
	files["fleet.yaml"] = defaults + "spec: {nodes: [node-1, node-2, node-3], pollInterval: 1s, failover: fast}\n"
	f.begin(files, slots)
	watch := f.observe(map[string]budget{"web": {4, 1, 0}, "lone": {1, 1, 0}})
	// begins waits until a commit is being rolled out, and not done.
	begins := func(what, hash string) (doc planner.LeaseDoc) {
		f.await(what+" begins", patience, func([]*api.Status) string {
			if doc = f.records(t.Context()).docs["web"]; doc.Commit != hash || len(doc.Leases) <= 4 {
				return fmt.Sprintf("%d leases at commit %.8s", len(doc.Leases), doc.Commit)
			}
			return ""
		})
		return doc
	}

	first := f.commit("version 2", version(2, ""))
	f.watch("a second", time.Second, func([]*api.Status) string { return "" })
	second := f.commit("version 3", version(3, ""))
	f.settles("version 3", second, slots)
	f.preempted("web", first, second)

	hash := f.commit("version 4", version(4, ""))
	decides, err := f.Node(string(begins("version 4", hash).By))
	f.must(err)
	watch.mutes(decides.Name, true)
	f.must(decides.EndAgent(syscall.SIGKILL))
	f.settles("version 4, decided by others than "+decides.Name, hash, slots)
	f.must(decides.StartAgent())
	f.settles(decides.Name+" has its agent again", hash, slots)
	watch.allTold()
	watch.mutes(decides.Name, false)

	hash = f.commit("version 5", version(5, ""))
	begins("version 5", hash)
	f.StopGit()
	f.watch("without Git", 3*time.Second, func([]*api.Status) string { return "" })
	f.must(f.StartGit())
	f.settles("version 5", hash, slots)

	// What ran lone dies. Who reverts it never has.
	victim, err := f.Node(f.places()["lone/0"][0].node)
	f.must(err)
	good := f.revision("lone")
	hash = f.commit("version 6, and a bad one of lone", version(6, "ready=503"))
	begins("version 6", hash)
	watch.loses(victim.Name, true)
	f.must(victim.Kill())
	f.await("lone goes back, elsewhere", 2*patience, func(all []*api.Status) string {
		doc := f.records(t.Context()).docs["lone"]
		if len(doc.Blocked) != 1 || len(doc.Leases) != 1 || doc.Leases[0].Revision != good {
			return fmt.Sprintf("blocked %v, leases %+v", doc.Blocked, doc.Leases)
		}
		return placesOf(all).exactly(slots)
	})
	f.boot(victim)
	hash = f.commit("version 7, and lone mended", version(7, "ready=200"))
	f.settles("version 7", hash, slots)
	watch.allTold()
	watch.loses(victim.Name, false)
	for name := range slots {
		if f.revision(name) == "" {
			t.Errorf("%s has more than one revision", name)
		}
	}
	watch.stop()
}

// preempted demands that nothing was begun for a commit once a newer one was
// decided on.
func (f *fleet) preempted(service, older, newer string) {
	f.t.Helper()
	docs := f.log(prefix + "leases/default/" + service)
	slices.Reverse(docs)
	tokens, begun := uint64(0), map[planner.Revision]bool{}
	for _, doc := range docs {
		if doc.Commit == older {
			tokens = doc.Tokens
			begun[doc.History[0].Revision] = true
		}
	}
	if len(begun) == 0 {
		f.t.Logf("%s: the newer commit was there before anything was decided on the older", service)
		return
	}
	for _, doc := range docs {
		for _, l := range doc.Leases {
			if doc.Commit == newer && begun[l.Revision] && l.Token > tokens {
				f.t.Errorf("%s: slot %s was begun with revision %s of the older commit after the newer was decided on", service, l.Slot, l.Revision)
			}
		}
	}
	if !strings.HasPrefix(docs[len(docs)-1].Commit, newer) {
		f.t.Errorf("%s was last decided on commit %.8s, not %.8s", service, docs[len(docs)-1].Commit, newer)
	}
}
