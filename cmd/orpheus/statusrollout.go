package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxShownSlots is how many slots one screen lists of a service.
const maxShownSlots = 20

// rolloutMark is a rollout in a word or two, for a table; "" = it is at rest.
func rolloutMark(r *api.Rollout) (string, colour) {
	if r == nil {
		return "", plain
	}
	far := fmt.Sprintf(" %d/%d", r.Done, r.Replicas)
	switch r.State {
	case planner.RolloutBlocked:
		return "BLOCKED", red
	case planner.RolloutReverting:
		return "reverting" + far, red
	case planner.RolloutReverted:
		return "REVERTED", red
	case planner.RolloutWaiting:
		return "to approve" + far, yellow
	case planner.RolloutPaused:
		return "paused" + far, yellow
	case planner.RolloutRolling:
		if !begun(r) {
			return "not begun", yellow
		}
		return "rolling" + far, yellow
	case api.RolloutDegraded:
		return fmt.Sprintf("degraded %d/%d", r.Available, r.Replicas), yellow
	}
	return "", plain
}

// drawRollout draws where the change of a service is, and what came of it.
func drawRollout(s *screen, r *api.Rollout, now time.Time) {
	s.labelled("ROLLOUT", rolloutColour(r), describeRollout(r, now))
	if text := describeProgress(s, r); text != "" {
		s.labelled("PROGRESS", plain, text)
	}
	if r.Failure != "" {
		s.labelled("FAILED", red, capital(r.Failure))
	}
	for i, text := range r.Waits {
		s.labelled(first(i, "WAITS"), yellow, text)
	}
	shown := 0
	for _, h := range r.Hooks {
		if text, c := describeHook(r, h); !told(h) {
			s.labelled(first(shown, "HOOKS"), c, text)
			shown++
		}
	}
	for i, text := range describeAvoided(r) {
		s.labelled(first(i, "AVOIDED"), yellow, text)
	}
	for i, n := range r.Refusals {
		s.labelled(first(i, "REFUSED"), yellow, fmt.Sprintf("by %s: %s", n.Node, n.Reason))
	}
	if b := r.Budget; moving(r) {
		s.labelled("BUDGET", plain, fmt.Sprintf("%d extra of at most %d; %d unavailable, on purpose at most %d", b.Surge, b.MaxSurge, b.Unavailable, b.MaxUnavailable))
	}
}

// describeAvoided says of each slot on which nodes it kept failing.
func describeAvoided(r *api.Rollout) []string {
	var out []string
	nodes := map[api.Avoided][]string{} // by slot and revision
	for _, a := range r.Avoided {
		of := api.Avoided{Slot: a.Slot, Revision: a.Revision}
		nodes[of] = append(nodes[of], string(a.Node))
	}
	for _, a := range r.Avoided {
		of := api.Avoided{Slot: a.Slot, Revision: a.Revision}
		if at := nodes[of]; at != nil {
			out = append(out, fmt.Sprintf("%s kept failing on %s at %s: other nodes come first", slotOf(r, a.Slot), someOf(at), a.Revision.Short()))
		}
		delete(nodes, of)
	}
	return out
}

// told reports whether what there is to say of a hook is said elsewhere.
func told(h api.RolloutHook) bool { return h.State == api.HookRuns && h.Reason == "" }

// moving reports whether the budget counts now.
func moving(r *api.Rollout) bool {
	return r.State == planner.RolloutRolling && begun(r) || r.State == planner.RolloutReverting || r.State == api.RolloutDegraded
}

// begun reports whether a slot has what is wanted.
func begun(r *api.Rollout) bool { return r.Updated > 0 }

func rolloutColour(r *api.Rollout) colour {
	_, c := rolloutMark(r)
	if r.Steady() {
		return green
	}
	return c
}

// describeRollout is one line: the state in words, which revision of which
// commit, and how far it is.
func describeRollout(r *api.Rollout, now time.Time) string {
	wanted := "revision " + r.Wanted.Short()
	if r.Commit != "" {
		wanted += " of commit " + planner.Commit{Hash: r.Commit}.Short()
	}
	all := "all " + count(r.Replicas, "slot")
	if r.Replicas == 1 {
		all = "its slot"
	}
	slots := fmt.Sprintf("%d of %s", r.Done, count(r.Replicas, "slot"))
	switch r.State {
	case planner.RolloutDone:
		return "done: " + all + " at " + wanted
	case api.RolloutDegraded:
		return fmt.Sprintf("done, but only %d of %s available now; %s", r.Available, count(r.Replicas, "slot"), wanted)
	case planner.RolloutBlocked:
		return "blocked: every slot stays as it is"
	case planner.RolloutReverting:
		return fmt.Sprintf("reverting: %s available at %s again", slots, r.LastGood.Short())
	case planner.RolloutReverted:
		return fmt.Sprintf("reverted: %s at %s again", all, r.LastGood.Short())
	}
	text := "rolling"
	switch {
	case r.State == planner.RolloutWaiting:
		text = "waits for your approval"
	case r.State == planner.RolloutPaused && !r.PauseUntil.IsZero():
		text = "paused for another " + age(r.PauseUntil.Sub(now))
	case r.State == planner.RolloutPaused:
		text = "paused"
	case !begun(r):
		return "not begun: " + wanted
	}
	if r.Steps > 0 {
		text += fmt.Sprintf(", step %d of %d done", r.Step, r.Steps)
	}
	return text + ": " + slots + " available at " + wanted
}

