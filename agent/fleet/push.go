package fleet

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// pushState is where the member is in writing records.
type pushState struct {
	atomic   bool      // the server can change several refs at once
	refused  string    // why this server must not be written to; "" = it may be
	under    *outgoing // the push under way
	retry    time.Duration
	failures int                          // pushes in a row without an answer
	turn     time.Duration                // not before, where nodes take turns
	suspect  map[planner.Ref]planner.Hash // of the last push, if it was lost
	why      string                       // the server's words about it
	denials  int                          // pushes in a row that were refused although nothing had moved
	denied   string
	// unwritable holds, by ref, why a record was left out that was logged.
	unwritable map[planner.Ref]string
	poke       []Peer
}

// outgoing is one push. Plain ones have an outcome per ref; transactions are
// all or nothing (design L11).
type outgoing struct {
	push   gitsync.Push
	pieces []piece // one per change
	begin  time.Duration
}

// piece is what one change is about.
type piece struct {
	what  string              // for the log
	pokes []planner.NodeName  // who should look once it is accepted
	won   func(time.Duration) // what else follows from its acceptance; may be nil
}

const maxPushRetry = 30 * time.Second

// Able tells what the server can do. A member that was not told assumes that
// it compares old values and lacks atomic pushes.
func (m *Member) Able(a gitsync.Abilities) {
	m.pusher.atomic = a.Atomic
	m.pusher.refused = ""
	if !a.Compares {
		m.pusher.refused = "the Git server changes refs without comparing their old value: no leases can be agreed on there"
	}
	m.dirty = true
}

// stepPush makes the next push, if there is anything to write and the budget
// lets it.
func (m *Member) stepPush() *gitsync.Push {
	p := &m.pusher
	m.ledger.wait = 0
	if p.under != nil || p.retry > m.now.Boot || p.refused != "" {
		return nil
	}
	out := m.compose()
	if out == nil || len(out.push.Changes) == 0 {
		return nil
	}
	out.begin = m.now.Boot
	p.under = out
	m.stats.Pushes++
	m.ledger.own(m)
	return &out.push
}

// compose gathers what goes into the next push, in order of haste: a reset of
// the floor, the own registration, fences, deletions, and in one plain push all
// the rest.
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

// addFences adds the first fence that can be made.
func (m *Member) addFences(out *outgoing) {
	for _, s := range m.suspects {
		if s.Step == planner.StepFence && m.spend(haste) {
			if m.addFence(out, s); len(out.push.Changes) > 0 {
				return
			}
		}
	}
}

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
	rec := m.view.Fleet
	rec.Format, rec.By = planner.FormatFleet, m.self
	for _, d := range gone {
		rec.Tokens = max(rec.Tokens, d.Doc.Tokens, m.memory.tokens(d.Doc.Service))
	}
	m.addSigned(out, planner.FleetRef, gone[0].Why, rec.Body(), "", piece{})
	for _, d := range gone {
		m.addDeletion(out, d)
	}
}

// addNew writes the documents of services that had none, beside the fleet
// record as it was read, all or nothing: the ref of a document that was deleted
// is as empty as before the first, and only the fleet record tells the two
// apart. Without transactions nothing is ever deleted, and a plain push does.
func (m *Member) addNew(out *outgoing) {
	e := m.entries[planner.FleetRef]
	if !m.pusher.atomic || e == nil || e.hash == "" || e.bad != "" || !slices.ContainsFunc(m.decided.Docs, isNew) {
		return
	}
	if at := m.newTurn(); at > m.now.Boot {
		m.ledger.wait = soonest(m.ledger.wait, at, m.now.Boot)
		return
	}
	if !m.spend(leases) {
		return
	}
	out.push.Atomic = true
	record := e.record
	m.add(out, planner.FleetRef, &record, piece{what: "unchanged"})
	for _, d := range m.decided.Docs {
		if isNew(d) {
			m.addLeases(out, d)
		}
	}
	if len(out.push.Changes) == 1 {
		*out = outgoing{} // no document could be written
	}
}

// turnTime is what one push of new documents takes, about: those of several
// nodes take turns at the fleet record, which the server locks for each.
const turnTime = 150 * time.Millisecond

// newTurn is when this member may write new documents: at once if nobody else has
// any to write, else one after the other.
func (m *Member) newTurn() time.Duration {
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
	place, _ := slices.BinarySearch(writers, m.self)
	from := max(m.view.Settled, m.view.FollowedSince)
	return max(from+time.Duration(place)*turnTime, m.pusher.turn)
}

