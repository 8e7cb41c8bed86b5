package fleet

import (
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// compose gathers what goes into the next push, in order of haste: a reset of
// the floor, the own registration, fences, the fleet record, new documents, and in
// one plain push the rest; deletions last.
func (m *Member) compose() *outgoing {
	out := &outgoing{}
	switch {
	case m.own.resetAsked:
		m.addReset(out)
		return out
	case len(m.alarm) > 0 || m.own.foreign != "":
		return nil
	}
	if rec, raised, due := m.ownRecord(); due {
		if m.spend(haste) {
			m.addOwnRecord(out, rec, raised)
		}
		return out
	}
	if !m.own.registered {
		return nil
	}
	for _, add := range []func(*outgoing){m.addFences, m.addFleet, m.addNew, m.addSharded, m.addPlain, m.addDeletions} {
		if add(out); len(out.push.Changes) > 0 {
			return out
		}
		*out = outgoing{}
	}
	return nil
}

// addPlain adds challenges, lease documents, status and beats.
func (m *Member) addPlain(out *outgoing) {
	proof := false // a beat that shows that pushes are accepted
	for _, s := range m.suspects {
		if s.Step == planner.StepChallenge && m.spend(haste) {
			m.addChallenge(out, s)
		}
		proof = proof || s.Step == planner.StepBeat
	}
	for _, d := range m.decided.Docs {
		if !d.Delete && !(m.pusher.atomic && (isNew(d) || len(m.changedShards(d)) > 1)) && m.spend(leases) {
			m.addLeases(out, d)
		}
	}
	switch {
	case m.addressesDue():
		m.addAddresses(out)
	case m.floorDue():
		m.addFloor(out)
	}
	riding := len(out.push.Changes) > 0
	if st, due, urgent := m.statusDue(); due && (riding || m.spendStatus(urgent)) {
		m.addStatus(out, st)
	}
	due, recordFirst := m.beatDue()
	switch {
	case recordFirst:
		m.own.again = true
		rec, _, _ := m.ownRecord()
		m.addOwn(out, rec)
	case (due || proof) && (riding || m.spend(haste)):
		m.addBeat(out)
	}
}

// add appends one change from the value the member knows.
func (m *Member) add(out *outgoing, ref planner.Ref, record *planner.Record, p piece) {
	var old planner.Hash
	if e := m.entries[ref]; e != nil {
		old = e.hash
	}
	out.push.Changes = append(out.push.Changes, gitsync.Change{Ref: ref, Old: old, New: record})
	out.pieces = append(out.pieces, p)
}

// signed makes a record of one part.
func (m *Member) signed(ref planner.Ref, subject, body string, parent planner.Hash) (*planner.Record, error) {
	signature, err := m.cfg.Sign(ref, body)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", ref, err)
	}
	return m.record(planner.Message{Subject: planner.Subject(subject), Parts: []planner.Part{{Body: body, Signature: signature}}}, parent), nil
}

func (m *Member) record(msg planner.Message, parent planner.Hash) *planner.Record {
	record := msg.Record(m.self, m.now.Wall.Unix(), parent)
	return &record
}

// addSigned signs a record and adds its change; one that is too large or
// cannot be signed is left out and told.
func (m *Member) addSigned(out *outgoing, ref planner.Ref, subject, body string, parent planner.Hash, p piece) {
	record, err := m.signed(ref, subject, body, parent)
	if err == nil && len(record.Message) > planner.MaxRecordBytes {
		err = fmt.Errorf("%s: record of %d bytes is larger than %d", ref, len(record.Message), planner.MaxRecordBytes)
	}
	if err != nil {
		if m.pusher.unwritable[ref] != err.Error() {
			m.pusher.unwritable[ref] = err.Error()
			m.log.Error("record cannot be written", "ref", string(ref), "err", err)
		}
		return
	}
	delete(m.pusher.unwritable, ref)
	p.what = subject
	m.add(out, ref, record, p)
}

// everybody lists the other live nodes.
func (m *Member) everybody() []planner.NodeName {
	var out []planner.NodeName
	for name, n := range m.view.Nodes {
		if name != m.self && n.Live() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
