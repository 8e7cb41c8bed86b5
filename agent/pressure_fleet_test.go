package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
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
		told := b.nodes[1].agent.fleet.member.View().Nodes["n1"].Status.Refusals
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
		if now := b.nodes[1].agent.fleet.member.View().Nodes["n1"].Status.Refusals; !slices.Equal(now, told) {
			t.Errorf("it refuses %+v", now)
		}
	})
}
