package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SuspicionStep is what is done about a node that seems dead.
type SuspicionStep int

// The steps.
const (
	// StepChallenge asks the node through the records to beat: beats/<node>
	// goes from the ring value it shows to a challenge that names that value.
	StepChallenge SuspicionStep = iota
	// StepFence voids its leases: its record gets the next epoch and a fence,
	// beats/<node> a fence value, both from the very values of the view.
	StepFence
	// StepBeat is about self: one beat of its own, as a proof that its pushes
	// are accepted, before it fences one of many.
	StepBeat
)

// Suspicion is one step that self is to push.
type Suspicion struct {
	Node NodeName
	Step SuspicionStep
	Why  string // for people
	// Fast marks a fence without a challenge, of failover: fast.
	Fast bool
}

const (
	// answerTime is what a challenged node has beyond one poll to beat.
	answerTime = 3 * time.Second
	// rankDelay is how much longer each observer waits than the one that ranks
	// before it, so that few of their pushes meet.
	rankDelay = 2 * time.Second
	// missedBeats make a node that owes beats a suspect.
	missedBeats = 3
	// probedWithin is how long a node that is not probed believes that it
	// still is.
	probedWithin = 10 * time.Second
	// massWait and massSpacing slow the fences of a node to which more than
	// half of the fleet seems dead: it may be the one that is cut off.
	massWait    = 60 * time.Second
	massSpacing = 10 * time.Second
	// maxSuspicions bounds what is pushed at once.
	maxSuspicions = 4
)

// Suspects lists the challenges and fences that self is to push now, at most a
// few, and when to ask again although nothing happens (design L3 to L5). Once
// they are pushed it is asked again anyway.
//
// A node is suspected by its own observers only. One with an address: when
// self's probes fail, another observer says the same (or none is left that
// could), and no sign of life was seen since, or none for three beats plus a
// poll. One without: when no sign of life was seen for three beats plus a poll.
//
// A suspect whose beats show a value of its ring is challenged; it is fenced
// once that challenge, whoever made it, or a fence begun by another, was seen
// unchanged for a poll and answerTime. With failover: fast a ring value that
// was seen unchanged for as long will do, if a second observer agrees and the
// node holds nothing exclusive. Where the beats show nothing that may be
// challenged (no value, or one that is not the node's), a living node replaces
// it once it owes beats: it is fenced if it has not for three beats plus a
// poll.
func Suspects(f Followed, v View, now Time) (steps []Suspicion, next time.Duration) {
	if v.Alarm != "" || !v.Nodes[v.Self].Live() {
		return nil, Never
	}
	if fit, from := v.fitToJudge(now); !fit {
		return nil, from
	}
	found, next := v.suspects(now)
	m := v.mass(now)
	var due []suspect
	for _, s := range found {
		s.decide(f, v, m)
		if s.at > now.Boot {
			next = earlier(next, s.at)
			continue
		}
		due = append(due, s)
	}
	slices.SortFunc(due, func(a, b suspect) int {
		return cmp.Or(cmp.Compare(b.Step, a.Step), cmp.Compare(a.at, b.at), cmp.Compare(a.Node, b.Node))
	})
	for _, s := range due {
		switch {
		case len(steps) == maxSuspicions:
			return steps, next
		case s.Step == StepFence && m.is && len(steps) > 0:
			continue // one at a time: the next one after massSpacing
		case s.Step == StepFence && m.is && v.Health.Pushed <= m.began(s):
			steps = append(steps, Suspicion{Node: v.Self, Step: StepBeat, Why: "proves that pushes are accepted before " + string(s.Node) + " is fenced"})
		default:
			steps = append(steps, s.Suspicion)
		}
	}
	return steps, next
}

// Suspected lists whom self's own probes do not reach, sorted: what it tells
// its peers.
func Suspected(v View) []NodeName {
	var names []NodeName
	for _, x := range v.live() {
		if v.Nodes[x].Probe == ProbeDown {
			names = append(names, x)
		}
	}
	return names
}

