package fleettest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// fault is one kind of mishap. begin lets it happen and returns what ends it;
// nil = it ends by itself, or there was nobody for it to befall.
type fault struct {
	name  string
	begin func(c *chaos) (heal func())
}

var faults = []fault{
	{"cut from git", func(c *chaos) func() {
		m := c.anyMachine()
		m.cutGit = true
		return func() { m.cutGit = false }
	}},
	{"cut from peers", func(c *chaos) func() {
		m := c.anyMachine()
		m.cutPeers = true
		c.linksMoved()
		return func() { m.cutPeers = false; c.linksMoved() }
	}},
	{"cut from both", func(c *chaos) func() {
		m := c.anyMachine()
		m.cutPeers, m.cutGit = true, true
		c.linksMoved()
		return func() { m.cutPeers, m.cutGit = false, false; c.linksMoved() }
	}},
	{"split network", func(c *chaos) func() {
		for _, m := range c.machines {
			m.side = 1 + c.rng.IntN(2)
		}
		c.linksMoved()
		return func() {
			for _, m := range c.machines {
				m.side = 0
			}
			c.linksMoved()
		}
	}},
	{"git down", func(c *chaos) func() {
		c.serverUp = false
		return func() { c.serverUp = true }
	}},
	{"slow replies", func(c *chaos) func() {
		m := c.anyMachine()
		m.slow = c.between(200*time.Millisecond, 9*time.Second)
		return func() { m.slow = 0 }
	}},
	{"lost reply", func(c *chaos) func() { c.nextPush(loseReply); return nil }},
	{"lost request", func(c *chaos) func() { c.nextPush(loseRequest); return nil }},
	{"late push", func(c *chaos) func() { c.nextPush(loseLate); return nil }},
	{"machine paused", func(c *chaos) func() {
		m := c.anyMachine()
		m.pause(c.rng.IntN(2) == 0)
		return m.resume
	}},
	{"agent killed", func(c *chaos) func() {
		m := c.anyMachine()
		m.killAgent()
		return m.startAgent
	}},
	{"agent dies saving", func(c *chaos) func() {
		m := c.anyMachine()
		m.crash = crashBeforeSave
		if c.rng.IntN(2) == 0 {
			m.crash = crashAfterSave
		}
		return func() { m.crash = crashNever; m.startAgent() }
	}},
	{"reboot", func(c *chaos) func() {
		m := c.anyMachine()
		m.off()
		c.after(c.between(time.Second, 8*time.Second), func() { c.boot(m) })
		return nil
	}},
	{"machine dead", func(c *chaos) func() {
		m := c.anyMachine()
		m.off()
		c.after(c.between(60*time.Second, 4*time.Minute), func() { c.boot(m) })
		return nil
	}},
	{"clock wrong", func(c *chaos) func() {
		m := c.anyMachine()
		if !m.paused {
			m.clock.set(c.now)
			m.clock.drift = c.rng.Int64N(20001) - 10000
			m.clock.skew = c.between(-10*time.Minute, 10*time.Minute)
		}
		return nil
	}},
	{"bad commit", func(c *chaos) func() {
		ids := c.services()
		if len(ids) == 0 {
			return nil
		}
		id := ids[c.rng.IntN(len(ids))]
		if c.rng.IntN(3) == 0 {
			bad := c.commit(c.history.tip, "unsigned")
			bad.refused = "it is not signed"
			c.push(bad)
			return func() { c.Commit("signed again") }
		}
		c.wanted.broken[id] = true
		c.Commit("breaks " + id.Name)
		return func() { delete(c.wanted.broken, id); c.Commit("mends " + id.Name) }
	}},
	{"branch goes back", func(c *chaos) func() {
		before := c.history.tip
		back := before
		for range 1 + c.rng.IntN(3) {
			if back.parent != nil {
				back = back.parent
			}
		}
		if c.rng.IntN(2) == 0 {
			back = c.commit(back, "rewrites the branch")
		}
		c.push(back)
		return func() { c.push(before); c.Commit("the branch is mended") }
	}},
	{"forged records", func(c *chaos) func() { c.forge(); return nil }},
	{"junk refs", func(c *chaos) func() {
		junk := planner.Record{Author: "x", Message: "junk\n\n{}\n"}
		var refs []planner.Ref
		for k := range 30 {
			refs = append(refs, planner.Ref(fmt.Sprintf("junk/%d", k)), planner.Ref(fmt.Sprintf("leases/x/y/%d", k)),
				planner.Ref(fmt.Sprintf("nodes/ghost-%d", k)))
		}
		for _, ref := range refs {
			c.memory.Set(ref, &junk)
		}
		return func() {
			for _, ref := range refs {
				c.memory.Set(ref, nil)
			}
		}
	}},
	{"cloned machine", func(c *chaos) func() {
		of := c.anyMachine()
		if slices.ContainsFunc(c.machines, func(m *machine) bool { return m != of && m.node == of.node }) {
			return nil
		}
		clone := c.clone(of)
		clone.on()
		return func() { c.discard(clone, of) }
	}},
	{"registry down", func(c *chaos) func() {
		c.registryDown = true
		return func() { c.registryDown = false; c.tags++ }
	}},
	{"instance dies", func(c *chaos) func() {
		m := c.anyMachine()
		for _, id := range sortedKeys(m.instances) {
			i := m.instances[id]
			if i.State == planner.StateRunning && c.rng.IntN(2) == 0 {
				m.exits(i, planner.Exit{Code: 1})
			}
		}
		return nil
	}},
	{"driver fails", func(c *chaos) func() {
		m := c.anyMachine()
		m.startFails, m.silent = true, c.rng.IntN(2) == 0
		return func() {
			m.startFails, m.silent = false, false
			if p := m.proc; p != nil {
				p.later(0, func() { p.dirty = true })
			}
		}
	}},
}

