package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest/load"
)

// TestRolloutsAreNotNoticed: twenty versions of what serves and five drains, one
// after the other and at once, while clients ask without retrying: 255 new
// connections a second and six that are kept, from a host that is no node,
// through the ports of all nodes; and some from a container by name. It has the
// machine for itself: how long they wait for an answer counts.
func TestRolloutsAreNotNoticed(t *testing.T) {
	f := networkFleet(t, nil)
	slots := map[string]int{"web": 3, "client": 1}
	f.settles("a web that closes connections", f.commit("web", f.webVersion(0)), slots)
	var outside []*load.Run
	for k := range f.Nodes {
		outside = append(outside, load.Start(load.Options{URL: "http://" + f.at(k, webPort) + "/", Rate: 85, Kept: 2}))
	}
	f.must(f.page(nil, "/load/web", values("url", "http://web/", "rate", 25, "kept", 1)))

	began := time.Now()
	var drained *devfleet.Node
	for n := 1; n <= 20; n++ {
		what := fmt.Sprintf("update %d", n)
		files := f.webVersion(n)
		// Drains come alone (after 4), with an update (8, 12), and in the middle of
		// one (16, 20). The node is back before the next.
		if drained != nil {
			files["nodes/"+drained.Name+".yaml"] = nodeFile(drained, false)
			drained = nil
		}
		if n%4 == 0 {
			drained = f.busiest("web", "client")
		}
		if n == 8 || n == 12 {
			files["nodes/"+drained.Name+".yaml"] = nodeFile(drained, true)
		}
		hash := f.commit(what, files)
		switch n {
		case 4:
			f.settles(what, hash, slots)
			if out, code := f.orpheus("drain", drained.Name, "--repository", f.RepoURL(), "-m", "e2e"); code != 0 {
				t.Fatalf("orpheus drain: %s", out)
			}
			var err error
			hash, err = f.Repo.Tip("main")
			f.must(err)
		case 16, 20:
			before := f.places()
			f.await(what+" has begun", patience, func(all []*api.Status) string {
				if before.changed(placesOf(all)) == "" {
					return "nothing has changed"
				}
				return ""
			})
			hash = f.commit(what+" and a drain", map[string]string{"nodes/" + drained.Name + ".yaml": nodeFile(drained, true)})
		}
		if drained != nil { // that alone changes no revision: all looks settled before it has begun
			f.await(what+": "+drained.Name+" is empty", 2*patience, func(all []*api.Status) string {
				if left := placesOf(all).perNode("web")[drained.Name]; left > 0 || slices.Contains(all, nil) {
					return fmt.Sprintf("%d of web are left on it", left)
				}
				return ""
			})
		}
		f.settles(what, hash, slots)
		if drained != nil {
			if left := f.places().perNode("web")[drained.Name]; left > 0 {
				t.Errorf("%s: %s is drained, and %d of web are back on it", what, drained.Name, left)
			}
		}
	}
	t.Logf("20 updates and 5 drains took %s", time.Since(began).Round(100*time.Millisecond))

	inside := load.Result{}
	f.must(f.page(&inside, "/loaded/web", nil))
	results := map[string]load.Result{"a container, by name": inside}
	asked := 0
	for k, run := range outside {
		r := run.Stop()
		results["outside, through "+f.Nodes[k].Name] = r
		asked += r.Asked
	}
	for what, got := range results {
		t.Logf("%s: %s", what, got)
		if got.Failed+got.KeptFailed > 0 || got.Longest > 3*time.Second || got.Kept < 100 {
			t.Errorf("%s: something was noticed", what)
		}
	}
	if rate := float64(asked) / time.Since(began).Seconds(); rate < 200 {
		t.Errorf("%.0f new connections a second are no proof", rate)
	}
}

// webVersion is web of networkFleet as a service that means it: it says when it
// is ready, and ends as HTTP servers do.
func (f *fleet) webVersion(n int) map[string]string {
	return map[string]string{"web.yaml": f.manifest(spec{
		name: "web", replicas: 3, args: []string{"serve"}, env: map[string]string{"GENERATION": fmt.Sprint(n), "LINGER": "5s"},
		more: fmt.Sprintf("  ports:\n  - {name: http, containerPort: 8080, port: 80, publish: %d}\n"+
			"  - {name: echo, containerPort: 8080, protocol: UDP, port: 7, publish: %d}\n", webPort, echoPort) + readyWhenAsked,
	})}
}

// readyWhenAsked is the readiness probe of a service of the payload.
const readyWhenAsked = "  readinessProbe: {httpGet: {path: /page/ready, port: http}, periodSeconds: 1}\n"

func nodeFile(n *devfleet.Node, drain bool) string {
	return fmt.Sprintf("apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: %s}\nspec: {drain: %t}\n", n.Name, drain)
}

// busiest is the node with most instances of a service, of those that do not
// run another.
func (f *fleet) busiest(service, not string) *devfleet.Node {
	f.t.Helper()
	now := f.places()
	has, without := now.perNode(service), now.perNode(not)
	return slices.MaxFunc(f.Nodes, func(a, b *devfleet.Node) int {
		score := func(n *devfleet.Node) int { return has[n.Name] - 100*without[n.Name] }
		if by := score(a) - score(b); by != 0 {
			return by
		}
		return strings.Compare(b.Name, a.Name)
	})
}
