package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// bystanders are services that no test touches: they must live through all.
func (n *node) bystanders() map[string]string {
	return map[string]string{
		"fleet.yaml": fleetYAML,
		"calm.yaml":  n.manifest(spec{name: "calm", replicas: 2}),
		"quiet.yaml": n.manifest(spec{name: "quiet", args: []string{"lines"}, more: "  volumes: [{name: data, local: {}}]\n"}),
	}
}

// TestKilledDuringPull kills the agent while a registry keeps it waiting in
// the middle of a layer.
func TestKilledDuringPull(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	big := n.pushBig("app:2")
	n.agent()
	old, next := n.manifest(spec{name: "web"}), n.manifest(spec{name: "web", image: "app:2"})
	files := n.bystanders()
	files["web.yaml"] = old
	n.apply("first version", files)
	begin := n.lives()

	// Undisturbed, there and back, is what to compare with.
	n.apply("version 2", map[string]string{"web.yaml": next})
	n.apply("version 1", map[string]string{"web.yaml": old})
	n.removeImage("app:2")
	n.restart()
	want := n.atRest()

	reached := make(chan struct{}, 100)
	n.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, big) {
			return false
		}
		w.Header().Set("Content-Length", "4000000")
		_, _ = w.Write(make([]byte, 100_000))
		_ = http.NewResponseController(w).Flush()
		reached <- struct{}{}
		<-r.Context().Done()
		return true
	})
	hash := n.commit("version 2, again", map[string]string{"web.yaml": next})
	for range 3 {
		select {
		case <-reached:
		case <-time.After(patience):
			t.Fatal("the layer is not asked for")
		}
		n.kill()
		n.agent()
	}
	n.untouched("the agent was killed in the middle of a pull", begin, "web")
	n.Registry.Intercept(nil)
	n.kill() // the connection that was left waiting would wait for long
	n.agent()
	n.await("the pull is done at last", devfleet.SettledAt(hash))
	n.apply("version 1, again", map[string]string{"web.yaml": old})
	n.untouched("pulls were cut off", begin, "web")
	n.removeImage("app:2")
	n.restart()
	n.leftNothing("of pulls that were cut off", want)
}

// pushBig pushes an image with a layer of 4 MB and returns that layer's
// digest.
func (n *node) pushBig(nameTag string) string {
	n.t.Helper()
	img, err := imagetest.Build(imagetest.Options{Binary: n.Payload, Padding: 4 << 20})
	if err == nil {
		_, _, err = n.Registry.Push(nameTag, img)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		n.t.Fatal(err)
	}
	digest, err := layers[1].Digest()
	if err != nil {
		n.t.Fatal(err)
	}
	return digest.String()
}

// removeImage removes an image that nothing runs from containerd, with what it
// alone held.
func (n *node) removeImage(nameTag string) {
	n.t.Helper()
	c, err := n.containerd()
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	all, err := c.ImageService().List(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	repository, _, _ := strings.Cut(nameTag, ":")
	used := map[string]bool{}
	for _, s := range n.status().Services {
		for _, i := range s.Instances {
			for _, digest := range i.Images {
				used[digest] = true
			}
		}
	}
	for _, img := range all {
		if strings.Contains(img.Name, "/"+repository) && !used[img.Target.Digest.String()] {
			if err := c.ImageService().Delete(context.Background(), img.Name, images.SynchronousDelete()); err != nil {
				n.t.Fatal(err)
			}
		}
	}
}

// restart ends the agent in peace and starts it again: it looks for leftovers
// when it starts.
func (n *node) restart() {
	n.t.Helper()
	if err := n.EndAgent(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	n.agent()
	n.await("at rest", devfleet.Settled)
}

// TestKilledDuringStartAndStop kills the agent while it starts many instances,
// and while it waits for some that do not want to end.
func TestKilledDuringStartAndStop(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		crowd := func(replicas int) string {
			return n.manifest(spec{name: "crowd", replicas: replicas, args: []string{"deaf"}, more: "  terminationGracePeriodSeconds: 2\n"})
		}
		files := n.bystanders()
		files["crowd.yaml"] = crowd(12)
		n.apply("with a crowd", files)
		n.apply("without", map[string]string{"crowd.yaml": crowd(1)})
		begin := n.lives()
		n.restart()
		want := n.atRest()

		hash := n.commit("a crowd again", map[string]string{"crowd.yaml": crowd(12)})
		seen := n.killWhile("instances start", func(st *api.Status) bool {
			// Said from the start's begin until a second after its end: never missed.
			starting := 0
			for _, i := range service(st, "crowd").Instances {
				if i.Phase == planner.PhaseStarting {
					starting++
				}
			}
			return starting > 2
		})
		n.agent()
		n.await("the crowd is there", devfleet.SettledAt(hash))
		n.untouched("the agent was killed while it started others", seen)

		hash = n.commit("the crowd goes", map[string]string{"crowd.yaml": crowd(1)})
		n.killWhile("instances stop", func(st *api.Status) bool {
			for _, i := range service(st, "crowd").Instances {
				if i.Phase == planner.PhaseStopping {
					return true
				}
			}
			return false
		})
		n.agent()
		n.await("the crowd is gone", devfleet.SettledAt(hash))
		n.untouched("the agent was killed twice", begin)
		n.restart()
		n.leftNothing("of starts and stops that were cut off", want)
	})
}

// killWhile kills the agent when something is under way and returns what ran.
func (n *node) killWhile(what string, underWay func(*api.Status) bool) map[string]life {
	n.t.Helper()
	n.await(what, func(st *api.Status) string {
		if !underWay(st) {
			return "not yet"
		}
		return ""
	})
	seen := n.lives()
	n.kill()
	return seen
}

// TestTurmoil kills the agent 20 times at random moments while 50 services
// change all the time.
func TestTurmoil(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		const services, kills = 50, 20
		file := func(k int) string { return fmt.Sprintf("busy/%d.yaml", k) }
		busy := func(k, round, replicas int) string {
			return n.manifest(spec{name: fmt.Sprintf("busy-%d", k), replicas: replicas, env: map[string]string{"ROUND": fmt.Sprint(round)}})
		}
		rest := n.bystanders()
		for k := range services {
			rest[file(k)] = busy(k, 0, 1)
		}
		n.apply("first version", rest)
		// One there and back of everything, undisturbed, is what to compare with.
		begin := n.lives()
		n.restart()
		want := n.atRest()

		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for round := range kills {
			changed := map[string]string{}
			for k := range services {
				if random.IntN(4) == 0 {
					changed[file(k)] = busy(k, round+1, 1+random.IntN(2))
				}
			}
			n.commit(fmt.Sprintf("round %d", round), changed)
			// Any moment will do: this is no wait for anything.
			time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
			n.kill()
			if err := n.StartAgent(); err != nil {
				t.Fatal(err)
			}
		}
		hash := n.commit("as it was", rest)
		n.await("at rest again", devfleet.SettledAt(hash))
		for slot := range begin {
			if strings.HasPrefix(slot, "busy") {
				delete(begin, slot)
			}
		}
		n.untouched("20 kills among 50 services", begin)
		n.restart()
		n.leftNothing("of the turmoil", want)
	})
}
