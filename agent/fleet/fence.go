package fleet

import (
	"fmt"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// addFences adds the first fence that can be made.
func (m *Member) addFences(out *outgoing) {
	for _, s := range m.suspects {
		if s.Step == planner.StepFence && m.spend(haste) {
			if m.addFence(out, s); len(out.push.Changes) > 0 {
				return
			}
		}
	}
}

// half is a fence of which one of two pushes is done.
type half struct {
	beats  planner.Hash // the fence value
	record planner.Hash // of the node, as it was known before
}

// addMark writes a challenge or fence value over a node's beats.
func (m *Member) addMark(out *outgoing, mark planner.BeatMark, subject string, pokes []planner.NodeName) {
	mark.Nonce = strconv.FormatUint(m.cfg.Random(), 36)
	h := half{record: m.hashOf(planner.NodeRef(mark.Node))}
	p := piece{pokes: pokes}
	if !mark.Challenge {
		p.won = func(time.Duration) { m.pusher.half[mark.Node] = h }
	}
	m.addSigned(out, planner.BeatsRef(mark.Node), subject, mark.Body(), "", p)
	if n := len(out.push.Changes); n > 0 {
		h.beats = out.push.Changes[n-1].New.Hash()
	}
}

// fencedByHalf reports whether the beats of a node are a fence value that this
// process wrote, and its record is the one it knew then. Only so the second push
// of two is safe: a node that answers a fence value beats only after it has
// written its record, and who first looks between the two sees a fence value
// beside a record that answers it.
func (m *Member) fencedByHalf(node planner.NodeName) bool {
	h, ok := m.pusher.half[node]
	return ok && h.beats == m.hashOf(planner.BeatsRef(node)) && h.record == m.hashOf(planner.NodeRef(node))
}

// hashOf is the value of a ref as it is known; "" = none.
func (m *Member) hashOf(ref planner.Ref) planner.Hash {
	if e := m.entries[ref]; e != nil {
		return e.hash
	}
	return ""
}

func (m *Member) addChallenge(out *outgoing, s planner.Suspicion) {
	m.stats.Challenges++
	m.log.Warn("node is challenged to show life", "suspect", s.Node, "reason", s.Why)
	m.addMark(out, planner.BeatMark{Challenge: true, Node: s.Node, By: m.self, Replaced: m.view.Nodes[s.Node].Beats, Reason: s.Why},
		fmt.Sprintf("%s challenges %s: %s", m.self, s.Node, s.Why), append(m.view.Observers(s.Node), s.Node))
}

// addFence revokes all leases of a node: beats and record in one transaction,
// or where the server cannot, beats first (design L3).
func (m *Member) addFence(out *outgoing, s planner.Suspicion) {
	n := m.view.Nodes[s.Node]
	e := m.entries[planner.NodeRef(s.Node)] // what it says now may be garbage: the last good text is fenced
	epoch := n.Record.Epoch + 1
	subject := fmt.Sprintf("%s fences %s (epoch %d): %s", m.self, s.Node, epoch, s.Why)
	if !m.fencedByHalf(s.Node) {
		m.addMark(out, planner.BeatMark{Node: s.Node, By: m.self, Epoch: epoch, Reason: s.Why}, subject, nil)
		if !m.pusher.atomic {
			return
		}
		out.push.Atomic = true
	}
	fence := planner.Fence{Epoch: epoch, Fenced: true, By: m.self, Nonce: strconv.FormatUint(m.cfg.Random(), 36), Reason: s.Why}
	record, err := m.fenced(s.Node, e.last, fence, subject)
	if err != nil {
		m.log.Error("node cannot be fenced", "suspect", s.Node, "err", err)
		*out = outgoing{}
		return
	}
	m.stats.Fences++
	m.log.Warn("node is fenced: its leases are void", "suspect", s.Node, "epoch", epoch, "reason", s.Why)
	m.add(out, planner.NodeRef(s.Node), record, piece{what: subject, pokes: m.everybody()})
}

// fenced is another node's record with a fence added to it.
func (m *Member) fenced(node planner.NodeName, record planner.Record, fence planner.Fence, subject string) (*planner.Record, error) {
	original, err := planner.ParseMessage(record.Message)
	if err != nil {
		return nil, err
	}
	body := fence.Body()
	signature, err := m.cfg.Sign(planner.NodeRef(node), body)
	if err != nil {
		return nil, err
	}
	msg, err := planner.FenceMessage(original, subject, planner.Part{Body: body, Signature: signature})
	if err != nil {
		return nil, err
	}
	return m.record(msg, ""), nil
}
