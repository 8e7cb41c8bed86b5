package main

import (
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// drawProbes draws what the probes of a service's instances have found.
func drawProbes(s *screen, service api.Service) {
	if !slices.ContainsFunc(service.Instances, func(i api.Instance) bool { return len(i.Probes) > 0 }) {
		return
	}
	s.blank()
	t := table{titles: []string{"SLOT", "CONTAINER", "PROBE", "RESULT", "CHECK", "LAST"}, spare: []int{1, 4}}
	for _, i := range service.Instances {
		for _, p := range i.Probes {
			result, c := describeResult(p)
			last := p.Message
			if p.Failures > 0 {
				last = fmt.Sprintf("%s (%d of %d failures)", last, p.Failures, p.FailureThreshold)
			}
			if p.Output != "" {
				last += ": " + p.Output
			}
			t.add(last, noteColour(c),
				cell{planner.SlotID{Service: service.ID(), Name: i.Slot}.String(), plain},
				cell{p.Container, plain},
				cell{string(p.Kind), plain},
				cell{result, c},
				cell{p.Check, plain})
		}
	}
	t.draw(s)
}

// describeResult is what counts of a probe, and how good that is.
func describeResult(p api.Probe) (string, colour) {
	switch {
	case p.Result == planner.CheckFailure:
		return "failure", red
	case p.Failures > 0 || p.Message != "":
		return "failing", yellow
	case p.Result == planner.CheckSuccess:
		return "success", green
	}
	return "waiting", yellow
}

// drawLastLogs draws what instances wrote before they ended.
func drawLastLogs(s *screen, service api.Service) {
	for _, i := range service.Instances {
		if len(i.LastLog) == 0 {
			continue
		}
		s.blank()
		s.prose("", plain, bold, "LAST LINES of "+planner.SlotID{Service: service.ID(), Name: i.Slot}.String())
		for _, line := range i.LastLog {
			s.prose("  ", plain, dim, line)
		}
	}
}
