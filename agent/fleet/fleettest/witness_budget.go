package fleettest

import (
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// disruption is what the witness knows of the slots of a service: those that are
// without an available instance because one was ended on purpose, and when each
// last lost one otherwise.
type disruption struct {
	ended map[string]bool
	lost  map[string]time.Duration
	// most is the largest budget that the service had.
	most int
}

// unawares is how long after a loss an end is not held against anybody: it may
// have been decided before, by who did not know yet.
const unawares = 5 * time.Minute

func (wit *witness) disrupted(id planner.ServiceID) *disruption {
	d := wit.disruptions[id]
	if d == nil {
		d = &disruption{ended: map[string]bool{}, lost: map[string]time.Duration{}}
		wit.disruptions[id] = d
	}
	return d
}

// offers notes the budgets of what is committed.
func (wit *witness) offers(services map[planner.ServiceID]planner.Service) {
	for id, s := range services {
		_, n := s.Update.Limits(max(s.Replicas, len(wit.w.machines)))
		if s.Template.SingleWriter() {
			n = max(n, 1)
		}
		d := wit.disrupted(id)
		d.most = max(d.most, n)
	}
}

// loses notes that an instance is lost through nobody's decision.
func (wit *witness) loses(i *instance) {
	if !i.once && i.isReady(wit.w.now) {
		d := wit.disrupted(i.Slot.Service)
		d.lost[i.Slot.Name] = wit.w.now
		delete(d.ended, i.Slot.Name)
	}
}

// losesAll is for a machine whose power goes.
func (wit *witness) losesAll(m *machine) {
	for _, id := range sortedKeys(m.instances) {
		if i := m.instances[id]; i.State == planner.StateRunning {
			wit.loses(i)
		}
	}
}

// fenced notes what runs on a node that is fenced: it is replaced as if it were
// gone, and ends when the node is back, unless it is given to the node again.
func (wit *witness) fenced(name planner.NodeName, life planner.Life) {
	for _, m := range wit.w.machines {
		if m.node != name || m.life != life {
			continue
		}
		for _, i := range m.instances {
			i.fenced = true
		}
	}
}

// givenAgain notes what a node that was fenced is to run on with: its end is a
// decision again.
func (wit *witness) givenAgain(doc planner.LeaseDoc) {
	for _, l := range doc.Leases {
		if n := wit.nodes[l.Node]; !n.Live() || n.Epoch != l.Epoch {
			continue
		}
		for _, m := range wit.w.machines {
			if m.node != l.Node {
				continue
			}
			for _, i := range m.instances {
				if i.Slot == (planner.SlotID{Service: doc.Service, Name: l.Slot}) && i.Revision == l.Revision {
					i.fenced = false
				}
			}
		}
	}
}

// endsOnPurpose: at no instant are more slots of a service without an available
// instance, through somebody's decision, than its budget allows.
func (wit *witness) endsOnPurpose(p *process, i *instance) {
	w, id := wit.w, i.Slot.Service
	s, wanted := w.history.tip.desired.Services[id]
	d := wit.disrupted(id)
	i.ending = true
	if !p.belongs() || i.fenced { // another life has taken the name, or the node was fenced: it is stopped for that
		d.lost[i.Slot.Name] = w.now
		return
	}
	if !leased(p.seen.Docs[id].Doc, i.Slot.Name) { // its slot, or its service, was not wanted when that was decided
		delete(d.ended, i.Slot.Name)
		return
	}
	if i.once || !i.isReady(w.now) || !wanted || !wit.isSlot(s, i.Slot.Name) || wit.upheaval > 0 && w.now < wit.upheaval+unawares {
		return
	}
	for slot := range d.ended {
		if w.serves(planner.SlotID{Service: id, Name: slot}, 0) || !wit.isSlot(s, slot) {
			delete(d.ended, slot)
		}
	}
	if w.serves(i.Slot, 0) || w.now < d.lost[i.Slot.Name]+unawares && d.lost[i.Slot.Name] > 0 {
		return
	}
	d.ended[i.Slot.Name] = true
	if len(d.ended) > d.most {
		w.fail("R1: %s ends %s: slots %v of %s are without an available instance through decisions, %d may be",
			p.m.called, i.ID, sortedKeys(d.ended), id, d.most)
	}
}

// isSlot reports whether a service is to have a slot.
func (wit *witness) isSlot(s planner.Service, slot string) bool {
	if s.EveryNode {
		return slices.ContainsFunc(wit.w.machines, func(m *machine) bool { return string(m.node) == slot })
	}
	for k := range s.Replicas {
		if slot == itoa(k) {
			return true
		}
	}
	return false
}

// serves reports whether any instance of a slot has been ready for so long, and is
// not about to end.
func (w *World) serves(slot planner.SlotID, since time.Duration) bool {
	for _, m := range w.machines {
		for _, i := range m.instances {
			if i.Slot == slot && !i.ending && i.isReady(w.now) && i.isReady(w.now-since) {
				return true
			}
		}
	}
	return false
}
