package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// TestContainerdRestarted kills containerd under running containers.
func TestContainerdRestarted(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	hash := n.apply("first version", n.bystanders())
	before, want := n.lives(), n.atRest()

	if err := n.Containerd.Kill(); err != nil {
		t.Fatal(err)
	}
	st := n.await("status tells that containerd is gone", func(st *api.Status) string {
		for _, d := range st.Drivers {
			if d.Name == "containerd" && d.Error != "" {
				return ""
			}
		}
		return "containerd has no error"
	})
	for _, d := range st.Drivers {
		if d.Name == "containerd" {
			contains(t, "status of the driver", d.Error, n.Containerd.Address)
		}
	}
	out, _ := n.orpheus("status", "--socket", n.Socket())
	contains(t, "orpheus status", out, "containerd", n.Containerd.Address)
	// What dies meanwhile is found dead afterwards.
	victim := before["quiet/0"].PID
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := n.Containerd.Restart(); err != nil {
		t.Fatal(err)
	}
	n.await("re-attached", func(st *api.Status) string {
		if pid := devfleet.PIDs(st, "quiet")["0"]; pid == 0 || pid == victim {
			return "quiet-0 does not run again"
		}
		for _, d := range st.Drivers {
			if d.Error != "" {
				return d.Error
			}
		}
		return devfleet.SettledAt(hash)(st)
	})
	n.untouched("containerd was killed and restarted", before, "quiet")
	n.leftNothing("of the old containerd", want)
}

// TestDrift removes by hand what the agent runs: it comes back, alone.
func TestDrift(t *testing.T) {
	t.Parallel()
	t.Run("a container deleted", func(t *testing.T) {
		n := newNode(t, devfleet.Options{LocalPath: true})
		n.push("app:1", "1")
		n.agent()
		n.apply("first version", n.bystanders())
		before, want := n.lives(), n.atRest()
		begin := time.Now()
		n.deleteContainer(before["calm/1"].ID)
		n.comesBack("calm", "1", before["calm/1"].PID)
		t.Logf("deleted, it ran again after %s", time.Since(begin).Round(time.Millisecond))
		n.await("at rest", devfleet.Settled)
		delete(before, "calm/1")
		n.untouched("another container was deleted", before)
		n.leftNothing("of the deleted container", want)
	})
	onDrivers(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		n.apply("first version", n.bystanders())
		before := n.lives()
		if err := syscall.Kill(before["calm/1"].PID, syscall.SIGKILL); err != nil {
			n.t.Fatal(err)
		}
		n.comesBack("calm", "1", before["calm/1"].PID)
		// The new process may be listed before the action that started it has ended.
		n.await("one restart is counted", func(st *api.Status) string {
			for _, i := range service(st, "calm").Instances {
				if i.Slot == "1" && i.Restarts != 1 {
					return fmt.Sprintf("%d are", i.Restarts)
				}
			}
			return devfleet.Settled(st)
		})
		delete(before, "calm/1")
		n.untouched("another process was killed", before)
		contains(n.t, "the agent's log", n.agentLog(), "killed by signal 9")
	})
}

// comesBack waits until a slot runs as another process.
func (n *node) comesBack(name, slot string, old int) *api.Status {
	n.t.Helper()
	return n.await(name+"-"+slot+" comes back", func(st *api.Status) string {
		if pid := devfleet.PIDs(st, name)[slot]; pid == 0 || pid == old {
			return "it does not run again"
		}
		return ""
	})
}

// deleteContainer does what `ctr task rm -f` and `ctr container rm` do. The
// agent may bring the process back between the two: both are done again then.
func (n *node) deleteContainer(instance string) {
	n.t.Helper()
	c, err := n.containerd()
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	ctx := namespaces.WithNamespace(context.Background(), containerdNamespace)
	found, err := c.Containers(ctx, fmt.Sprintf(`labels."orpheus/instance"==%s`, instance))
	if err != nil || len(found) != 1 {
		n.t.Fatalf("containers of %s: %v, %v", instance, found, err)
	}
	n.eventually("delete the container of "+instance, func() string {
		if task, err := found[0].Task(ctx, nil); err == nil {
			_, _ = task.Delete(ctx, client.WithProcessKill) // what stays shows in the next step
		}
		if err := found[0].Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return err.Error()
		}
		return ""
	})
}

// TestRegistryDown changes two services while the registry of one is away.
func TestRegistryDown(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	digest := n.push("app:1", "1")
	n.push("app:2", "2")
	n.agent()
	// A new revision asks the registry what its tag means now; a digest that is
	// on the node needs nobody.
	shop := func(colour string) string {
		return n.manifest(spec{name: "shop", image: "app@" + digest, env: map[string]string{"COLOUR": colour}})
	}
	files := n.bystanders()
	files["web.yaml"] = n.manifest(spec{name: "web"})
	files["shop.yaml"] = shop("blue")
	n.apply("first version", files)
	before := n.lives()

	n.Registry.Stop()
	hash := n.commit("web 2, and shop in green", map[string]string{
		"web.yaml":  n.manifest(spec{name: "web", image: "app:2"}),
		"shop.yaml": shop("green"),
	})
	st := n.await("web waits, tried more than once", func(st *api.Status) string {
		message := service(st, "web").Message
		if !strings.Contains(message, "(tried ") || strings.Contains(message, "(tried 1 times") {
			return "web says: " + message
		}
		if s := service(st, "shop"); s.Updated != 1 || s.Ready != 1 || len(s.Instances) != 1 {
			return "shop is not replaced"
		}
		return ""
	})
	contains(t, "message of web", service(st, "web").Message, n.Registry.Host, "app:2")
	contains(t, "the agent's log", n.agentLog(), "what runs stays", n.Registry.Host)
	n.untouched("the registry is away", before, "shop")
	out, _ := n.orpheus("status", "--socket", n.Socket())
	contains(t, "orpheus status", out, n.Registry.Host)
	if err := syscall.Kill(before["calm/0"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.comesBack("calm", "0", before["calm/0"].PID)
	delete(before, "calm/0")
	if err := n.Registry.Restart(); err != nil {
		t.Fatal(err)
	}
	n.await("web recovers by itself", devfleet.SettledAt(hash))
	n.untouched("the registry is back", before, "shop", "web")
}
