package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// meterless measures no instance of a service.
type meterless struct {
	*runtimetest.Fake
	service string
}

func (d meterless) Stats(ctx context.Context, id string) (runtime.Usage, error) {
	if strings.HasPrefix(id, d.service+"-") {
		return runtime.Usage{}, errors.New("read counters: \x1b[2Jno such cgroup")
	}
	return d.Fake.Stats(ctx, id)
}

// TestUsage: each instance with what it uses, asks for and may use; one that
// cannot be measured says why and keeps no other from being measured.
func TestUsage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.more = map[string]runtime.Driver{"bare": bareDriver{runtimetest.NewFake("bare")}, "sick": meterless{runtimetest.NewFake("sick"), "sick"}}
		w.policy.Drivers = []string{planner.DriverContainerd, "bare", "sick"}
		w.start()
		on := func(driver string) func(*planner.Service) {
			return func(s *planner.Service) { s.Template.Driver = driver }
		}
		sized := func(s *planner.Service) {
			s.Template.Containers[0].Resources = planner.Resources{
				Requests: planner.ResourceList{CPUMillis: 100}, Limits: planner.ResourceList{CPUMillis: 500, MemoryBytes: 64 << 20, PIDs: 50},
			}
		}
		w.commit(service("web", "a", replicas(2), sized), service("old", "b", on("bare")), service("sick", "c", on("sick")))
		w.settle(10 * time.Second)
		before, err := w.agent.Usage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // in the bubble
		u, err := w.agent.Usage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var slots []string
		for k, i := range u.Instances {
			slots = append(slots, i.SlotID().String())
			millis, known := u.Millicores(before, k)
			switch i.Name {
			case "web":
				// The fake uses a hundredth of a core.
				if i.Error != "" || !known || millis != 10 || i.MemoryBytes == 0 || i.PIDs == 0 {
					t.Errorf("%s: %d %v %+v", i.Slot, millis, known, i)
				}
				if i.Asked.CPUMillis != 100 || i.Asked.MemoryBytes != 64<<20 || i.Limits.PIDs != 50 {
					t.Errorf("%+v", i)
				}
			case "old":
				if i.Error != "driver bare does not measure" || known {
					t.Errorf("%+v", i)
				}
			case "sick":
				if !strings.HasPrefix(i.Error, "read counters: ") || strings.Contains(i.Error, "\x1b") || known {
					t.Errorf("%q", i.Error)
				}
			}
		}
		if got := strings.Join(slots, " "); got != "old-0 sick-0 web-0 web-1" {
			t.Errorf("%s", got)
		}
		if u.Node != "n1" || u.Cores < 1 || u.At.Sub(before.At) != time.Second {
			t.Errorf("%+v", u)
		}
	})
}
