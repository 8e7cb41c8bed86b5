package fleettest

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// Cell is one entry of the table of what was tried.
type Cell struct{ Fault, Action string }

// Result is what a run came to.
type Result struct {
	Hours  float64 // of the fleet
	Nodes  int
	Events uint64
	Faults int
	Table  map[Cell]int
	Pushes int
	// Changes of refs that were asked for at the server, and lost there.
	Changes, Lost int
	Fences        int
	Restores      int
	Trace         []string
}

// chaos is a world in which people commit and faults strike.
type chaos struct {
	*World
	table    map[Cell]int
	struck   int
	next     int // which fault meets which action next
	most     int // services
	made     int
	versions int
	healing  bool
	gone     []*machine // clones that were taken away
	stranger signer

	backup    gitsynctest.Backup
	backupTip *commit
}

const (
	// restAfter is how long a fleet may take to come to rest once all faults
	// are over, and restFor how long it is then watched.
	restAfter = 15 * time.Minute
	restFor   = 10 * time.Minute
	// maxChanges bounds how often a document changes after that, beside four
	// changes a slot: coordinators do not fight.
	maxChanges = 30
)

// Chaos runs one seed: a fleet under faults for a while, then without.
func Chaos(o Options, length time.Duration) (Result, error) {
	shape(&o)
	w := New(o)
	c := &chaos{World: w, table: map[Cell]int{}, next: int(o.Seed * 7 % uint64(len(faults)*len(actions))), stranger: w.newKey()}
	n := c.size()
	if n > 12 {
		length /= 4
	}
	c.most = 2 + c.rng.IntN(4)
	c.Nodes(n, 20*time.Second)
	for k, m := range c.machines {
		m.other = o.Seed%3 == 0 && k%2 == 1
		if o.Seed%11 == 0 && k%3 == 0 {
			m.address = "" // peers cannot reach it
		}
	}
	c.wanted.fleet.Network = network
	c.wanted.fleet.FastFailover = c.rng.IntN(4) == 0
	for range 1 + c.rng.IntN(c.most) {
		c.deploys()
	}
	c.makeBackup()
	c.after(30*time.Second, c.strike)
	c.after(40*time.Second, c.mind)
	c.after(time.Minute, c.attend)
	c.Run(length)
	c.heal()
	c.Run(w.now + restAfter)
	c.watchRest()
	for range trials {
		c.trial()
	}
	return c.outcome(n), w.broken
}

// shape draws what a seed's server and signatures are like.
func shape(o *Options) {
	o.Torn = o.Seed%2 == 0
	o.TwoPushes = o.Seed%5 == 1
	o.Real = o.Dir != "" && o.Seed%16 == 3
}

// size draws the number of nodes: 2 to 50, half of all fleets have up to 4.
func (c *chaos) size() int {
	sizes := []int{2, 3, 3, 4, 4, 4, 5, 5, 6, 8}
	if c.Seed%97 == 13 {
		return 20 + c.rng.IntN(31)
	}
	if c.Seed%23 == 7 {
		return 9 + c.rng.IntN(8)
	}
	return sizes[c.rng.IntN(len(sizes))]
}

// strike provokes the next action and has the next fault meet it.
func (c *chaos) strike() {
	if c.healing {
		return
	}
	pairs := len(faults) * len(actions)
	f, a := faults[c.next%pairs/len(actions)], actions[c.next%len(actions)]
	c.next += 29 // prime to the number of pairs: all are met
	if !c.under()[a] {
		c.provoke(a)
	}
	patience, next := c.between(10*time.Second, 25*time.Second), c.between(25*time.Second, 65*time.Second)
	if a == rest { // it takes a while to come about
		patience, next = patience+time.Minute, next+time.Minute
	}
	c.meet(f, a, c.now+patience)
	c.after(next, c.strike)
}

// meet waits for an action to be in progress, but not longer than until.
func (c *chaos) meet(f fault, a action, until time.Duration) {
	if c.healing {
		return
	}
	under := c.under()
	if !under[a] && c.now < until {
		c.after(250*time.Millisecond, func() { c.meet(f, a, until) })
		return
	}
	if under[a] && c.rng.IntN(2) == 0 { // somewhere within
		c.after(c.between(0, 4*time.Second), func() { c.befall(f) })
		return
	}
	c.befall(f)
}

// befall lets a fault happen, counts it, and plans its end.
func (c *chaos) befall(f fault) {
	if c.healing {
		return
	}
	for a := range c.under() {
		c.table[Cell{f.name, string(a)}]++
	}
	c.struck++
	c.say("", "FAULT %s", f.name)
	heal := f.begin(c)
	if heal == nil {
		return
	}
	lasts := c.between(time.Second, 25*time.Second)
	if c.rng.IntN(6) == 0 {
		lasts = c.between(30*time.Second, 3*time.Minute)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			c.say("", "ENDS %s", f.name)
			heal()
		}
	}
	c.after(lasts, end)
}

