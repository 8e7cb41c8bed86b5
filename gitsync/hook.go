package gitsync

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

// NodeHook is what a Git server's pre-receive hook lets one node push: records
// of its own, lease documents and the fleet's record, and of another node no
// more than a challenge or a fence. A lease document it may delete only beside
// a fleet record that remembers its tokens. It is a second wall: readers check records
// as well. It keeps a node's key from all other refs, and from filling the
// server with anything but records.
type NodeHook struct {
	Node   planner.NodeName // who pushes
	Prefix string           // of the records; "" = DefaultPrefix
	Dir    string           // the repository; "" = here, where git starts hooks
}

// Bounds of one push of a node, and of all records.
const (
	maxHookChanges = 4096
	maxHookLine    = 4 * kibi
	maxHookBytes   = 64 * mebi // of the objects that are looked at
	maxHookIndex   = 512 * kibi
)

// PreReceive reads the lines "old new ref" that git gives the hook, and
// returns all that is wrong with them, in words for whoever pushes; nil lets
// all of them pass. Whether old values still stand, git compares afterwards.
func (h NodeHook) PreReceive(ctx context.Context, stdin io.Reader) error {
	if h.Prefix == "" {
		h.Prefix = DefaultPrefix
	}
	if planner.NodeRef(h.Node).Parse().Kind != planner.RefNode {
		return fmt.Errorf("%q is no name of a node", printable(string(h.Node), 80))
	}
	updates, err := readUpdates(stdin)
	if err != nil {
		return err
	}
	objects, err := h.readObjects(ctx, updates)
	if err != nil {
		return fmt.Errorf("read what is pushed: %w", err)
	}
	var faults []error
	for _, u := range updates {
		if err := h.check(u, updates, objects); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", printable(u.name, 120), err))
		}
	}
	if len(faults) == 0 {
		err = errors.Join(h.checkRoom(ctx, updates), h.checkObjects(ctx, updates))
	}
	return errors.Join(append(faults, err)...)
}

// update is one line of the hook's input.
type update struct {
	old, new planner.Hash // "" = no such ref
	name     string       // of the ref, in full
}

func readUpdates(r io.Reader) (updates []update, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxHookLine)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 3)
		if len(fields) != 3 || !plumbing.IsHash(fields[0]) || !plumbing.IsHash(fields[1]) {
			return nil, fmt.Errorf("%q is not of the form: old new ref", printable(lines.Text(), 120))
		}
		if len(updates) == maxHookChanges {
			return nil, fmt.Errorf("one push changes more than %d refs", maxHookChanges)
		}
		updates = append(updates, update{hookHash(fields[0]), hookHash(fields[1]), fields[2]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the hook's input: %w", err)
	}
	return updates, nil
}

func hookHash(id string) planner.Hash {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return planner.Hash(id)
}

// check is one change of a push.
func (h NodeHook) check(u update, updates []update, objects map[planner.Hash]planner.Record) error {
	short, below := strings.CutPrefix(u.name, h.Prefix)
	if !below {
		return fmt.Errorf("node %s may change only refs below %s", h.Node, h.Prefix)
	}
	ref := planner.Ref(short)
	parts := ref.Parse()
	scratch := planner.Ref(probeRoom + string(h.Node))
	probe := ref == scratch+"-a" || ref == scratch+"-b"
	if parts.Kind == planner.RefOther && !probe {
		return errors.New("this is no ref of a record")
	}
	if u.new == u.old {
		return nil // a transaction may hold another to what it has read
	}
	if u.new == "" {
		switch {
		case probe:
			return nil
		case parts.Kind == planner.RefLeases:
			return h.checkDeletion(u, updates, objects)
		}
		return errors.New("records of nodes and of the fleet are never deleted; a node that leaves is retired")
	}
	record, ok := objects[u.new]
	if !ok {
		return fmt.Errorf("%s is no record: a commit on the empty tree of at most %s, without other headers", u.new.Short(), byteSize(planner.MaxRecordBytes))
	}
	switch {
	case record.Author != h.Node:
		return fmt.Errorf("the author is %q, not node %s", printable(string(record.Author), 63), h.Node)
	case record.Parent != "" && (parts.Kind != planner.RefLeases || record.Parent != u.old):
		return errors.New("the parent is not the value that is replaced, or this kind of record has none")
	case parts.Node == "" || parts.Node == h.Node:
		return nil
	}
	return h.checkOther(u, parts, objects)
}

