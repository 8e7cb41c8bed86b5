package fleettest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// service adds or replaces a service from settings.
func (s *story) service(args []string) error {
	given := map[string]string{"replicas": "1", "kind": "plain", "version": "1", "cpu": "100"}
	for _, a := range args[1:] {
		key, value, _ := strings.Cut(a, "=")
		given[key] = value
	}
	k := slices.Index([]string{"plain", "single", "volumed", "everynode"}, given["kind"])
	if k < 0 {
		return fmt.Errorf("unknown kind %q", given["kind"])
	}
	replicas, err := strconv.Atoi(given["replicas"])
	cpu, err2 := strconv.ParseInt(given["cpu"], 10, 64)
	if err = cmp.Or(err, err2); err != nil {
		return err
	}
	svc := service(args[0], kind(k), replicas, given["version"], cpu)
	for _, key := range sortedKeys(given) {
		if err := s.setting(&svc, key, given[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	s.c.Want(rehooked(svc))
	return nil
}

// setting is one of how a service is rolled out.
func (s *story) setting(svc *planner.Service, key, value string) (err error) {
	u := &svc.Update
	switch key {
	case "replicas", "kind", "version", "cpu":
	case "on":
		label, wanted, _ := strings.Cut(value, ":")
		svc.NodeSelector = map[string]string{label: wanted}
	case "spread":
		svc.Spread = []planner.SpreadConstraint{{TopologyKey: value, MaxSkew: 1}}
	case "order":
		u.StopFirst = value == "stopFirst"
	case "surge":
		u.MaxSurge, err = amountOf(value)
	case "unavailable":
		u.MaxUnavailable, err = amountOf(value)
	case "steps":
		u.Steps, err = stepsOf(value)
	case "revert":
		u.NoRevert = value == "no"
	case "minready":
		svc.MinReady, err = time.ParseDuration(value)
	case "deadline":
		svc.ProgressDeadline, err = time.ParseDuration(value)
	case "failures":
		svc.Reschedule.Failures, err = strconv.Atoi(value)
	case "after":
		svc.DependsOn = []planner.Dependency{{Service: planner.ServiceID{Namespace: planner.DefaultNamespace, Name: value}}}
	case "pre", "post":
		if svc.Hooks == nil {
			svc.Hooks = map[planner.HookKind]planner.Hook{}
		}
		svc.Hooks[planner.HookKind(key+"rollout")] = hook(svc.ID.Name, planner.HookKind(key+"rollout"), value, time.Minute)
	default:
		return fmt.Errorf("there is no such setting")
	}
	return err
}

// node says something more of a node.
func (s *story) node(command string, name planner.NodeName, args []string) {
	spec := s.c.wanted.nodes[name]
	spec.Name, spec.File = name, "nodes/"+string(name)+".yaml"
	switch command {
	case "cordon":
		spec.Unschedulable = true
	case "taint":
		spec.Taints = []planner.Taint{{Key: args[0], Effect: "NoExecute"}}
	case "label":
		key, value, _ := strings.Cut(args[0], "=")
		spec.Labels = maps.Clone(spec.Labels)
		if spec.Labels == nil {
			spec.Labels = map[string]string{}
		}
		spec.Labels[key] = value
	}
	s.c.wanted.nodes[name] = spec
}

// release gives a service another version and leaves the rest as it is.
func (s *story) release(name, version string) error {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: name}
	svc, ok := s.c.wanted.services[id]
	if !ok {
		return fmt.Errorf("there is no service %s", name)
	}
	s.c.Want(changed(svc, version))
	return nil
}

func amountOf(value string) (*planner.Amount, error) {
	number, percent := strings.CutSuffix(value, "%")
	n, err := strconv.Atoi(number)
	return &planner.Amount{Count: n, Percent: percent}, err
}

// stepsOf reads steps: 1:10s,50%:approve.
func stepsOf(value string) (steps []planner.UpdateStep, err error) {
	for part := range strings.SplitSeq(value, ",") {
		slots, rest, _ := strings.Cut(part, ":")
		a, err := amountOf(slots)
		if err != nil {
			return nil, err
		}
		step := planner.UpdateStep{Slots: *a, Approve: rest == "approve"}
		if rest != "" && !step.Approve {
			if step.Pause, err = time.ParseDuration(rest); err != nil {
				return nil, err
			}
		}
		steps = append(steps, step)
	}
	return steps, nil
}
