package fleettest

import (
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// witness watches the server: every value that lands there. What it holds is
// the truth, which no member knows, and it knows the rules in its own words.
type witness struct {
	w *World

	nodes  map[planner.NodeName]planner.NodeRecord
	status map[planner.NodeName]planner.NodeStatus
	beats  map[planner.NodeName]beats
	wrote  map[planner.NodeName]time.Duration // when a node last wrote its own record
	docs   map[planner.ServiceID]planner.LeaseDoc
	fleet  planner.FleetRecord
	// addresses are those that a genuine fleet record had last.
	addresses planner.Addresses

	given   map[planner.ServiceID]map[uint64]planner.Lease // every lease ever given, by token
	deleted map[planner.ServiceID]bool                     // documents that an agent deleted
	// destroyed are documents that a stranger overwrote. What stood there last
	// may have been read by nobody who puts it right: its tokens come again.
	destroyed map[planner.ServiceID]bool

	hooks       hooks
	disruptions map[planner.ServiceID]*disruption
	acts        map[planner.ServiceID]int // starts and stops that were begun

	pushes     int // that reached the server
	changes    int // of refs that were won
	lost       int // and lost
	docChanges map[planner.ServiceID]int
	// told gets every value of a document as it lands; may be nil.
	told       func(planner.LeaseDoc)
	fences     int
	restoredAt time.Duration // 0 = never
	// upheaval is when records last became others than members had made them: a
	// backup was restored, a floor reset, a document destroyed.
	upheaval  time.Duration
	last      time.Duration // of the last change
	onlyBeats bool          // since it was set, nothing but beats were pushed
}

// beats is the value of a node's beats at the server.
type beats struct {
	mark  *planner.BeatMark // nil = a beat
	since time.Duration
	// strange: a stranger's hand was at it since.
	strange bool
}

func newWitness(w *World) *witness {
	wit := &witness{
		w: w, given: map[planner.ServiceID]map[uint64]planner.Lease{}, deleted: map[planner.ServiceID]bool{},
		destroyed: map[planner.ServiceID]bool{},
		hooks:     hooks{}, disruptions: map[planner.ServiceID]*disruption{}, acts: map[planner.ServiceID]int{},
		docChanges: map[planner.ServiceID]int{}, wrote: map[planner.NodeName]time.Duration{},
	}
	wit.reload()
	return wit
}

// reload takes the server as it is, after hands other than a member's were at
// it: a restored backup, or a stranger.
func (wit *witness) reload() {
	before := wit.beats
	wit.nodes, wit.status = map[planner.NodeName]planner.NodeRecord{}, map[planner.NodeName]planner.NodeStatus{}
	wit.beats, wit.docs = map[planner.NodeName]beats{}, map[planner.ServiceID]planner.LeaseDoc{}
	wit.fleet = planner.FleetRecord{}
	for ref := range wit.w.memory.Refs() {
		record, ok := wit.w.memory.Record(ref)
		if !ok {
			continue
		}
		parts := ref.Parse()
		if wit.genuine(ref, record) {
			wit.take(parts, record)
		}
		if b, ok := before[parts.Node]; parts.Kind == planner.RefBeats && ok {
			now := wit.beats[parts.Node]
			now.since, now.strange = b.since, b.strange || !wit.genuine(ref, record)
			wit.beats[parts.Node] = now
		}
	}
}

// tampered takes in what a stranger wrote.
func (wit *witness) tampered(ref planner.Ref) {
	wit.reload()
	switch parts := ref.Parse(); parts.Kind {
	case planner.RefLeases:
		wit.destroyed[parts.Service], wit.upheaval = true, wit.w.now
		wit.hooks.forget(parts.Service)
	case planner.RefBeats:
		if b, ok := wit.beats[parts.Node]; ok { // may be a ring value, which nobody signs
			b.strange = true
			wit.beats[parts.Node] = b
		}
	}
}

// genuine reports whether a record is signed by machines of this fleet. Beats
// are not signed.
func (wit *witness) genuine(ref planner.Ref, record planner.Record) bool {
	msg, err := planner.ParseMessage(record.Message)
	if err != nil {
		return false
	}
	for _, part := range msg.Parts {
		if part.Signature == "" && ref.Parse().Kind == planner.RefBeats {
			continue
		}
		key, err := wit.w.verify(ref, part.Body, part.Signature)
		if err != nil || !slices.ContainsFunc(wit.w.machines, func(m *machine) bool { return m.key.public() == key }) {
			return false
		}
	}
	return true
}

// take notes one value, if it makes sense.
func (wit *witness) take(parts planner.Parts, record planner.Record) {
	msg, err := planner.ParseMessage(record.Message)
	if err != nil || len(msg.Parts) == 0 {
		return
	}
	body := msg.Parts[0].Body
	switch parts.Kind {
	case planner.RefNode:
		if rec, err := planner.ParseNodeMessage(record.Message); err == nil {
			wit.nodes[parts.Node] = rec
		}
	case planner.RefStatus:
		if st, err := planner.ParseNodeStatus(body); err == nil {
			wit.status[parts.Node] = st
		}
	case planner.RefBeats:
		b := beats{since: wit.w.now}
		if msg.Parts[0].Signature != "" {
			if mark, err := planner.ParseBeatMark(body); err == nil {
				b.mark = &mark
			}
		}
		wit.beats[parts.Node] = b
	case planner.RefLeases:
		if doc, err := planner.ParseLeaseDoc(body); err == nil {
			wit.docs[parts.Service] = doc
		}
	case planner.RefFleet:
		if rec, err := planner.ParseFleetRecord(body); err == nil {
			wit.fleet = rec
		}
	}
}

// landed looks at what a push changed at the server.
func (wit *witness) landed(p *process, push gitsync.Push, results []gitsync.Result) {
	wit.pushes++
	before := *wit
	before.beats = copyOf(wit.beats)
	for k, change := range push.Changes {
		parts := change.Ref.Parse()
		if results[k].Outcome != gitsync.Won {
			wit.lost++
			continue
		}
		wit.changes++
		wit.last = wit.w.now
		wit.onlyBeats = wit.onlyBeats && parts.Kind == planner.RefBeats
		if wit.w.trace.on {
			what := "is deleted"
			if change.New != nil {
				what = "lands: " + subject(change.New.Message)
			}
			wit.w.say(p.m.called, "%s %s", change.Ref, what)
		}
		if change.New == nil {
			wit.gone(p, parts)
			continue
		}
		wit.change(p, &before, parts, *change.New)
	}
}

// change checks one value that landed against the one before.
func (wit *witness) change(p *process, before *witness, parts planner.Parts, record planner.Record) {
	switch parts.Kind {
	case planner.RefNode:
		old := wit.nodes[parts.Node]
		wit.take(parts, record)
		wit.nodeChanged(p, parts.Node, old, wit.nodes[parts.Node])
	case planner.RefBeats:
		old := before.beats[parts.Node]
		wit.take(parts, record)
		wit.beatsChanged(p, parts.Node, old, wit.beats[parts.Node])
	case planner.RefLeases:
		old := wit.docs[parts.Service]
		wit.take(parts, record)
		wit.docChanges[parts.Service]++
		if wit.told != nil {
			wit.told(wit.docs[parts.Service])
		}
		wit.docChanged(p, parts.Service, old, wit.docs[parts.Service])
		wit.hooks.landed(wit.w, parts.Service, old, wit.docs[parts.Service])
		wit.givenAgain(wit.docs[parts.Service])
	case planner.RefStatus:
		wit.take(parts, record)
		if p.m.node != parts.Node {
			wit.w.fail("L3: %s wrote the status of %s", p.m.called, parts.Node)
		}
	case planner.RefFleet:
		old := wit.fleet
		wit.take(parts, record)
		wit.fleetChanged(p, old, wit.fleet)
		wit.addressed(p, wit.fleet.Addresses)
	}
}

// nodeChanged: epochs never go down; a node writes its own record, others only
// fence it; a fence stands on the beats that were fenced with it.
func (wit *witness) nodeChanged(p *process, name planner.NodeName, old, now planner.NodeRecord) {
	w := wit.w
	if now.Epoch < old.Epoch {
		w.fail("I6: %s lowered the epoch of %s from %d to %d", p.m.called, name, old.Epoch, now.Epoch)
	}
	if now.Fence == nil {
		wit.wrote[name] = w.now
		switch {
		case p.m.node != name:
			w.fail("L3: %s wrote the record of %s without a fence", p.m.called, name)
		case old.Epoch > 0 && old.Life != now.Life && now.Epoch <= old.Epoch:
			w.fail("L12: %s took the name over without raising epoch %d", p.m.called, old.Epoch)
		case old.Epoch > 0 && old.Life != now.Life && now.Since != now.Epoch:
			w.fail("L12: %s took the name over at epoch %d, since %d", p.m.called, now.Epoch, now.Since)
		case old.Epoch > 0 && old.Life != now.Life && !wit.beatsAreFenced(name, old.Epoch):
			w.fail("L12: %s took the name over and left the beats as they were", p.m.called)
		}
		return
	}
	wit.fences++
	wit.fenced(name, old.Life)
	switch {
	case p.m.node == name:
		w.fail("L3: %s fenced itself", name)
	case old.Fence != nil:
		w.fail("L3: %s fenced %s, which is fenced", p.m.called, name)
	case now.Epoch != old.Epoch+1 && old.Epoch > 0: // 0: what stood there was a stranger's
		w.fail("L3: %s fenced %s from epoch %d to %d", p.m.called, name, old.Epoch, now.Epoch)
	case !wit.beatsAreFenced(name, old.Epoch):
		w.fail("I8: %s fenced %s, whose beats are no fence value above epoch %d", p.m.called, name, old.Epoch)
	}
}

// beatsAreFenced reports whether the beats are a fence value above an epoch.
func (wit *witness) beatsAreFenced(name planner.NodeName, epoch uint64) bool {
	b, ok := wit.beats[name]
	return !ok || b.strange || b.mark != nil && !b.mark.Challenge && b.mark.Epoch > epoch
}

// beatsChanged: only a ring value is challenged, and only what stood unanswered
// for a poll and three seconds is fenced.
func (wit *witness) beatsChanged(p *process, name planner.NodeName, old, now beats) {
	w := wit.w
	if now.mark == nil {
		switch {
		case p.m.node != name:
			w.fail("L3: %s wrote a beat of %s", p.m.called, name)
		case old.mark != nil && !old.mark.Challenge && wit.wrote[name] < old.since:
			w.fail("L3: %s beats from a fence value without having written its record since", name)
		}
		return
	}
	if p.m.node == name {
		return // a new life ends the beats of the one before
	}
	if now.mark.Challenge {
		if old.mark != nil {
			w.fail("L3: %s challenged %s, whose beats are no value of its ring", p.m.called, name)
		}
		return
	}
	stood := w.now - old.since
	least := w.wanted.fleet.Poll() + 3*time.Second
	least -= least / 50 // clocks drift by up to one percent
	if stood < least && old.since > 0 && !old.strange {
		w.fail("L3: %s fenced %s by a value that stood for %v only", p.m.called, name, stood)
	}
}

// docChanged: tokens rise and are given once, the commit never goes back,
// at most two leases of a slot are in force, and then for a reason.
func (wit *witness) docChanged(p *process, id planner.ServiceID, old, now planner.LeaseDoc) {
	w := wit.w
	floor := old.Tokens
	if old.Commit == "" {
		floor = wit.fleet.Tokens
	}
	if now.Tokens < floor {
		w.fail("L2: %s lowered the tokens of %s from %d to %d", p.m.called, id, floor, now.Tokens)
	}
	if wit.given[id] == nil {
		wit.given[id] = map[uint64]planner.Lease{}
	}
	if wit.destroyed[id] {
		delete(wit.destroyed, id)
		wit.forget(id, min(now.Tokens, p.member.View().Docs[id].Doc.Tokens))
	}
	inForce := map[string][]planner.Lease{}
	for _, l := range now.Leases {
		key := identity(l)
		carried := w.restores > 0 && slices.ContainsFunc(p.member.View().Docs[id].Doc.Leases, func(o planner.Lease) bool { return identity(o) == key })
		if first, ok := wit.given[id][l.Token]; !ok {
			if !carried && (l.Token <= floor || l.Token > now.Tokens) {
				w.fail("L2: %s gave token %d of %s, whose counter went from %d to %d", p.m.called, l.Token, id, floor, now.Tokens)
			}
			wit.given[id][l.Token] = key
		} else if first != key {
			w.fail("L2: %s gave token %d of %s twice: %+v, then %+v", p.m.called, l.Token, id, first, key)
		}
		if wit.inForce(l) {
			inForce[l.Slot] = append(inForce[l.Slot], l)
		}
	}
	for _, slot := range sortedKeys(inForce) {
		leases := inForce[slot]
		if len(leases) > 2 && !wit.justRestored() {
			w.fail("I4: slot %s of %s has %d leases in force", slot, id, len(leases))
		}
		if len(leases) == 2 && leases[0].Node == leases[1].Node && leases[0].Revision == leases[1].Revision {
			w.fail("I4: slot %s of %s has two leases on %s at one revision", slot, id, leases[0].Node)
		}
	}
	if old.Commit != "" && now.Generation <= old.Generation {
		if r := w.history.relate(old.Commit, now.Commit); r != planner.RelationSame && r != planner.RelationAncestor {
			w.fail("L6: %s decided %s on %.8s, which does not descend from %.8s", p.m.called, id, now.Commit, old.Commit)
		}
	}
	if now.Generation < old.Generation {
		w.fail("L6: %s lowered the generation of %s", p.m.called, id)
	}
	wit.deleted[id] = false
}

// identity is what of a lease never changes.
func identity(l planner.Lease) planner.Lease {
	return planner.Lease{
		Slot: l.Slot, Node: l.Node, Epoch: l.Epoch, Token: l.Token, Revision: l.Revision, StopFirst: l.StopFirst, Hook: l.Hook,
	}
}

// inForce is the truth about a lease.
func (wit *witness) inForce(l planner.Lease) bool {
	n := wit.nodes[l.Node]
	return n.Epoch == l.Epoch && n.Fence == nil && !n.Retired && !l.Ending
}

// gone: a document goes only with its tokens below the floor, and only of a
// service that nobody wants.
func (wit *witness) gone(p *process, parts planner.Parts) {
	if parts.Kind != planner.RefLeases {
		wit.w.fail("L12: %s deleted a record that is no document", p.m.called)
		return
	}
	doc := wit.docs[parts.Service]
	if wit.fleet.Tokens < doc.Tokens {
		wit.w.fail("L2: %s deleted %s at token %d, the floor is %d", p.m.called, parts.Service, doc.Tokens, wit.fleet.Tokens)
	}
	if len(doc.Leases) > 0 {
		wit.w.fail("L2: %s deleted %s, which has leases", p.m.called, parts.Service)
	}
	delete(wit.docs, parts.Service)
	wit.hooks.forget(parts.Service)
	wit.deleted[parts.Service] = true
}

// fleetChanged: neither floor, generation nor tokens go back.
func (wit *witness) fleetChanged(p *process, old, now planner.FleetRecord) {
	w := wit.w
	if now.Tokens < old.Tokens {
		w.fail("L2: %s lowered the floor of tokens from %d to %d", p.m.called, old.Tokens, now.Tokens)
	}
	if now.Generation < old.Generation {
		w.fail("L6: %s lowered the generation from %d to %d", p.m.called, old.Generation, now.Generation)
	}
	if now.Generation > old.Generation {
		wit.upheaval = w.now
	}
	if now.Generation == old.Generation && old.Floor != "" {
		if r := w.history.relate(old.Floor, now.Floor); r != planner.RelationSame && r != planner.RelationAncestor {
			w.fail("L6: %s moved the floor back from %.8s to %.8s", p.m.called, old.Floor, now.Floor)
		}
	}
}

// justRestored reports whether members may still decide on what they read before
// the backup: a push whose old value stands in the backup, too, is accepted.
func (wit *witness) justRestored() bool {
	return wit.restoredAt > 0 && wit.w.now < wit.restoredAt+2*wit.w.wanted.fleet.Poll()
}

// restored forgets the leases that were given after the backup: a reset of the
// floor is by a node that may not have seen them. Those that stand in it hold
// their tokens, whoever was given them after a stranger destroyed the document.
func (wit *witness) restored() {
	wit.reload()
	wit.restoredAt, wit.upheaval = wit.w.now, wit.w.now
	wit.addresses = wit.fleet.Addresses
	for name, b := range wit.beats {
		b.strange = true
		wit.beats[name] = b
	}
	for id, given := range wit.given {
		wit.forget(id, wit.docs[id].Tokens)
		for _, l := range wit.docs[id].Leases {
			given[l.Token] = identity(l)
		}
	}
}

// forget forgets the leases of a service with tokens above one.
func (wit *witness) forget(id planner.ServiceID, token uint64) {
	for t := range wit.given[id] {
		if t > token {
			delete(wit.given[id], t)
		}
	}
}

func (wit *witness) slotLeases(id planner.ServiceID, slot string) []planner.Lease {
	return slices.DeleteFunc(slices.Clone(wit.docs[id].Leases), func(l planner.Lease) bool { return l.Slot != slot })
}
