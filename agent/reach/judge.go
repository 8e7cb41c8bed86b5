package reach

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// The times of judgement. With a reading every 200 ms, an endpoint that stops
// answering is ejected at most readEvery + patience + checkLimit = 800 ms after
// the first connection that it left unanswered.
const (
	readEvery  = 200 * time.Millisecond
	patience   = 300 * time.Millisecond // from a try without an answer to suspicion
	checkLimit = 300 * time.Millisecond
	checkPause = time.Second // between the begins of two checks of one endpoint

	// A service that nobody connects to is not checked. Its endpoints are taken
	// back to be tried again.
	quietAfter = time.Minute
	retryAfter = 30 * time.Second

	// An endpoint that fails again soon after it came back stays out longer
	// each time.
	minEjection  = time.Second
	maxEjection  = 30 * time.Second
	settledAfter = time.Minute

	// Checks of endpoints under way at once: in all, of one node, and of one
	// node that is silent itself.
	maxChecks         = 256
	maxChecksOfNode   = 16
	maxChecksOfSilent = 4
	// maxWitnesses are asked whether this node reaches anybody.
	maxWitnesses = 2
)

// outcome is what a check found.
type outcome int

const (
	silent   outcome = iota // nothing, within checkLimit
	refused                 // the machine answers, the port does not
	answered                // a connection
	untried                 // this node could not even try
)

// judge decides which endpoints are ejected. It is told the time with every
// call, which must not go back, and is not safe for use at once.
type judge struct {
	endpoints map[Key]*endpoint
	flows     map[flow]*endpoint
	services  map[planner.ServiceID]*service
	ports     map[port]int // endpoints of each, those of this node included
	nodes     map[planner.NodeName]*node
	checks    int // under way
	news      []news
}

type service struct {
	local int
	tried time.Time // last, as far as it is known
}

// endpoint is what is known of one. Times are zero for never.
type endpoint struct {
	Endpoint
	// waiting is when the first connection was begun that has no answer yet.
	waiting  time.Time
	answered time.Time
	refused  bool // more recently than answered

	checked  time.Time // when the last check began
	checking bool
	found    outcome
	open     bool // the last check failed, the verdict waits for that of the node

	ejection *Ejection
	withNode bool          // ejected because of its node
	minimum  time.Duration // of this ejection, or of the last one
	returned time.Time
}

type node struct {
	name     planner.NodeName
	peer     string
	heard    time.Time // when anything at its address last answered
	checked  time.Time // when the last check of the peer port began
	checking bool
	under    int // checks of its endpoints under way
}

// news is one change of what is ejected.
type news struct {
	endpoint Endpoint
	ejection *Ejection // nil = it is back
}

// check is one connection to try, of an endpoint or, without a key, of a
// node's peer port.
type check struct {
	key     Key
	node    planner.NodeName
	address string
}

func newJudge() *judge {
	j := &judge{endpoints: map[Key]*endpoint{}}
	j.set(Fleet{}, time.Time{})
	return j
}

// set replaces what is judged, and returns what is judged no more. What is known
// of endpoints that stay is kept.
func (j *judge) set(f Fleet, now time.Time) (gone []*endpoint) {
	former, services, nodes := j.endpoints, j.services, j.nodes
	j.endpoints, j.flows = map[Key]*endpoint{}, map[flow]*endpoint{}
	j.services, j.nodes, j.ports = map[planner.ServiceID]*service{}, map[planner.NodeName]*node{}, map[port]int{}
	keep := func(name planner.NodeName) {
		if j.nodes[name] == nil {
			if j.nodes[name] = nodes[name]; j.nodes[name] == nil {
				j.nodes[name] = &node{name: name}
			}
			j.nodes[name].peer = f.Peers[name]
		}
	}
	for name := range f.Peers {
		keep(name)
	}
	for id, s := range f.Services {
		known := services[id]
		if known == nil {
			known = &service{}
		}
		known.local = s.Local
		j.services[id] = known
		for _, r := range s.Remote {
			e := former[r.Key]
			if e == nil || e.Node != r.Node {
				e = &endpoint{Endpoint: r}
			}
			if _, twice := j.endpoints[r.Key]; twice || r.Slot.Service != id {
				continue
			}
			keep(r.Node)
			j.endpoints[r.Key], j.flows[r.flow()] = e, e
			j.ports[r.port()]++
		}
	}
	for p := range j.ports {
		j.ports[p] += j.services[p.service].local
	}
	j.withinShare(now)
	for k, e := range former {
		if j.endpoints[k] != e {
			gone = append(gone, e)
		}
	}
	return gone
}