// heal ends all faults, and makes the last commit one that can be carried out.
func (c *chaos) heal() {
	if c.broken != nil {
		return
	}
	c.healing = true
	c.say("", "HEAL")
	// What still is under way ends by itself within three minutes.
	c.Run(c.now + 4*time.Minute)
	c.serverUp, c.registryDown, c.calm = true, false, true
	for _, m := range c.machines {
		m.cutGit, m.cutPeers, m.slow, m.side, m.lose, m.crash = false, false, 0, 0, loseNothing, crashNever
		m.startFails, m.silent = false, false
		m.resume()
		c.boot(m)
		m.startAgent()
		if p := m.proc; p != nil {
			p.later(0, func() { p.dirty = true })
		}
	}
	c.linksMoved()
	clear(c.wanted.broken)
	clear(c.wanted.nodes)
	for _, id := range c.services() {
		s := c.wanted.services[id]
		if !sound(s) {
			s.Hooks = nil
		}
		if blocked := c.witness.docs[id].Blocked; !sound(s) || len(blocked) > 0 {
			s = changed(s, c.version(good, ""))
		}
		c.Want(s)
	}
	c.promote()
	tip := c.history.tip
	for _, m := range c.machines {
		if at := c.history.commits[m.disk.followed.Commit.Hash]; at != nil && at.depth > tip.depth {
			tip = at // people mend the branch so that the fleet can follow it
		}
	}
	c.push(c.approving(c.commit(tip, "the last commit")))
	clear(c.witness.docChanges)
	c.after(time.Minute, c.settleFloor)
	c.after(2*time.Minute, c.mend)
	c.after(3*time.Minute, c.approve)
}

// approving has a commit approve all deletions of those before it.
func (c *chaos) approving(last *commit) *commit {
	for hash := range c.history.commits {
		if hash != last.hash {
			last.approve = append(last.approve, hash)
		}
	}
	return last
}

// approve is a person who approves what a node came to know of only by the last
// commit, which cannot approve itself.
func (c *chaos) approve() {
	if slices.ContainsFunc(c.machines, func(m *machine) bool { return len(m.disk.followed.Pending) > 0 }) {
		c.push(c.approving(c.commit(c.history.tip, "approves what waits")))
	}
}

// mend is a person who releases anew what was blocked through the faults.
func (c *chaos) mend() {
	any := false
	for _, id := range c.services() {
		if len(c.witness.docs[id].Blocked) > 0 {
			c.Want(changed(c.wanted.services[id], c.version(good, "")))
			any = true
		}
	}
	if c.promote() || any {
		c.Commit("releases again what was blocked")
	}
}

// checkRolledOut holds that nothing is left of a rollout.
func (c *chaos) checkRolledOut() {
	for _, id := range c.services() {
		doc := c.witness.docs[id]
		if len(doc.Blocked) > 0 {
			c.fail("R7: %s is blocked at rest, without any fault: %s", id, doc.BlockedWhy)
		}
		for _, l := range doc.Leases {
			if l.Hook != "" {
				c.fail("R5: %s still has a lease for its %s hook at rest", id, l.Hook)
			}
		}
	}
}

// settleFloor is a person who resets the floor to the tip where nodes do not
// accept it: the branch was rewritten for good.
func (c *chaos) settleFloor() {
	tip := c.history.tip
	for _, m := range c.machines {
		p := m.proc
		if p == nil || p.rejected == nil && !p.aside(tip) {
			continue
		}
		for _, by := range c.machines {
			if q := by.proc; q != nil && by.has(tip.hash) && q.member.Registered() {
				q.deliver(func() {
					if q.member.ResetFloor(tip.hash, q.now()) == nil {
						c.say(by.called, "somebody resets the floor to the tip")
					}
				})
				return
			}
		}
	}
}

// aside reports whether some document was decided on a commit that is not in
// the tip's history.
func (p *process) aside(tip *commit) bool {
	for _, dv := range p.member.View().Docs {
		if c := p.w.history.commits[dv.Doc.Commit]; c != nil && !tip.descends(c) && dv.Doc.Generation >= p.member.View().Fleet.Generation {
			return true
		}
	}
	return false
}

