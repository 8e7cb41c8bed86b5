package review

import (
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// unplaced lists the slots that no node takes, new ones first.
func (b *builder) unplaced() {
	before := map[planner.SlotID]bool{}
	for _, u := range b.rest.Unplaced {
		before[u.Slot] = true
	}
	for _, u := range b.now.Unplaced {
		b.out.Unplaced = append(b.out.Unplaced, Unplaced{
			Slot: u.Slot.String(), Nearest: b.nearest(u), Reasons: grouped(u.Reasons), Before: before[u.Slot],
		})
	}
	slices.SortStableFunc(b.out.Unplaced, func(x, y Unplaced) int {
		switch {
		case x.Before == y.Before:
			return 0
		case y.Before:
			return -1
		}
		return 1
	})
}

// grouped puts the nodes together that have one reason, in the order of the
// first of each.
func grouped(reasons []planner.NodeReason) []Reason {
	out := []Reason{}
	for _, r := range reasons {
		i := slices.IndexFunc(out, func(g Reason) bool { return g.Reason == r.Reason })
		if i < 0 {
			i, out = len(out), append(out, Reason{Reason: r.Reason})
		}
		out[i].Nodes = append(out[i].Nodes, r.Node)
	}
	return out
}

// miss is by how much a node misses what a slot asks for.
type miss struct {
	node        planner.NodeName
	lacks       planner.ResourceList
	share       float64 // of what is asked: the larger of both
	thereWasOne bool
}

// nearest names the node that comes closest to taking a slot: of those that
// lack only room the one that lacks least, else one that is closed by what a
// person said of it.
func (b *builder) nearest(u planner.Unplaced) string {
	asked := b.asked(u.Slot)
	var best miss
	for _, r := range u.Reasons {
		if !strings.HasSuffix(r.Reason, " asked") {
			continue // see planner: lack
		}
		if m, ok := b.miss(r.Node, asked); ok && (!best.thereWasOne || m.share < best.share) {
			best = m
		}
	}
	if best.thereWasOne {
		return string(best.node) + " is the closest: it lacks " + amounts(best.lacks)
	}
	for _, closed := range []string{"cordoned by ", "drained by ", "its taint "} {
		for _, r := range u.Reasons {
			if strings.HasPrefix(r.Reason, closed) {
				return string(r.Node) + " is the closest: " + r.Reason
			}
		}
	}
	return ""
}

// asked is what a slot, or a hook, asks for.
func (b *builder) asked(id planner.SlotID) planner.ResourceList {
	s := b.in.After.Services[id.Service]
	if h, is := s.Hooks[planner.HookKind(id.Name)]; is {
		return h.Template.Asked()
	}
	return s.Template.Asked()
}

// miss compares what a node has left at the end with what is asked.
func (b *builder) miss(node planner.NodeName, asked planner.ResourceList) (miss, bool) {
	i := slices.IndexFunc(b.now.Nodes, func(n planner.NodeLoad) bool { return n.Node == node })
	if i < 0 {
		return miss{}, false
	}
	n := b.now.Nodes[i]
	m := miss{node: node, thereWasOne: true}
	m.lacks.MemoryBytes = lacking(n.Capacity.MemoryBytes, n.After.Requests.MemoryBytes, asked.MemoryBytes)
	m.lacks.CPUMillis = lacking(n.Capacity.CPUMillis, n.After.Requests.CPUMillis, asked.CPUMillis)
	if asked.MemoryBytes > 0 {
		m.share = float64(m.lacks.MemoryBytes) / float64(asked.MemoryBytes)
	}
	if asked.CPUMillis > 0 {
		m.share = max(m.share, float64(m.lacks.CPUMillis)/float64(asked.CPUMillis))
	}
	return m, m.lacks != (planner.ResourceList{})
}

// lacking is how much there would have to be more; of a capacity that is not
// known nothing is lacking.
func lacking(capacity, used, asked int64) int64 {
	if capacity == 0 || asked == 0 {
		return 0
	}
	return max(0, asked-max(0, capacity-used))
}

func amounts(r planner.ResourceList) string {
	var parts []string
	if r.MemoryBytes > 0 {
		parts = append(parts, Memory(r.MemoryBytes)+" of memory")
	}
	if r.CPUMillis > 0 {
		parts = append(parts, CPU(r.CPUMillis)+" of CPU")
	}
	return strings.Join(parts, " and ")
}
