package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// planFleet is the fleet.yaml of the story, with a variable and more lines of spec.
func planFleet(greeting, more string) string {
	return fmt.Sprintf("%sspec:\n  nodes: [node-1, node-2, node-3]\n  pollInterval: 1s\n  variables: {greeting: %s}\n%s", defaults, greeting, more)
}

// planNode is the manifest of a node with a label.
func planNode(name, zone string) string {
	return fmt.Sprintf("apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: %s}\nspec: {labels: {zone: %s}}\n", name, zone)
}

// Parts of fleet.yaml as the story goes on.
const (
	withBase    = "  base: ../base\n"
	withCompose = withBase + "  compose: [shop/compose.yaml]\n"
)

// planStory is what people commit, one after the other.
func planStory(f *fleet) []change {
	service := func(s spec) string { return f.manifest(s) }
	// web is changed most.
	web := func(image string, replicas int, env, more string) string {
		return service(spec{name: "web", image: image, replicas: replicas, env: map[string]string{"PORT": "8080", "GENERATION": env}, args: []string{"serve"}, more: more})
	}
	greet := func(name string, replicas int, env, more string) string {
		return service(spec{name: name, replicas: replicas, env: map[string]string{"PORT": "0", "GREETING": "${greeting}", "GENERATION": env}, args: []string{"serve"}, more: more})
	}
	db := func(env string) string {
		return service(spec{name: "db", args: []string{"database", "/data"}, env: map[string]string{"PORT": "5432", "GENERATION": env},
			more: "  volumes: [{name: data, local: {}}]\n  volumeMounts: [{name: data, mountPath: /data}]\n"})
	}
	watcher := func(env string) string {
		text := service(spec{name: "watcher", env: map[string]string{"PORT": "0", "GENERATION": env}, args: []string{"serve"}})
		return strings.Replace(text, "replicas: 1", "everyNode: true", 1)
	}
	compose := func(cache string) string {
		image := f.Registry.Host
		return fmt.Sprintf("name: shop\nservices:\n  front:\n    image: %s/app:1\n    depends_on: [cache]\n  cache:\n    image: %s/%s\n", image, image, cache)
	}
	const (
		inB    = "  nodeSelector: {zone: b}\n"
		ports  = inB + "  ports: [{name: http, containerPort: 8080, port: 80, publish: 18080}]\n"
		mounts = ports + "  volumes: [{name: conf, file: files/web.conf}]\n  volumeMounts: [{name: conf, mountPath: /etc/web.conf}]\n"
	)
	hooks := inB + fmt.Sprintf("  hooks:\n    preRollout: {command: [%[1]s, exit, \"0\"]}\n    postRollout: {command: [%[1]s, exit, \"0\"]}\n", imagetest.Program)
	return []change{
		{what: "a new service", counts: "added 1, appear 3",
			files: map[string]string{"prod/web.yaml": web("app:1", 3, "1", "")}},
		{what: "another image", work: true, counts: "changed 1, restart 3",
			files: map[string]string{"prod/web.yaml": web("app:2", 3, "1", "")}},
		{what: "more replicas", counts: "changed 1, appear 2",
			files: map[string]string{"prod/web.yaml": web("app:2", 5, "1", "")}},
		{what: "fewer replicas", counts: "changed 1, go 3",
			files: map[string]string{"prod/web.yaml": web("app:2", 2, "1", "")}},
		{what: "several services, one from a base", work: true, counts: "added 3, appear 6",
			files: map[string]string{"prod/fleet.yaml": planFleet("hello", withBase), "base/greet.yaml": greet("greet", 2, "1", ""), "prod/db.yaml": db("1"), "prod/watcher.yaml": watcher("1")}},
		{what: "a variable of the overlay", counts: "changed 1, restart 2",
			files: map[string]string{"prod/fleet.yaml": planFleet("welcome", withBase)}},
		{what: "labels alone", counts: "changed 1",
			files: map[string]string{"prod/web.yaml": strings.Replace(web("app:2", 2, "1", ""), "{name: web}", "{name: web, labels: {team: front}, annotations: {note: hello}}", 1)}},
		{what: "a Compose file", counts: "added 2, appear 2", first: "shop/cache", then: "shop/front",
			files: map[string]string{"prod/fleet.yaml": planFleet("welcome", withCompose), "prod/shop/compose.yaml": compose("app:1")}},
		{what: "a Compose file changes", counts: "changed 1, restart 1",
			files: map[string]string{"prod/shop/compose.yaml": compose("app:2")}},
		{what: "a database stops first", work: true, counts: "changed 1, restart 1", proves: isDown("db"),
			files: map[string]string{"prod/db.yaml": db("2")}},
		{what: "labels of nodes", counts: "",
			files: map[string]string{"prod/nodes/node-1.yaml": planNode("node-1", "b"), "prod/nodes/node-2.yaml": planNode("node-2", "a"), "prod/nodes/node-3.yaml": planNode("node-3", "b")}},
		{what: "another nodeSelector", counts: "changed 1, move 1",
			files: map[string]string{"prod/web.yaml": web("app:2", 2, "1", inB)}},
		{what: "a cordon", verb: []string{"cordon", "node-2"}, counts: ""},
		{what: "more replicas beside a cordon", counts: "changed 1, appear 2",
			files: map[string]string{"base/greet.yaml": greet("greet", 4, "1", "")}},
		{what: "a drain", verb: []string{"drain", "node-3"}, counts: "move 4"},
		{what: "no drain any more", verb: []string{"uncordon", "node-3"}, counts: ""},
		{what: "no cordon any more", verb: []string{"uncordon", "node-2"}, counts: ""},
		{what: "another environment on every node", counts: "changed 1, restart 3",
			files: map[string]string{"prod/watcher.yaml": watcher("2")}},
		{what: "steps with a pause", counts: "changed 1, restart 4", proves: pauses("3s"),
			files: map[string]string{"base/greet.yaml": greet("greet", 4, "2", "  update: {maxSurge: 2, steps: [{slots: 1, pause: 3s}]}\n")}},
		{what: "steps with an approval", work: true, counts: "changed 1, restart 2", proves: awaitsApproval,
			files: map[string]string{"prod/web.yaml": web("app:1", 2, "1", inB+"  update: {steps: [{slots: 1, approve: true}]}\n")}},
		{what: "a promotion", verb: []string{"promote", "web"}, counts: "changed 1, restart 1", underWay: []string{"web"}},
		{what: "hooks", counts: "changed 1, restart 2",
			files: map[string]string{"prod/web.yaml": web("app:2", 2, "2", hooks)}},
		{what: "more than there is room for", work: true, counts: "added 1, appear 3", code: 1,
			files: map[string]string{"prod/big.yaml": service(spec{name: "big", replicas: 4, more: "  resources: {requests: {memory: 700Mi}}\n"})}},
		{what: "a revert", revert: true, counts: "deleted 1, go 3", underWay: []string{"big"}},
		{what: "another name", counts: "added 1, deleted 1, appear 4, go 4",
			files: map[string]string{"base/greet.yaml": greet("hello", 4, "2", "")}},
		{what: "ports", counts: "changed 1, restart 2",
			files: map[string]string{"prod/web.yaml": web("app:2", 2, "2", ports)}},
		{what: "a mounted file", counts: "changed 1, restart 2",
			files: map[string]string{"prod/web.yaml": web("app:2", 2, "2", mounts), "files/web.conf": "one\n"}},
		{what: "the content of a mounted file", counts: "changed 1, restart 2",
			files: map[string]string{"files/web.conf": "two\n"}},
		{what: "a file with a fault beside a change", work: true, counts: "changed 1, restart 4", code: 1, proves: keeps("web"),
			files: map[string]string{"prod/web.yaml": web("app:1", 2, "3", mounts+"  replica: 7\n"), "base/greet.yaml": greet("hello", 4, "3", "")}},
		{what: "the fault is mended", counts: "changed 1, restart 2",
			files: map[string]string{"prod/web.yaml": web("app:1", 2, "3", mounts)}},
		{what: "one waits for another", counts: "changed 2, restart 6", first: "hello", then: "web",
			files: map[string]string{"prod/web.yaml": web("app:2", 2, "3", mounts+"  dependsOn: [hello]\n"), "base/greet.yaml": greet("hello", 4, "4", "  update: {maxSurge: 4}\n")}},
		{what: "a database is deleted", counts: "", code: 1, proves: awaits("db"),
			files: map[string]string{"prod/db.yaml": gitsynctest.Delete}},
		{what: "the deletion is approved", approve: true, counts: "deleted 1, go 1"},
		{what: "too many deletions", counts: "", code: 1, proves: awaits("watcher", "shop/cache", "shop/front"),
			files: map[string]string{"prod/fleet.yaml": planFleet("welcome", withBase), "prod/shop/compose.yaml": gitsynctest.Delete, "prod/watcher.yaml": gitsynctest.Delete}},
		{what: "the deletions are approved", approve: true, counts: "deleted 3, go 5"},
		{what: "a commit that is refused", counts: "", code: 1,
			files: map[string]string{"prod/fleet.yaml": gitsynctest.Delete}},
		{what: "the fleet is there again", revert: true, counts: "", proves: changesNothing},
		{what: "all at once", counts: "changed 1, restart 2", proves: isDown("web"),
			files: map[string]string{"prod/web.yaml": web("app:1", 2, "4", mounts+"  update: {order: stopFirst, maxUnavailable: \"100%\"}\n")}},
	}
}

