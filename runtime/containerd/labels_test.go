//go:build linux

package containerd

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/orpheus-cd/orpheus/planner"
)

// Whatever instance ids there are, their containers' ids are good for
// containerd, differ, and lead back to the instance.
func TestContainerIDs(t *testing.T) {
	instance := rapid.StringMatching(`[a-z0-9.-]{1,63}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := instance.Draw(t, "a"), instance.Draw(t, "b")
		i, j := rapid.IntRange(0, 300).Draw(t, "i"), rapid.IntRange(0, 300).Draw(t, "j")
		idA, idB := containerID(a, i), containerID(b, j)
		if !validID(idA) {
			t.Fatalf("%q of %q is not valid", idA, a)
		}
		if (idA == idB) != (a == b && i == j) {
			t.Fatalf("%q/%d and %q/%d have ids %q and %q", a, i, b, j, idA, idB)
		}
		if prefix, ours := prefixOf(idA); !ours || prefix != containerPrefix(a) {
			t.Fatalf("%q leads to %q, not to %q", idA, prefix, containerPrefix(a))
		}
	})
}

func TestLabelsAreTheWholeMemory(t *testing.T) {
	rec := record{
		ID: "x.1",
		Instance: planner.Instance{
			ID: "x", Driver: planner.DriverContainerd,
			Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "shop", Name: "web"}, Name: "7"},
			Node: "n1", Epoch: 1<<64 - 1, Token: 12, Revision: "r1-00", GracePeriod: 90 * time.Second,
		},
		Container: "main", Index: 1, Count: 2, Exposed: []planner.ImagePort{{Port: 53, Protocol: "udp"}, {Port: 80, Protocol: "tcp"}}, Image: "a/b:1", Digest: "sha256:00", StopSignal: "SIGINT", Boot: "b",
	}
	got := parseLabels("x.1", rec.labels())
	if got.Instance.ID != rec.Instance.ID || got.Instance.Slot != rec.Instance.Slot || got.Instance.Epoch != rec.Instance.Epoch || got.Instance.GracePeriod != rec.Instance.GracePeriod {
		t.Errorf("read back %+v; want %+v", got.Instance, rec.Instance)
	}
	got.Instance, rec.Instance = planner.Instance{}, planner.Instance{}
	if got.labels() == nil || got.Container != rec.Container || got.Index != rec.Index || got.Count != rec.Count || got.Init || !slices.Equal(got.Exposed, rec.Exposed) || got.StopSignal != rec.StopSignal || got.Boot != rec.Boot {
		t.Errorf("read back %+v; want %+v", got, rec)
	}
	rec.Init = true
	if got := parseLabels("x.1", rec.labels()); !got.Init || got.Exposed != nil || got.unlabelled {
		t.Errorf("read back %+v of an init container", got)
	}
}

func TestConfigValidation(t *testing.T) {
	_, err := New(Config{Address: "run.sock", StateDir: "state", Cgroup: "/a/../b", Namespace: "a b"})
	if err == nil {
		t.Fatal("a configuration full of faults was taken")
	}
	for _, field := range []string{"address", "state folder", "cgroup", "namespace"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name the %s: %v", field, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]int{"SIGINT": 2, "int": 2, "3": 3, "SIGRTMIN+1": 15, "": 15, "nonsense": 15, "0": 15, "-1": 15, "65": 15} {
		if got := parseSignal(name); int(got) != want {
			t.Errorf("%q is signal %d; want %d", name, got, want)
		}
	}
}
