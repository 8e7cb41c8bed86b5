package planner

import (
	"fmt"
	"time"
)

// CheckResult is the outcome of one check.
type CheckResult string

// The outcomes of a check. One that could not be made (the driver does not
// answer) is unknown: it changes nothing, as if it had not been tried.
const (
	CheckUnknown CheckResult = ""
	CheckSuccess CheckResult = "success"
	CheckFailure CheckResult = "failure"
)

// ContainerHealth is what the probes of one run of a container have found. The zero
// value is a container that has just started; it is written to disk, so that
// it outlives the agent, and changes with results alone, never with time.
type ContainerHealth struct {
	Startup   Checks `json:"startup,omitzero"`
	Liveness  Checks `json:"liveness,omitzero"`
	Readiness Checks `json:"readiness,omitzero"`
}

// Checks is what one probe has found.
type Checks struct {
	// Verdict is what counts: unknown until a threshold was reached for the
	// first time, then the result that reached it last.
	Verdict CheckResult `json:"verdict,omitempty"`
	// Last is the newest result, InARow how many of it came in a row; it stops
	// counting at the result's threshold.
	Last   CheckResult `json:"last,omitempty"`
	InARow int         `json:"inARow,omitempty"`
}

// Of returns what the probe of a kind has found.
func (h ContainerHealth) Of(kind ProbeKind) Checks {
	switch kind {
	case ProbeStartup:
		return h.Startup
	case ProbeLiveness:
		return h.Liveness
	}
	return h.Readiness
}

// Started reports whether the container has started: its startup probe has
// succeeded, or it has none.
func (h ContainerHealth) Started(c Container) bool {
	return c.StartupProbe == nil || h.Startup.Verdict == CheckSuccess
}

// Ready reports whether the container is ready: it has started, and its
// readiness probe says so, or it has none.
func (h ContainerHealth) Ready(c Container) bool {
	return h.Started(c) && (c.ReadinessProbe == nil || h.Readiness.Verdict == CheckSuccess)
}

// Doomed names the probe for which the container must be restarted; "" = none.
func (h ContainerHealth) Doomed(c Container) ProbeKind {
	switch {
	case c.StartupProbe != nil && h.Startup.Verdict == CheckFailure:
		return ProbeStartup
	case c.LivenessProbe != nil && h.Liveness.Verdict == CheckFailure:
		return ProbeLiveness
	}
	return ""
}

// Checked reports whether checks of a kind are made now. None is while the
// startup probe holds it back, and none of any kind but readiness once the
// container is to be restarted; the startup probe ends with its first verdict.
func (h ContainerHealth) Checked(c Container, kind ProbeKind) bool {
	switch {
	case c.Probe(kind) == nil:
		return false
	case kind == ProbeStartup:
		return h.Startup.Verdict == CheckUnknown
	case !h.Started(c):
		return false
	}
	return kind == ProbeReadiness || h.Doomed(c) == ""
}

// After is the health after one more result of a probe. A result that comes
// when no check is made any more changes nothing.
func (h ContainerHealth) After(c Container, kind ProbeKind, result CheckResult) ContainerHealth {
	if result == CheckUnknown || !h.Checked(c, kind) {
		return h
	}
	of := &h.Readiness
	switch kind {
	case ProbeStartup:
		of = &h.Startup
	case ProbeLiveness:
		of = &h.Liveness
	}
	if of.Last != result {
		of.Last, of.InARow = result, 0
	}
	needed := c.Probe(kind).needed(result)
	of.InARow = min(of.InARow+1, needed)
	if of.InARow == needed {
		of.Verdict = result
	}
	return h
}

// needed is how many results in a row count.
func (p Probe) needed(result CheckResult) int {
	if result == CheckSuccess {
		return p.Successes()
	}
	return p.Failures()
}

// Describe says how far the failures have come: "(2 of 3 failures)"; "" if the
// last check did not fail.
func (k Checks) Describe(p Probe) string {
	if k.Last != CheckFailure {
		return ""
	}
	return fmt.Sprintf("(%d of %d failures)", k.InARow, p.Failures())
}

// CheckTimes are the times of one probe of one run of a container, all boot
// times; 0 = not yet.
type CheckTimes struct {
	Started time.Duration // of the container
	// Freed is when the startup probe succeeded that held this one back.
	Freed      time.Duration
	Begun, End time.Duration // of the last check
	// Counted is the begin of the last check whose result counted.
	Counted time.Duration
	// Hasty: none has succeeded yet, and readiness waits for that. For a while there
	// are checks between those that the period asks for, of which only a success
	// counts: it is found sooner, and a failure no sooner than without them.
	Hasty bool
}

const (
	hastyFor   = time.Minute // after the first check
	hastyFirst = 250 * time.Millisecond
	hastyMost  = time.Second
)

// NextCheck is when the next check is due: the first after the initial delay,
// counted from the start of the container; the others a period after the
// begin of the one before that counted, never before the end of any. Hasty ones
// come after a quarter of a second, a half and one, and every second from there,
// but leave the container alone for as long as the last one took.
func (p Probe) NextCheck(t CheckTimes) time.Duration {
	first := max(t.Started+p.InitialDelay(), t.Freed)
	if t.Begun == 0 {
		return first
	}
	next := max(t.Counted+p.Period(), t.End)
	if since := t.Begun - first; t.Hasty && since < hastyFor {
		next = min(next, max(t.Begun+min(max(since, hastyFirst), hastyMost), t.End+t.End-t.Begun))
	}
	return next
}

// Checked are the times after one more check, and whether its result counts.
func (p Probe) Checked(t CheckTimes, begun, end time.Duration, result CheckResult) (after CheckTimes, counts bool) {
	counts = !t.Hasty || t.Begun == 0 || begun >= t.Counted+p.Period() || result == CheckSuccess
	if counts {
		t.Counted = begun
	}
	t.Begun, t.End, t.Hasty = begun, end, t.Hasty && result != CheckSuccess
	return t, counts
}
