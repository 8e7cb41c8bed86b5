package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Plan is what a node is to do now.
type Plan struct {
	// Actions are totally ordered and equal on every run over the same values.
	// Those of different instances may be carried out at once.
	Actions []Action
	// Waits explains, in order, each lease that nothing is done for yet.
	Waits []Wait
	// Observed is what would be done for services that are only observed.
	Observed []Action
	// Next is the boot time at which to plan again although nothing changed;
	// Never if there is nothing to wait for.
	Next time.Duration
}

// ActionKind is what is done to an instance.
type ActionKind string

// The kinds of action, in the order in which a plan lists them.
const (
	ActionRemove  ActionKind = "remove"  // what is left of an instance that does not run
	ActionStop    ActionKind = "stop"    // then remove
	ActionKill    ActionKind = "kill"    // stop, but leave it listed: it is restarted when its back-off allows
	ActionRestart ActionKind = "restart" // stop and remove what is left, then start
	ActionStart   ActionKind = "start"
)

var actionRank = map[ActionKind]int{ActionRemove: 0, ActionStop: 1, ActionKill: 2, ActionRestart: 3, ActionStart: 4}

// Action is one step for one instance, with its reason in the user's words.
type Action struct {
	Kind     ActionKind    `json:"kind"`
	Slot     SlotID        `json:"slot"`
	Instance string        `json:"instance"`
	Driver   string        `json:"driver"`
	Lease    Lease         `json:"lease,omitzero"` // of a kill, start or restart
	Grace    time.Duration `json:"grace,omitempty"`
	Reason   string        `json:"reason"`
	// Ordered is set where a person wants it now: it waits for no reading of Git
	// or records.
	Ordered bool `json:"ordered,omitempty"`
}

func (a Action) String() string {
	return fmt.Sprintf("%s %s (%s): %s", a.Kind, a.Slot, a.Instance, a.Reason)
}

// compareActions orders by kind, slot, instance.
func compareActions(a, b Action) int {
	if c := actionRank[a.Kind] - actionRank[b.Kind]; c != 0 {
		return c
	}
	if c := a.Slot.Compare(b.Slot); c != 0 {
		return c
	}
	return strings.Compare(a.Instance, b.Instance)
}

// Wait says why a lease has no action now.
type Wait struct {
	Slot   SlotID        `json:"slot"`
	Token  uint64        `json:"token"`
	Reason string        `json:"reason"`
	Until  time.Duration `json:"until,omitempty"` // boot time; 0 = until something changes
}

// InstanceID names the instance of a lease: readable, a valid name for every
// driver, and the same on every run, so that a start that was cut off is found
// again.
func InstanceID(slot SlotID, l Lease) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d\x00%d\x00%s",
		slot.Service.Namespace, slot.Service.Name, slot.Name, l.Epoch, l.Token, l.Revision))
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(slot.Service.Name+"-"+slot.Name))
	if len(name) > 40 {
		name = name[:40]
	}
	return strings.Trim(name, "-") + "-" + hex.EncodeToString(sum[:6])
}

// Backoff is how often in a row an instance failed and when it may be tried
// again.
type Backoff struct {
	Failures  int
	NotBefore time.Duration // boot time
	Reason    string        // of the last failure, for people
}

// Restart back-off: the first failure is tried again at once, the next after
// 1 s, doubling to 5 min; forgotten after 10 min of running.
const (
	backoffFirst = time.Second
	backoffMax   = 5 * time.Minute
	BackoffReset = 10 * time.Minute
)

// Failed is the back-off after one more failure at now.
func (b Backoff) Failed(now time.Duration, reason string) Backoff {
	var delay time.Duration
	switch {
	case b.Failures >= 10: // 2^9 s > 5 min
		delay = backoffMax
	case b.Failures > 0:
		delay = min(backoffMax, backoffFirst<<(b.Failures-1))
	}
	return Backoff{Failures: b.Failures + 1, NotBefore: now + delay, Reason: reason}
}
