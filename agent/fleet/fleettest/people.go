package fleettest

import (
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Nodes adds machines named n1, n2 … and lets them boot within a moment.
func (w *World) Nodes(n int, within time.Duration) {
	for range n {
		m := w.add(planner.NodeName(fmt.Sprintf("n%d", len(w.machines)+1)))
		m.clock.drift = w.rng.Int64N(20001) - 10000
		m.clock.skew = w.between(-10*time.Minute, 10*time.Minute)
		w.after(w.between(0, within), m.on)
	}
}

// Want adds or replaces a service in what is to be committed next.
func (w *World) Want(s planner.Service) { w.wanted.services[s.ID] = s }
