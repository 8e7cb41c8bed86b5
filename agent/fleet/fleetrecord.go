package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// strangerPatience is how long a fleet record is left alone that is signed for
// a node whose record is not to be read.
const strangerPatience = 10 * time.Minute

// addFleet makes the fleet record where there is none, or writes the last good
// one over a garbled one. One node does; new documents wait for it.
func (m *Member) addFleet(out *outgoing) {
	settled := m.view.Settled
	place := slices.Index(m.view.Coordinators(fleetPurpose), m.self)
	if m.fleetStands() || m.laterFleet || settled == planner.Never || place < 0 {
		return
	}
	from := max(settled, m.view.NodesSince)
	if e := m.entries[planner.FleetRef]; e != nil {
		from = max(from, e.since)
		if e.stranger { // its writer's record was lost: that node is to bring it back
			from = max(from, e.since+strangerPatience)
		}
	}
	if at := from + time.Duration(place)*fleetStandIn; at > m.now.Boot {
		m.ledger.wait = soonest(m.ledger.wait, at, m.now.Boot)
		return
	}
	if !m.spend(leases) {
		return
	}
	rec := m.fleetRecord()
	rec.Generation, rec.Tokens = max(rec.Generation, m.memory.Generation), max(rec.Tokens, m.memory.FleetTokens)
	if e := m.entries[planner.FleetRef]; e != nil && e.bad != "" {
		// The value that was garbled may have said more than this member saw.
		rec.Floor = cmp.Or(m.memory.Floor, rec.Floor)
		rec.Tokens = m.highestToken() + tokenMargin
	}
	if rec.Floor == "" {
		rec.Floor = m.memory.Floor
	}
	m.addSigned(out, planner.FleetRef, "the fleet begins", rec.Body(), "", piece{pokes: m.everybody()})
}

// tokenMargin is how far above all it knows a member puts the floor of tokens
// when the record that held it is lost.
const tokenMargin = 1 << 16

// fleetStandIn is how much longer each next node in rank waits before it writes
// a fleet record that another should have written.
const fleetStandIn = 10 * time.Second

// fleetPurpose is what nodes are ranked for to write the fleet record.
var fleetPurpose = planner.ServiceID{Name: "fleet"}

// fleetStands reports whether there is a fleet record that may be replaced.
func (m *Member) fleetStands() bool {
	e := m.entries[planner.FleetRef]
	return e != nil && e.hash != "" && e.bad == "" && !m.laterFleet
}

// floorQuiet is how old a floor may become before it is written by itself.
const floorQuiet = 10 * time.Minute

// floorDue reports whether the fleet's floor is to be moved forward. It is not
// urgent, since every node has its own, and each move gets in the way of new
// documents.
func (m *Member) floorDue() bool {
	return m.followed.Commit.Hash != "" && m.now.Boot-m.view.FollowedSince > floorQuiet && !m.laterFleet && m.spend(quiet)
}

// addFloor moves the fleet's floor to the commit that is followed. Only the
// node that ranks first for it does, so that others need not push for it.
func (m *Member) addFloor(out *outgoing) {
	floor, commit := m.view.Fleet.Floor, m.followed.Commit.Hash
	ranked := m.view.Coordinators(fleetPurpose)
	if commit == "" || commit != m.memory.Floor || floor == commit || len(ranked) == 0 || ranked[0] != m.self || len(m.alarm) > 0 {
		return
	}
	if floor != "" && m.cfg.Relate(floor, commit) != planner.RelationAncestor {
		return
	}
	rec := m.fleetRecord()
	rec.Floor = commit
	m.addSigned(out, planner.FleetRef, "floor moves to "+m.followed.Commit.Short(), rec.Body(), "", piece{})
}

func (m *Member) addReset(out *outgoing) {
	rec := m.floorReset()
	m.addSigned(out, planner.FleetRef, fmt.Sprintf("%s resets the floor (generation %d)", m.self, rec.Generation), rec.Body(), "",
		piece{pokes: m.everybody(), won: func(time.Duration) { m.own.resetAsked = false }})
}