// anyMachine draws a machine.
func (c *chaos) anyMachine() *machine { return c.machines[c.rng.IntN(len(c.machines))] }

func (c *chaos) nextPush(loss lossKind) {
	for _, m := range c.machines { // whoever pushes next
		m.lose = loss
	}
}

// boot turns a machine on, unless it is on or was taken away.
func (c *chaos) boot(m *machine) {
	if !m.up && !slices.Contains(c.gone, m) {
		m.on()
	}
}

// discard takes a clone away. The agent of the original has to be started
// again: it saw another life take its name.
func (c *chaos) discard(clone, of *machine) {
	clone.off()
	c.gone = append(c.gone, clone)
	c.machines = slices.DeleteFunc(c.machines, func(m *machine) bool { return m == clone })
	of.killAgent()
	of.startAgent()
}

// forge lets a stranger who may push, but has no node's key, write something.
func (c *chaos) forge() {
	refs := slices.Sorted(maps.Keys(c.memory.Refs()))
	refs = slices.DeleteFunc(refs, func(r planner.Ref) bool { return r.Parse().Kind == planner.RefOther })
	if len(refs) == 0 {
		return
	}
	ref := refs[c.rng.IntN(len(refs))]
	genuine, ok := c.memory.Record(ref)
	if !ok {
		return
	}
	msg, err := planner.ParseMessage(genuine.Message)
	if err != nil || len(msg.Parts) == 0 {
		return
	}
	forged := genuine
	switch k := c.rng.IntN(7); k {
	case 0: // not signed
		msg.Parts[0].Signature = ""
		forged.Message = strings.Replace(msg.String(), "\n\n", " (forged)\n\n", 1)
	case 1: // another body under the same signature
		msg.Parts[0].Body = strings.Replace(msg.Parts[0].Body, "\"epoch\": 1", "\"epoch\": 7", 1) + " "
		msg.Subject += " (forged)"
		forged.Message = msg.String()
	case 2: // signed by a key that no node has
		msg.Parts[0].Signature, _ = c.stranger.sign(ref, msg.Parts[0].Body)
		forged.Message = msg.String()
	case 3: // garbage
		forged = planner.Record{Author: "x", Message: fmt.Sprintf("garbage %d", c.rng.Uint64())}
	case 4: // too large to be read
		c.say("", "stranger: %s is too large", ref)
		c.memory.Corrupt(ref, planner.Hash(fmt.Sprintf("%040x", c.rng.Uint64())), "record is larger than allowed")
		c.witness.tampered(ref)
		return
	case 5: // a genuine record, moved to another name
		other := refs[c.rng.IntN(len(refs))]
		if moved, ok := c.memory.Record(other); ok {
			forged = moved
		}
	default: // a fence by nobody
		if node := ref.Parse().Node; ref.Parse().Kind == planner.RefNode && len(msg.Parts) == 1 {
			fence := planner.Fence{Epoch: 1000, Fenced: true, By: node, Nonce: "x"}
			sig, _ := c.stranger.sign(ref, fence.Body())
			if m, err := planner.FenceMessage(msg, "forged", planner.Part{Body: fence.Body(), Signature: sig}); err == nil {
				forged.Message = m.String()
			}
		} else {
			forged.Message = "forged\n\n{}\n"
		}
	}
	c.say("", "stranger writes %s", ref)
	c.memory.Set(ref, &forged)
	c.witness.tampered(ref)
}
