package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestFleetRollsOut: over three nodes a new version comes slot by slot, a
// revert brings the old one back, a tag means the same image everywhere, and
// nodes are drained while people ask for pages.
func TestFleetRollsOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	f.push("app:2", "2")
	web := func(image string, replicas int) map[string]string {
		return map[string]string{"web.yaml": f.manifest(spec{name: "web", image: image, replicas: replicas, args: []string{"serve"},
			more: "  ports: [{name: http, containerPort: 8080, publish: 18080}]\n"})}
	}
	files := web("app:1", 3)
	files["fleet.yaml"] = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: e2e}\nspec: {pollInterval: 1s, nodes: [node-1, node-2, node-3]}\n"
	slots := map[string]int{"web": 3}
	f.begin(files, slots)

	revision := f.revision("web")
	f.rolls("a new version", f.commit("version 2", web("app:2", 3)), slots, "2")
	hash, err := f.Repo.Revert()
	f.must(err)
	f.rolls("a revert", hash, slots, "1")
	if most := f.surge("web"); most != 1 {
		t.Errorf("%d slots had two leases at once, want one after the other", most)
	}
	if now := f.revision("web"); now != revision {
		t.Errorf("the revert made revision %s of %s", now, revision)
	}
	f.pins()
	f.drains(web)
}

// rolls waits until a commit of web is rolled out. Meanwhile every slot has a
// ready instance, and at most one has two leases.
func (f *fleet) rolls(what, hash string, slots map[string]int, version string) {
	f.t.Helper()
	began := time.Now()
	f.await(what, 2*patience, func(all []*api.Status) string {
		now := placesOf(all)
		f.serves(what, now, slots)
		for k, st := range all {
			if st == nil {
				return "an agent does not answer"
			}
			if missing := devfleet.SettledAt(hash)(st); missing != "" {
				return f.Nodes[k].Name + ": " + missing
			}
		}
		return now.exactly(slots)
	})
	f.t.Logf("%s is rolled out after %s", what, time.Since(began).Round(100*time.Millisecond))
	for _, n := range f.Nodes {
		page, err := askNode(n)
		f.must(err)
		contains(f.t, n.Name, page, version)
	}
}

// revision is what all instances of a service are made from; "" = not the same.
func (f *fleet) revision(name string) (all planner.Revision) {
	f.t.Helper()
	for _, st := range f.Statuses(f.t.Context()) {
		for _, i := range service(st, name).Instances {
			if all != "" && all != i.Revision {
				return ""
			}
			all = i.Revision
		}
	}
	return all
}

// serves demands that every slot has a ready instance. The nodes are asked one
// after the other: where an instance has moved meanwhile they are asked again.
func (f *fleet) serves(what string, now places, slots map[string]int) {
	f.t.Helper()
	for name, n := range slots {
		for k := range n {
			slot := fmt.Sprintf("%s/%d", name, k)
			if !now.ready(slot) && !f.places().ready(slot) {
				f.t.Errorf("%s: %s is not ready anywhere: %+v", what, slot, now[slot])
			}
		}
	}
}

func (p places) ready(slot string) bool {
	return slices.ContainsFunc(p[slot], func(is place) bool { return is.ready })
}

// surge is the largest number of slots of a service that had two leases in one
// document.
func (f *fleet) surge(service string) (most int) {
	f.t.Helper()
	for _, doc := range f.log(prefix + "leases/default/" + service) {
		seen, twice := map[string]bool{}, 0
		for _, l := range doc.Leases {
			if seen[l.Slot] {
				twice++
			}
			seen[l.Slot] = true
		}
		most = max(most, twice)
	}
	return most
}

// askNode gets the page that a node publishes.
func askNode(n *devfleet.Node) (string, error) {
	return ask((&net.Dialer{Timeout: time.Second}).DialContext, fmt.Sprintf("http://%s:18080/", n.Address.Addr()))
}

// pins has a tag move while a service grows, and the registry fail the node
// that decides.
func (f *fleet) pins() {
	f.t.Helper()
	digest := f.push("app:latest", "one")
	pin := func(replicas int, env string) map[string]string {
		return map[string]string{"pin.yaml": f.manifest(spec{name: "pin", image: "app:latest", replicas: replicas,
			env: map[string]string{"NEW": env}, more: "  nodeSelector: {pool: rest}\n"})}
	}
	decides := f.Nodes[0].Name
	labels := func() map[string]string {
		files := map[string]string{}
		for _, n := range f.Nodes {
			labels := ""
			if n.Name != decides {
				labels = "pool: rest"
			}
			files["nodes/"+n.Name+".yaml"] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: %s}\nspec: {labels: {%s}}\n", n.Name, labels)
		}
		return files
	}
	slots := map[string]int{"web": 3, "pin": 1}
	files := labels()
	maps.Copy(files, pin(1, "1"))
	f.settles("a service by its tag", f.commit("pin", files), slots)
	f.imagesAre("pin", digest)
	moved := f.push("app:latest", "two")
	slots["pin"] = 4
	f.settles("it grows after the tag has moved", f.commit("pin grows", pin(4, "1")), slots)
	f.imagesAre("pin", digest)

	// From here on the node that decides runs none of it, and finds no
	// registry.
	author, err := f.Repo.Git("", "log", "-1", "--format=%an", prefix+"leases/default/pin")
	f.must(err)
	n, err := f.Node(strings.TrimSpace(author))
	f.must(err)
	decides = n.Name
	f.settles("the node that decides runs none", f.commit("others", labels()), slots)
	asked := make(chan struct{}, 1000)
	f.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.RemoteAddr, n.Address.Addr().String()+":") {
			return false
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	f.settles("no registry for the node that decides", f.commit("pin anew", pin(4, "2")), slots)
	f.Registry.Intercept(nil)
	f.imagesAre("pin", moved)
	select {
	case <-asked:
	default:
		f.t.Errorf("%s never asked the registry: this proves nothing", n.Name)
	}
	delete(slots, "pin")
	f.settles("pin goes", f.commit("pin goes", map[string]string{"pin.yaml": "\x00delete"}), slots)
}

