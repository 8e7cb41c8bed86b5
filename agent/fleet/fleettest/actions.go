package fleettest

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// action is what the fleet is about when a fault strikes.
type action string

// The actions; rest is when none of the others is in progress.
const (
	deploy       action = "deploy"
	rollout      action = "rollout"
	move         action = "move"
	fencing      action = "fence"
	registration action = "registration"
	drain        action = "drain"
	restore      action = "restore"
	revert       action = "revert" // of a release that is blocked
	rest         action = "rest"
)

var actions = []action{deploy, rollout, move, fencing, registration, drain, restore, revert, rest}

// under lists the actions in progress now, by the truth.
func (c *chaos) under() map[action]bool {
	out := map[action]bool{}
	wit := c.witness
	for _, m := range c.machines {
		p := m.proc
		if p == nil {
			continue
		}
		if !p.member.Registered() {
			out[registration] = true
		}
		if p.member.View().Alarm != "" {
			out[restore] = true
		}
	}
	for name, n := range wit.nodes {
		b := wit.beats[name]
		if n.Fence != nil || b.mark != nil {
			out[fencing] = true
		}
	}
	for id, s := range c.history.tip.desired.Services {
		c.serviceUnder(id, s, out)
	}
	if len(out) == 0 {
		out[rest] = true
	}
	return out
}

// serviceUnder adds what one service is about.
func (c *chaos) serviceUnder(id planner.ServiceID, s planner.Service, out map[action]bool) {
	wit := c.witness
	slots := map[string]planner.Lease{}
	revisions := map[planner.Revision]bool{}
	blocked := slices.Contains(wit.docs[id].Blocked, s.Revision)
	for _, l := range wit.docs[id].Leases {
		if l.Hook != "" {
			out[rollout] = true
			continue
		}
		if blocked && l.Revision == s.Revision {
			out[revert] = true
		}
		revisions[l.Revision] = true
		if o, two := slots[l.Slot]; two && o.Node != l.Node {
			out[move] = true
		}
		if c.wanted.nodes[l.Node].Drain && !s.EveryNode {
			out[drain] = true
		}
		if wit.inForce(l) {
			slots[l.Slot] = l
			if !wit.ready(id, l) {
				out[deploy] = true
			}
		}
	}
	if len(revisions) > 1 || len(revisions) == 1 && !revisions[s.Revision] && !blocked {
		out[rollout] = true
	}
	if !s.EveryNode && len(slots) < s.Replicas {
		out[deploy] = true
	}
}

// ready is the truth about what a node reports of a lease.
func (wit *witness) ready(id planner.ServiceID, l planner.Lease) bool {
	n := planner.NodeView{Record: wit.nodes[l.Node], Status: wit.status[l.Node]}
	i, ok := n.Instance(planner.SlotID{Service: id, Name: l.Slot}, l.Token)
	return ok && i.Phase == planner.PhaseReady
}

// provoke brings an action about.
func (c *chaos) provoke(a action) {
	switch a {
	case deploy:
		c.deploys()
	case rollout:
		c.update()
	case move, drain:
		c.drainOne()
	case fencing:
		m := c.anyMachine()
		m.off()
		c.after(c.between(40*time.Second, 100*time.Second), func() { c.boot(m) })
	case registration:
		m := c.anyMachine()
		m.killAgent()
		c.after(c.between(100*time.Millisecond, 3*time.Second), m.startAgent)
	case restore:
		c.restoreBackup()
	case revert:
		c.badRelease()
	case rest:
		c.tidy()
	}
}

// anyService draws a service that is wanted.
func (c *chaos) anyService() (planner.Service, bool) {
	ids := c.services()
	if len(ids) == 0 {
		return planner.Service{}, false
	}
	return c.wanted.services[ids[c.rng.IntN(len(ids))]], true
}

// deploys adds, scales, deletes or brings back a service.
func (c *chaos) deploys() {
	s, ok := c.anyService()
	switch k := c.rng.IntN(5); {
	case !ok || k == 0 && len(c.wanted.services) < c.most:
		c.made++
		k := kind(c.rng.IntN(int(kinds)))
		s := service(fmt.Sprintf("s%d", c.made%(2*c.most)), k, 1+c.rng.IntN(4), c.version(good, ""), c.millis())
		c.Want(c.strategy(s))
		c.Commit("adds " + s.ID.Name)
	case k == 1 && len(c.wanted.services) > 1:
		delete(c.wanted.services, s.ID)
		c.undepend(s.ID)
		c.Commit("deletes " + s.ID.Name)
		c.after(c.between(5*time.Second, 60*time.Second), func() {
			if _, back := c.wanted.services[s.ID]; !back && !c.healing {
				s.DependsOn = nil
				c.Want(s)
				c.Commit("brings back " + s.ID.Name)
			}
		})
	case s.EveryNode:
		c.update()
	default:
		s.Replicas = 1 + c.rng.IntN(5)
		c.Want(s)
		c.Commit(fmt.Sprintf("scales %s to %d", s.ID.Name, s.Replicas))
	}
}

