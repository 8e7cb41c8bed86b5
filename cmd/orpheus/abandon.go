package main

import (
	"context"
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

// mayAbandon refuses to give up a node that the records do not show to be lost:
// as soon as it were away for a moment its slots would begin anew elsewhere.
func (e *env) mayAbandon(ctx context.Context, name planner.NodeName, o nodeOptions) error {
	const byHand = "; if you know that it is lost for good, write abandoned: true into its manifest by hand"
	book, _, err := e.readRollouts(ctx, recordOptions{directory: o.directory, path: o.path, repository: o.repository, branch: o.branch}, 1)
	if err != nil {
		return fmt.Errorf("whether node %s is lost cannot be told: %w%s", name, err, byHand)
	}
	defer book.store.close()
	n, known := book.view.Nodes[name]
	switch why, bad := book.bad[planner.NodeRef(name)]; {
	case bad:
		return fmt.Errorf("whether node %s is lost cannot be told: its record is not verified: %s%s", name, planner.OneLine(why, maxShownReason), byHand)
	case !known:
		return fmt.Errorf("no node %s has registered; \"orpheus nodes\" lists those that have", name)
	case n.Live():
		return fmt.Errorf("node %s is live: \"orpheus drain %s\" moves what can move; of one that died just now others say so within a minute", name, name)
	}
	return nil
}
