package planner

import (
	"cmp"
	"math"
	"slices"
)

// occupy counts what the leases that stand take of their nodes.
func (sv *survey) occupy() {
	for _, id := range sv.v.documents() {
		ss := sv.byID[id]
		sv.settled(id, ss)
		for _, l := range sv.v.Docs[id].Doc.Leases {
			if h, ok := sv.byName[l.Node]; ok {
				if ss != nil {
					h.occupy(id, sv.needs(ss, l.Revision), 1)
					continue
				}
				t := sv.v.Specs[l.Revision]
				h.occupy(id, needs{t.Asked(), (&Service{}).claims(t)}, 1)
			}
		}
	}
}

// needs is what an instance takes of its node.
type needs struct {
	asked  ResourceList
	claims []portClaim
}

// needs is what an instance of a service takes.
func (sv *survey) needs(ss *serviceState, rev Revision) needs {
	t := sv.templateOr(ss, rev)
	return needs{t.Asked(), ss.s.claims(t)}
}

// templateOr is the template of a revision, or the wanted one where nobody
// knows it any more: what it asks for is the best guess.
func (sv *survey) templateOr(ss *serviceState, rev Revision) Template {
	if t, ok := sv.template(ss, rev); ok {
		return t
	}
	return ss.s.Template
}

// occupy counts n more instances, or fewer, of a service.
func (h *host) occupy(id ServiceID, of needs, n int) {
	if n < 0 {
		h.used = h.used.minus(of.asked)
	} else {
		h.used = h.used.plus(of.asked)
	}
	for _, c := range of.claims {
		h.ports.add(id, c, n)
	}
}

// take counts a lease that is about to be given. Of the leases it replaces
// only those count no longer that end before it starts.
func (sv *survey) take(ss *serviceState, st *slotState, h *host) {
	for _, l := range sv.yields(ss, st, h) {
		h.occupy(ss.id, sv.needs(ss, l.Revision), -1)
	}
	h.occupy(ss.id, sv.needs(ss, st.want), 1)
	sv.settles(ss, st, h)
}

// yields lists the leases of a slot on a node that a new one there takes the
// place of: void ones, and those of a single writer.
func (sv *survey) yields(ss *serviceState, st *slotState, h *host) []Lease {
	var ends []Lease
	for _, l := range st.leases {
		if l.Node == h.name && (!sv.v.InForce(l) || st.stopFirst || sv.single(ss, l, st.want)) {
			ends = append(ends, l)
		}
	}
	return ends
}

// choice is what can be said of each node for all slots of a service at one
// revision.
type choice struct {
	needs
	// barred says which service has one of the ports on every node: no further
	// slot of this one begins. What runs goes on, and moves.
	barred string
	open   []*host      // that take new slots, as far as rules go
	shut   []NodeReason // the others
	// failed is why the last slot without any lease found no place: the next
	// of the service finds none either.
	failed []NodeReason
}

func (sv *survey) choice(ss *serviceState, rev Revision) *choice {
	if c, ok := ss.choices[rev]; ok {
		return c
	}
	c := &choice{needs: sv.needs(ss, rev)}
	c.barred = sv.everywhere.taken(ss.id, c.claims, func(other ServiceID) bool {
		o := sv.byID[other]
		if has := len(o.doc.Leases) > 0; has != (len(ss.doc.Leases) > 0) {
			return has
		}
		return other.Compare(ss.id) < 0
	})
	for _, h := range sv.hosts {
		why := h.closed(ss.s)
		if reason, refused := sv.refused(ss, h.name, rev); why == "" && refused {
			why = "refuses: " + reason
		}
		if why == "" {
			c.open = append(c.open, h)
		} else {
			c.shut = append(c.shut, NodeReason{h.name, why})
		}
	}
	if ss.choices == nil {
		ss.choices = map[Revision]*choice{}
	}
	ss.choices[rev] = c
	return c
}

// choose finds the node for the next lease of a slot: where it must be, else
// where it is already, else the best. Without one it says why, node by node. One
// that is not just given up where it is goes also where it kept failing, if
// nothing else is left: a drain ends.
func (sv *survey) choose(ss *serviceState, st *slotState) (*host, []NodeReason) {
	h, reasons := sv.chooseFrom(ss, st, true)
	if h == nil && !st.givesUp && len(ss.doc.Failed) > 0 {
		return sv.chooseFrom(ss, st, false)
	}
	return h, reasons
}

// chooseFrom is choose, with or without the nodes that the slot shuns.
func (sv *survey) chooseFrom(ss *serviceState, st *slotState, shun bool) (*host, []NodeReason) {
	c := sv.choice(ss, st.want)
	if only := sv.onlyNode(ss, st); only != "" {
		why := sv.rejects(ss, st, c, only)
		if why == "" {
			return sv.byName[only], nil
		}
		sv.tooFull(ss, c, sv.byName[only])
		if st.bound != "" {
			why += sv.dataThere(ss, only)
		}
		return nil, []NodeReason{{only, why}}
	}
	already := sv.already(ss, st)
	if c.barred != "" && len(st.leases) == 0 && len(already) == 0 {
		return nil, c.reasons(func(*host) string { return c.barred })
	}
	for _, name := range already {
		h, ok := sv.byName[name]
		switch {
		case !ok || h.unfit(ss.s) != "" || shun && sv.shuns(ss, st, name):
		case st.kind == slotChanges && h.view.Blind:
			return nil, []NodeReason{{name, "it cannot read the repository; the slot runs on there"}}
		case sv.rejects(ss, st, c, name) == "" && sv.crowded(ss, st, h) == "":
			return h, nil
		default:
			sv.tooFull(ss, c, h)
		}
	}
	if c.failed != nil && len(st.leases) == 0 {
		return nil, c.failed
	}
	best := sv.best(ss, st, c, shun)
	if best != nil {
		return best, nil
	}
	reasons := c.reasons(func(h *host) string {
		if shun && sv.shuns(ss, st, h.name) {
			return "it kept failing there"
		}
		return cmp.Or(sv.full(ss, st, c, h), sv.crowded(ss, st, h))
	})
	if len(st.leases) == 0 && len(ss.doc.Failed) == 0 {
		c.failed = reasons
	}
	return nil, reasons
}