// Watched lists the nodes that self is to probe, sorted: those it observes,
// and for each of them that it cannot reach, the other observers, for that is
// how they learn of each other what they see. Its cost grows with the square
// of the fleet: it is asked when nodes or the state of probes change.
func Watched(v View) []NodeName {
	if !v.Nodes[v.Self].Live() {
		return nil
	}
	var names []NodeName
	for _, x := range v.live() {
		if x == v.Self || v.Nodes[x].Record.Address == "" {
			continue
		}
		observers := v.Observers(x)
		if !slices.Contains(observers, v.Self) {
			continue
		}
		names = append(names, x)
		if v.Nodes[x].Probe != ProbeDown {
			continue
		}
		for _, y := range observers {
			if y != v.Self && v.Nodes[y].Record.Address != "" {
				names = append(names, y)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// OwesBeats reports whether self must beat although nobody asked: because
// peers cannot reach it. probed is when a peer last probed self; Never = not
// yet. Who is alone has nobody to beat for.
func OwesBeats(v View, probed time.Duration, now Time) bool {
	self := v.Nodes[v.Self]
	switch {
	case !self.Live() || len(v.live()) < 2:
		return false
	case self.Record.Address == "":
		return true
	}
	return now.Boot-max(probed, v.Health.Started) > probedWithin
}

// fitToJudge reports whether self may call others dead: not when it has just
// started or its own reads or pushes fail. from is when it may, if time alone
// brings that.
func (v View) fitToJudge(now Time) (fit bool, from time.Duration) {
	h, recent := v.Health, 2*v.Poll
	from = h.Started + v.Poll + answerTime
	if h.ReadFailed != 0 {
		from = max(from, h.ReadFailed+recent)
	}
	if h.PushFailed != 0 {
		from = max(from, h.PushFailed+recent)
	}
	switch {
	case now.Boot < from:
		return false, from
	case h.Read == 0 || now.Boot-h.Read > recent:
		return false, Never // what it knows is too old: the next read brings it
	}
	return true, Never
}

// suspect is a node that self suspects, and the step it means to take.
type suspect struct {
	Suspicion
	seen  NodeView
	began time.Duration // of the suspicion
	// witnesses are the other observers that say the same.
	witnesses []NodeName
	rank      int           // of self among the observers it can reach
	at        time.Duration // of the step
}

// suspects lists the nodes that self suspects, by name, and when time alone
// may make another one suspicious.
func (v View) suspects(now Time) (found []suspect, next time.Duration) {
	for _, x := range v.live() {
		if x == v.Self {
			continue
		}
		began, silent := v.silent(x)
		switch {
		case !silent:
			continue
		case began > now.Boot:
			next = earlier(next, began)
			continue
		}
		s := suspect{Suspicion: Suspicion{Node: x}, seen: v.Nodes[x], began: began}
		if s.heed(v, now) {
			s.Why = s.reason(v, now)
			found = append(found, s)
		}
	}
	return found, next
}

// silent tells from when on a node's silence is suspicious, which may be in
// the future; not ok = it answers probes, or self does not probe it.
func (v View) silent(x NodeName) (from time.Duration, ok bool) {
	n := v.Nodes[x]
	life := v.life(n)
	switch {
	case n.Record.Address == "":
		return life + v.patience(), true
	case n.Probe != ProbeDown:
		return 0, false
	case life <= n.ProbeSince:
		return n.ProbeSince, true
	}
	// It gave a sign of life through the records since the probes fail: it is
	// alive without peers as long as it goes on to.
	return life + v.patience(), true
}

// life is when self last saw a sign of life of a node: at the latest when self
// began to look.
func (v View) life(n NodeView) time.Duration { return max(n.Life, v.Health.Started) }

// patience is how long a living node that owes beats may seem not to.
func (v View) patience() time.Duration { return missedBeats*v.Beat + v.Poll }

// heed asks the observers: it reports whether self is one and the others agree
// or cannot be asked. One that was never probed yet can be: see Watched.
func (s *suspect) heed(v View, now Time) bool {
	mine, ahead, others := false, 0, 0
	for _, y := range v.Observers(s.Node) {
		n := v.Nodes[y]
		began, silent := v.silent(y)
		switch {
		case y == v.Self:
			mine, s.rank = true, ahead
			continue
		case silent && began <= now.Boot:
			continue // it seems dead: it does not act, and its word may be old
		case slices.Contains(s.seen.SuspectedBy, y):
			s.witnesses = append(s.witnesses, y)
		case n.Probe != ProbeDown && n.Record.Address != "":
			others++
		}
		ahead++
	}
	if s.seen.Record.Address == "" {
		return mine
	}
	return mine && (others == 0 || len(s.witnesses) > 0)
}

// reason says why the node is suspected.
func (s *suspect) reason(v View, now Time) string {
	var why []string
	if s.seen.Record.Address != "" {
		names := []string{string(v.Self)}
		for _, y := range s.witnesses {
			names = append(names, string(y))
		}
		why = append(why, "not reached by "+strings.Join(names, ", "))
	}
	if life := v.life(s.seen); s.began > s.seen.ProbeSince {
		why = append(why, fmt.Sprintf("no beat for %v", (now.Boot-life).Round(time.Second)))
	}
	return strings.Join(why, ", ")
}

// decide chooses the step, and when it is due.
func (s *suspect) decide(f Followed, v View, m mass) {
	steady := max(s.began, s.seen.BeatsSince+v.Poll+answerTime)
	switch s.seen.BeatsKind {
	case BeatRing:
		s.Step, s.at = StepChallenge, s.began
		if f.Fleet.FastFailover && !m.is && len(s.witnesses) > 0 && !v.holdsExclusive(s.Node) {
			s.Step, s.at, s.Fast = StepFence, steady, true
		}
	case BeatChallenge, BeatFence:
		s.Step, s.at = StepFence, steady
		s.Why += ", did not answer a challenge"
	default:
		s.Step, s.at = StepFence, max(s.began, s.seen.BeatsSince)+v.patience()
		s.Why += ", cannot be challenged"
	}
	s.at += time.Duration(s.rank) * rankDelay
	if m.is && s.Step == StepFence {
		s.at = max(s.at, m.began(*s)+massWait, m.spaced)
	}
}

// holdsExclusive reports whether a node holds a lease of which there may be
// only one: those end by rules of their own, never in haste.
func (v View) holdsExclusive(x NodeName) bool {
	for _, d := range v.Docs {
		for _, l := range d.Doc.Leases {
			if l.Node == x && l.Exclusive != nil {
				return true
			}
		}
	}
	return false
}

// mass is the state in which more than half of the nodes that self can judge
// seem dead to it.
type mass struct {
	is     bool
	since  time.Duration
	spaced time.Duration // from when on the next may be fenced
}

// began is when the suspicion of s began to be one of many.
func (m mass) began(s suspect) time.Duration { return max(m.since, s.began) }

// mass counts. Nodes with an address that self does not probe count on neither
// side, so what it sees stands for the rest of a large fleet; self counts as
// alive. Those fenced within massWait still count as dead, or the last of many
// would go in haste.
func (v View) mass(now Time) mass {
	var m mass
	var begins []time.Duration
	judged, fenced := 1, 0
	for _, x := range v.names() {
		n := v.Nodes[x]
		switch began, silent := v.silent(x); {
		case x == v.Self:
		case n.Record.Fence != nil:
			m.spaced = max(m.spaced, n.BeatsSince+massSpacing)
			if now.Boot-n.BeatsSince < massWait {
				fenced++
			}
		case !n.Live():
		case silent && began <= now.Boot:
			begins = append(begins, began)
			judged++
		case silent || n.Probe == ProbeUp:
			judged++
		}
	}
	majority := (judged+fenced)/2 + 1
	if len(begins) == 0 || len(begins)+fenced < majority {
		return mass{}
	}
	slices.Sort(begins)
	m.is, m.since = true, begins[max(majority-fenced, 1)-1]
	return m
}

// names lists the names of all nodes, sorted.
func (v View) names() []NodeName {
	names := make([]NodeName, 0, len(v.Nodes))
	for name := range v.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
