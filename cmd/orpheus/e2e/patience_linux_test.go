package e2e

import (
	"sync"
	"testing"
)

// TestPatience tells the stories that are about minutes, each with a fleet of
// its own, all at once: they wait more than they work.
func TestPatience(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for name, story := range map[string]func(*testing.T){
		"LastNode":       lastNode,
		"NodesCutOff":    nodesCutOff,
		"GitGoneForAll":  gitGoneForAll,
		"FleetsAtRest":   fleetsAtRest,
		"HostileRecords": hostileRecords,
	} {
		all.Go(func() { t.Run(name, story) })
	}
	all.Wait()
}
