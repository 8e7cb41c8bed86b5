package main

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxShownFaults is how many faults a status lists; validate lists all.
const maxShownFaults = 10

// drawTrouble draws the node's problems and the faults of the newest commit.
func drawTrouble(s *screen, st *api.Status) {
	if len(st.Problems) > 0 {
		s.blank()
		s.line(s.paint(bold, "PROBLEMS"))
		for _, p := range st.Problems {
			s.prose("  ", plain, red, p)
		}
	}
	if len(st.Faults) == 0 {
		return
	}
	drawFaults(s, st.Faults, st.FaultsIn)
	if broken(st.Faults) > 0 && st.FaultsIn == st.Repository.Applied.Short() {
		s.prose("  ", plain, dim, "Services of these files stay as they were; the others follow the commit.")
	}
}

// drawFaults lists faults, and where they are.
func drawFaults(s *screen, faults []planner.Fault, in string) {
	if len(faults) == 0 {
		return
	}
	s.blank()
	title := "FAULTS"
	if in != "" {
		title += " in " + in
	}
	s.line(s.paint(bold, title))
	for i, f := range faults {
		if i == maxShownFaults {
			s.prose("  ", plain, dim, fmt.Sprintf("and %d more: \"orpheus validate\" in the repository lists all", len(faults)-i))
			break
		}
		c, where := red, f
		if where.Remedy = ""; f.Warning {
			c = yellow
		}
		s.prose("  ", plain, c, where.String())
		if f.Remedy != "" {
			s.prose("    → ", dim, plain, f.Remedy)
		}
	}
}

func broken(faults []planner.Fault) int {
	n := 0
	for _, f := range faults {
		if !f.Warning {
			n++
		}
	}
	return n
}
