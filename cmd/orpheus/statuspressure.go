package main

import (
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// drawPressure says what the node is short of.
func drawPressure(s *screen, short []api.Pressure, now time.Time) {
	for _, p := range short {
		s.labelled("SHORT", red, p.Text+", for "+age(now.Sub(p.Since)))
	}
	if len(short) > 0 {
		s.prose("          ", plain, plain, "This node takes no new work. What runs goes on, and is restarted if it fails.")
	}
}