// update changes a service's revision or how it is rolled out: now and then to
// one that fails, or twice within a moment; or brings back the one before.
func (c *chaos) update() {
	s, ok := c.anyService()
	if !ok {
		return
	}
	before, of := s, good
	switch c.rng.IntN(8) {
	case 0:
		c.Want(c.strategy(s))
		c.Commit("changes how " + s.ID.Name + " is rolled out")
		return
	case 1:
		of = slow
	case 2, 3:
		of = faulty[c.rng.IntN(len(faulty))]
	}
	c.release(s, of)
	switch {
	case of != good && of != slow && c.rng.IntN(2) == 0 || c.rng.IntN(4) == 0:
		c.takeBack(before, c.between(2*time.Second, 60*time.Second))
	case c.rng.IntN(4) == 0:
		c.after(c.between(100*time.Millisecond, 1500*time.Millisecond), func() {
			if now, there := c.wanted.services[s.ID]; there && !c.healing {
				c.release(now, good)
			}
		})
	}
}

// release changes a service's revision, now and then its hooks with it.
func (c *chaos) release(s planner.Service, of character) {
	s = changed(s, c.version(of, c.anyMachine().node))
	if len(s.Hooks) > 0 && c.rng.IntN(6) == 0 {
		s = c.hooked(s, []character{good, crashing, wedged}[c.rng.IntN(3)])
	}
	c.Want(s)
	c.Commit(fmt.Sprintf("updates %s (%s)", s.ID.Name, s.Template.Containers[0].Image))
}

// takeBack reverts a service to what it was, if nobody changed it meanwhile.
func (c *chaos) takeBack(before planner.Service, in time.Duration) {
	id, rev := before.ID, c.wanted.services[before.ID].Revision
	c.after(in, func() {
		if now, there := c.wanted.services[id]; there && now.Revision == rev && !c.healing {
			now.Template, now.Revision, now.Hooks = before.Template, before.Revision, before.Hooks
			c.Want(now)
			c.Commit("reverts " + id.Name)
		}
	})
}

// badRelease gives a service a revision that fails, and leaves it at that.
func (c *chaos) badRelease() {
	if s, ok := c.anyService(); ok {
		c.release(s, []character{wedged, crashing, flashing}[c.rng.IntN(3)])
	}
}

// tidy is a person who brings everything to rest: nothing is drained, no release
// fails or waits.
func (c *chaos) tidy() {
	clear(c.wanted.nodes)
	for _, id := range c.services() {
		s := c.wanted.services[id]
		if len(c.witness.docs[id].Blocked) > 0 || !sound(s) {
			s.Hooks = nil
			s = changed(s, c.version(good, ""))
		}
		s.Update.Steps = nil
		c.Want(s)
	}
	c.Commit("tidies up")
}

// drainOne drains or cordons a node, and takes it back later.
func (c *chaos) drainOne() {
	m := c.anyMachine()
	spec := planner.NodeSpec{Name: m.node, File: "nodes/" + string(m.node) + ".yaml", Drain: true, Unschedulable: c.rng.IntN(4) == 0}
	c.wanted.nodes[m.node] = spec
	c.Commit("drains " + string(m.node))
	c.after(c.between(3*time.Second, 70*time.Second), func() {
		if _, there := c.wanted.nodes[m.node]; there && !c.healing {
			delete(c.wanted.nodes, m.node)
			c.Commit("takes " + string(m.node) + " back")
		}
	})
}

func (c *chaos) millis() int64 { return 50 * (1 + c.rng.Int64N(6)) }

// restoreBackup puts yesterday's records in place of today's, and the branch
// with them; somebody pushes the branch again.
func (c *chaos) restoreBackup() {
	newest := c.history.tip
	c.say("", "the server is restored from a backup")
	c.memory.Restore(c.backup)
	c.history.tip = c.backupTip
	c.restores++
	c.witness.restored()
	c.after(c.between(time.Second, 40*time.Second), func() {
		if newest.descends(c.history.tip) {
			c.push(newest)
		}
	})
}

// makeBackup is done every few minutes.
func (c *chaos) makeBackup() {
	c.backup, c.backupTip = c.memory.Snapshot(), c.history.tip
	c.after(c.between(30*time.Second, 6*time.Minute), c.makeBackup)
}

// mind is a person who looks now and then, and resets the floor where records
// went back.
func (c *chaos) mind() {
	for _, m := range c.machines {
		if p := m.proc; p != nil && !m.paused && p.member.View().Alarm != "" && c.rng.IntN(3) == 0 {
			commit := ""
			if m.has(c.history.tip.hash) && c.rng.IntN(2) == 0 {
				commit = c.history.tip.hash
			}
			p.deliver(func() {
				if err := p.member.ResetFloor(commit, p.now()); err == nil {
					c.say(m.called, "somebody resets the floor")
				}
			})
			break
		}
	}
	c.after(c.between(10*time.Second, 40*time.Second), c.mind)
}
