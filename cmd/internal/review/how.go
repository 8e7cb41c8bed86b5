package review

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// how says in sentences how the rollout of a service goes, and what it waits
// for. Of one that is new, or does not restart, there is less to say.
func how(before, after planner.Service, was bool, now planner.Time) []string {
	var out []string
	if after.Suspended(now) {
		out = append(out, after.Suspend.String(), "no slot is added, moved or changed before that")
	}
	if after.Observe {
		out = append(out, "mode: observe: its nodes only tell what they would do")
	}
	if was && before.Revision == after.Revision {
		return out
	}
	for _, d := range after.DependsOn {
		state := "is ready"
		if d.Condition == planner.DependsStarted {
			state = "has started"
		}
		out = append(out, "begins once "+d.Service.String()+" "+state)
	}
	out = append(out, hook(after, planner.HookPreRollout, "before any slot changes")...)
	if was {
		out = append(out, order(before, after))
		out = append(out, steps(after)...)
	}
	return append(out, hook(after, planner.HookPostRollout, "after all slots are available")...)
}

// steps say where a rollout rests.
func steps(s planner.Service) []string {
	var out []string
	for i, step := range s.Update.Steps {
		var rests []string
		if step.Pause > 0 {
			rests = append(rests, "for "+short(step.Pause))
		}
		if step.Approve {
			rests = append(rests, "until a person runs: orpheus promote "+s.ID.String())
		}
		if len(rests) == 0 {
			rests = append(rests, "until they are available")
		}
		slots := plural(step.Slots.Count, "slot")
		if step.Slots.Percent {
			slots = step.Slots.String() + " of the slots"
		}
		out = append(out, fmt.Sprintf("step %d: after %s it rests %s", i+1, slots, strings.Join(rests, " and ")))
	}
	return out
}

// hook says when a hook runs, if the service has it.
func hook(s planner.Service, kind planner.HookKind, when string) []string {
	h, has := s.Hooks[kind]
	if !has {
		return nil
	}
	return []string{fmt.Sprintf("the %s hook runs once, %s, within %s; if it fails the release is blocked", kind.Field(), when, short(h.Deadline()))}
}

// order says how instances are replaced.
func order(before, after planner.Service) string {
	u := after.Update
	slots := max(1, after.Replicas)
	surge, unavailable := u.Limits(slots)
	ended := max(1, unavailable)
	if !after.EveryNode {
		ended = max(1, min(ended, slots-1)) // the last one that is ready waits for another
	}
	switch {
	case single(before.Template) != "" || single(after.Template) != "":
		why := single(after.Template)
		if why == "" {
			why = single(before.Template)
		}
		return "each instance ends before its successor begins, " + plural(ended, "slot") + " at a time: " + why
	case u.StopFirst || surge == 0:
		return "instances end before their successors begin, " + plural(ended, "slot") + " at a time"
	case unavailable > 0:
		return fmt.Sprintf("new instances begin beside old ones, at most %d more at a time, and at most %s may be without an available one", surge, plural(unavailable, "slot"))
	}
	return "each instance runs until its successor is available, at most " + fmt.Sprint(surge) + " more at a time"
}

// single says why two instances of a slot may not run at once; "" = they may.
func single(t planner.Template) string {
	switch {
	case !t.SingleWriter():
		return ""
	case t.HostNetwork:
		return "it uses the host's network"
	case slices.ContainsFunc(t.AllContainers(), func(c planner.Container) bool { return len(c.Devices) > 0 }):
		return "it uses a device"
	case slices.ContainsFunc(t.Volumes, func(v planner.Volume) bool { return v.Local != nil || v.HostPath != nil }):
		return "it writes a volume"
	}
	return "its processes have ports"
}

// expected says what can be told of slots without records.
func expected(before, after planner.Service, out Service) []string {
	count := func(s planner.Service) string {
		if s.EveryNode {
			return "its instances on every node"
		}
		return plural(s.Replicas, "slot")
	}
	switch {
	case out.Change == Added:
		return []string{count(after) + " " + verb(after.Replicas, "appears", "appear")}
	case out.Change == Deleted:
		return []string{count(before) + " " + verb(before.Replicas, "goes", "go")}
	case out.Change != Changed:
		return nil
	}
	var says []string
	if out.Restarts {
		stay := after
		stay.Replicas = min(before.Replicas, after.Replicas)
		says = append(says, count(stay)+" "+verb(stay.Replicas, "restarts", "restart"))
	}
	switch more := after.Replicas - before.Replicas; {
	case before.EveryNode != after.EveryNode:
		says = append(says, "slots go and others appear: everyNode changes")
	case more > 0:
		says = append(says, plural(more, "slot")+" "+verb(more, "appears", "appear"))
	case more < 0:
		says = append(says, plural(-more, "slot")+" "+verb(-more, "goes", "go"))
	}
	return says
}

// changedFiles compares the files that a service mounts.
func changedFiles(before, after planner.Service) []Field {
	describe := func(f planner.File, is bool) string {
		if !is {
			return ""
		}
		return fmt.Sprintf("%d bytes, sha256 %.12s", len(f.Data), f.SHA256)
	}
	index := func(s planner.Service) map[string]planner.File {
		out := map[string]planner.File{}
		for _, f := range s.Files {
			out[f.Volume] = f
		}
		return out
	}
	old, new := index(before), index(after)
	volumes := maps.Clone(old)
	maps.Copy(volumes, new)
	var out []Field
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		a, was := old[name]
		b, is := new[name]
		if a.SHA256 == b.SHA256 {
			continue
		}
		from := b.Path
		if !is {
			from = a.Path
		}
		out = append(out, Field{Field: "spec.volumes[" + name + "].file (content)", Old: describe(a, was), New: describe(b, is), Restarts: true, From: from})
	}
	return out
}
