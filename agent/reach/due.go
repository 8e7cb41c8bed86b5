package reach

import (
	"cmp"
	"slices"
	"time"
)

// due says which checks are to begin now; done must be told of each. It also
// takes back what nobody would miss.
func (j *judge) due(now time.Time) []check {
	for _, e := range j.which(func(e *endpoint) bool { return j.forgettable(e, now) }) {
		j.takeBack(e, now)
	}
	wanted := j.which(func(e *endpoint) bool { return j.wants(e, now) })
	slices.SortStableFunc(wanted, func(a, b *endpoint) int { return a.checked.Compare(b.checked) })
	var begun []check
	for _, e := range wanted {
		n := j.nodes[e.Node]
		if j.checks >= maxChecks || n.under >= n.bound() {
			continue
		}
		e.checked = now
		if e.Protocol == "udp" {
			e.found, e.open = silent, true // its node decides
		} else {
			e.checking = true
			n.under++
			begun = append(begun, j.begin(check{key: e.Key, node: n.name, address: e.flow().address()}))
		}
		// The node is asked at the same time, not only when the endpoint has
		// failed: that would take twice as long.
		begun = append(begun, j.askNode(n, now)...)
	}
	j.settle(now)
	return begun
}

// wants reports whether an endpoint is to be checked.
func (j *judge) wants(e *endpoint, now time.Time) bool {
	switch {
	case e.checking || e.open || now.Sub(e.checked) < checkPause:
		return false
	case e.ejection != nil:
		return now.Sub(e.ejection.Since) >= e.minimum && !j.quiet(e, now)
	}
	return e.refused || !e.waiting.IsZero() && now.Sub(e.waiting) >= patience
}

// forgettable reports whether an endpoint is ejected from a service that nobody
// connects to, and has been for long enough.
func (j *judge) forgettable(e *endpoint, now time.Time) bool {
	return e.ejection != nil && !e.checking && !e.open && j.quiet(e, now) && now.Sub(e.ejection.Since) >= max(retryAfter, e.minimum)
}

func (j *judge) quiet(e *endpoint, now time.Time) bool {
	return now.Sub(j.services[e.Slot.Service].tried) >= quietAfter
}

// askNode checks a node's peer port, and those of witnesses.
func (j *judge) askNode(n *node, now time.Time) []check {
	if n.peer == "" || n.checking {
		return nil
	}
	n.checking, n.checked = true, now
	begun := []check{j.begin(check{node: n.name, address: n.peer})}
	for _, w := range j.witnesses(n, now) {
		w.checking, w.checked = true, now
		begun = append(begun, j.begin(check{node: w.name, address: w.peer}))
	}
	return begun
}

// witnesses are the nodes, other than n, most likely to answer: those heard
// last, then those asked longest ago.
func (j *judge) witnesses(n *node, now time.Time) []*node {
	var able []*node
	for _, o := range j.nodes {
		lately := !o.heardSinceCheck() && now.Sub(o.checked) < checkPause
		if o != n && o.peer != "" && !o.checking && !lately {
			able = append(able, o)
		}
	}
	slices.SortFunc(able, func(a, b *node) int {
		return cmp.Or(b.heard.Compare(a.heard), a.checked.Compare(b.checked), cmp.Compare(a.name, b.name))
	})
	return able[:min(len(able), maxWitnesses)]
}

func (j *judge) begin(c check) check {
	j.checks++
	return c
}

// bound is how many endpoints of the node are checked at once.
func (n *node) bound() int {
	if n.peer != "" && !n.checked.IsZero() && !n.checking && !n.heardSinceCheck() {
		return maxChecksOfSilent
	}
	return maxChecksOfNode
}

// next is when something is to be looked at, with a fresh reading, apart from
// the regular ones; zero = nothing is.
func (j *judge) next() time.Time {
	var first time.Time
	at := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for _, e := range j.endpoints {
		switch {
		case e.open:
			at(j.nodes[e.Node].checked.Add(checkLimit))
		case !e.waiting.IsZero() && !e.checking && e.ejection == nil:
			suspect, rested := e.waiting.Add(patience), e.checked.Add(checkPause)
			if suspect.After(rested) {
				at(suspect)
			}
		}
	}
	return first
}
