package event

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// Turn is what a new value of a lease document means for the rollout of its
// service, beyond the leases it gives and takes.
type Turn struct {
	What   string   `json:"what"` // "rollout blocked"
	Reason string   `json:"reason,omitempty"`
	Slots  []string `json:"slots,omitempty"` // it is about, by name; none = the service
	// Bad: a person may have to act, or will be asked to.
	Bad bool `json:"bad,omitempty"`
}

func (t Turn) String() string {
	if t.Reason == "" {
		return t.What
	}
	return t.What + ": " + t.Reason
}

// Turns compares two values of a document. Of s only ID and Update count; what
// is not known of it is left out of the reasons.
func Turns(s planner.Service, before, after planner.LeaseDoc) []Turn {
	return slices.Concat(
		hookTurns(before, after), blockTurns(s, before, after), stepTurns(s, before, after),
		givenUp(before, after), completed(before, after),
	)
}

// hookTurns are the outcomes of hooks.
func hookTurns(before, after planner.LeaseDoc) []Turn {
	var out []Turn
	for _, h := range after.Hooks {
		known := func(o planner.HookRun) bool { return o.Kind == h.Kind && o.Revision == h.Revision }
		if slices.ContainsFunc(before.Hooks, known) {
			continue
		}
		t := Turn{What: h.Kind.Field() + " hook succeeded", Reason: nameRevision(after, h.Revision), Slots: []string{string(h.Kind)}}
		if h.Failed != "" {
			t.What, t.Bad = h.Kind.Field()+" hook failed", true
			t.Reason += ": " + h.Failed
		}
		out = append(out, t)
	}
	return out
}

// blockTurns tell of revisions that are blocked, and of the way back.
func blockTurns(s planner.Service, before, after planner.LeaseDoc) []Turn {
	var out []Turn
	for _, rev := range lacking(before.Blocked, after.Blocked) {
		out = append(out, Turn{What: "block lifted", Reason: "its manifest has changed since revision " + rev.Short() + " was blocked"})
	}
	back := after.LastGood != "" && !s.Update.NoRevert && strays(before, after.LastGood)
	for _, rev := range lacking(after.Blocked, before.Blocked) {
		next := "; what runs stays"
		if back {
			next = "; it goes back to " + nameRevision(after, after.LastGood)
		}
		out = append(out, Turn{What: "rollout blocked", Reason: nameRevision(after, rev) + ": " + after.BlockedWhy + next, Bad: true})
	}
	if back && len(after.Blocked) > 0 && !strays(after, after.LastGood) {
		out = append(out, Turn{What: "rollout reverted", Reason: "all slots have " + nameRevision(after, after.LastGood) + " again", Bad: true})
	}
	return out
}

// lacking lists the revisions that others do not have.
func lacking(revisions, others []planner.Revision) []planner.Revision {
	return slices.DeleteFunc(slices.Clone(revisions), func(r planner.Revision) bool { return slices.Contains(others, r) })
}

// strays reports whether a slot has a lease at another revision than the last
// good one. Where none had, nothing goes back, and nothing has.
func strays(doc planner.LeaseDoc, good planner.Revision) bool {
	return slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool { return l.Hook == "" && l.Revision != good })
}

// stepTurns tell that a step is done, and what the rollout rests for.
func stepTurns(s planner.Service, before, after planner.LeaseDoc) []Turn {
	if after.Step <= before.Step || topRevision(before) != topRevision(after) {
		return nil
	}
	steps := s.Update.Steps
	if after.Step > len(steps) {
		return []Turn{{What: "rollout step done", Reason: fmt.Sprintf("step %d", after.Step)}}
	}
	t := Turn{What: "rollout step done", Reason: fmt.Sprintf("step %d of %d", after.Step, len(steps))}
	var rests []string
	step := steps[after.Step-1]
	if step.Pause > 0 {
		t.What = "rollout paused"
		rests = append(rests, "it rests for "+step.Pause.String())
	}
	if step.Approve {
		t.What, t.Bad = "rollout paused", true
		rests = append(rests, "it goes on once "+after.Service.String()+" is promoted: orpheus promote "+after.Service.String())
	}
	if len(rests) > 0 {
		t.Reason += " is done; " + strings.Join(rests, ", ")
	}
	return []Turn{t}
}

// givenUp are the slots that leave a node on which they kept failing.
func givenUp(before, after planner.LeaseDoc) []Turn {
	var out []Turn
	for _, f := range after.Failed {
		known := func(o planner.FailedOn) bool {
			return o.Slot == f.Slot && o.Node == f.Node && o.Revision == f.Revision
		}
		if !slices.ContainsFunc(before.Failed, known) {
			out = append(out, Turn{What: "slot leaves its node", Reason: "it keeps failing on " + string(f.Node) + " at " + f.Revision.Short(), Slots: []string{f.Slot}, Bad: true})
		}
	}
	return out
}

const rolloutCompleted = "rollout completed"

// completed tells of the last good revision. That of a first release is noted
// with whatever comes next, long after LogFirstRelease told of it; where the next
// is blocked at once, it is no news.
func completed(before, after planner.LeaseDoc) []Turn {
	if after.LastGood == "" || after.LastGood == before.LastGood || len(lacking(after.Blocked, before.Blocked)) > 0 {
		return nil
	}
	if before.LastGood == "" {
		return []Turn{{What: "release noted as good", Reason: nameRevision(after, after.LastGood)}}
	}
	return []Turn{{What: rolloutCompleted, Reason: nameRevision(after, after.LastGood)}}
}

// nameRevision names a revision with the commit that brought it, where the
// document still knows.
func nameRevision(doc planner.LeaseDoc, rev planner.Revision) string {
	text := "revision " + rev.Short()
	if commit := doc.BroughtBy(rev); commit != "" {
		text += " of commit " + planner.Commit{Hash: commit}.Short()
	}
	return text
}

func topRevision(doc planner.LeaseDoc) planner.Revision {
	if len(doc.History) == 0 {
		return ""
	}
	return doc.History[0].Revision
}
