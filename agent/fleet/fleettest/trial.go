package fleettest

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Trials are releases in a fleet at rest, without any fault: what becomes of
// each is known, and so is the budget at every instant.

const (
	// trials is how many a run has, and trialTime how long one may take: the
	// deadlines, pauses and back-offs that people ask for here are all shorter.
	trials    = 4
	trialTime = 12 * time.Minute
	// look is how often what serves is counted.
	look = 200 * time.Millisecond
)

// trial is one release, or several at once.
func (c *chaos) trial() {
	if c.broken != nil {
		return
	}
	s, ok := c.anyService()
	if !ok {
		return
	}
	switch c.rng.IntN(4) {
	case 0:
		c.goodTrial()
	case 1:
		c.hastyTrial(s)
	default:
		c.badTrial(s)
	}
}

// goodTrial releases several services in one commit, and drains a node
// meanwhile: all are rolled out.
func (c *chaos) goodTrial() {
	for _, id := range c.services() {
		if c.rng.IntN(2) == 0 {
			c.Want(changed(c.wanted.services[id], c.version([]character{good, slow}[c.rng.IntN(2)], "")))
		}
	}
	c.promote()
	c.Commit("trial: good releases")
	m := c.machines[c.rng.IntN(len(c.machines))]
	drains := len(c.machines) > 2 && c.rng.IntN(2) == 0
	if drains {
		c.watching(c.between(0, 10*time.Second))
		c.wanted.nodes[m.node] = planner.NodeSpec{Name: m.node, File: "nodes/" + string(m.node) + ".yaml", Drain: true}
		c.Commit("trial: drains " + string(m.node))
		c.watching(c.between(20*time.Second, time.Minute))
		delete(c.wanted.nodes, m.node)
		c.Commit("trial: takes " + string(m.node) + " back")
	}
	c.ends("a good release", func() string {
		for _, id := range c.services() {
			if why := c.rolledOut(id, c.wanted.services[id].Revision); why != "" {
				return why
			}
		}
		return ""
	})
	c.neverBlocked()
}

// hastyTrial makes two commits within two seconds, the first of them bad: the
// newer one wins, and is not held up.
func (c *chaos) hastyTrial(s planner.Service) {
	bad := changed(s, c.version([]character{wedged, crashing}[c.rng.IntN(2)], ""))
	c.Want(bad)
	c.promote()
	c.Commit("trial: a bad release of " + s.ID.Name)
	c.watching(c.between(0, 2*time.Second))
	next := changed(s, c.version(good, ""))
	if c.rng.IntN(2) == 0 {
		next = s // reverted
	}
	c.Want(next)
	c.promote()
	c.Commit("trial: another release of " + s.ID.Name)
	c.ends("the newer of two releases", func() string { return c.rolledOut(s.ID, next.Revision) })
	c.neverBlocked()
}

// badTrial makes a release that fails: it is blocked, and all slots return to
// what they had; to revert the commit restarts nothing; a better one is rolled
// out.
func (c *chaos) badTrial(s planner.Service) {
	s.Update.NoRevert = false
	s.MinReady = max(s.MinReady, 4*time.Second)
	bad := c.failing(s)
	c.Want(bad)
	c.promote()
	c.Commit(fmt.Sprintf("trial: a bad release of %s (%s, hooks %v)", s.ID.Name, bad.Template.Containers[0].Image, len(bad.Hooks)))
	c.ends("a bad release", func() string {
		if doc := c.witness.docs[s.ID]; !slices.Contains(doc.Blocked, bad.Revision) {
			return s.ID.String() + " is not blocked at " + bad.Revision.Short()
		}
		return c.rolledOut(s.ID, s.Revision)
	})
	acts := c.witness.acts[s.ID]
	c.Want(s)
	c.promote()
	c.Commit("trial: reverts the release of " + s.ID.Name)
	c.ends("a revert", func() string {
		if len(c.witness.docs[s.ID].Blocked) > 0 {
			return s.ID.String() + " is blocked"
		}
		return c.rolledOut(s.ID, s.Revision)
	})
	if n := c.witness.acts[s.ID] - acts; n > 0 && c.broken == nil {
		c.fail("R7: the revert of what was reverted already started or stopped %d instances of %s", n, s.ID)
	}
	c.goodTrialOf(s)
}

