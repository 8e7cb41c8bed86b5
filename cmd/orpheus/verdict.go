package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// grade is how something stands, as a word for programs.
type grade string

// The grades.
const (
	gradeBad  grade = "bad"  // something does not run as asked, and will not by itself
	gradeAsks grade = "asks" // it goes on when a person says so
	gradeBusy grade = "busy" // it becomes as asked by itself
	gradeFine grade = "fine"
)

// title is the grade for people.
func (g grade) title() string {
	switch g {
	case gradeBad:
		return "NOT FINE"
	case gradeAsks:
		return "ASKS YOU"
	case gradeBusy:
		return "AT WORK"
	}
	return "FINE"
}

// grades are all of them, the worst first.
var grades = []grade{gradeBad, gradeAsks, gradeBusy, gradeFine}

func (g grade) colour() colour {
	switch g {
	case gradeBad:
		return red
	case gradeFine:
		return green
	}
	return yellow
}

// standing is how one service stands.
type standing struct {
	service string
	grade   grade
	word    string // what is the matter, in a word or two; "" = nothing
	why     string // in a sentence; "" = there is no more to say
	todo    string // what to do about it; "" = ask why
	rests   bool   // it stays so until a person does something; unused of fine
}

func (t standing) sentence() string {
	switch {
	case t.grade == gradeFine && t.why == "":
		return "as its manifest asks"
	case t.word == "":
		return t.why
	case t.why == "":
		return t.word
	}
	return t.word + ": " + t.why
}

// report is the same for programs, with what there is to do.
func (t standing) report(todo []string) verdictReport {
	return verdictReport{t.grade, t.sentence(), append([]string{}, todo...)}
}

// draw answers first of all whether a service is fine.
func (t standing) draw(s *screen) {
	s.labelled("STATE", t.grade.colour(), t.grade.title()+": "+t.sentence())
}

// standingOf is how a service stands, as far as a node knows.
func standingOf(st *api.Status, service api.Service) standing {
	out := standing{service: service.ID().String(), why: service.Message}
	rolls := rolloutStanding(service.Rollout)
	failing := slices.ContainsFunc(service.Instances, func(i api.Instance) bool { return phaseColour(i.Phase) == red })
	switch {
	case rolls.grade == gradeBad || rolls.grade == gradeAsks:
		out.grade, out.word, out.why, out.rests = rolls.grade, rolls.word, rolls.why, rolls.rests
	case heldBack(st, service):
		out.grade, out.word, out.rests = gradeBad, "held back by a fault", true
	case service.Approve != "":
		out.grade, out.word, out.rests = gradeAsks, "deletion waits", true
		if slices.ContainsFunc(st.Deletions, func(d api.Deletion) bool { return d.Approve == service.Approve }) {
			out.todo = "see DELETION"
		}
	case failing:
		out.grade, out.word = gradeBad, fmt.Sprintf("failing, %d/%d ready", service.Ready, service.Replicas)
	case !service.RetryAt.IsZero():
		out.grade, out.word = gradeBad, "image does not come"
	case rolls.grade == gradeBusy:
		out.grade, out.word = gradeBusy, rolls.word
		if out.why == "" {
			out.why = rolls.why
		}
	case !settled(service) && len(service.Pulls) > 0:
		out.grade, out.word = gradeBusy, "pulls"
	case !settled(service):
		out.grade, out.word = gradeBusy, unsettledWord(service)
	default:
		out.grade = gradeFine
	}
	return out
}

// unsettledWord says how far a service is from what it is to be on a node.
func unsettledWord(s api.Service) string {
	switch {
	case s.Ready < s.Replicas:
		return fmt.Sprintf("%d/%d ready", s.Ready, s.Replicas)
	case s.Updated < s.Replicas:
		return fmt.Sprintf("%d/%d updated", s.Updated, s.Replicas)
	}
	return "ends what is too many"
}

// rolloutStanding is how a service stands in its fleet; nil is fine.
func rolloutStanding(r *api.Rollout) standing {
	if r == nil {
		return standing{grade: gradeFine}
	}
	out := standing{service: r.Service, why: r.Summary()}
	out.word, _ = rolloutMark(r)
	stuck := func(l api.RolloutSlot) bool { return l.Failing || l.Silent }
	lost := func(l api.RolloutSlot) bool { return l.Void }
	switch {
	case r.Steady():
		out.grade, out.why = gradeFine, ""
	case r.Failed() || len(r.Unplaced) > 0 || slices.ContainsFunc(r.Slots, stuck):
		out.grade, out.rests = gradeBad, r.State == planner.RolloutBlocked || r.State == planner.RolloutReverted
	case r.State == api.RolloutDegraded && !slices.ContainsFunc(r.Slots, lost): // lost ones are given elsewhere
		out.grade = gradeBad
	case r.Asks():
		out.grade, out.rests = gradeAsks, true
	default:
		out.grade = gradeBusy
	}
	return out
}

