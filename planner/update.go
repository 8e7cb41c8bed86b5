package planner

import (
	"strconv"
	"time"
)

// Update says how a change of a service is rolled out. Nothing in it restarts
// an instance. The zero value is what a manifest without spec.update asks for.
type Update struct {
	// StopFirst ends an instance before its successor begins (order: stopFirst).
	// It is done at any rate where both may not run at once: see
	// Template.SingleWriter.
	StopFirst bool `json:"stopFirst,omitempty"`
	// MaxSurge is how many slots may have two instances at once; nil = 1, or 0
	// with StopFirst. MaxUnavailable is how many slots may be without an
	// available instance while one is ended on purpose; nil = 0, or 1 with
	// StopFirst. See Limits.
	MaxSurge       *Amount `json:"maxSurge,omitempty"`
	MaxUnavailable *Amount `json:"maxUnavailable,omitempty"`
	// Steps hold a rollout back: see UpdateStep. After the last one the rest
	// follows.
	Steps []UpdateStep `json:"steps,omitempty"`
	// Promoted lets a revision pass its steps that wait for approval: the
	// revision, or the first of its letters (at least 8 after "r1-"); with "/N"
	// only those up to step N, counted from 1.
	Promoted string `json:"promoted,omitempty"`
	// NoRevert leaves the slots that have a blocked revision as they are
	// (autoRevert: false).
	NoRevert bool `json:"noRevert,omitempty"`
}

// UpdateStep is a point at which a rollout rests: that many slots have the new
// revision and are available. It goes on after Pause, counted on the
// coordinator's clock from when it saw that, and, with Approve, once Promoted
// names the revision.
type UpdateStep struct {
	Slots   Amount        `json:"slots"` // percent of the slots, rounded up; at least one
	Pause   time.Duration `json:"pause,omitempty"`
	Approve bool          `json:"approve,omitempty"`
}

// Amount is a number, or a percentage of one.
type Amount struct {
	Count   int  `json:"count"`
	Percent bool `json:"percent,omitempty"`
}

// String is the form of the manifest: "3", "25%".
func (a Amount) String() string {
	if a.Percent {
		return strconv.Itoa(a.Count) + "%"
	}
	return strconv.Itoa(a.Count)
}

// Of is the amount of a whole. A percentage is rounded up or down.
func (a Amount) Of(whole int, up bool) int {
	switch {
	case !a.Percent:
		return a.Count
	case up:
		return (a.Count*whole + 99) / 100
	}
	return a.Count * whole / 100
}

// Limits are the surge and the disruption budget of a service of so many slots,
// with Kubernetes' rounding: the surge up, the unavailable down. Where both come
// to nothing one slot may be unavailable.
func (u Update) Limits(slots int) (surge, unavailable int) {
	if u.StopFirst {
		unavailable = 1
	} else {
		surge = 1
	}
	if u.MaxSurge != nil {
		surge = u.MaxSurge.Of(slots, true)
	}
	if u.MaxUnavailable != nil {
		unavailable = u.MaxUnavailable.Of(slots, false)
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// DefaultProgressDeadline is Kubernetes'.
const DefaultProgressDeadline = 10 * time.Minute

// Deadline is the time an instance has from its lease to being available.
func (s Service) Deadline() time.Duration {
	if s.ProgressDeadline == 0 {
		return DefaultProgressDeadline
	}
	return s.ProgressDeadline
}

// Reschedule says when an instance that keeps failing on a node is given up
// there: after so many failures within so much time, without having been ready
// for as long as its back-off takes to be forgotten.
type Reschedule struct {
	Failures int           `json:"failures,omitempty"` // 0 = 5
	Within   time.Duration `json:"within,omitempty"`   // 0 = 5 min
	Never    bool          `json:"never,omitempty"`    // failures: 0 in the manifest
}

// WithDefaults fills in what is zero.
func (r Reschedule) WithDefaults() Reschedule {
	if r.Failures == 0 {
		r.Failures = 5
	}
	if r.Within == 0 {
		r.Within = 5 * time.Minute
	}
	return r
}

// Dependency holds back the first leases of a service, and each of its
// rollouts, until another service fulfils a condition. What runs is never ended
// for it, and what is lost comes back without it.
type Dependency struct {
	Service   ServiceID           `json:"service"`
	Condition DependencyCondition `json:"condition,omitempty"`
}

// DependencyCondition is what is asked of the other service, at the revision
// that is wanted of it.
type DependencyCondition string

// The conditions.
const (
	DependsReady   DependencyCondition = ""        // all slots but those of its disruption budget are available, at least one
	DependsStarted DependencyCondition = "started" // as many run
)

// HookKind says when a hook runs.
type HookKind string

// The hooks of a service, by the names of their fields and slots.
const (
	HookPreRollout  HookKind = "prerollout"
	HookPostRollout HookKind = "postrollout"
)

// HookKinds lists the hooks in the order in which they run.
var HookKinds = []HookKind{HookPreRollout, HookPostRollout}

// Field is the hook's name in a manifest.
func (k HookKind) Field() string {
	switch k {
	case HookPreRollout:
		return "preRollout"
	case HookPostRollout:
		return "postRollout"
	}
	return string(k)
}

// Hook is a program that runs once in the whole fleet for each revision that a
// service is given: before any slot gets it, or once all have it and are
// available. It runs under a lease of its own, in the slot named for its kind,
// at most once: what cannot be known to have succeeded has failed, and a failed
// hook blocks the revision.
type Hook struct {
	// Template is what runs, with Once set, and Revision its revision, which
	// changes whenever the service's does: it names that in Template.Of.
	Template Template      `json:"template"`
	Revision Revision      `json:"revision"`
	Timeout  time.Duration `json:"timeout,omitempty"` // 0 = 10 min
}

// Deadline is the time a hook has, from its lease to its end.
func (h Hook) Deadline() time.Duration {
	if h.Timeout == 0 {
		return DefaultProgressDeadline
	}
	return h.Timeout
}

// TemplateOf is the template of a revision of the service as the manifest has
// it: its own, or that of one of its hooks.
func (s Service) TemplateOf(rev Revision) (Template, bool) {
	if rev == s.Revision {
		return s.Template, rev != ""
	}
	for _, h := range s.Hooks {
		if h.Revision == rev {
			return h.Template, true
		}
	}
	return Template{}, false
}
