package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// updateSpec is spec.update as written.
type updateSpec struct {
	planner.Update
	order string // "" = not given
}

// orders are the values of spec.update.order. The first is the default.
var orders = []string{"startFirst", "stopFirst"}

var updateSchema = newSchema(
	text("order", oneOf(orders...), func(u *updateSpec) *string { return &u.order }),
	amount("maxSurge", maxReplicas, maxSurgePercent, func(u *updateSpec) **planner.Amount { return &u.MaxSurge }),
	amount("maxUnavailable", maxReplicas, 100, func(u *updateSpec) **planner.Amount { return &u.MaxUnavailable }),
	objects("steps", maxSteps, stepSchema, func(u *updateSpec) *[]planner.UpdateStep { return &u.Steps }),
	text("promoted", promoted, func(u *updateSpec) *string { return &u.Promoted }),
	special("autoRevert", boolShape, func(d *decoder, v value, into *updateSpec) {
		if b, ok := d.boolean(v); ok {
			into.NoRevert = !b
		}
	}),
).foreign(updateHabits...).like("{maxSurge: 1, maxUnavailable: 0}")

var stepSchema = newSchema(
	special("slots", amountShape(1, maxReplicas, 100), func(d *decoder, v value, into *planner.UpdateStep) {
		if a, ok := d.amount(v, 1, maxReplicas, 100); ok {
			into.Slots = a
		}
	}).must(),
	duration("pause", minPause, maxPause, func(s *planner.UpdateStep) *time.Duration { return &s.Pause }),
	boolean("approve", func(s *planner.UpdateStep) *bool { return &s.Approve }),
).foreign(stepHabits...).like("{slots: 1, pause: 10m}, or {slots: 25%, approve: true}")

// amount is a number or a percentage, from 0.
func amount[T any](name string, high, percent int64, at func(*T) **planner.Amount) field[T] {
	return special(name, amountShape(0, high, percent), func(d *decoder, v value, into *T) {
		if a, ok := d.amount(v, 0, high, percent); ok {
			*at(into) = &a
		}
	})
}

// amount reads a number from low to high, or a percentage from low to percent.
func (d *decoder) amount(v value, low, high, percent int64) (planner.Amount, bool) {
	n, remedy := v.node, "write one like 2 or 25%"
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrong(v, "must be a number or a percentage, not "+kindOf(n), remedy)
		return planner.Amount{}, false
	}
	digits, isPercent := strings.CutSuffix(n.Value, "%")
	switch {
	case n.Tag == "!!int" || n.Style != 0 && decimal.MatchString(n.Value):
		i, ok := d.number(v, low, high)
		return planner.Amount{Count: int(i)}, ok
	case !isPercent:
		d.wrong(v, "must be a number or a percentage, not "+quote(n.Value), remedy)
		return planner.Amount{}, false
	case !decimal.MatchString(digits):
		d.wrong(v, "must be a percentage in plain decimal digits, not "+quote(n.Value), remedy)
		return planner.Amount{}, false
	}
	i, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || i < low || i > percent {
		d.wrong(v, quote(n.Value)+" is out of range", fmt.Sprintf("write a percentage from %d%% to %d%%", low, percent))
		return planner.Amount{}, false
	}
	return planner.Amount{Count: int(i), Percent: i > 0}, true // 0% is 0
}

// promotion is a revision, as much of it as people read, and the step up to
// which it is approved.
var promotion = regexp.MustCompile(`^r1-[0-9a-f]{8,64}(/([1-9][0-9]?))?$`)

// promoted is the rule of spec.update.promoted.
var promoted = rule{checkPromoted, form{
	pattern: "r1-[0-9a-f]{8,64}(/([1-9]|1[0-9]|20))?", // up to maxSteps
	says:    "a revision such as r1-0123abcd, or r1-0123abcd/2 for the steps up to the second",
}}

func checkPromoted(s string) (reason, remedy string) {
	m := promotion.FindStringSubmatch(s)
	if m == nil {
		return "is no revision", "write the one that orpheus status shows, such as r1-0123abcd, or r1-0123abcd/2 for the steps up to the second"
	}
	if step, _ := strconv.Atoi(m[2]); step > maxSteps {
		return fmt.Sprintf("names a step after the %dth", maxSteps), "name one there is"
	}
	return "", ""
}

// update checks how the service's changes are rolled out, and gives defaults
// their zero value. t is the service's template.
func (w *writtenService) update(t planner.Template) planner.Update {
	u := &w.spec.update
	u.StopFirst = u.order == orders[1]
	w.checkBudget(u, whyAlone(t))
	w.checkSteps(u.Steps)

	surge, unavailable := planner.Update{StopFirst: u.StopFirst}.Limits(1)
	forget(&u.MaxSurge, surge)
	forget(&u.MaxUnavailable, unavailable)
	return u.Update
}

