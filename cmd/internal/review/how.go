package review

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// how says in sentences how the rollout of a service goes, and what it waits
// for. Of one that is new, or does not restart, there is less to say. slots is how
// many it has; 0 = nobody knows, for it runs on every node.
func how(before, after planner.Service, slots int, was bool, now planner.Time) []string {
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
		out = append(out, order(before, after, slots))
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
func order(before, after planner.Service, slots int) string {
	u := after.Update
	of := slots
	if of == 0 {
		of = 100 // of which no share comes to nothing
	}
	surge, unavailable := u.Limits(of)
	why := single(after.Template)
	if why == "" {
		why = single(before.Template)
	}
	ended := max(1, unavailable)
	if slots > 0 && why == "" {
		ended = max(1, min(ended, slots-1)) // the last one that is available waits for another
	} else if slots > 0 {
		ended = min(ended, slots)
	}
	atOnce := ", one slot after the other"
	switch {
	case slots == 1:
		atOnce = ""
	case slots == 0 && percent(u.MaxUnavailable):
		atOnce = ", at most " + u.MaxUnavailable.String() + " of the slots at a time"
	case ended > 1:
		atOnce = ", at most " + plural(ended, "slot") + " at a time"
	}
	if after.EveryNode {
		atOnce = strings.NewReplacer("slots", "nodes", "slot", "node").Replace(atOnce)
	}
	switch {
	case why != "":
		return "each instance ends before its successor begins" + atOnce + ": " + why
	case u.StopFirst || surge == 0:
		return "instances end before their successors begin" + atOnce
	}
	more := strconv.Itoa(surge)
	if slots == 0 && percent(u.MaxSurge) {
		more = u.MaxSurge.String()
	}
	without := plural(unavailable, "slot")
	switch {
	case slots == 0 && percent(u.MaxUnavailable):
		without = u.MaxUnavailable.String() + " of the slots"
	case unavailable == 0:
		return "each instance runs until its successor is available, at most " + more + " more at a time"
	}
	return "new instances begin beside old ones, at most " + more + " more at a time, and at most " + without + " may be without an available one"
}

// percent reports whether an amount is a share of slots.
func percent(a *planner.Amount) bool { return a != nil && a.Percent && a.Count > 0 }

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
