package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// State is that of a commit's status; forges have other names for some.
type State string

// The states.
const (
	Pending State = "pending"
	Success State = "success"
	Failure State = "failure"
)

// Verdict is the status a commit is to have.
type Verdict struct {
	State State  `json:"state"`
	Text  string `json:"text"` // at most maxDescription bytes
}

const (
	// maxDescription is what GitHub takes; the others take more.
	maxDescription = 140
	// superseded begins the text of a commit that another one followed before it
	// was rolled out. Its state is success: nothing about it failed, and no forge
	// but GitLab knows a neutral one.
	superseded = "superseded by "
)

func verdict(state State, format string, args ...any) Verdict {
	return Verdict{state, planner.OneLine(fmt.Sprintf(format, args...), maxDescription)}
}

// judge is the status that the commit which is followed is to have.
func judge(f Facts) Verdict {
	if f.FaultCount > 0 {
		return verdict(Failure, "manifest faults: %s", faults(f))
	}
	done := 0
	for _, s := range f.Services {
		switch {
		case s.failed():
			return verdict(Failure, "%s", failed(f))
		case s.Phase == Done:
			done++
		}
	}
	switch {
	case done < len(f.Services):
		return verdict(Pending, "%d of %s rolled out%s", done, services(len(f.Services)), paused(f.Services))
	case f.Waits != "":
		return verdict(Pending, "%s", f.Waits)
	}
	return verdict(Success, "%s rolled out", services(done))
}

func services(n int) string {
	if n == 1 {
		return "1 service"
	}
	return fmt.Sprintf("%d services", n)
}

// blocked reports whether the revision that the commit asks for is not tried any
// more.
func (s Service) blocked() bool { return s.Phase == Blocked || s.Phase == Reverted }

// failed reports whether people have to do something for the service.
func (s Service) failed() bool { return s.blocked() || s.Failing != "" }

// failed names one service that has, with why, and how many others have: the
// first of those that the commit changed, or else of all.
func failed(f Facts) string {
	var one Service
	others := -1
	for _, s := range f.Services {
		if !s.failed() {
			continue
		}
		if others++; others == 0 || s.Commit == f.Commit.Hash && one.Commit != f.Commit.Hash {
			one = s
		}
	}
	// What is done about it stands before why: a long reason is cut off.
	text, why := one.ID.String()+" is blocked", one.Why
	switch {
	case one.Phase == Reverted:
		text += ", reverted to " + one.Back.Short()
	case one.Phase == Blocked && one.Back != "":
		text += ", returns to " + one.Back.Short()
	case !one.blocked():
		text, why = one.ID.String()+" fails, is tried further", one.Failing
	}
	if others > 0 {
		text += fmt.Sprintf(" (and %d more)", others)
	}
	return text + ": " + why
}

// paused names the services that wait for approval.
func paused(all []Service) string {
	var names []string
	for _, s := range all {
		if s.Phase == Paused {
			names = append(names, s.ID.String())
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; waiting for approval: " + strings.Join(names, ", ")
}

// entry is the status of one commit.
type entry struct {
	Commit string  `json:"commit"` // hash
	Want   Verdict `json:"want"`
	// Settled is the last Want for which nothing is left to do: it stands there,
	// or cannot.
	Settled Verdict `json:"settled,omitzero"`
}

// maxEntries bounds the commits whose status is kept up.
const maxEntries = 20

// follow brings the statuses that are wanted up to date with the facts. The
// commit that is followed comes last, and the first are forgotten. The receiver is not changed.
//
// Of the commits before, only what was pending changes: their end is that
// another came. A commit that was rolled out stays so, whatever becomes of its
// instances.
func follow(entries []entry, f Facts) []entry {
	if f.Stale {
		return entries
	}
	out := slices.Clone(entries)
	last := func(commit string) *entry { // the entry of a commit, as the newest
		e := entry{Commit: commit}
		if k := slices.IndexFunc(out, func(e entry) bool { return e.Commit == commit }); k >= 0 {
			e = out[k]
			out = slices.Delete(out, k, k+1)
		}
		out = append(out, e)
		return &out[len(out)-1]
	}
	if f.Refusal != "" && f.Refused.Hash != f.Commit.Hash {
		last(f.Refused.Hash).Want = verdict(Failure, "refused: %s", f.Refusal)
	}
	if f.Commit.Hash == "" {
		return out
	}
	if e := last(f.Commit.Hash); !e.Want.final() {
		e.Want = judge(f)
	}
	for k := range out {
		if out[k].Commit != f.Commit.Hash && out[k].Want.State == Pending {
			out[k].Want = verdict(Success, "%s%s", superseded, f.Commit.Short())
		}
	}
	return out[max(0, len(out)-maxEntries):]
}

// final reports whether nothing changes a status any more: the commit was
// rolled out.
func (v Verdict) final() bool {
	return v.State == Success && !strings.HasPrefix(v.Text, superseded)
}
