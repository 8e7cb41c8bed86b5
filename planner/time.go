package planner

import "time"

// Time is one reading of both clocks of a node, taken by the agent and passed
// in; the planner never reads a clock.
type Time struct {
	// Boot is the time since the machine started, suspended time included
	// (CLOCK_BOOTTIME). Leases, back-off and waits are measured with it; it
	// means nothing on another node or after a reboot.
	Boot time.Duration
	// Wall is the calendar time; only holds, suspensions and schedules use it.
	Wall time.Time
}

// Never is the "look again" of a plan that waits for nothing.
const Never time.Duration = 0

// earlier returns the sooner of two "look again" times, either of which may
// be Never.
func earlier(a, b time.Duration) time.Duration {
	switch {
	case a == Never:
		return b
	case b == Never:
		return a
	}
	return min(a, b)
}
