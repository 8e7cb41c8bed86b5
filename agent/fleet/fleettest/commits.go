package fleettest

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"

	"github.com/orpheus-cd/orpheus/planner"
)

// commit is one commit of the manifests. It never changes.
type commit struct {
	hash    string
	parent  *commit
	depth   int
	desired planner.Desired
	approve []string // Prune-Approved trailers
	refused string   // why no node accepts it; "" = they do
}

// history is the repository of manifests.
type history struct {
	commits map[string]*commit
	tip     *commit
	made    int
}

// descends reports whether a commit is another or comes after it.
func (c *commit) descends(from *commit) bool {
	for c != nil && c.depth > from.depth {
		c = c.parent
	}
	return c == from
}

// relate says how commit a stands to b.
func (h *history) relate(a, b string) planner.Relation {
	ca, cb := h.commits[a], h.commits[b]
	switch {
	case ca == nil || cb == nil:
		return planner.RelationUnknown
	case ca == cb:
		return planner.RelationSame
	case cb.descends(ca):
		return planner.RelationAncestor
	case ca.descends(cb):
		return planner.RelationAhead
	}
	return planner.RelationAside
}

// manifests is what the next commit is made from: people edit it, then commit.
type manifests struct {
	services map[planner.ServiceID]planner.Service
	nodes    map[planner.NodeName]planner.NodeSpec
	fleet    planner.Fleet
	broken   map[planner.ServiceID]bool // services whose file has a fault
}

// commit makes a commit on top of another.
func (w *World) commit(on *commit, what string) *commit {
	h := &w.history
	h.made++
	c := &commit{parent: on}
	if on != nil {
		c.depth = on.depth + 1
	}
	sum := sha1.Sum(fmt.Appendf(nil, "commit %d of seed %d", h.made, w.Seed))
	c.hash = hex.EncodeToString(sum[:])
	c.desired = planner.Desired{
		Commit:   planner.Commit{Hash: c.hash, Subject: what, Author: "somebody"},
		Fleet:    w.wanted.fleet,
		Services: map[planner.ServiceID]planner.Service{},
		Nodes:    maps.Clone(w.wanted.nodes),
	}
	for _, id := range w.services() {
		s := w.wanted.services[id]
		if w.wanted.broken[id] {
			c.desired.Faults = append(c.desired.Faults, planner.Fault{File: s.File, Line: 1, Reason: "is no YAML"})
		} else {
			c.desired.Services[id] = s
		}
	}
	h.commits[c.hash] = c
	w.witness.offers(c.desired.Services)
	w.say("", "commit %s: %s", c.hash[:8], what)
	return c
}

// push makes a commit the branch's tip.
func (w *World) push(c *commit) {
	w.history.tip = c
	w.memory.SetTip(planner.Hash(c.hash))
}

// Commit commits what is wanted now.
func (w *World) Commit(what string) { w.push(w.commit(w.history.tip, what)) }

// services lists what is wanted, in order.
func (w *World) services() []planner.ServiceID { return sortedIDs(w.wanted.services) }