// read notes what the balancer saw. An endpoint it does not mention was not
// tried lately: nothing is held against it.
func (j *judge) read(seen []runtime.Traffic, now time.Time) {
	mentioned := map[*endpoint]bool{}
	for _, t := range seen {
		e := j.flows[flow{t.Target, t.Protocol}]
		if e == nil {
			continue
		}
		mentioned[e] = true
		e.note(t, now)
		if s := j.services[e.Slot.Service]; now.Add(-t.Tried).After(s.tried) {
			s.tried = now.Add(-t.Tried)
		}
		for _, ago := range []time.Duration{t.Answered, t.Refused} {
			if ago >= 0 {
				j.nodes[e.Node].hear(now.Add(-ago))
			}
		}
	}
	for _, e := range j.endpoints {
		if !mentioned[e] {
			e.waiting, e.refused = time.Time{}, false
		}
	}
	j.settle(now)
}

func (e *endpoint) note(t runtime.Traffic, now time.Time) {
	tried := now.Add(-t.Tried)
	if t.Answered >= 0 {
		e.answer(now.Add(-t.Answered))
	}
	e.refused = t.Refused >= 0 && now.Add(-t.Refused).After(e.answered)
	if e.waiting.IsZero() && tried.After(e.answered) {
		e.waiting = tried
	}
}

// answer notes an answer to new connections.
func (e *endpoint) answer(at time.Time) {
	if at.After(e.answered) {
		e.answered = at
	}
	if !e.waiting.After(e.answered) {
		e.waiting = time.Time{}
	}
}

func (n *node) hear(at time.Time) {
	if at.After(n.heard) {
		n.heard = at
	}
}

// done notes what a check found.
func (j *judge) done(c check, found outcome, now time.Time) {
	j.checks--
	n := j.nodes[c.node]
	if n != nil && found != silent {
		n.hear(now) // untried: nothing is held against it
	}
	if c.key == (Key{}) {
		if n != nil {
			n.checking = false
		}
	} else if e := j.endpoints[c.key]; e != nil && e.checking {
		e.checking = false
		n.under = max(0, n.under-1)
		e.found, e.open = found, found == silent || found == refused
		if found == answered {
			e.answer(now)
			e.refused = false
			j.back(e, now)
		}
	} else if n != nil {
		n.under = max(0, n.under-1) // of an endpoint that is gone
	}
	j.settle(now)
}

// settle gives the verdicts that can be given.
func (j *judge) settle(now time.Time) {
	for _, e := range j.which(func(e *endpoint) bool { return e.open }) {
		if e.open { // not decided with another of its node
			j.verdict(e, now)
		}
	}
}

// verdict decides about an endpoint whose check failed.
func (j *judge) verdict(e *endpoint, now time.Time) {
	n := j.nodes[e.Node]
	switch {
	case n.peer != "" && n.checking && e.found == silent && !n.heardSinceCheck():
		return // its node may be silent, too
	case e.found == refused || n.peer == "" || n.heardSinceCheck():
		e.open = false
		if e.Protocol == "udp" {
			// Its machine answers, or cannot be asked: there is nothing to hold
			// against it.
			e.answer(now)
			j.back(e, now)
			return
		}
		j.ejectOne(e, now)
	case !j.witnessed(n) && j.asking(n, now):
		return
	default:
		j.ejectNode(n, now)
	}
}

