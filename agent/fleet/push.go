package fleet

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// pushState is where the member is in writing records.
type pushState struct {
	atomic   bool      // the server can change several refs at once
	refused  string    // why this server must not be written to; "" = it may be
	under    *outgoing // the push under way
	retry    time.Duration
	failures int                          // pushes in a row without an answer
	turn     time.Duration                // not before, where nodes take turns
	suspect  map[planner.Ref]planner.Hash // of the last push, if it was lost
	why      string                       // the server's words about it
	denials  int                          // pushes in a row that were refused although nothing had moved
	denied   string
	half     map[planner.NodeName]half
	// unwritable holds, by ref, why a record was left out that was logged.
	unwritable map[planner.Ref]string
	// untold holds, by ref, the decisions whose push had no reply: they are told
	// once the ref is seen to have the value.
	untold map[planner.Ref]untold
	poke   []Peer
}

// untold is a decision that may stand already.
type untold struct {
	hash     planner.Hash
	decision *planner.Decision
}

// outgoing is one push. Plain ones have an outcome per ref; transactions are
// all or nothing (design L11).
type outgoing struct {
	push   gitsync.Push
	pieces []piece // one per change
	begin  time.Duration
}

// piece is what one change is about.
type piece struct {
	what  string              // for the log
	told  *planner.Decision   // that is told once the change stands; may be nil
	pokes []planner.NodeName  // who should look once it is accepted
	won   func(time.Duration) // what else follows from its acceptance; may be nil
}

const maxPushRetry = 30 * time.Second

// Able tells what the server can do. A member that was not told assumes that
// it compares old values and lacks atomic pushes.
func (m *Member) Able(a gitsync.Abilities) {
	m.pusher.atomic = a.Atomic
	m.pusher.refused = ""
	if !a.Compares {
		m.pusher.refused = "the Git server changes refs without comparing their old value: no leases can be agreed on there"
	}
	m.dirty = true
}

// stepPush makes the next push, if there is anything to write and the budget
// lets it.
func (m *Member) stepPush() *gitsync.Push {
	p := &m.pusher
	m.ledger.wait = 0
	if p.under != nil || p.retry > m.now.Boot || p.refused != "" {
		return nil
	}
	out := m.compose()
	if out == nil || len(out.push.Changes) == 0 {
		return nil
	}
	out.begin = m.now.Boot
	p.under = out
	m.stats.Pushes++
	m.ledger.own(m)
	return &out.push
}

// Pushed tells the outcome of the push that the last Step asked for.
func (m *Member) Pushed(results []gitsync.Result, err error, now planner.Time) {
	m.now = now
	p := &m.pusher
	out := p.under
	p.under = nil
	if out == nil {
		return
	}
	answered := false
	var pokes []planner.NodeName
	for k, change := range out.push.Changes {
		result := gitsync.Result{}
		if k < len(results) {
			result = results[k]
		}
		switch result.Outcome {
		case gitsync.Won:
			answered = true
			m.stats.Won++
			m.won(change, out.pieces[k], out.begin)
			pokes = append(pokes, out.pieces[k].pokes...)
		case gitsync.Lost:
			answered = answered || err == nil
			m.stats.Lost++
			m.look.due = true
			m.log.Debug("swap lost", "ref", string(change.Ref), "what", out.pieces[k].what, "reason", result.Reason)
		default:
			m.stats.Unknown++
			m.look.due = true
			if told := out.pieces[k].told; told != nil && change.New != nil {
				p.untold[change.Ref] = untold{change.New.Hash(), told}
			}
		}
	}
	if out.push.Atomic && len(pokes) == 0 {
		p.turn = m.now.Boot + time.Duration(m.cfg.Random()%uint64(turnTime)) // not again at the same instant as who won
	}
	m.judge(out, results, err)
	if len(out.push.Changes) > 0 && m.look.due {
		m.fresh = false // decide again only on what stands now
	}
	m.settlePush(answered, out.begin, err)
	m.pokes(pokes)
	m.dirty = true
}

// deniedAfter is how many pushes in a row must come to nothing, although no ref
// had moved, for the server to be said to refuse them.
const deniedAfter = 3

