package manifest

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

var tolerationSchema = newSchema(
	text("key", labelKey, func(t *planner.Toleration) *string { return &t.Key }),
	text("operator", oneOf("Equal", "Exists"), func(t *planner.Toleration) *string { return &t.Operator }),
	text("value", labelValue, func(t *planner.Toleration) *string { return &t.Value }),
	text("effect", taintEffect, func(t *planner.Toleration) *string { return &t.Effect }),
).foreign(
	"tolerationSeconds", "remove it: what tolerates a taint stays",
).like("{key: disk, operator: Equal, value: slow, effect: NoSchedule}")

var taintSchema = newSchema(
	text("key", labelKey, func(t *planner.Taint) *string { return &t.Key }).must(),
	text("value", labelValue, func(t *planner.Taint) *string { return &t.Value }),
	text("effect", taintEffect, func(t *planner.Taint) *string { return &t.Effect }).must(),
).foreign(
	"timeAdded", "remove it",
).like("{key: disk, value: slow, effect: NoSchedule}")

// taintEffect allows Kubernetes' effects but the one that is a mere wish.
var taintEffect = rule{func(s string) (reason, remedy string) {
	if s == "PreferNoSchedule" {
		return "is not supported", "write NoSchedule, or remove it"
	}
	return oneOf(taintEffects...).check(s)
}, form{words: taintEffects}}

var taintEffects = []string{"NoSchedule", "NoExecute"}

// spread is a constraint as written.
type spread struct {
	planner.SpreadConstraint
	unsatisfiable string
}

var spreadSchema = newSchema(
	text("topologyKey", topologyKey, func(s *spread) *string { return &s.TopologyKey }).must(),
	number("maxSkew", 1, maxSkew, func(s *spread) *int { return &s.MaxSkew }),
	text("whenUnsatisfiable", oneOf("DoNotSchedule", "ScheduleAnyway"), func(s *spread) *string { return &s.unsatisfiable }),
).foreign(
	"labelSelector", "remove it: the instances of the service itself are counted",
	"matchLabelKeys", "remove it: the instances of the service itself are counted",
	"minDomains", "remove it",
	"nodeAffinityPolicy", "remove it: nodes the service cannot run on are not counted",
	"nodeTaintsPolicy", "remove it: nodes the service cannot run on are not counted",
).like("{topologyKey: topology.kubernetes.io/zone, maxSkew: 1}")

// topologyKey refuses the label of Kubernetes that no node has here: with it a
// service would run nowhere.
var topologyKey = rule{func(s string) (reason, remedy string) {
	if s == "kubernetes.io/hostname" {
		return "is a label no node has", "write " + planner.LabelNode
	}
	return checkLabelKey(s)
}, form{pattern: labelKey.pattern, never: `^kubernetes\.io/hostname$`, says: "the key of a label of nodes, such as " + planner.LabelNode}}

// tolerations checks each and gives defaults their zero value.
func (w *writtenService) tolerations() []planner.Toleration {
	for i := range w.spec.tolerations {
		t := &w.spec.tolerations[i]
		at := fmt.Sprintf("spec.tolerations[%d]", i)
		if !w.d.has(at) {
			continue // not an object: said already
		}
		switch exists := t.Operator == "Exists"; {
		case exists && w.d.has(at+".value"):
			w.d.fault(at+".value", "means nothing beside operator: Exists", "remove one of them")
		case !exists && !w.d.has(at+".key"):
			w.d.fault(at+".key", "is required", "name the taint, or write operator: Exists to tolerate all")
		}
		zeroIf(&t.Operator, "Equal")
	}
	return w.spec.tolerations
}

// spread checks the constraints and gives defaults their zero value.
func (w *writtenService) spread() []planner.SpreadConstraint {
	var list []planner.SpreadConstraint
	first := map[string]bool{}
	for i, s := range w.spec.spread {
		at := fmt.Sprintf("spec.topologySpreadConstraints[%d]", i)
		if s.TopologyKey != "" && first[s.TopologyKey] {
			w.d.fault(at+".topologyKey", quote(s.TopologyKey)+" has a constraint already", "keep one of them")
		}
		first[s.TopologyKey] = true
		s.Soft = s.unsatisfiable == "ScheduleAnyway"
		zeroIf(&s.MaxSkew, 1)
		list = append(list, s.SpreadConstraint)
	}
	if len(list) > 0 && w.spec.everyNode {
		w.d.warn("spec.topologySpreadConstraints", "means nothing beside everyNode", "remove it")
	}
	return list
}
