package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// TestFleetShortNodeRefusesOnce: a lease that was given before the others knew
// of the shortage is refused, and the refusal does not change with every
// reading: each change would be a push.
func TestFleetShortNodeRefusesOnce(t *testing.T) {
	play(t, 2, func(b *band) {
		short := b.nodes[0]
		short.crash()
		short.gauges = &gauges{driver: short.driver}
		short.start()
		base := service("base", "b", replicas(2))
		b.commit(base)
		b.settle(time.Minute)
		memory := func(free uint64) planner.Reading {
			return planner.Reading{Resource: planner.ResourceMemory, Free: free << 20, Total: 1 << 30}
		}
		short.loses.Store(true)
		short.gauges.set(0, memory(90), pids(10))
		b.settle(20 * time.Second)
		b.commit(base, service("web", "a", replicas(2)))
		b.settle(20 * time.Second)
		short.loses.Store(false)
		b.settle(2 * time.Minute)
		b.wantSlots("base-0 b", "base-1 b", "web-0 a", "web-1 a")
		told := statusOf(t, b.nodes[1].agent, "n1").Refusals
		if len(told) != 1 || told[0].Reason != "this node is short of memory, process ids" {
			t.Errorf("it refuses %+v", told)
		}
		pushes := b.records.Counts().Pushes
		for k := range uint64(12) {
			short.gauges.set(0, memory(80-k), pids(11+k))
			b.settle(10 * time.Second)
		}
		if now := b.records.Counts().Pushes; now != pushes {
			t.Errorf("%d pushes to tell of amounts", now-pushes)
		}
		if now := statusOf(t, b.nodes[1].agent, "n1").Refusals; !slices.Equal(now, told) {
			t.Errorf("it refuses %+v", now)
		}
	})
}

// TestFleetPullThatFindsNoRoom: in a fleet images are fetched by starts, too.
// One that finds no room has what nobody needs removed, and is tried again at
// once; what finds another disk full has nothing removed.
func TestFleetPullThatFindsNoRoom(t *testing.T) {
	for _, row := range []struct {
		verb    string
		removes bool
	}{
		{"Pull", true},
		{"Start", false},
	} {
		t.Run(row.verb, func(t *testing.T) {
			play(t, 1, func(b *band) {
				p := b.nodes[0]
				p.crash()
				p.gauges = &gauges{driver: p.driver}
				p.start()
				for k := range 7 {
					image := fmt.Sprint("web", k)
					p.driver.PushImage("registry.example.com/" + image)
					b.commit(service("web", image))
					b.settle(time.Minute)
				}
				stored := func() int {
					all, _ := p.driver.Images(context.Background())
					return len(all)
				}
				had := stored()
				p.driver.Before(func(_ context.Context, c runtimetest.Call) error {
					if c.Verb == row.verb && stored() >= had {
						return errors.New("write layer: no space left on device")
					}
					return nil
				})
				p.driver.PushImage("registry.example.com/big")
				b.commit(service("new", "big"))
				b.settle(5 * time.Second)
				if removed := stored() < had; removed != row.removes {
					t.Errorf("images removed: %v; %d of %d are left", removed, stored(), had)
				}
				if row.removes {
					b.wantSlots("new-0 big")
				}
			})
		})
	}
}
