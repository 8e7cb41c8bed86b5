package planner

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestReleaseBadEverywhere: a release that is ready for a moment and then exits,
// whose rollout was completed, moves each slot to each node at most once, in
// whatever order its instances come and go and coordinators see it; then all
// stay.
func TestReleaseBadEverywhere(t *testing.T) {
	const nodes, slots = 3, 3
	rapid.Check(t, func(rt *rapid.T) {
		f, v := rolloutCase{fleetCase: fleetCase{nodes: "n1 n2 n3", replicas: slots, target: "a"}, good: "a", history: "a"}.build(t)
		at, moves := map[string]NodeName{}, map[string]int{}
		for range rapid.IntRange(30, 200).Draw(rt, "steps") {
			out := Coordinate(f, v, Time{Boot: fleetNow})
			for _, d := range out.Docs {
				v.Docs[web] = DocView{Doc: d.Doc, Since: fleetNow, StepSince: fleetNow}
			}
			leases := v.Docs[web].Doc.Leases
			for i := range slots {
				slot := strconv.Itoa(i)
				of := slices.DeleteFunc(slices.Clone(leases), func(l Lease) bool { return l.Slot != slot })
				if len(of) != 1 || of[0].Node == at[slot] {
					continue
				}
				if at[slot] != "" {
					moves[slot]++
				}
				at[slot] = of[0].Node
			}
			if len(leases) > 0 {
				fares(rt, v, rapid.SampledFrom(leases).Draw(rt, "lease"))
			}
		}
		for slot, n := range moves {
			if n > nodes-1 {
				rt.Fatalf("slot %s moved %d times: %v", slot, n, v.Docs[web].Doc)
			}
		}
	})
}

// fares has the instance of a lease go on: it starts, is ready for a moment,
// fails, and is ready again.
func fares(rt *rapid.T, v View, l Lease) {
	n := v.Nodes[l.Node]
	n.Status.Instances = slices.Clone(n.Status.Instances)
	i := slices.IndexFunc(n.Status.Instances, func(i InstanceStatus) bool { return i.Slot.Name == l.Slot && i.Token == l.Token })
	if i < 0 {
		i = len(n.Status.Instances)
		n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{web, l.Slot}, Token: l.Token, Revision: l.Revision, Phase: PhaseStarting})
	}
	is := &n.Status.Instances[i]
	is.Phase, is.Failing, is.Reason = PhaseReady, false, ""
	if rapid.Bool().Draw(rt, "fails") {
		is.Phase, is.Failing, is.Reason = PhaseFailed, true, "exited with code 1"
	}
	v.Nodes[l.Node] = n
}