func describeHook(r *api.Rollout, h api.RolloutHook) (string, colour) {
	text, c, where := h.Hook, plain, ""
	if h.Node != "" {
		where = " on " + string(h.Node)
	}
	switch h.State {
	case api.HookDue:
		text += " is still to run"
	case api.HookRuns:
		text, c = text+" runs"+where, yellow
	case api.HookSucceeded:
		text += " succeeded" + where
	case api.HookFailed:
		text, c = text+" failed"+where, red
	}
	if h.Reason != "" && !strings.Contains(r.Failure, h.Reason) {
		text += ": " + h.Reason
	}
	return text, c
}

func slotOf(r *api.Rollout, slot string) string {
	return planner.SlotID{Service: planner.ParseServiceID(r.Service), Name: slot}.String()
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// drawSlots draws the slots of a service with the nodes that have them. Of many
// those come first that are not as they are to be; the rest is only counted.
func drawSlots(s *screen, r *api.Rollout, only string) {
	t := table{titles: []string{"SLOT", "NODE", "STATE", "RESTARTS", "REVISION", "REASON"}, spare: []int{3}}
	slots := slices.DeleteFunc(slices.Clone(r.Slots), func(l api.RolloutSlot) bool { return only != "" && l.Slot != only })
	rest := 0
	if len(slots) > maxShownSlots {
		fine := func(l api.RolloutSlot) bool { return l.Available && l.Revision == r.Target }
		amiss := slices.DeleteFunc(slices.Clone(slots), fine)
		if len(amiss) < maxShownSlots {
			amiss = slots
		}
		rest = len(slots) - maxShownSlots
		slots = amiss[:maxShownSlots]
	}
	for _, l := range slots {
		state, c := slotState(l)
		restarts := ""
		if l.Restarts > 0 {
			restarts = strconv.Itoa(l.Restarts)
		}
		t.add(l.Reason, noteColour(c), cell{slotOf(r, l.Slot), plain}, cell{string(l.Node), plain}, cell{state, c},
			cell{restarts, plain}, cell{l.Revision.Short(), revisionColour(r, l)})
	}
	if len(t.rows) == 0 {
		return
	}
	s.blank()
	t.draw(s)
	if rest > 0 {
		s.prose("", plain, dim, fmt.Sprintf("and %d more: %d of %d are available", rest, r.Available, r.Replicas))
	}
}

// unreached lists the nodes that have slots of a service, or the only one, and
// that this node watches and does not reach: what is shown of them they told
// before.
func unreached(f *api.Fleet, r *api.Rollout, only string) []planner.NodeName {
	if f == nil {
		return nil
	}
	var out []planner.NodeName
	for _, n := range f.Nodes {
		has := slices.ContainsFunc(r.Slots, func(l api.RolloutSlot) bool {
			return l.Node == n.Name && !l.Void && (only == "" || l.Slot == only)
		})
		if has && n.State == "live" && n.Probe == "down" {
			out = append(out, n.Name)
		}
	}
	return out
}

// revisionColour sets off what is not what the slots are to have.
func revisionColour(r *api.Rollout, l api.RolloutSlot) colour {
	if r.Target != "" && l.Revision != r.Target {
		return yellow
	}
	return plain
}

// slotState is the state of a slot's lease in a word.
func slotState(l api.RolloutSlot) (string, colour) {
	switch {
	case l.Node == "":
		return "no node", red
	case l.Void:
		return "lost", red
	case l.Failing:
		return "failing", red
	case l.Available:
		return "ready", green
	case l.Phase == planner.PhaseReady:
		return "ready, not yet available", yellow
	case l.Phase == "":
		return "given", yellow
	}
	return planner.OneLine(string(l.Phase), maxShownWord), phaseColour(l.Phase)
}

// rolloutAdvice says what a person can do about a rollout, what counts most
// first; nothing where it goes on by itself.
func rolloutAdvice(r *api.Rollout) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	file := r.File
	if file == "" {
		file = "its manifest"
	}
	if r.Failed() {
		back := "revert the commit that brought it"
		if r.Commit != "" {
			back = "git revert " + planner.Commit{Hash: r.Commit}.Short()
		}
		add("mend %s and commit, or %s", file, back)
		add("or, where nothing in it was wrong, have it tried again: orpheus restart %s", r.Service)
	}
	if r.Asks() {
		add("to let it go on: orpheus promote %s", r.Service)
		add("or set spec.update.promoted: %s in %s and commit", r.Wanted.Short(), file)
		if r.Commit != "" {
			add("to stop it: git revert %s", planner.Commit{Hash: r.Commit}.Short())
		}
	}
	for _, h := range r.Hooks {
		if h.State == api.HookFailed {
			where := "the node that ran it"
			if h.Node != "" {
				where = string(h.Node)
			}
			add("see what the %s hook wrote, on %s: orpheus logs %s-%s", h.Hook, where, r.Service, strings.ToLower(h.Hook))
		}
	}
	if slot, node, known := failedSlot(r); known {
		add("see what %s wrote, on %s: orpheus logs %s", slot, node, slot)
	}
	if k := slices.IndexFunc(r.Slots, func(l api.RolloutSlot) bool { return l.Silent }); k >= 0 {
		node := r.Slots[k].Node
		add("see whether %s is up and reaches the fleet's Git repository: orpheus nodes %s, and on %s itself: orpheus doctor", node, node, node)
	}
	for _, u := range r.Unplaced {
		slot, _ := r.Slot(u.Slot)
		if _, stands := r.Stands(slot); !stands {
			add("give %s room: add a node, end a drain, or ask for less in %s (resources.requests, nodeSelector, tolerations)", u.Slot, file)
			break
		}
	}
	if len(r.Refusals) > 0 && !r.Steady() {
		n := r.Refusals[0]
		add("change what %s refuses in %s, or let the node's configuration allow it", n.Node, file)
	}
	switch bad := failedOn(r); {
	case r.Steady() || r.Failed():
	case len(bad) > 1:
		add("mend %s and commit: it fails on %s, so the nodes are hardly to blame", file, someOf(bad))
	case len(bad) == 1 && r.LastGood == r.Target:
		add("see what is wrong with %s: orpheus nodes %s", bad[0], bad[0])
	case len(bad) == 1:
		add("mend %s and commit, or see what is wrong with %s: orpheus nodes %s", file, bad[0], bad[0])
	}
	for _, service := range r.WaitsFor {
		add("see why %s is not as it is waited for: orpheus why %s", service, service)
	}
	return out
}

