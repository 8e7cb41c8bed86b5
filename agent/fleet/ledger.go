package fleet

import (
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// ledger keeps the pushes of the whole fleet within its budget: each member
// counts its own and those it sees others make, and leaves the later part of
// the budget to what is more urgent.
type ledger struct {
	pushes []time.Duration                    // of the last minute, by anybody, in order
	seen   map[planner.NodeName]time.Duration // look at which a push of another was counted
	wait   time.Duration                      // boot time when more may be pushed; 0 = nothing waits
	opens  time.Duration                      // when what was refused last may be pushed: for all nodes at once
}

// class orders pushes by haste.
type class int

const (
	haste  class = iota // fences, challenges, answers, registration
	leases              // documents
	status              // what coordinators wait for
	quiet               // everything else
)

const window = time.Minute

func (l *ledger) own(m *Member) { l.note(m.now.Boot) }

// saw counts a push of another node, once per look.
func (l *ledger) saw(m *Member, author planner.NodeName) {
	if author == m.self {
		return
	}
	if l.seen == nil {
		l.seen = map[planner.NodeName]time.Duration{}
	}
	if at, ok := l.seen[author]; ok && at == m.look.begin {
		return
	}
	l.seen[author] = m.look.begin
	if m.whole { // what stood at the start is no push of this minute
		l.note(m.now.Boot)
	}
}

func (l *ledger) note(at time.Duration) {
	l.pushes = slices.DeleteFunc(append(l.pushes, at), func(t time.Duration) bool { return t+window <= at })
}

// spend reports whether a push of a class may be made now; if not, the member
// looks again when it may.
func (m *Member) spend(c class) bool {
	l := &m.ledger
	budget := m.followed.Fleet.Budgets.WithDefaults().PushesPerMinute
	allowed := budget
	switch c {
	case leases:
		allowed = max(1, budget-budget/6)
	case status:
		allowed = max(1, budget/2)
	case quiet:
		allowed = max(1, budget/3)
	}
	recent := slices.DeleteFunc(slices.Clone(l.pushes), func(t time.Duration) bool { return t+window <= m.now.Boot })
	if len(recent) < allowed {
		return true
	}
	l.opens = recent[len(recent)-allowed] + window
	l.wait = soonest(l.wait, l.opens, m.now.Boot)
	return false
}

// spendStatus lets a status be pushed. Where pushes are few, nodes that have
// news at the same time take turns, each after it has seen the one before.
func (m *Member) spendStatus(urgent bool) bool {
	c := status
	if !urgent {
		c = quiet
	}
	if m.view.Few > 0 && m.own.differs > 0 {
		live := m.everybody()
		turn, _ := slices.BinarySearch(live, m.self)
		begin := max(m.own.differs, min(m.ledger.opens, m.now.Boot))
		if at := begin + time.Duration(turn)*m.view.Poll; at > m.now.Boot {
			m.ledger.wait = soonest(m.ledger.wait, at, m.now.Boot)
			return false
		}
	}
	return m.spend(c)
}