func (c *chaos) goodTrialOf(s planner.Service) {
	next := changed(s, c.version(good, ""))
	c.Want(next)
	c.promote()
	c.Commit("trial: the better release of " + s.ID.Name)
	c.ends("a better release", func() string { return c.rolledOut(s.ID, next.Revision) })
	c.neverBlocked()
}

// failing is a service with a release that fails: its instances, or one of its
// hooks.
func (c *chaos) failing(s planner.Service) planner.Service {
	if c.rng.IntN(3) > 0 {
		return changed(s, c.version([]character{wedged, crashing, flashing}[c.rng.IntN(3)], ""))
	}
	return c.hooked(changed(s, c.version(good, "")), []character{wedged, crashing}[c.rng.IntN(2)])
}

// rolledOut says what is missing until every slot of a service has one lease, at
// a revision, and serves, and that is known to be good; "" = nothing.
func (c *chaos) rolledOut(id planner.ServiceID, rev planner.Revision) string {
	wit, s := c.witness, c.wanted.services[id]
	leases := wit.docs[id].Leases
	for _, slot := range c.slots(s) {
		of := wit.slotLeases(id, slot)
		if c.disagree() {
			of = slices.DeleteFunc(of, func(l planner.Lease) bool { return !wit.inForce(l) })
		}
		if len(of) != 1 || of[0].Revision != rev || !wit.inForce(of[0]) || !c.serves(planner.SlotID{Service: id, Name: slot}, s.MinReady) {
			return fmt.Sprintf("%s-%s is not at %s: %+v", id, slot, rev.Short(), of)
		}
	}
	if slices.ContainsFunc(leases, func(l planner.Lease) bool { return l.Hook != "" }) {
		return id.String() + " has a hook that runs"
	}
	if good := wit.docs[id].LastGood; good != "" && good != rev { // after a first release it is noted with what comes next
		return fmt.Sprintf("%s takes %s for good", id, good.Short())
	}
	return ""
}

// ends lets time pass until nothing is missing, then a little longer.
func (c *chaos) ends(what string, missing func() string) {
	until := c.now + trialTime
	why := missing()
	for ; why != "" && c.now < until && c.broken == nil; why = missing() {
		c.watching(look)
	}
	if why != "" && c.broken == nil {
		c.fail("R5: %s does not come to its end within %v: %s", what, trialTime, why)
	}
	c.watching(20 * time.Second)
}

// watching lets time pass and holds that every service has as many slots with an
// available instance as its budget asks for.
func (c *chaos) watching(d time.Duration) {
	for until := c.now + d; c.now < until && c.broken == nil; {
		c.Run(min(until, c.now+look))
		for _, id := range c.services() {
			s := c.wanted.services[id]
			slots, down := c.slots(s), 0
			for _, slot := range slots {
				if !c.serves(planner.SlotID{Service: id, Name: slot}, s.MinReady-s.MinReady/50) { // clocks drift by up to one percent
					down++
				}
			}
			_, most := s.Update.Limits(len(slots))
			if s.Template.SingleWriter() {
				most = max(most, 1)
			}
			if down > most {
				c.fail("R1: %d of %d slots of %s do not serve, %d may", down, len(slots), id, most)
				return
			}
		}
	}
}

// neverBlocked holds that a good release is not blocked.
func (c *chaos) neverBlocked() {
	for _, id := range c.services() {
		if doc := c.witness.docs[id]; len(doc.Blocked) > 0 && c.broken == nil {
			c.fail("R7: %s is blocked without any fault: %s", id, doc.BlockedWhy)
		}
	}
}