// standing is how a service stands as the records tell.
func (r *recordedService) standing() standing {
	out := rolloutStanding(r.Rollout)
	out.service = r.Service
	switch {
	case r.NotVerified != "":
		out.grade, out.word, out.why = gradeBad, "not verified", r.sentence()
	case r.HeldBack != "":
		out.grade, out.word, out.why, out.rests = gradeBad, "held back by a fault", r.HeldBack, true
	case r.Deleted != "":
		out.grade, out.word, out.why = gradeAsks, "deleted", r.Deleted
	case out.grade == gradeBad || out.grade == gradeAsks:
	case r.Ahead != "":
		out.grade, out.word, out.why = gradeBusy, "not followed yet", r.sentence()
	case r.Suspended != "":
		out.why = r.Suspended
	}
	return out
}

// verdict answers whether all is fine, what is not, and what there is to do.
type verdict struct {
	standings []standing // of all services, as far as they are told of here
	elsewhere []standing // of those that nothing runs of on the node that tells, and that are not fine
	bad       []string   // what else is not fine, as a clause, the worst first
	busy      []string   // what else is on its way
	say       []string   // what is as it should be
	todo      []string   // for bad and busy
	none      string     // what to say where there is no service
	passes    bool       // something of bad may come right by itself
}

const (
	// maxShownStandings is how many services of one grade are named in the verdict.
	maxShownStandings = 3
	// maxShownToDo is how many things to do the verdict has.
	maxShownToDo = 5
)

// add notes what is not fine but may come right by itself, and what to do about
// it.
func (v *verdict) add(todo, format string, args ...any) {
	v.passes = true
	v.mend(todo, format, args...)
}

// mend notes what is not fine until a commit mends it.
func (v *verdict) mend(todo, format string, args ...any) {
	v.bad = append(v.bad, fmt.Sprintf(format, args...))
	if todo != "" && !slices.Contains(v.todo, todo) {
		v.todo = append(v.todo, todo)
	}
}

// of lists the services of one grade.
func (v *verdict) of(g grade) []standing {
	return slices.DeleteFunc(slices.Concat(v.standings, v.elsewhere), func(t standing) bool { return t.grade != g })
}

// grade is the worst that there is.
func (v *verdict) grade() grade {
	for _, g := range grades {
		if len(v.of(g)) > 0 || g == gradeBad && len(v.bad) > 0 || g == gradeBusy && len(v.busy) > 0 {
			return g
		}
	}
	return gradeFine
}

// rests reports whether all stays as it is until a person does something.
func (v *verdict) rests() bool {
	moves := func(t standing) bool { return t.grade != gradeFine && !t.rests }
	return !v.passes && len(v.busy) == 0 && !slices.ContainsFunc(v.standings, moves) && !slices.ContainsFunc(v.elsewhere, moves)
}

// sentence is the verdict in one.
func (v *verdict) sentence() string {
	parts := slices.Clone(v.bad)
	for _, g := range []grade{gradeBad, gradeAsks, gradeBusy} {
		if text := named(v.of(g)); text != "" {
			parts = append(parts, text)
		}
	}
	parts = append(parts, v.busy...)
	if n := len(v.standings); n > 0 {
		where := ""
		if len(v.elsewhere) > 0 {
			where = " on this node"
		}
		fine := len(v.of(gradeFine))
		parts = append(parts, fmt.Sprintf("%d of %d%s up to date and ready", fine, n, where))
	} else if v.none != "" {
		parts = append(parts, v.none)
	}
	parts = append(parts, v.say...)
	return strings.Join(parts, "; ")
}

// named lists services with what is the matter with each.
func named(of []standing) string {
	var parts []string
	for _, t := range of[:min(len(of), maxShownStandings)] {
		if t.word != "" {
			parts = append(parts, t.service+" ("+t.word+")")
		} else {
			parts = append(parts, t.service)
		}
	}
	if n := len(of) - maxShownStandings; n > 0 {
		parts = append(parts, fmt.Sprintf("%d more", n))
	}
	return strings.Join(parts, ", ")
}

// toDo is what a person can do, what counts most first.
func (v *verdict) toDo() []string {
	todo := slices.Clone(v.todo)
	for _, t := range append(v.of(gradeBad), v.of(gradeAsks)...) {
		text := t.todo
		switch {
		case text != "":
		case t.grade == gradeAsks:
			text = "orpheus why " + t.service + ", and say whether it may go on"
		default:
			text = "orpheus why " + t.service
		}
		if !slices.Contains(todo, text) {
			todo = append(todo, text)
		}
	}
	if n := len(todo) - maxShownToDo; n > 0 {
		todo = append(todo[:maxShownToDo], fmt.Sprintf("and %d more", n))
	}
	if len(todo) == 0 && v.grade() == gradeBusy {
		todo = append(todo, "nothing: it goes on by itself")
	}
	return todo
}

// verdictReport is for programs what the first lines of a screen are for people.
type verdictReport struct {
	Grade grade `json:"state"`
	// Summary is the state in a sentence, ToDo what a person can do about it, what
	// counts most first.
	Summary string   `json:"summary"`
	ToDo    []string `json:"toDo"`
}

