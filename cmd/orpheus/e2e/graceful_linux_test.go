package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest/load"
)

// TestEndsAreNotNoticed: updates of what serves, and the drain of a node, while
// clients ask without retrying, from the host outside and from a container.
func TestEndsAreNotNoticed(t *testing.T) {
	f := networkFleet(t, nil)
	slots := map[string]int{"web": 3, "client": 1}
	outside := load.Start(load.Options{URL: "http://" + f.at(0, webPort) + "/", Rate: 100})
	f.must(f.page(nil, "/load/web", values("url", "http://web/", "rate", 100)))
	for n := range 4 {
		hash := f.commit(fmt.Sprintf("update %d", n), map[string]string{"web.yaml": f.manifest(spec{
			name: "web", replicas: 3, args: []string{"serve"}, env: map[string]string{"GENERATION": fmt.Sprint(n)},
			more: fmt.Sprintf("  ports:\n  - {name: http, containerPort: 8080, port: 80, publish: %d}\n"+
				"  - {name: echo, containerPort: 8080, protocol: UDP, port: 7, publish: %d}\n", webPort, echoPort),
		})})
		f.settles(fmt.Sprintf("update %d", n), hash, slots)
	}
	at := f.places().perNode("client")
	n := f.Nodes[slices.IndexFunc(f.Nodes, func(n *devfleet.Node) bool { return at[n.Name] == 0 })]
	if out, code := f.orpheus("drain", n.Name, "--repository", f.RepoURL(), "-m", "e2e"); code != 0 {
		t.Fatalf("orpheus drain: %s", out)
	}
	f.await("the drain is done", patience, func(all []*api.Status) string {
		if left := placesOf(all).perNode("web")[n.Name]; left > 0 {
			return fmt.Sprintf("%d are left", left)
		}
		return placesOf(all).exactly(slots)
	})
	inside := load.Result{}
	f.must(f.page(&inside, "/loaded/web", nil))
	for what, got := range map[string]load.Result{"outside, published port": outside.Stop(), "container, service address": inside} {
		t.Logf("%s: %s", what, got)
		if got.Asked < 200 || got.Failed > 0 || got.Longest > 3*time.Second {
			t.Errorf("%s: something was noticed", what)
		}
	}
}