// watchRest holds that the fleet is as the last commit wants it, and stays so
// without a push.
func (c *chaos) watchRest() {
	if c.broken != nil {
		return
	}
	c.checkConverged()
	for _, id := range sortedIDs(c.witness.docChanges) {
		slots := max(c.wanted.services[id].Replicas, len(c.machines))
		if n := c.witness.docChanges[id]; n > maxChanges+4*slots {
			c.fail("I7: the document of %s changed %d times after all faults were over", id, n)
		}
	}
	c.witness.onlyBeats = true
	pushes, objects := c.witness.pushes, c.memory.Counts().Objects
	c.Run(c.now + restFor)
	if c.broken != nil {
		return
	}
	silent := false
	for _, m := range c.machines {
		silent = silent || m.address == ""
	}
	switch n := c.witness.pushes - pushes; {
	case n > 0 && !silent:
		c.fail("a fleet at rest made %d pushes in %v", n, restFor)
	case silent && !c.witness.onlyBeats:
		c.fail("a fleet at rest wrote more than beats")
	case c.memory.Counts().Objects-objects > 64*len(c.machines):
		c.fail("beats added %d objects", c.memory.Counts().Objects-objects)
	}
	c.checkConverged()
}

// checkConverged holds that every slot of the last commit that has a place has
// one lease in force and one ready instance, and that nothing else runs.
func (c *chaos) checkConverged() {
	wit := c.witness
	covered := map[string]bool{}
	for _, id := range c.services() {
		s := c.wanted.services[id]
		for _, slot := range c.slots(s) {
			leases := wit.slotLeases(id, slot)
			if c.disagree() { // who coordinates by one version may not by the other: what harms nobody stays
				leases = slices.DeleteFunc(leases, func(l planner.Lease) bool { return !wit.inForce(l) })
			}
			if len(leases) != 1 || !wit.inForce(leases[0]) || leases[0].Revision != s.Revision {
				c.fail("I7: slot %s-%s has leases %+v at rest (wanted %s)", id, slot, leases, s.Revision.Short())
				return
			}
			m := c.holder(leases[0].Node)
			found := 0
			for _, iid := range sortedKeys(m.instances) {
				i := m.instances[iid]
				if i.Slot == (planner.SlotID{Service: id, Name: slot}) && i.Revision == s.Revision && i.isReady(c.now) {
					found++
					covered[m.known(iid)] = true
				}
			}
			if found != 1 {
				c.fail("I7: %s-%s is leased to %s, which runs %d of it", id, slot, m.called, found)
				return
			}
		}
	}
	c.checkAddresses()
	c.checkRolledOut()
	for _, m := range c.machines {
		for _, iid := range sortedKeys(m.instances) {
			if m.instances[iid].Alive() && !covered[m.known(iid)] {
				c.fail("I3: %s still runs %s (%s) at rest", m.called, iid, m.instances[iid].Slot)
				return
			}
		}
	}
}

// explain adds to the trace what each agent waits for.
func (c *chaos) explain() {
	for _, m := range c.machines {
		p := m.proc
		if p == nil {
			c.say(m.called, "no agent runs")
			continue
		}
		d := p.member.Decided()
		c.say(m.called, "follows %.8s, foreign %q, alarm %q", m.disk.followed.Commit.Hash, p.member.Foreign(), p.member.View().Alarm)
		for _, id := range sortedIDs(d.Waiting) {
			c.say(m.called, "waits with %s: %s", id, d.Waiting[id])
		}
		for _, u := range d.Unplaced {
			c.say(m.called, "cannot place %s: %v", u.Slot, u.Reasons)
		}
		for _, wait := range p.plan.Waits {
			c.say(m.called, "does not run %s: %s", wait.Slot, wait.Reason)
		}
	}
}

// disagree reports whether machines have different planners.
func (c *chaos) disagree() bool {
	return slices.ContainsFunc(c.machines, func(m *machine) bool { return m.other })
}

func (m *machine) known(instance string) string { return string(m.called) + " " + instance }

// slots lists what a service is to have in this fleet.
func (c *chaos) slots(s planner.Service) []string {
	var out []string
	if s.EveryNode {
		for _, m := range c.machines {
			out = append(out, string(m.node))
		}
		return out
	}
	for k := range s.Replicas {
		out = append(out, itoa(k))
	}
	return out
}

func (c *chaos) holder(name planner.NodeName) *machine {
	for _, m := range c.machines {
		if m.node == name {
			return m
		}
	}
	c.fail("a lease names node %s, which there is not", name)
	return c.machines[0]
}

func (c *chaos) outcome(nodes int) Result {
	if c.broken != nil {
		c.explain()
	}
	return c.result(nodes)
}

func (c *chaos) result(nodes int) Result {
	return Result{
		Hours: c.now.Hours(), Nodes: nodes, Events: c.events, Faults: c.struck, Table: c.table, Pushes: c.witness.pushes,
		Changes: c.witness.changes + c.witness.lost, Lost: c.witness.lost, Fences: c.witness.fences, Restores: c.restores,
		Trace: c.trace.lines,
	}
}

// String is the line that a table of runs shows.
func (r Result) String() string {
	return fmt.Sprintf("%.1f h, %d nodes, %d faults, %d pushes, %d of %d changes lost, %d fences, %d restores",
		r.Hours, r.Nodes, r.Faults, r.Pushes, r.Lost, r.Changes, r.Fences, r.Restores)
}