// checkOther is a change of another node's record.
func (h NodeHook) checkOther(u update, parts planner.Parts, objects map[planner.Hash]planner.Record) error {
	old := objects[u.old] // nothing if it is no record
	var err error
	switch {
	case u.old == "":
		err = errors.New("there is no record to change")
	case parts.Kind == planner.RefNode:
		err = h.checkFence(parts.Node, old.Message, objects[u.new].Message)
	case parts.Kind == planner.RefBeats:
		node := objects[currentNode(parts.Node)]
		err = h.checkMark(parts.Node, u.old, old.Message, objects[u.new].Message, node.Message)
	default:
		err = errors.New("only its own node writes it")
	}
	if err != nil {
		return fmt.Errorf("node %s may not change this of node %s: %w", h.Node, parts.Node, err)
	}
	return nil
}

// checkFence lets a node record pass that is the one before, byte for byte,
// and a signed fence of the next epoch (design L3). Where the one before cannot
// be read, the fencer adds to the last that could be: readers verify it.
func (h NodeHook) checkFence(node planner.NodeName, old, new string) error {
	before, unreadable := readNodeMessage(old)
	if unreadable == nil && before.Fence != nil {
		return errors.New("it is fenced already")
	}
	after, err := readNodeMessage(new)
	if err != nil {
		return fmt.Errorf("not a fence: %w", err)
	}
	if after.Fence == nil {
		return errors.New("not a fence: the record has one part")
	}
	is, _ := planner.ParseMessage(new) // it was read above
	switch {
	case after.Fence.By != h.Node:
		return fmt.Errorf("the fence is by node %s", after.Fence.By)
	case is.Parts[1].Signature == "":
		return errors.New("the fence is not signed")
	case unreadable == nil:
		return checkFenceOver(before, after, old, new)
	case after.Node != node:
		return fmt.Errorf("the fence is of node %s", after.Node)
	case is.Parts[0].Signature == "":
		return errors.New("what the node wrote is not signed")
	}
	return nil
}

// checkFenceOver compares a fence with the record it is added to.
func checkFenceOver(before, after planner.NodeRecord, old, new string) error {
	was, _ := planner.ParseMessage(old) // both were read before
	is, _ := planner.ParseMessage(new)
	whole, err := planner.FenceMessage(was, is.Subject, is.Parts[1])
	switch {
	case err != nil:
		return err
	case whole.String() != new:
		return errors.New("not a fence: what the node wrote was changed")
	case after.Epoch != before.Epoch+1:
		return fmt.Errorf("the fence has epoch %d, not %d", after.Epoch, before.Epoch+1)
	}
	return nil
}

// readNodeMessage reads a node's record, also one of a later format: its epoch
// and its fence can be read.
func readNodeMessage(text string) (planner.NodeRecord, error) {
	record, err := planner.ParseNodeMessage(text)
	if newer := new(planner.FormatError); errors.As(err, &newer) {
		err = nil
	}
	return record, err
}

// checkMark lets a signed challenge of a beat, or a signed fence value of the
// next epoch, take the place of another node's beat (design L3).
func (h NodeHook) checkMark(node planner.NodeName, replaced planner.Hash, old, new, record string) error {
	message, err := planner.ParseMessage(new)
	if err != nil {
		return err
	}
	part, err := message.Only()
	if err != nil {
		return err
	}
	mark, err := planner.ParseBeatMark(part.Body)
	switch {
	case err != nil:
		return fmt.Errorf("neither a challenge nor a fence value: %w", err)
	case mark.Node != node || mark.By != h.Node:
		return fmt.Errorf("the mark is for node %s, by node %s", mark.Node, mark.By)
	case part.Signature == "":
		return errors.New("the mark is not signed")
	case mark.Challenge:
		if mark.Replaced != replaced {
			return errors.New("the challenge names another value than it replaces")
		}
		if isMark(old) {
			return errors.New("only a beat is challenged, not a challenge or a fence value")
		}
		return nil
	}
	before, unreadable := readNodeMessage(record)
	if unreadable == nil && mark.Epoch != before.Epoch+1 {
		return fmt.Errorf("the fence value has epoch %d, not %d", mark.Epoch, before.Epoch+1)
	}
	return nil
}

// isMark reports whether a value of beats/<node> is no beat.
func isMark(text string) bool {
	message, err := planner.ParseMessage(text)
	if err != nil {
		return false
	}
	part, err := message.Only()
	if err != nil {
		return false
	}
	_, err = planner.ParseBeatMark(part.Body)
	return err == nil
}

// currentNode stands for the value of a node's record that the server has, as
// a key among the objects that were read.
func currentNode(n planner.NodeName) planner.Hash { return planner.Hash(planner.NodeRef(n)) }
