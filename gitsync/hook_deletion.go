package gitsync

import (
	"errors"
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

// currentFleet stands for the value of the fleet's record that the server has,
// as a key among the objects that were read.
const currentFleet = planner.Hash(planner.FleetRef)

// checkDeletion lets a lease document go only where the same push raises the
// fleet's floor of tokens above all it gave (design L2). Everybody remembers
// its tokens, and takes the loss of them for a server that was restored from a
// backup. Git does not tell a hook whether a push is all or nothing, which that
// of a member is; one that is not could still lose the fleet's record to
// another push of the same instant.
func (h NodeHook) checkDeletion(u update, updates []update, objects map[planner.Hash]planner.Record) error {
	doc, err := readLeases(objects[u.old].Message)
	if err != nil {
		return fmt.Errorf("what is deleted cannot be read, so nobody knows its tokens: %w", err)
	}
	for _, f := range updates {
		if f.name != h.Prefix+string(planner.FleetRef) || f.new == f.old {
			continue
		}
		before, there := objects[currentFleet]
		if there != (f.old != "") || there && before.Hash() != f.old {
			return errors.New("the fleet's record has another value than this push replaces")
		}
		fleet, err := readFleet(objects[f.new].Message)
		switch {
		case err != nil:
			return fmt.Errorf("the fleet's record beside it: %w", err)
		case fleet.Tokens < doc.Tokens:
			return fmt.Errorf("the fleet's record beside it has the tokens %d, below the document's %d", fleet.Tokens, doc.Tokens)
		}
		return nil
	}
	return errors.New("a lease document is deleted only together with a change of the fleet's record")
}

// readLeases and readFleet read records, also of a later format: the counters
// mean the same there.
func readLeases(text string) (planner.LeaseDoc, error) {
	return readOnly(text, planner.ParseLeaseDoc)
}

func readFleet(text string) (planner.FleetRecord, error) {
	return readOnly(text, planner.ParseFleetRecord)
}

// readOnly reads a record of one part.
func readOnly[T any](text string, parse func(body string) (T, error)) (record T, err error) {
	message, err := planner.ParseMessage(text)
	if err != nil {
		return record, err
	}
	part, err := message.Only()
	if err != nil {
		return record, err
	}
	record, err = parse(part.Body)
	if newer := new(planner.FormatError); errors.As(err, &newer) {
		err = nil
	}
	return record, err
}