// heardSinceCheck reports whether anything at the node's address answered since
// the last check of its peer port began.
func (n *node) heardSinceCheck() bool { return !n.heard.Before(n.checked) && !n.heard.IsZero() }

// witnessed reports whether another node answered since n was asked: the fault
// is not with this node's own network.
func (j *judge) witnessed(n *node) bool {
	for _, o := range j.nodes {
		if o != n && !o.heard.IsZero() && !o.heard.Before(n.checked) {
			return true
		}
	}
	return false
}

// asking reports whether a witness may still answer.
func (j *judge) asking(n *node, now time.Time) bool {
	if !now.Before(n.checked.Add(checkLimit)) {
		return false
	}
	for _, o := range j.nodes {
		if o != n && o.checking {
			return true
		}
	}
	return false
}

// ejectNode ejects all endpoints of a silent node. Where this node reaches no
// other, the fault may be its own: then only services go on without it that
// have instances here.
func (j *judge) ejectNode(n *node, now time.Time) {
	witnessed := j.witnessed(n)
	for _, e := range j.which(func(e *endpoint) bool { return e.Node == n.name }) {
		e.open = false
		if witnessed || j.services[e.Slot.Service].local > 0 {
			e.withNode = true
			j.eject(e, fmt.Sprintf("node %s does not answer", n.name), now)
		}
	}
}

// ejectOne ejects an endpoint whose node answers, unless half of those of its
// port are ejected already.
func (j *judge) ejectOne(e *endpoint, now time.Time) {
	if e.ejection != nil || 2*(j.ejected(e.port())+1) > j.ports[e.port()] {
		return
	}
	reason := "it does not answer"
	if e.found == refused {
		reason = "it refuses connections: does it listen on all addresses?"
	}
	j.eject(e, reason, now)
}

func (j *judge) eject(e *endpoint, reason string, now time.Time) {
	if e.ejection != nil {
		return
	}
	if e.returned.IsZero() || now.Sub(e.returned) > settledAfter {
		e.minimum = minEjection
	} else {
		e.minimum = min(2*e.minimum, maxEjection)
	}
	e.ejection = &Ejection{Since: now, Reason: reason}
	j.news = append(j.news, news{e.Endpoint, e.ejection})
}

// back takes an endpoint back, unless it is too soon for one that flaps.
func (j *judge) back(e *endpoint, now time.Time) {
	if e.ejection != nil && now.Sub(e.ejection.Since) >= e.minimum {
		j.takeBack(e, now)
	}
}

// takeBack forgets what was held against an endpoint, but not how long it had
// to stay out.
func (j *judge) takeBack(e *endpoint, now time.Time) {
	e.ejection, e.withNode, e.open = nil, false, false
	e.waiting, e.refused = time.Time{}, false
	e.returned = now
	j.news = append(j.news, news{e.Endpoint, nil})
}

// ejected counts the ejected endpoints of a port.
func (j *judge) ejected(p port) int {
	count := 0
	for _, e := range j.endpoints {
		if e.ejection != nil && e.port() == p {
			count++
		}
	}
	return count
}

// withinShare takes back the longest ejected of a port that has fewer endpoints
// than before, those of silent nodes apart.
func (j *judge) withinShare(now time.Time) {
	alone := map[port][]*endpoint{}
	for _, e := range j.which(func(e *endpoint) bool { return e.ejection != nil && !e.withNode }) {
		alone[e.port()] = append(alone[e.port()], e)
	}
	for p, out := range alone {
		slices.SortStableFunc(out, func(a, b *endpoint) int { return a.ejection.Since.Compare(b.ejection.Since) })
		for ; 2*len(out) > j.ports[p]; out = out[1:] {
			j.takeBack(out[0], now)
		}
	}
}

// which are the endpoints that f holds of, in a total order.
func (j *judge) which(f func(*endpoint) bool) []*endpoint {
	var all []*endpoint
	for _, e := range j.endpoints {
		if f(e) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *endpoint) int { return a.compare(b.Key) })
	return all
}
