//go:build linux

package process

import (
	"maps"
	"slices"
	"sync"
)

// ours are the ids that this driver has seen a folder of and not removed: one
// of them without a folder was not removed by us, and may run. Its methods may
// be called from any goroutine.
type ours struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (o *ours) add(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ids == nil {
		o.ids = map[string]bool{}
	}
	o.ids[id] = true
}

func (o *ours) drop(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ids, id)
}

func (o *ours) has(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ids[id]
}

func (o *ours) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.ids))
}
