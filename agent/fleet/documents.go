package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// addNew writes the documents of services that had none, beside the fleet
// record as it was read, all or nothing: the ref of a document that was deleted
// is as empty as before the first, and only the fleet record tells the two
// apart. Where addresses are missing the fleet record gets them in the same
// push, those of all new services, so that whose turn is next finds them there
// and need not change it again. Without transactions nothing is ever deleted,
// and a plain push does.
func (m *Member) addNew(out *outgoing) {
	e := m.entries[planner.FleetRef]
	if !m.pusher.atomic || e == nil || e.hash == "" || e.bad != "" || !slices.ContainsFunc(m.decided.Docs, isNew) {
		return
	}
	at, next := m.newTurn()
	if at > m.now.Boot {
		m.ledger.wait = soonest(m.ledger.wait, at, m.now.Boot)
		return
	}
	if !m.spend(leases) {
		return
	}
	out.push.Atomic = true
	if len(m.addresses.lacks) > 0 && !m.laterFleet {
		m.addSigned(out, planner.FleetRef, addressSubject(m.addresses.lacks), m.fleetRecord().Body(), "", piece{pokes: m.everybody()})
	}
	if len(out.push.Changes) == 0 {
		record := e.record
		m.add(out, planner.FleetRef, &record, piece{what: "unchanged", pokes: next})
	}
	for _, d := range m.decided.Docs {
		if isNew(d) {
			m.addLeases(out, d)
		}
	}
	if len(out.push.Changes) == 1 {
		*out = outgoing{} // no document could be written
	}
}

// turnTime is how long a node waits for each of those whose turn comes before
// its own. A push of new documents takes less unless everybody is busy.
const turnTime = time.Second

// newTurn is when this member may write new documents, and who is to write
// after it. Pushes of new documents take turns at the fleet record, which the
// server locks for each: a node's turn has come once the documents of those
// before it by name are there, or it has waited long enough for them.
func (m *Member) newTurn() (at time.Duration, next []planner.NodeName) {
	var writers []planner.NodeName
	for id, s := range m.followed.Services {
		if _, there := m.view.Docs[id]; there || s.Orphan {
			continue
		}
		if ranked := m.view.Coordinators(id); len(ranked) > 0 {
			writers = append(writers, ranked[0])
		}
	}
	slices.Sort(writers)
	writers = slices.Compact(writers)
	place, found := slices.BinarySearch(writers, m.self)
	if found {
		next = writers[place+1:]
	} else {
		next = writers[place:]
	}
	from := max(m.view.Settled, m.view.FollowedSince)
	return max(from+time.Duration(place)*turnTime, m.pusher.turn), next[:min(1, len(next))]
}

func isNew(d planner.Decision) bool { return d.Old.Format == 0 && !d.Delete }

// addSharded writes one document that is in several refs, all or nothing: two
// members that each won some of them would give tokens twice.
func (m *Member) addSharded(out *outgoing) {
	for _, d := range m.decided.Docs {
		if d.Delete || isNew(d) || !m.pusher.atomic || len(m.changedShards(d)) < 2 || !m.spend(leases) {
			continue
		}
		out.push.Atomic = true
		m.addLeases(out, d)
		return
	}
}

// changedShards are the shards of a document that a decision changes.
func (m *Member) changedShards(d planner.Decision) map[int]planner.LeaseDoc {
	old, shards := d.Old.Shards(), d.Doc.Shards()
	for shard := range m.document(d.Doc.Service).refs {
		if _, ok := shards[shard]; !ok {
			shards[shard] = d.Doc.Shard() // its last lease has gone
		}
	}
	maps.DeleteFunc(shards, func(shard int, doc planner.LeaseDoc) bool {
		e := m.entries[planner.LeasesRef(d.Doc.Service, shard)]
		return shard > 0 && slices.Equal(doc.Leases, old[shard].Leases) && (e == nil || e.bad == "")
	})
	return shards
}

// addLeases writes the shards of a document that a decision changes.
func (m *Member) addLeases(out *outgoing, d planner.Decision) {
	shards := m.changedShards(d)
	for k, shard := range slices.Sorted(maps.Keys(shards)) {
		var told *planner.Decision
		if k == 0 { // they stand together
			told = &d
		}
		doc := shards[shard]
		ref := planner.LeasesRef(d.Doc.Service, shard)
		e := m.entries[ref]
		var parent planner.Hash
		if e != nil && e.bad == "" { // what is not accepted may be no commit, which no server takes for a parent
			parent = e.hash
		}
		m.addSigned(out, ref, d.Why, doc.Body(), parent, piece{pokes: holders(d), told: told})
	}
}

// holders lists the nodes whose leases a decision gives or takes.
func holders(d planner.Decision) []planner.NodeName {
	var nodes []planner.NodeName
	for _, l := range d.Doc.Leases {
		if !slices.Contains(d.Old.Leases, l) {
			nodes = append(nodes, l.Node)
		}
	}
	for _, l := range d.Old.Leases {
		if !slices.Contains(d.Doc.Leases, l) {
			nodes = append(nodes, l.Node)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// addDeletions removes documents of services that are gone for good. Nothing
// waits for it.
func (m *Member) addDeletions(out *outgoing) {
	const most = 20
	var gone []planner.Decision
	for _, d := range m.decided.Docs {
		if d.Delete && len(gone) < most {
			gone = append(gone, d)
		}
	}
	if len(gone) == 0 || !m.pusher.atomic || !m.fleetStands() || !m.spend(quiet) {
		return
	}
	// The floor of tokens rises above all they ever gave, in the same push.
	out.push.Atomic = true
	rec := m.fleetRecord()
	for _, d := range gone {
		rec.Tokens = max(rec.Tokens, d.Doc.Tokens, m.memory.tokens(d.Doc.Service))
	}
	m.addSigned(out, planner.FleetRef, gone[0].Why, rec.Body(), "", piece{})
	for _, d := range gone {
		m.addDeletion(out, d)
	}
}

// addDeletion removes the document of a service, with every ref it is in.
func (m *Member) addDeletion(out *outgoing, d planner.Decision) {
	told := &d
	for _, shard := range slices.Sorted(maps.Keys(m.document(d.Doc.Service).refs)) {
		if e := m.entries[planner.LeasesRef(d.Doc.Service, shard)]; e != nil && e.hash != "" {
			m.add(out, planner.LeasesRef(d.Doc.Service, shard), nil, piece{what: d.Why, told: told})
			told = nil
		}
	}
}