// judge finds out whether the server refuses what it was sent for other reasons
// than that a ref has moved: a hook, a protected ref, a quota.
func (m *Member) judge(out *outgoing, results []gitsync.Result, err error) {
	p := &m.pusher
	why := ""
	for k, result := range results {
		switch {
		case result.Outcome == gitsync.Won:
			if p.denied != "" {
				m.log.Info("records are accepted again")
			}
			p.denials, p.denied = 0, ""
			return
		case result.Outcome == gitsync.Lost && err == nil && why == "":
			why = planner.OneLine(string(out.push.Changes[k].Ref)+": "+result.Reason, 300)
		}
	}
	if why == "" {
		return
	}
	p.suspect = map[planner.Ref]planner.Hash{}
	for _, change := range out.push.Changes {
		p.suspect[change.Ref] = change.Old
	}
	p.why = why
}

// confirm looks whether the refs of a push that was lost have moved: if none
// has, it was not lost to somebody else.
func (m *Member) confirm(refs map[planner.Ref]planner.Hash) {
	p := &m.pusher
	if p.suspect == nil {
		return
	}
	moved := false
	for ref, old := range p.suspect {
		moved = moved || refs[ref] != old
	}
	p.suspect = nil
	if moved {
		p.denials = 0
		return
	}
	if p.denials++; p.denials == deniedAfter {
		p.denied = p.why
		m.log.Warn("the Git server refuses the records of this node", "reason", p.why)
	}
}

// Denied says what the server has against the records of this node; "" = it
// takes them.
func (m *Member) Denied() string { return m.pusher.denied }

// won takes in a change of this process that was accepted.
func (m *Member) won(change gitsync.Change, p piece, begin time.Duration) {
	e := m.entries[change.Ref]
	if e == nil {
		e = &entry{parts: change.Ref.Parse()}
		m.entries[change.Ref] = e
	}
	e.settled = m.now.Boot
	if p.won != nil {
		p.won(begin)
	}
	if p.told != nil {
		m.tell(*p.told)
	}
	if change.New == nil {
		m.vanished(change.Ref, e)
	} else {
		m.take(change.Ref, e, change.New.Hash(), *change.New)
	}
	level := slog.LevelInfo
	switch e.parts.Kind {
	case planner.RefBeats, planner.RefStatus, planner.RefLeases:
		level = slog.LevelDebug // the last are told as decisions
	}
	m.log.Log(context.Background(), level, "record written", "ref", string(change.Ref), "what", p.what)
}

// tell logs a decision of this node that stands.
func (m *Member) tell(d planner.Decision) {
	if d.Delete {
		m.log.Info("lease document deleted", "service", d.Doc.Service, "reason", d.Why)
		return
	}
	event.LogDecision(m.log, m.followed.Services[d.Doc.Service], d.Old, d.Doc, d.Why)
}

// maxUnplacedTold bounds how many slots without a node are told at once: of a
// fleet that is too small there may be thousands.
const maxUnplacedTold = 20

// tellUnplaced logs the slots that no node takes and that had one, or none was
// asked of, before.
func (m *Member) tellUnplaced(before []planner.Unplaced) {
	known := map[planner.SlotID]bool{}
	for _, u := range before {
		known[u.Slot] = true
	}
	told := 0
	for _, u := range m.decided.Unplaced {
		if known[u.Slot] || told == maxUnplacedTold {
			continue
		}
		told++
		why := "there is no node"
		if len(u.Reasons) > 0 {
			var reasons []string
			for _, r := range u.Reasons {
				reasons = append(reasons, r.String())
			}
			why = strings.Join(reasons, "; ")
		}
		m.log.Warn("no node takes the slot", "slot", u.Slot, "reason", why)
	}
}

// settlePush notes how the server fares.
func (m *Member) settlePush(answered bool, begin time.Duration, err error) {
	p := &m.pusher
	if answered {
		if p.failures > 0 {
			m.log.Info("records can be written again")
		}
		p.failures, p.retry = 0, 0
		m.view.Health.Pushed = begin
		return
	}
	p.failures++
	m.view.Health.PushFailed = m.now.Boot
	p.retry = m.now.Boot + m.jitter(min(time.Second<<min(p.failures-1, 6), maxPushRetry))
	if p.failures == 1 {
		m.log.Warn("records cannot be written: nothing moves, everything runs on", "err", err)
	}
}

// pokes tells the nodes concerned to look now.
func (m *Member) pokes(names []planner.NodeName) {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if n := m.view.Nodes[name]; name != m.self && n.Record.Address != "" {
			m.pusher.poke = append(m.pusher.poke, Peer{Node: name, Address: n.Record.Address, Key: n.Record.Key})
		}
	}
}
