package planner

import (
	"math"
	"strconv"
)

// neighbours counts where the slots of one service are: per node, and per
// value of each topology key it is spread over.
type neighbours struct {
	on     []int // by host index
	spread []topology
}

// topology is one spread constraint. Domains are the values of its key.
type topology struct {
	key     string
	maxSkew int
	soft    bool
	domain  []int // by host index; -1 = the node has no such label
	count   []int // slots, by domain
	least   int   // the lowest count of a domain that takes slots
}

// neighbours counts the slots of a service, once.
func (sv *survey) neighbours(ss *serviceState) *neighbours {
	if ss.neighbours != nil {
		return ss.neighbours
	}
	n := &neighbours{on: make([]int, len(sv.hosts))}
	ss.neighbours = n
	for _, c := range ss.s.Spread {
		n.spread = append(n.spread, sv.topology(c))
	}
	for _, st := range ss.slots {
		n.move(sv.byName[st.at()], 1)
	}
	return n
}

func (sv *survey) topology(c SpreadConstraint) topology {
	t := topology{key: c.TopologyKey, maxSkew: max(1, c.MaxSkew), soft: c.Soft, domain: make([]int, len(sv.hosts))}
	seen := map[string]int{}
	for i, h := range sv.hosts {
		value, ok := h.label(c.TopologyKey)
		if !ok {
			t.domain[i] = -1
			continue
		}
		d, known := seen[value]
		if !known {
			d = len(seen)
			seen[value] = d
			t.count = append(t.count, 0)
		}
		t.domain[i] = d
	}
	return t
}

// move counts a slot in (1) or out (-1) of a node; nil = it is nowhere.
func (n *neighbours) move(h *host, by int) {
	if h == nil {
		return
	}
	n.on[h.index] += by
	for i := range n.spread {
		if d := n.spread[i].domain[h.index]; d >= 0 {
			n.spread[i].count[d] += by
		}
	}
}

// measure finds the lowest count among the domains of the nodes that are open
// to the service: a domain without any asks nothing of the others.
func (n *neighbours) measure(open []*host) {
	for i := range n.spread {
		t := &n.spread[i]
		t.least = math.MaxInt
		for _, h := range open {
			if d := t.domain[h.index]; d >= 0 {
				t.least = min(t.least, t.count[d])
			}
		}
	}
}

// allows reports whether no hard constraint forbids one more slot on a node.
func (n *neighbours) allows(h *host) bool { return n.broken(h) == nil }

// broken is the hard constraint that one more slot on a node would break.
func (n *neighbours) broken(h *host) *topology {
	for i := range n.spread {
		t := &n.spread[i]
		if d := t.domain[h.index]; !t.soft && (d < 0 || t.count[d]+1-t.least > t.maxSkew) {
			return t
		}
	}
	return nil
}

// skew sums how full the node's domains are in the soft constraints.
func (n *neighbours) skew(h *host) int {
	sum := 0
	for _, t := range n.spread {
		switch d := t.domain[h.index]; {
		case !t.soft:
		case d < 0:
			sum += maxSlots
		default:
			sum += t.count[d]
		}
	}
	return sum
}

// crowded says which hard spread constraint forbids a slot on a node.
func (sv *survey) crowded(ss *serviceState, st *slotState, h *host) string {
	near, now := sv.neighbours(ss), sv.byName[st.at()]
	near.move(now, -1)
	near.measure(sv.choice(ss, st.want).open)
	t := near.broken(h)
	near.move(now, 1)
	switch {
	case t == nil:
		return ""
	case t.domain[h.index] < 0:
		return "it has no label " + t.key + " to spread over"
	}
	return "more than " + strconv.Itoa(t.maxSkew) + " apart over " + t.key
}
