package compose

import (
	"fmt"
	"strings"
	"time"
)

// placed says how many instances there are, and where.
func (s *service) placed() {
	mode := ""
	if s.swarm {
		mode = s.Deploy.Mode
	}
	at := s.field("deploy.mode")
	switch mode {
	case "", "replicated":
		s.replicas()
	case "global":
		s.spec.Put("everyNode", true, at)
		if s.Deploy.Replicas != nil && *s.Deploy.Replicas != 1 {
			s.fault(s.field("deploy.replicas"), "is given beside mode: global", "remove one of them")
		} else if s.Scale != nil && *s.Scale != 1 {
			s.fault(s.field("scale"), "is given beside mode: global", "remove one of them")
		}
	default:
		s.fault(at, quote(mode)+" is not possible: jobs are not supported by this version", "write replicated or global")
	}
	if s.swarm {
		s.placement()
		s.checkRestartPolicy()
	}
	s.checkRestart()
}

func (s *service) replicas() {
	switch {
	case s.swarm && s.Deploy.Replicas != nil && inside(s.tree(), "deploy", "replicas") != nil:
		s.spec.Put("replicas", *s.Deploy.Replicas, s.field("deploy.replicas"))
	case s.Scale != nil:
		s.spec.Put("replicas", *s.Scale, s.field("scale"))
	}
}

// placement reads Swarm's constraints and preferences.
func (s *service) placement() {
	p := s.Deploy.Placement
	for i, text := range p.Constraints {
		s.constraint(s.deployed("placement.constraints", i), text)
	}
	var spread list
	for i, preference := range p.Preferences {
		at := s.deployed("placement.preferences", i)
		label, ok := strings.CutPrefix(preference.Spread, "node.labels.")
		if !ok {
			s.fault(at, quote(preference.Spread)+" is not possible: replicas are spread over nodes, and over labels of nodes", "write node.labels.LABEL, or remove it")
			continue
		}
		spread = append(spread, item(object{member("topologyKey", label, ""), member("whenUnsatisfiable", "ScheduleAnyway", "")}, at))
	}
	if len(spread) > 0 {
		s.spec.Put("topologySpreadConstraints", spread, s.field("deploy.placement.preferences"))
	}
	if p.MaxReplicas > 0 {
		s.fault(s.field("deploy.placement.max_replicas_per_node"), "is not possible", "remove it: replicas are spread over nodes anyway; one on every node is mode: global")
	}
}

// deployed is the name of an item of a list below deploy.
func (s *service) deployed(key string, i int) string {
	return fmt.Sprintf("%s[%d]", s.field("deploy."+key), i)
}

// constraint reads one of Swarm's: only labels that a node must have can be said.
func (s *service) constraint(at, text string) {
	switch strings.ReplaceAll(text, " ", "") {
	case "node.role==worker", "node.role!=manager":
		s.warn(at, "changes nothing: a fleet has no managers, so that all of its nodes are workers", "remove it")
		return
	}
	key, value, equal := strings.Cut(text, "==")
	if !equal {
		if unequal, without, not := strings.Cut(text, "!="); not {
			s.fault(at, quote(text)+" is not possible: a service asks for nodes that have a label", fmt.Sprintf("write %s==… for those it is for, or give the node of which %s is %s a taint", strings.TrimSpace(unequal), strings.TrimSpace(unequal), quote(strings.TrimSpace(without))))
			return
		}
		s.fault(at, quote(text)+" is no constraint", "write node.labels.LABEL==VALUE")
		return
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	label, isLabel := strings.CutPrefix(key, "node.labels.")
	switch {
	case isLabel && label != "":
		s.selectNodes(label, value, at)
	case key == "node.hostname":
		s.selectNodes("orpheus/node", value, at)
	case key == "node.platform.os":
		s.selectNodes("orpheus/os", value, at)
	case key == "node.platform.arch" && architecture(value) != "":
		s.selectNodes("orpheus/arch", architecture(value), at)
	case key == "node.role":
		s.fault(at, "is not possible: a fleet has no managers", "give the nodes that are meant a label, and write node.labels.LABEL==VALUE")
	default:
		s.fault(at, quote(text)+" is not possible", "give the nodes that are meant a label, and write node.labels.LABEL==VALUE")
	}
}

// swarmMonitor is how long Swarm watches a task after its update.
const swarmMonitor = 5 * time.Second

// paced says how changes are rolled out: as Swarm does, with its defaults, where
// update_config is given, else by the defaults of every service.
func (s *service) paced() {
	if !s.swarm || s.Deploy.UpdateConfig == nil {
		return
	}
	u, at := s.Deploy.UpdateConfig, s.field("deploy.update_config")
	many, from := any(1), at
	if u.Parallelism != nil {
		many, from = any(int(min(*u.Parallelism, 1000))), at+".parallelism"
		if *u.Parallelism == 0 {
			many = "100%"
		}
	}
	var update object
	switch u.Order {
	case "", "stop-first":
		update.Put("order", "stopFirst", at+".order")
		update.Put("maxUnavailable", many, from)
	case "start-first":
		update.Put("order", "startFirst", at+".order")
		update.Put("maxSurge", many, from)
		update.Put("maxUnavailable", 0, at+".order")
	default:
		s.fault(at+".order", quote(u.Order)+" is not known here", "write stop-first or start-first")
	}
	switch u.FailureAction {
	case "", "pause":
		update.Put("autoRevert", false, at+".failure_action")
	case "rollback":
		update.Put("autoRevert", true, at+".failure_action")
	default:
		s.fault(at+".failure_action", quote(u.FailureAction)+" is not possible: what fails is not rolled out further", "write pause or rollback")
	}
	if u.MaxFailureRatio != 0 {
		s.fault(at+".max_failure_ratio", "is not possible: one instance that fails is enough", "remove it")
	}
	s.spec.Put("update", update, at)
	s.ready(at, time.Duration(u.Delay), time.Duration(u.Monitor))
}

// ready makes delay and monitor the time that an instance must have been ready:
// only then the next one is changed, and what fails in it fails the rollout.
func (s *service) ready(at string, delay, monitor time.Duration) {
	if monitor == 0 {
		monitor = swarmMonitor
	}
	from := at + ".monitor"
	if delay > monitor {
		from = at + ".delay"
	}
	wait := seconds(max(delay, monitor))
	s.spec.Put("minReadySeconds", wait, from)
	deadline, given := s.spec.Get("progressDeadlineSeconds").(int)
	if !given {
		deadline = rolloutDeadline
	}
	if wait >= rolloutDeadline || given {
		s.spec.Put("progressDeadlineSeconds", wait+deadline, from)
	}
}
