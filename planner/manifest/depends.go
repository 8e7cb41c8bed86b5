package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// dependency is one of spec.dependsOn as written.
type dependency struct {
	name      string // "db", "shop/db"; "" = is no name: said already
	condition planner.DependencyCondition
	place
}

// conditions are what can be asked of another service. The first is the
// default.
var conditions = []string{"ready", string(planner.DependsStarted)}

// conditionHabits are Compose's words for them.
var conditionHabits = map[string]string{
	"service_healthy": "write ready", "healthy": "write ready",
	"service_started": "write started", "running": "write started",
	"service_completed_successfully": "write ready; what runs to its end before a rollout is a hook: see hooks.preRollout",
}

const dependsOnLike = "write it like [db], or {db: ready}"

// decodeDependsOn takes a list of names, or an object of names and conditions.
func decodeDependsOn(d *decoder, v value, into *serviceSpec) {
	switch v.node.Kind {
	case yaml.SequenceNode:
		for _, item := range d.items(v, maxDepends, "") {
			if s, ok := d.text(item, serviceName); ok {
				into.dependsOn = append(into.dependsOn, dependency{name: s, place: place{item.path, d.at(item.node)}})
			}
		}
	case yaml.MappingNode:
		if n := len(v.node.Content) / 2; n > maxDepends {
			d.wrong(v, fmt.Sprintf("has %d entries, more than the limit of %d", n, maxDepends), "remove some")
			return
		}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			decodeDependency(d, v, v.node.Content[i], v.node.Content[i+1], into)
		}
	default:
		d.wrong(v, "must be a list or an object, not "+kindOf(v.node), dependsOnLike)
	}
}

func decodeDependency(d *decoder, v value, key, node *yaml.Node, into *serviceSpec) {
	if d.bad[key] {
		return
	}
	inner := value{node, v.path + "[" + quote(key.Value) + "]"}
	d.seen[inner.path] = d.at(node)
	if reason, remedy := serviceName.check(key.Value); reason != "" {
		d.wrong(value{key, v.path}, "key "+quote(key.Value)+" "+reason, remedy)
		return
	}
	if node.Tag != "!!str" && !d.made(node) {
		d.wrong(inner, "must be ready or started, not "+kindOf(node), "write "+shorten(key.Value)+": ready")
		return
	}
	s, ok := d.text(inner, condition)
	if !ok {
		return
	}
	dep := dependency{name: key.Value, place: place{inner.path, d.at(key)}}
	if s != conditions[0] {
		dep.condition = planner.DependencyCondition(s)
	}
	into.dependsOn = append(into.dependsOn, dep)
}

var condition = rule{func(s string) (reason, remedy string) {
	if remedy := conditionHabits[s]; remedy != "" {
		return "is not known here", remedy
	}
	return oneOf(conditions...).check(s)
}, form{words: conditions}}

// serviceName allows the name of a service, with its namespace before a slash
// where that is another.
var serviceName = rule{checkServiceName, form{
	pattern: dnsLabel(63).pattern + "(/" + dnsLabel(maxServiceName).pattern + ")?",
	says:    "the name of a service, or NAMESPACE/NAME",
}}

func checkServiceName(s string) (reason, remedy string) {
	name := s
	if ns, rest, found := strings.Cut(s, "/"); found {
		if reason, _ := dnsLabel(63).check(ns); reason != "" {
			return "has a namespace that " + reason, "write NAME, or NAMESPACE/NAME"
		}
		name = rest
	}
	if reason, _ := dnsLabel(maxServiceName).check(name); reason != "" {
		return "is no name of a service: it " + reason, "write NAME, or NAMESPACE/NAME"
	}
	return "", ""
}

// dependencies resolves the names, in order of services, and says where each
// was written.
func (w *writtenService) dependencies(self planner.ServiceID) (list []planner.Dependency, places []place) {
	resolve := func(dep dependency) planner.ServiceID {
		if strings.Contains(dep.name, "/") {
			return planner.ParseServiceID(dep.name)
		}
		return planner.ServiceID{Namespace: self.Namespace, Name: dep.name}
	}
	all := slices.Clone(w.spec.dependsOn)
	slices.SortStableFunc(all, func(a, b dependency) int { return resolve(a).Compare(resolve(b)) })
	for _, dep := range all {
		id := resolve(dep)
		switch n := len(list); {
		case id == self:
			w.wrongPlace(dep.place, "is the service itself", "remove it")
		case n > 0 && list[n-1].Service == id:
			w.wrongPlace(dep.place, "names service "+id.String()+" a second time", "keep one of them")
		default:
			list, places = append(list, planner.Dependency{Service: id, Condition: dep.condition}), append(places, dep.place)
		}
	}
	return list, places
}

func (w *writtenService) wrongPlace(p place, reason, remedy string) {
	w.d.report(p.at, planner.Fault{Field: p.field, Reason: reason, Remedy: remedy})
}