// isDown demands that a plan says of a service that it is down meanwhile.
func isDown(service string) func(*testing.T, toldPlan) {
	return func(t *testing.T, p toldPlan) {
		for _, s := range p.Services {
			if s.Service == service && s.Down != "" {
				return
			}
		}
		t.Errorf("the plan does not say that %s is down meanwhile", service)
	}
}

// changesNothing demands that a plan finds nothing to tell.
func changesNothing(t *testing.T, p toldPlan) {
	if changes, told := p.Summary["changes"].(bool); changes || !told {
		t.Errorf("something changes: %v", p.Summary)
	}
}

// pauses demands a turn that comes some time after the one before.
func pauses(after string) func(*testing.T, toldPlan) {
	return func(t *testing.T, p toldPlan) {
		for _, turn := range p.Turns {
			if turn.After == after {
				return
			}
		}
		t.Errorf("no turn comes %s later", after)
	}
}

// awaitsApproval demands a step before which a person is asked.
func awaitsApproval(t *testing.T, p toldPlan) {
	if !p.approved() {
		t.Error("no step waits for approval")
	}
}

// keeps demands that a fault leaves a service as it was.
func keeps(service string) func(*testing.T, toldPlan) {
	return func(t *testing.T, p toldPlan) {
		for _, f := range p.Faults {
			for _, held := range f.Holds {
				if held == service {
					return
				}
			}
		}
		t.Errorf("no fault holds %s", service)
	}
}

// awaits demands that deletions wait for approval.
func awaits(services ...string) func(*testing.T, toldPlan) {
	return func(t *testing.T, p toldPlan) {
		if p.Deletions == nil || strings.Join(p.Deletions.Waiting, " ") != strings.Join(services, " ") {
			t.Errorf("deletions are %+v, and are to wait for %q", p.Deletions, services)
		}
	}
}