// imagesAre demands one digest of all instances of a service.
func (f *fleet) imagesAre(name, digest string) {
	f.t.Helper()
	for _, st := range f.Statuses(f.t.Context()) {
		for _, i := range service(st, name).Instances {
			for ref, is := range i.Images {
				if is != digest {
					f.t.Errorf("%s on %s runs %s at %s, want %s", i.Slot, st.Node, ref, is, digest)
				}
			}
		}
	}
}

// drains takes nodes out of service while people ask for pages, by commits of
// the command line.
func (f *fleet) drains(web func(string, int) map[string]string) {
	f.t.Helper()
	slots := map[string]int{"web": 6}
	f.settles("more replicas", f.commit("six", web("app:1", 6)), slots)
	n := f.Nodes[2]
	verb := func(verb string, node *devfleet.Node) string {
		out, code := f.orpheus(verb, node.Name, "--repository", f.RepoURL(), "-m", "e2e")
		if code != 0 {
			f.t.Fatalf("orpheus %s: %s", verb, out)
		}
		tip, err := f.Repo.Tip("main")
		f.must(err)
		return tip
	}
	stop := f.load()
	before := f.places()
	verb("drain", n)
	f.await("the drain has begun", patience, func(all []*api.Status) string {
		now := placesOf(all)
		f.serves("a drain", now, slots)
		if now.perNode("web")[n.Name] == before.perNode("web")[n.Name] {
			return "nothing has moved"
		}
		return ""
	})
	f.settles("the drain is taken back", verb("uncordon", n), slots)
	stayed := f.places()
	for slot, at := range before {
		if at[0].node != n.Name && (places{slot: at}).changed(stayed) != "" {
			f.t.Errorf("a drain that was taken back moved %s: %+v", slot, stayed[slot])
		}
	}

	began := time.Now()
	hash := verb("drain", n)
	f.await("the drain is done", patience, func(all []*api.Status) string {
		now := placesOf(all)
		f.serves("a drain", now, slots)
		if left := now.perNode("web")[n.Name]; left > 0 {
			return fmt.Sprintf("%d are left", left)
		}
		return now.exactly(slots)
	})
	f.t.Logf("a node is drained after %s", time.Since(began).Round(100*time.Millisecond))
	if asked, failed := stop(); failed > 0 || asked < 50 {
		f.t.Errorf("people asked %d times during drains, and got no page %d times", asked, failed)
	} else {
		f.t.Logf("people asked %d times during drains, and always got a page", asked)
	}
	f.settles("drained", hash, slots)

	// What is cordoned keeps what it has, and gets nothing new.
	verb("uncordon", n)
	hash = verb("cordon", f.Nodes[0])
	has := f.places().perNode("web")[f.Nodes[0].Name]
	f.settles("cordoned", hash, slots)
	slots["web"] = 9
	f.settles("nine", f.commit("nine", web("app:1", 9)), slots)
	if now := f.places().perNode("web"); now[f.Nodes[0].Name] != has || now[n.Name] < 3 {
		f.t.Errorf("node-1, which is cordoned, had %d; now %v", has, now)
	}
	verb("uncordon", f.Nodes[0])
	slots["web"] = 12
	f.settles("twelve", f.commit("twelve", web("app:1", 12)), slots)
	if now := f.places().perNode("web"); now[f.Nodes[0].Name] <= has {
		f.t.Errorf("node-1, which is cordoned no more, had %d; now %v", has, now)
	}
}

// load asks for pages until it is stopped, as a balancer in front of the fleet
// does: where one node does not answer the next is asked.
func (f *fleet) load() (stop func() (asked, failed int)) {
	end, ended := make(chan struct{}), make(chan struct{})
	asked, failed := 0, 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
			}
			asked++
			answered := slices.ContainsFunc(f.Nodes, func(n *devfleet.Node) bool {
				_, err := askNode(n)
				return err == nil
			})
			if !answered {
				failed++
			}
		}
	}()
	return func() (int, int) {
		close(end)
		<-ended
		return asked, failed
	}
}
