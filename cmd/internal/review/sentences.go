package review

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// PolicyRemark says who decides on what findings are about.
const PolicyRemark = "Whether a node allows it its own policy decides, which is not in the repository."

// Headline says a report in one line.
func Headline(r *Report) string {
	if r.Refused != "" {
		return "agents refuse the commit: nothing changes"
	}
	text := r.Summary.services()
	if slots := r.Summary.slots(); slots != "" && text != "" {
		text += ": " + slots
	} else {
		text += slots
	}
	if text == "" {
		text = "nothing changes that runs"
		if len(r.FleetChanges)+len(r.NodeChanges) > 0 {
			text = "no service changes, but what is said of the fleet or its nodes does"
		}
	}
	if trouble := obstacles(r); trouble != "" {
		text += "; " + trouble
	}
	return text
}

func (sum Summary) services() string {
	var c counts
	c.add(sum.Added, "is new", "are new")
	c.add(sum.Changed, "changes", "change")
	c.add(sum.Deleted, "is deleted", "are deleted")
	return c.of("service")
}

func (sum Summary) slots() string {
	var c counts
	c.add(sum.Restart, "restarts", "restart")
	c.add(sum.Move, "moves", "move")
	c.add(sum.Appear, "appears", "appear")
	c.add(sum.Go, "goes", "go")
	return c.of("slot")
}

// obstacles says what stands in the way.
func obstacles(r *Report) string {
	faults, missing := 0, 0
	for _, f := range r.Faults {
		if !f.Warning {
			faults++
		}
	}
	for _, u := range r.Unplaced {
		if !u.Before {
			missing++
		}
	}
	var c counts
	if slices.ContainsFunc(r.Services, func(s Service) bool { return s.Change == Kept }) {
		c.add(faults, "fault holds services back", "faults hold services back")
	} else {
		c.add(faults, "fault", "faults")
	}
	c.add(missing, "slot finds no place", "slots find no place")
	if r.Deletions != nil {
		c.add(len(r.Deletions.Waiting), "deletion waits for approval", "deletions wait for approval")
	}
	return strings.Join(c, ", ")
}

// counts are numbers of things that do something.
type counts []string

func (c *counts) add(n int, one, many string) {
	if n > 0 {
		*c = append(*c, fmt.Sprintf("%d %s", n, verb(n, one, many)))
	}
}

// of joins them, the first of which says what is counted.
func (c counts) of(what string) string {
	if len(c) > 0 {
		n, does, _ := strings.Cut(c[0], " ")
		if n != "1" {
			what += "s"
		}
		c[0] = n + " " + what + " " + does
	}
	return strings.Join(c, ", ")
}

// ServiceHead names a service, where it is described, and its revisions.
func ServiceHead(s Service) string {
	text := s.Service
	switch s.Change {
	case Moved:
		text += ": slots move"
	case Begun:
		text += ": under way without this commit"
	case Awaits:
		text += ": runs on"
	case Kept:
		text += ": stays as it was"
	case Added:
		text += ": new"
	case Deleted:
		text += ": deleted"
	}
	switch {
	case s.Change != Changed:
	case s.Old == s.New && s.begins():
		text += ": changes"
	case s.Old == s.New:
		text += ": changes without a restart"
	default:
		text += ": " + s.Old.Short() + " → " + s.New.Short()
	}
	if s.File != "" {
		text += " (" + place(s.File, s.Line) + ")"
	}
	return text
}

func place(file string, line int) string {
	if line > 0 {
		return fmt.Sprintf("%s:%d", file, line)
	}
	return file
}

// FaultWords are a fault, and whether the commit brings it.
func FaultWords(f Fault) string {
	if f.New {
		return f.String()
	}
	return f.String() + " (without this commit, too)"
}

// FieldWords are the old and the new value, each cut to so many runes.
func FieldWords(f Field, most int) string {
	side := func(value string) string {
		if value == "" {
			return "(none)"
		}
		if runes := []rune(value); len(runes) > most {
			return string(runes[:most]) + "…"
		}
		return value
	}
	return side(f.Old) + " → " + side(f.New)
}

// FieldNote says whether a field restarts, and where it is written.
func FieldNote(f Field) string {
	var parts []string
	if f.Restarts {
		parts = append(parts, "restarts")
	}
	if f.From != "" {
		parts = append(parts, f.From)
	}
	return strings.Join(parts, "; ")
}

