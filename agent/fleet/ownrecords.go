package fleet

import (
	"fmt"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// addOwnRecord registers this node: its record, its status, and the first beat
// where there is none. A raised epoch takes the beats with it.
func (m *Member) addOwnRecord(out *outgoing, rec planner.NodeRecord, raised bool) {
	n := m.view.Nodes[m.self]
	if raised && n.BeatsKind != planner.BeatMissing {
		half := m.fencedByHalf(m.self)
		if !half {
			m.addMark(out, planner.BeatMark{Node: m.self, By: m.self, Epoch: rec.Epoch, Reason: "a new life takes the name"},
				fmt.Sprintf("%s: beats of the life before end (epoch %d)", m.self, rec.Epoch), nil)
			if !m.pusher.atomic {
				return // the record follows, from the value of the same read
			}
			out.push.Atomic = true
		}
		m.addOwn(out, rec)
		last := &out.pieces[len(out.pieces)-1]
		won := last.won
		last.won = func(begin time.Duration) {
			won(begin)
			if !half {
				m.own.wrote = m.now.Boot // after the mark, which came with it
			}
		}
		return
	}
	m.addOwn(out, rec)
	m.addStatus(out, m.ownStatus())
	if n.BeatsKind == planner.BeatMissing && m.entries[planner.BeatsRef(m.self)] == nil {
		first := planner.Ring(m.self, rec.Salt).At(0)
		m.add(out, planner.BeatsRef(m.self), &first, piece{what: "first beat"})
	}
}

func (m *Member) addOwn(out *outgoing, rec planner.NodeRecord) {
	begin := m.now.Boot
	subject := m.recordSubject(rec)
	if m.own.again {
		subject += " " + strconv.FormatUint(m.cfg.Random()%100000, 36) // never the same value twice
	}
	m.addSigned(out, planner.NodeRef(m.self), subject, rec.Body(), "", piece{pokes: m.everybody(), won: func(time.Duration) {
		m.own.again, m.own.wrote = false, begin
	}})
}

func (m *Member) addStatus(out *outgoing, st planner.NodeStatus) {
	before := m.view.Nodes[m.self].Status
	m.addSigned(out, planner.StatusRef(m.self), statusSubject(st), st.Body(), "", piece{pokes: m.concerned(before, st)})
}

// statusSubject says how many instances fare how.
func statusSubject(st planner.NodeStatus) string {
	ready := 0
	for _, i := range st.Instances {
		if i.Phase == planner.PhaseReady {
			ready++
		}
	}
	subject := fmt.Sprintf("%s: %d of %d instances ready", st.Node, ready, len(st.Instances))
	if n := len(st.Refusals); n > 0 {
		subject += fmt.Sprintf(", %d refused", n)
	}
	return subject
}

// concerned lists the coordinators of the services whose instances changed.
func (m *Member) concerned(before, st planner.NodeStatus) []planner.NodeName {
	if !matters(before, st) {
		return nil
	}
	var out []planner.NodeName
	seen := map[planner.ServiceID]bool{}
	note := func(id planner.ServiceID) {
		if ranked := m.view.Coordinators(id); !seen[id] && len(ranked) > 0 {
			out = append(out, ranked[0])
		}
		seen[id] = true
	}
	for _, i := range st.Instances {
		note(i.Slot.Service)
	}
	for _, r := range st.Refusals {
		note(r.Service)
	}
	return out
}

func (m *Member) addBeat(out *outgoing) {
	next := m.nextBeat()
	begin := m.now.Boot
	m.add(out, planner.BeatsRef(m.self), &next, piece{what: "beat", won: func(time.Duration) { m.own.beatAt = begin }})
}
