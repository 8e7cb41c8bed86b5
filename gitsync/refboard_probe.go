package gitsync

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

// probeRoom is the folder of scratch refs below the prefix. They are no
// records: List counts them among the ignored.
const probeRoom = "probe/"

// Probe finds out what the remote can do, by four pushes to two refs of its
// own below the prefix, named after name (a node's: two probes of one name
// must not run at once), which are deleted in the end. An error means that
// nothing was found out: the remote cannot be reached, or refuses refs below
// the prefix altogether.
func (b *RefBoard) Probe(ctx context.Context, name string) (Abilities, error) {
	able, err := b.probe(ctx, planner.Ref(probeRoom+name+"-a"), planner.Ref(probeRoom+name+"-b"), name)
	if err != nil {
		return Abilities{}, fmt.Errorf("probe the repository of the records: %w", err)
	}
	return able, nil
}

func (b *RefBoard) probe(ctx context.Context, one, two planner.Ref, name string) (able Abilities, err error) {
	record := func(n int64) *planner.Record {
		return &planner.Record{Author: planner.NodeName(name), At: n, Message: "probe: what this repository can do\n"}
	}
	first, second := record(1), record(2)
	was, err := b.scratch(ctx, one, two)
	if err != nil {
		return able, err
	}
	able.V2 = b.link.spoken.Load().speaksV2()

	// Left behind by a probe that was cut short, or not there.
	made, err := b.Swap(ctx, Push{Changes: []Change{{one, was[one], first}, {two, was[two], first}}})
	if err == nil {
		err = wonAll(made)
	}
	if err != nil {
		return able, fmt.Errorf("create refs below %s: %w", b.prefix, err)
	}

	// Each from a value that it does not have.
	wrong, err := b.Swap(ctx, Push{Changes: []Change{{one, second.Hash(), second}, {two, "", second}}})
	if err != nil {
		return able, err
	}
	now, err := b.scratch(ctx, one, two)
	if err != nil {
		return able, err
	}
	able.Compares = wrong[0].Outcome == Lost && wrong[1].Outcome == Lost && now[one] == first.Hash() && now[two] == first.Hash()

	// One right, one wrong. A remote that cannot do it may refuse to answer.
	pair, err := b.Swap(ctx, Push{Atomic: true, Changes: []Change{{one, now[one], second}, {two, record(3).Hash(), second}}})
	answered := err == nil
	if now, err = b.scratch(ctx, one, two); err != nil {
		return able, err
	}
	able.Atomic = able.Compares && answered && pair[0].Outcome == Lost && pair[1].Outcome == Lost &&
		now[one] == first.Hash() && now[two] == first.Hash()

	// A remote that does not let refs be deleted keeps two: the next probe
	// takes them as they are.
	_, err = b.Swap(ctx, Push{Changes: []Change{{one, now[one], nil}, {two, now[two], nil}}})
	return able, err
}

// scratch returns the values of scratch refs, which List passes over.
func (b *RefBoard) scratch(ctx context.Context, refs ...planner.Ref) (map[planner.Ref]planner.Hash, error) {
	out := map[planner.Ref]planner.Hash{}
	err := b.look(ctx, func(name string, id plumbing.Hash) error {
		for _, ref := range refs {
			if strings.TrimPrefix(name, b.prefix) == string(ref) {
				out[ref] = planner.Hash(id.String())
			}
		}
		return nil
	})
	return out, err
}

// wonAll is an error unless all changes were made.
func wonAll(results []Result) error {
	var faults []error
	for _, r := range results {
		if r.Outcome != Won {
			faults = append(faults, fmt.Errorf("the remote refuses them: %s", r.Reason))
		}
	}
	return errors.Join(faults...)
}

func (d *dialect) speaksV2() bool { return d != nil && d.v2 }
