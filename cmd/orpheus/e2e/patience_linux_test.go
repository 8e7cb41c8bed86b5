package e2e

import (
	"sync"
	"testing"
)

// TestPatience tells the stories that are about minutes, each with a fleet of
// its own, all at once: they wait more than they work.
func TestPatience(t *testing.T) {
	t.Parallel()
	allAtOnce(t, map[string]func(*testing.T){
		"LastNode":       lastNode,
		"NodesCutOff":    nodesCutOff,
		"GitGoneForAll":  gitGoneForAll,
		"FleetsAtRest":   fleetsAtRest,
		"HeldDown":       heldDown,
		"HostileRecords": hostileRecords,
	})
}

// allAtOnce tells stories that wait more than they work, and waits for them.
// None of them is to call t.Parallel.
func allAtOnce(t *testing.T, stories map[string]func(*testing.T)) {
	var all sync.WaitGroup
	for name, story := range stories {
		all.Go(func() { t.Run(name, story) })
	}
	all.Wait()
}
