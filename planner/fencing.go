package planner

import (
	"errors"
	"fmt"
)

// Record is the record with this text.
func (m Message) Record(author NodeName, at int64, parent Hash) Record {
	return Record{Author: author, At: at, Parent: parent, Message: m.String()}
}

// Only is the part of a record that has exactly one, as all have but the
// record of a fenced node.
func (m Message) Only() (Part, error) {
	if len(m.Parts) != 1 {
		return Part{}, fmt.Errorf("record has %d parts, not one", len(m.Parts))
	}
	return m.Parts[0], nil
}

// ParseNodeMessage reads a node's record with what a fencer added to it, which
// sets Fence and raises Epoch. It does not look at the signatures: the first
// part is to be signed by the node, the second by Fence.By.
func ParseNodeMessage(text string) (NodeRecord, error) {
	m, err := ParseMessage(text)
	if err != nil {
		return NodeRecord{}, err
	}
	if len(m.Parts) == 0 {
		return NodeRecord{}, errors.New("node record has no body")
	}
	record, err := ParseNodeRecord(m.Parts[0].Body)
	if newer := new(FormatError); len(m.Parts) == 1 || err != nil && !errors.As(err, &newer) {
		return record, err
	}
	fence, fenceErr := ParseFence(m.Parts[1].Body)
	switch {
	case fenceErr != nil:
		return NodeRecord{}, fenceErr
	case fence.Epoch <= record.Epoch:
		return NodeRecord{}, fmt.Errorf("fence: epoch %d does not raise the record's %d", fence.Epoch, record.Epoch)
	}
	record.Fence, record.Epoch = &fence, fence.Epoch
	return record, err
}

// FenceMessage is a node's record with a fence added to it; what the node
// wrote and signed stays byte for byte. A record that is fenced already is not
// fenced again (design L3).
func FenceMessage(original Message, subject string, fence Part) (Message, error) {
	written, err := original.Only()
	if err != nil {
		return Message{}, fmt.Errorf("fence a node: %w", err)
	}
	return Message{Subject: Subject(subject), Parts: []Part{written, fence}}, nil
}
