package planner

import (
	"errors"
	"fmt"
	"slices"
)

// ringSize is how many values a node's beats take in turn.
const ringSize = 64

// Beats holds the records that are the heartbeats of one agent process, in
// their order. They follow from the node's name and the salt in its record, so
// anyone can tell a beat by its hash; and as the server has all of them after
// one round, a beat adds nothing to it.
type Beats struct {
	node   NodeName
	salt   string
	hashes [ringSize]Hash
}

type beat struct {
	Beat int      `json:"beat"`
	Node NodeName `json:"node"`
	Salt string   `json:"salt"`
}

// Ring is the ring of a node's beats. Its values are the same in all versions.
func Ring(node NodeName, salt string) *Beats {
	r := &Beats{node: node, salt: salt}
	for i := range r.hashes {
		r.hashes[i] = r.At(i).Hash()
	}
	return r
}

// At is the i-th record, counted round and round.
func (r *Beats) At(i int) Record {
	b := beat{((i % ringSize) + ringSize) % ringSize, r.node, r.salt}
	m := Message{Subject: fmt.Sprintf("%s: beat %d", r.node, b.Beat), Parts: []Part{{Body: encode(b)}}}
	return m.Record(r.node, 0, "")
}

// Index is the position of a record in the ring; false = it is not of it.
func (r *Beats) Index(h Hash) (int, bool) {
	i := slices.Index(r.hashes[:], h)
	return max(i, 0), i >= 0
}

// BeatMark is a value of beats/<node> outside its ring: a challenge, or a
// fence value. Its writer signs it.
type BeatMark struct {
	// Challenge asks the node to beat; otherwise this is a fence value.
	Challenge bool     `json:"challenge,omitempty"`
	Node      NodeName `json:"node"` // whose beats
	By        NodeName `json:"by"`   // who wrote it
	// Replaced is the ring value a challenge took the place of.
	Replaced Hash `json:"replaced,omitempty"`
	// Epoch is the one a fence value belongs to.
	Epoch uint64 `json:"epoch,omitempty"`
	// Nonce makes the value unique.
	Nonce  string `json:"nonce"`
	Reason string `json:"reason,omitempty"`
}

// Subject says for people what the mark is.
func (m BeatMark) Subject() string {
	what := fmt.Sprintf("%s fences %s at epoch %d", m.By, m.Node, m.Epoch)
	if m.Challenge {
		what = fmt.Sprintf("%s challenges %s", m.By, m.Node)
	}
	if m.Reason != "" {
		what += ": " + m.Reason
	}
	return Subject(what)
}

// Body is the mark's JSON. The reason is cut and made printable.
func (m BeatMark) Body() string {
	m.Reason = OneLine(m.Reason, maxReason)
	return encode(m)
}

// ParseBeatMark reads what Body wrote. A beat of a ring is no mark. That Node
// is that of the ref is the caller's to check.
func ParseBeatMark(body string) (BeatMark, error) {
	var m BeatMark
	err := parse("mark", body, &m)
	return m, err
}

func (m *BeatMark) check() error {
	switch {
	case m.Challenge && (len(m.Replaced) != 40 || m.Epoch != 0):
		return errors.New("a challenge names the value it replaces, and no epoch")
	case !m.Challenge && (m.Replaced != "" || m.Epoch == 0):
		return errors.New("a fence value names its epoch, and no value it replaces")
	}
	return all(label("node", string(m.Node)), label("by", string(m.By)), word("replaced", string(m.Replaced)),
		counter("epoch", m.Epoch, 0), given("nonce", m.Nonce))
}