func (v *verdict) report() verdictReport {
	return verdictReport{v.grade(), v.sentence(), append([]string{}, v.toDo()...)}
}

func (v *verdict) draw(s *screen) {
	g := v.grade()
	s.labelled("STATE", g.colour(), g.title()+": "+v.sentence())
	for i, text := range v.toDo() {
		s.labelled(first(i, "TO DO"), plain, text)
	}
}

// verdictOf is how a node stands.
func verdictOf(st *api.Status, now time.Time) *verdict {
	v := &verdict{none: "nothing is to run on this node"}
	for _, service := range st.Services {
		v.standings = append(v.standings, standingOf(st, service))
	}
	r := st.Repository
	switch {
	case r.Refused != "":
		v.mend("mend what REFUSED says, or revert that commit", "commit %s was refused", r.Seen.Short())
	case r.Error != "":
		v.add("see GIT; \"orpheus doctor\" looks closer", "the repository cannot be read since %s", age(now.Sub(r.ErrorSince)))
	case r.Applied.Hash == "":
		v.busy = append(v.busy, "no commit is in force yet")
	case r.Seen.Hash != "" && r.Seen.Hash != r.Applied.Hash:
		v.busy = append(v.busy, "commit "+r.Seen.Short()+" is next")
	}
	for _, d := range st.Drivers {
		if d.Error != "" {
			v.add("orpheus doctor", "driver %s does not work", d.Name)
		}
	}
	if st.Network != nil && st.Network.Error != "" {
		v.add("orpheus doctor", "the node's network does not work")
	}
	for _, p := range st.Pressure {
		v.add("make room: see SHORT", "short of %s", p.Resource)
	}
	if st.Fleet != nil {
		v.addFleet(st.Fleet, r.Error)
	}
	if n := broken(st.Faults); n > 0 {
		v.mend("mend what FAULTS lists", "%s of the manifests", count(n, "fault"))
	}
	if n := len(otherProblems(st)); n > 0 {
		v.add("see PROBLEMS", "%s of this node", count(n, "problem"))
	}
	if n := len(st.Problems) - len(otherProblems(st)); n > 0 {
		v.add("see PROBLEMS", "%s not opened here", count(n, "port"))
	}
	return v
}

// addFleet notes what is the matter with the fleet, as one node knows it. gitError
// was said already.
func (v *verdict) addFleet(f *api.Fleet, gitError string) {
	if f.Error != "" && f.Error != gitError {
		v.add("see FLEET; \"orpheus doctor\" looks closer", "the records of the fleet cannot be read")
	}
	if !f.Registered && f.Error == "" {
		v.busy = append(v.busy, "this node is not registered in its fleet yet")
	}
	var fenced, failing []string
	for _, n := range f.Nodes {
		switch {
		case n.State == nodeFenced && n.Abandoned: // nobody waits for it
		case n.State == nodeFenced:
			fenced = append(fenced, string(n.Name))
		case n.State == nodeLive && n.Failing != "":
			failing = append(failing, string(n.Name))
		}
	}
	if len(fenced) > 0 {
		v.add("orpheus nodes", "%s fenced: %s", count(len(fenced), "node"), someOf(fenced))
	}
	if len(failing) > 0 {
		v.add("orpheus nodes", "nothing starts on %s", someOf(failing))
	}
	for _, r := range f.Rollouts {
		v.elsewhere = append(v.elsewhere, rolloutStanding(r))
	}
	services := map[string]bool{}
	for _, t := range slices.Concat(v.standings, v.elsewhere) {
		services[t.service] = t.grade == gradeBad
	}
	for _, u := range f.Unplaced {
		// Where the service says so itself it is named already.
		id := slotService(u.Slot)
		if !services[id] {
			services[id] = true
			v.add("orpheus why "+u.Slot, "%s has no node", u.Slot)
		}
	}
}

// slotService is the service that a slot is of, by how people call the slot.
func slotService(slot string) string {
	id := planner.ParseServiceID(slot)
	if at := strings.LastIndexByte(id.Name, '-'); at > 0 {
		id.Name = id.Name[:at]
	}
	return id.String()
}

// verdict is how a fleet stands as its records tell.
func (st *recordedStatus) verdict() *verdict {
	v := &verdict{none: "no service is recorded, and the manifests here have none"}
	for _, s := range st.Services {
		v.standings = append(v.standings, s.standing())
	}
	if len(st.Commits) == 0 {
		v.add("orpheus nodes", "no node is live")
	}
	if n := len(st.Fenced); n > 0 {
		names := make([]string, n)
		for k, name := range st.Fenced {
			names[k] = string(name)
		}
		v.add("orpheus nodes", "%s fenced: %s", count(n, "node"), someOf(names))
	}
	if n := broken(st.Faults); n > 0 {
		v.mend("mend what FAULTS lists", "%s of the manifests here", count(n, "fault"))
	}
	if n := len(st.NotVerified); n > 0 {
		v.add("see what is not verified below", "%s not verified", count(n, "record"))
	}
	return v
}