// failedSlot is a slot whose instance fails or, where none does now, had the
// revision fail, and its node: that keeps what a slot wrote while it has the slot.
func failedSlot(r *api.Rollout) (slot string, node planner.NodeName, known bool) {
	for _, l := range r.Slots {
		crashed := l.Restarts > 0 || l.Phase == planner.PhaseFailed || l.Phase == planner.PhaseUnhealthy
		if l.Node != "" && !l.Void && (l.Failing || crashed && !l.Available) {
			return slotOf(r, l.Slot), l.Node, true
		}
	}
	for _, l := range r.Slots {
		id := slotOf(r, l.Slot)
		if r.Failed() && l.Node != "" && !l.Void && strings.Contains(r.Failure, " failed: "+id+" on "+string(l.Node)+": ") {
			return id, l.Node, true
		}
	}
	return "", "", false
}

// failedOn lists the nodes on which what the slots are to have keeps failing, or
// did before they left.
func failedOn(r *api.Rollout) []string {
	var nodes []string
	for _, a := range r.Avoided {
		if a.Revision == r.Target {
			nodes = append(nodes, string(a.Node))
		}
	}
	for _, l := range r.Slots {
		if l.Failing && !l.Void && l.Revision == r.Target {
			nodes = append(nodes, string(l.Node))
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// revisionOf is what the slots are to have: where the manifest's failed, another
// one, or what most of them have and stay at.
func revisionOf(r *api.Rollout, wanted planner.Revision) planner.Revision {
	if r == nil || !r.Failed() {
		return wanted
	}
	return cmp.Or(r.Target, r.Runs(), wanted)
}

// drawAdvice draws what there is to do.
func drawAdvice(s *screen, advice []string) {
	if len(advice) == 0 {
		return
	}
	s.blank()
	s.line(s.paint(bold, "TO DO"))
	for _, text := range advice {
		s.prose("  - ", plain, plain, text)
	}
}