// SlotWords say what becomes of a slot.
func SlotWords(s Slot) string {
	var text string
	switch s.Does {
	case Appears:
		text = fmt.Sprintf("%s appears on %s", s.Slot, s.To.Node)
	case Goes:
		text = fmt.Sprintf("%s goes from %s", s.Slot, s.From.Node)
	case Moves:
		text = fmt.Sprintf("%s moves from %s to %s", s.Slot, s.From.Node, s.To.Node)
		if s.From.Revision != s.To.Revision {
			text += " and restarts"
		}
	default:
		text = fmt.Sprintf("%s restarts on %s", s.Slot, s.To.Node)
	}
	if s.Down {
		text += ", down meanwhile"
	}
	if s.Observed {
		text += ", by its lease only: its nodes do nothing (mode: observe)"
	}
	return text
}

// DeletionWords say what the commit deletes.
func DeletionWords(d *Deletions) []string {
	const most = 20
	var out []string
	if len(d.Services) > 0 {
		out = append(out, fmt.Sprintf("deleted: %s. Without approval at most %s may go at once, and none that keeps data in a volume", list(d.Services, most), plural(d.Budget, "service")))
	}
	if len(d.Waiting) > 0 {
		out = append(out, fmt.Sprintf("%s on until a person approves: %s. A later commit with the trailer %q does that; it names the commit that first lacks them on the branch: after a merge or squash the one that this makes", verb(len(d.Waiting), "runs", "run"), list(d.Waiting, most), d.Approve))
	}
	return out
}

// NodeList joins nodes, the first few of many.
func NodeList(nodes []planner.NodeName) string { return list(nodes, 8) }

// LoadWords are the cells of a row about a node: its name, and before, at most
// and after of instances, memory and CPU.
func LoadWords(l Load) [4]string {
	name := string(l.Node)
	if name == "" {
		name = "all"
	}
	of := func(before, most, after, capacity int64, form func(int64) string) string {
		text := form(before)
		if before != most || after != most {
			text += " → " + form(most) + " → " + form(after)
		}
		if capacity > 0 {
			text += " of " + form(capacity)
		}
		return text
	}
	whole := func(n int64) string { return fmt.Sprint(n) }
	return [4]string{
		name,
		of(int64(l.Before.Instances), int64(l.Most.Instances), int64(l.After.Instances), 0, whole),
		of(l.Before.Requests.MemoryBytes, l.Most.Requests.MemoryBytes, l.After.Requests.MemoryBytes, l.Capacity.MemoryBytes, Memory),
		of(l.Before.Requests.CPUMillis, l.Most.Requests.CPUMillis, l.After.Requests.CPUMillis, l.Capacity.CPUMillis, CPU),
	}
}

// StepsOf are the steps of each service in sentences, with the turn in which each
// is taken.
func StepsOf(r *Report) map[string][]string {
	out := map[string][]string{}
	for _, t := range r.Turns {
		for _, s := range t.Steps {
			text := fmt.Sprintf("turn %d: ", t.Turn)
			if t.After != "" {
				text += "after " + t.After + ", "
			}
			if s.Approved {
				text += "once a person runs \"orpheus promote " + s.Service + "\", "
			}
			out[s.Service] = append(out[s.Service], text+strings.Join(s.Says, "; "))
		}
	}
	return out
}

// raceWords say what a plan leaves open.
func raceWords(races []Race) []string {
	const most = 10
	var out []string
	var nodes []planner.NodeName
	var racers []string
	for _, race := range races {
		if race.Node == "" {
			out = append(out, "slots of "+list(race.Services, most)+" move, and then change step by step: which of them changes first hangs on how long they take to move")
			continue
		}
		nodes = append(nodes, race.Node)
		racers = append(racers, race.Services...)
	}
	if n := len(nodes); n > 0 {
		slices.Sort(racers)
		racers = slices.Compact(racers)
		out = slices.Insert(out, 0, NodeList(nodes)+" "+verb(n, "has", "have")+" no room for all that changes there at once: which slots of "+list(racers, most)+" go first, and which go to another node instead, hangs on who is quicker. The steps are one way that it can go")
	}
	return out
}

// Remarks are what the plan rests on, for the end of it.
func Remarks(r *Report) []string {
	const most = 20
	out := append([]string{}, r.Notes...)
	if len(r.UnderWay) > 0 {
		out = append(out, "the fleet is not at rest without this commit either: "+list(r.UnderWay, most))
	}
	out = append(out, raceWords(r.Races)...)
	for i, w := range r.Waiting {
		if i == most {
			out = append(out, plural(len(r.Waiting)-most, "more service")+" wait")
			break
		}
		out = append(out, strings.TrimPrefix(w.Service+" waits at the end: "+w.Why, "default/ waits at the end: "))
	}
	if r.Cut {
		out = append(out, "the plan ends here, before the fleet comes to rest: it takes too many steps to follow")
	}
	return out
}