func isNew(d planner.Decision) bool { return d.Old.Format == 0 && !d.Delete }

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
	rec := m.view.Fleet
	rec.Format, rec.By = planner.FormatFleet, m.self
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
	if m.floorDue() {
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

// addOwnRecord registers this node: its record, its status, and the first beat
// where there is none. A raised epoch takes the beats with it.
func (m *Member) addOwnRecord(out *outgoing, rec planner.NodeRecord, raised bool) {
	n := m.view.Nodes[m.self]
	if raised && n.BeatsKind != planner.BeatMissing {
		half := n.BeatsKind == planner.BeatFence
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

func (m *Member) addMark(out *outgoing, mark planner.BeatMark, subject string, pokes []planner.NodeName) {
	mark.Nonce = strconv.FormatUint(m.cfg.Random(), 36)
	m.addSigned(out, planner.BeatsRef(mark.Node), subject, mark.Body(), "", piece{pokes: pokes})
}

func (m *Member) addChallenge(out *outgoing, s planner.Suspicion) {
	m.stats.Challenges++
	m.log.Warn("node is challenged to show life", "suspect", s.Node, "reason", s.Why)
	m.addMark(out, planner.BeatMark{Challenge: true, Node: s.Node, By: m.self, Replaced: m.view.Nodes[s.Node].Beats, Reason: s.Why},
		fmt.Sprintf("%s challenges %s: %s", m.self, s.Node, s.Why), append(m.view.Observers(s.Node), s.Node))
}

// addFence revokes all leases of a node: beats and record in one transaction,
// or where the server cannot, beats first (design L3).
func (m *Member) addFence(out *outgoing, s planner.Suspicion) {
	n := m.view.Nodes[s.Node]
	e := m.entries[planner.NodeRef(s.Node)] // what it says now may be garbage: the last good text is fenced
	epoch := n.Record.Epoch + 1
	subject := fmt.Sprintf("%s fences %s (epoch %d): %s", m.self, s.Node, epoch, s.Why)
	if n.BeatsKind != planner.BeatFence {
		m.addMark(out, planner.BeatMark{Node: s.Node, By: m.self, Epoch: epoch, Reason: s.Why}, subject, nil)
		if !m.pusher.atomic {
			return
		}
		out.push.Atomic = true
	}
	fence := planner.Fence{Epoch: epoch, Fenced: true, By: m.self, Nonce: strconv.FormatUint(m.cfg.Random(), 36), Reason: s.Why}
	record, err := m.fenced(s.Node, e.last, fence, subject)
	if err != nil {
		m.log.Error("node cannot be fenced", "suspect", s.Node, "err", err)
		*out = outgoing{}
		return
	}
	m.stats.Fences++
	m.log.Warn("node is fenced: its leases are void", "suspect", s.Node, "epoch", epoch, "reason", s.Why)
	m.add(out, planner.NodeRef(s.Node), record, piece{what: subject, pokes: m.everybody()})
}

// fenced is another node's record with a fence added to it.
func (m *Member) fenced(node planner.NodeName, record planner.Record, fence planner.Fence, subject string) (*planner.Record, error) {
	original, err := planner.ParseMessage(record.Message)
	if err != nil {
		return nil, err
	}
	body := fence.Body()
	signature, err := m.cfg.Sign(planner.NodeRef(node), body)
	if err != nil {
		return nil, err
	}
	msg, err := planner.FenceMessage(original, subject, planner.Part{Body: body, Signature: signature})
	if err != nil {
		return nil, err
	}
	return m.record(msg, ""), nil
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
	for _, shard := range slices.Sorted(maps.Keys(shards)) {
		doc := shards[shard]
		ref := planner.LeasesRef(d.Doc.Service, shard)
		e := m.entries[ref]
		var parent planner.Hash
		if e != nil && e.bad == "" { // what is not accepted may be no commit, which no server takes for a parent
			parent = e.hash
		}
		m.addSigned(out, ref, d.Why, doc.Body(), parent, piece{pokes: holders(d)})
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

// addDeletion removes the document of a service, with every ref it is in.
func (m *Member) addDeletion(out *outgoing, d planner.Decision) {
	for _, shard := range slices.Sorted(maps.Keys(m.document(d.Doc.Service).refs)) {
		if e := m.entries[planner.LeasesRef(d.Doc.Service, shard)]; e != nil && e.hash != "" {
			m.add(out, planner.LeasesRef(d.Doc.Service, shard), nil, piece{what: d.Why})
		}
	}
}

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
	rec := m.view.Fleet
	rec.Format, rec.By, rec.Floor = planner.FormatFleet, m.self, commit
	m.addSigned(out, planner.FleetRef, "floor moves to "+m.followed.Commit.Short(), rec.Body(), "", piece{})
}

func (m *Member) addReset(out *outgoing) {
	rec := m.floorReset()
	m.addSigned(out, planner.FleetRef, fmt.Sprintf("%s resets the floor (generation %d)", m.self, rec.Generation), rec.Body(), "",
		piece{pokes: m.everybody(), won: func(time.Duration) { m.own.resetAsked = false }})
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

// Pushed tells the outcome of the push that the last Step asked for.
func (m *Member) Pushed(results []gitsync.Result, err error, now planner.Time) {
	m.now = now
	p := &m.pusher
	out := p.under
	p.under = nil
	if out == nil {
		return
	}
	answered := false
	var pokes []planner.NodeName
	for k, change := range out.push.Changes {
		result := gitsync.Result{}
		if k < len(results) {
			result = results[k]
		}
		switch result.Outcome {
		case gitsync.Won:
			answered = true
			m.stats.Won++
			m.won(change, out.pieces[k], out.begin)
			pokes = append(pokes, out.pieces[k].pokes...)
		case gitsync.Lost:
			answered = answered || err == nil
			m.stats.Lost++
			m.look.due = true
			m.log.Debug("swap lost", "ref", string(change.Ref), "what", out.pieces[k].what, "reason", result.Reason)
		default:
			m.stats.Unknown++
			m.look.due = true
		}
	}
	if out.push.Atomic && len(pokes) == 0 {
		p.turn = m.now.Boot + time.Duration(m.cfg.Random()%uint64(4*turnTime)) // not again at the same instant as who won
	}
	m.judge(out, results, err)
	if len(out.push.Changes) > 0 && m.look.due {
		m.fresh = false // decide again only on what stands now
	}
	m.settlePush(answered, out.begin, err)
	m.pokes(pokes)
	m.dirty = true
}

// deniedAfter is how many pushes in a row must come to nothing, although no ref
// had moved, for the server to be said to refuse them.
const deniedAfter = 3

// judge finds out whether the server refuses what it was sent for other reasons
// than that a ref has moved: a hook, a protected ref, a quota.
func (m *Member) judge(out *outgoing, results []gitsync.Result, err error) {
	p := &m.pusher
	why := ""
	for k, result := range results {
		switch {
		case result.Outcome == gitsync.Won:
			if p.denied != "" {
				m.log.Info("records are accepted again")
			}
			p.denials, p.denied = 0, ""
			return
		case result.Outcome == gitsync.Lost && err == nil && why == "":
			why = planner.OneLine(string(out.push.Changes[k].Ref)+": "+result.Reason, 300)
		}
	}
	if why == "" {
		return
	}
	p.suspect = map[planner.Ref]planner.Hash{}
	for _, change := range out.push.Changes {
		p.suspect[change.Ref] = change.Old
	}
	p.why = why
}

// confirm looks whether the refs of a push that was lost have moved: if none
// has, it was not lost to somebody else.
func (m *Member) confirm(refs map[planner.Ref]planner.Hash) {
	p := &m.pusher
	if p.suspect == nil {
		return
	}
	moved := false
	for ref, old := range p.suspect {
		moved = moved || refs[ref] != old
	}
	p.suspect = nil
	if moved {
		p.denials = 0
		return
	}
	if p.denials++; p.denials == deniedAfter {
		p.denied = p.why
		m.log.Warn("the Git server refuses the records of this node", "reason", p.why)
	}
}

// Denied says what the server has against the records of this node; "" = it
// takes them.
func (m *Member) Denied() string { return m.pusher.denied }

// won takes in a change of this process that was accepted.
func (m *Member) won(change gitsync.Change, p piece, begin time.Duration) {
	e := m.entries[change.Ref]
	if e == nil {
		e = &entry{parts: change.Ref.Parse()}
		m.entries[change.Ref] = e
	}
	e.settled = m.now.Boot
	if p.won != nil {
		p.won(begin)
	}
	if change.New == nil {
		m.vanished(change.Ref, e)
	} else {
		m.take(change.Ref, e, change.New.Hash(), *change.New)
	}
	level := slog.LevelInfo
	if e.parts.Kind == planner.RefBeats || e.parts.Kind == planner.RefStatus {
		level = slog.LevelDebug
	}
	m.log.Log(context.Background(), level, "record written", "ref", string(change.Ref), "what", p.what)
}

// settlePush notes how the server fares.
func (m *Member) settlePush(answered bool, begin time.Duration, err error) {
	p := &m.pusher
	if answered {
		if p.failures > 0 {
			m.log.Info("records can be written again")
		}
		p.failures, p.retry = 0, 0
		m.view.Health.Pushed = begin
		return
	}
	p.failures++
	m.view.Health.PushFailed = m.now.Boot
	p.retry = m.now.Boot + m.jitter(min(time.Second<<min(p.failures-1, 6), maxPushRetry))
	if p.failures == 1 {
		m.log.Warn("records cannot be written: nothing moves, everything runs on", "err", err)
	}
}

// pokes tells the nodes concerned to look now.
func (m *Member) pokes(names []planner.NodeName) {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if n := m.view.Nodes[name]; name != m.self && n.Record.Address != "" {
			m.pusher.poke = append(m.pusher.poke, Peer{Node: name, Address: n.Record.Address, Key: n.Record.Key})
		}
	}
}