// reasons says of every node why it does not take a slot, in order; why is asked
// for those that are open.
func (c *choice) reasons(why func(*host) string) []NodeReason {
	reasons := slices.Clone(c.shut)
	for _, h := range c.open {
		reasons = append(reasons, NodeReason{h.name, why(h)})
	}
	slices.SortFunc(reasons, func(a, b NodeReason) int { return cmp.Compare(a.Node, b.Node) })
	return reasons
}

// onlyNode is the one node a slot can be on: where its data is, or the node it
// is named for.
func (sv *survey) onlyNode(ss *serviceState, st *slotState) NodeName {
	if !st.hook && ss.ofNode(st.id.Name) {
		return NodeName(st.id.Name)
	}
	return st.bound
}

// already lists nodes on which the slot is, or was before it was fenced, or
// which report it although no lease is known, in order of preference.
func (sv *survey) already(ss *serviceState, st *slotState) []NodeName {
	switch {
	case st.kind == slotChanges:
		return []NodeName{st.old.Node}
	case st.kind == slotFirst:
		return sv.runs(st.id, st.want)
	}
	var names []NodeName
	for _, l := range slices.Backward(st.void) {
		names = append(names, l.Node)
	}
	return names
}

// rejects says why a node that has something of the slot does not take its
// next lease, leaving aside whether the slot may be there at all.
func (sv *survey) rejects(ss *serviceState, st *slotState, c *choice, node NodeName) string {
	h, ok := sv.byName[node]
	switch {
	case !ok:
		return "unknown"
	case h.out != "":
		return h.out
	}
	if reason, refused := sv.refused(ss, node, st.want); refused {
		return "refuses: " + reason
	}
	why := h.strained()
	if sv.onlyNode(ss, st) == node {
		why = h.short() // what is mended could go nowhere else
	}
	if why != "" {
		return why
	}
	return sv.full(ss, st, c, h)
}

// full says why a node has no room for a slot; "" = it has.
func (sv *survey) full(ss *serviceState, st *slotState, c *choice, h *host) string {
	used, freed := h.used, []portClaim(nil)
	if len(st.leases) > 0 {
		for _, l := range sv.yields(ss, st, h) {
			ends := sv.needs(ss, l.Revision)
			used = used.minus(ends.asked)
			freed = append(freed, ends.claims...)
		}
	}
	if why := lack(h.view.Record.Capacity, used, c.asked); why != "" {
		return why
	}
	return h.ports.taken(ss.id, c.claims, freed)
}

// tooFull notes for a forecast that a node had no room for a slot.
func (sv *survey) tooFull(ss *serviceState, c *choice, h *host) {
	if sv.away == nil || h == nil {
		return
	}
	sv.away.add(h.name, ss.id, c.needs)
}

// fits is full without its words.
func (sv *survey) fits(ss *serviceState, st *slotState, c *choice, h *host) bool {
	if len(st.leases) > 0 || len(c.claims) > 0 {
		return sv.full(ss, st, c, h) == ""
	}
	room := h.view.Record.Capacity
	return enough(room.MemoryBytes, h.used.MemoryBytes, c.asked.MemoryBytes) && enough(room.CPUMillis, h.used.CPUMillis, c.asked.CPUMillis)
}

// score orders nodes for a slot; less is better.
type score struct {
	same, skew, load, slots int
	tie                     uint64
}

func (a score) compare(b score) int {
	return cmp.Or(cmp.Compare(a.same, b.same), cmp.Compare(a.skew, b.skew), cmp.Compare(a.load, b.load),
		cmp.Compare(a.slots, b.slots), cmp.Compare(a.tie, b.tie))
}

// best is the best of the nodes that take the slot, or nil.
func (sv *survey) best(ss *serviceState, st *slotState, c *choice, shun bool) *host {
	near := sv.neighbours(ss)
	near.move(sv.byName[st.at()], -1)
	defer near.move(sv.byName[st.at()], 1)
	hash := hashOf(st.id.String())
	near.measure(c.open)
	planned := sv.planned(ss, st)
	var best *host
	var least score
	for _, h := range c.open {
		if !near.allows(h) || shun && sv.shuns(ss, st, h.name) {
			continue
		}
		if !sv.fits(ss, st, c, h) {
			sv.tooFull(ss, c, h)
			continue
		}
		t := &h.settled
		if planned {
			t = &h.planned
		}
		s := score{same: near.on[h.index], skew: near.skew(h), load: h.load(t, c.asked), slots: t.slots, tie: tie(hash, h.hash)}
		if best == nil || s.compare(least) < 0 {
			best, least = h, s
		}
	}
	return best
}

// load is how full the fullest resource would be, in twentieths.
func (h *host) load(t *tally, asked ResourceList) int {
	room := h.view.Record.Capacity
	return max(twentieths(t.asked.CPUMillis+asked.CPUMillis, room.CPUMillis), twentieths(t.asked.MemoryBytes+asked.MemoryBytes, room.MemoryBytes))
}

func twentieths(used, of int64) int {
	if of <= 0 {
		return 0
	}
	return int(math.Floor(20 * (float64(used) / float64(of))))
}