// forget drops an amount that is the default.
func forget(a **planner.Amount, def int) {
	if *a != nil && **a == (planner.Amount{Count: def}) {
		*a = nil
	}
}

// checkBudget refuses what could not be kept. alone says why two instances of
// a slot may never run at once; "" = they may.
func (w *writtenService) checkBudget(u *updateSpec, alone string) {
	const surge, unavailable = "spec.update.maxSurge", "spec.update.maxUnavailable"
	d := w.d
	surges := u.MaxSurge != nil && u.MaxSurge.Count > 0
	stays := u.MaxUnavailable != nil && u.MaxUnavailable.Count == 0
	if alone != "" && u.order == orders[0] {
		d.fault("spec.update.order", "startFirst is not possible: "+alone, "remove it: such a service is updated stopFirst")
	}
	switch {
	case surges && alone != "":
		d.fault(surge, "is not possible: "+alone, "remove it")
	case surges && u.StopFirst:
		d.fault(surge, "is not possible with order: stopFirst", "remove it, or write order: startFirst")
	}
	switch {
	case !stays || surges:
	case alone != "":
		d.fault(unavailable, "cannot be kept at 0: "+alone, "remove it")
	case u.StopFirst:
		d.fault(unavailable, "cannot be kept at 0 with order: stopFirst", "write at least 1, or order: startFirst")
	case u.MaxSurge != nil:
		d.fault(unavailable, "is 0, and so is maxSurge: nothing could ever change", "raise one of them")
	}
}

// whyAlone says why two instances of a slot may never run at once on a node,
// "" if they may.
func whyAlone(t planner.Template) string {
	if !t.SingleWriter() {
		return ""
	}
	devices, ports := false, false
	for _, c := range t.AllContainers() {
		devices, ports = devices || len(c.Devices) > 0, ports || len(c.Ports) > 0
	}
	what := "writes a volume that outlives its instances"
	switch {
	case t.HostNetwork:
		what = "is on its node's network"
	case devices:
		what = "has a device"
	case ports && t.DriverName() == planner.DriverProcess:
		what = "is a process that listens on its node"
	}
	return "the service " + what + ", so two instances of a slot cannot run at once"
}

// checkSteps wants each step to hold more slots than those before. How numbers
// and percentages compare depends on how many slots there are, which may change
// at any time: that is worth a warning.
func (w *writtenService) checkSteps(steps []planner.UpdateStep) {
	last := map[bool]planner.Amount{} // of numbers and of percentages
	for i, s := range steps {
		at := fmt.Sprintf("spec.update.steps[%d].slots", i)
		if s.Slots.Count == 0 {
			continue // said already
		}
		same, other := last[s.Slots.Percent], last[!s.Slots.Percent]
		replicas := w.spec.replicas
		switch {
		case s.Slots.Count <= same.Count:
			w.d.fault(at, fmt.Sprintf("%s is no more than %s of a step before", s.Slots, same), "let the steps rise")
		case !w.spec.everyNode && replicas > 0 && s.Slots.Of(replicas, true) < min(other.Of(replicas, true), replicas):
			w.d.warn(at, fmt.Sprintf("%s of %d replicas is less than %s of a step before: this one changes nothing", s.Slots, replicas, other), "let the steps rise")
		}
		last[s.Slots.Percent] = s.Slots
		w.checkApproval(i, s)
	}
}

// checkApproval warns of an approval that is asked for when every slot has the new
// revision already. A pause there is a time of proof: what fails in it reverts.
func (w *writtenService) checkApproval(i int, s planner.UpdateStep) {
	replicas, all := w.spec.replicas, s.Slots.Percent && s.Slots.Count >= 100
	if !s.Approve || w.spec.hooks.post != nil || !all && (w.spec.everyNode || replicas == 0 || s.Slots.Of(replicas, true) < replicas) {
		return
	}
	of := "all of " + strconv.Itoa(replicas) + " slots, which have"
	switch {
	case all:
		of = "all slots, which have"
	case replicas == 1:
		of = "the only slot, which has"
	}
	remedy := "ask at a step that leaves slots at the old revision; to watch all for a time in which failures revert it, write pause"
	if replicas == 1 && !w.spec.everyNode {
		remedy = "remove it: of one slot no part can go first; to watch it for a time in which failures revert it, write pause"
	}
	w.d.warn(fmt.Sprintf("spec.update.steps[%d].approve", i),
		fmt.Sprintf("holds back no slot: %s is %s the new revision before anyone is asked", s.Slots, of), remedy)
}
