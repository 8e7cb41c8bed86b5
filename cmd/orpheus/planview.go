package main

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/cmd/internal/review"
	"github.com/orpheus-cd/orpheus/planner"
)

// How much of a plan goes on a screen of each service; -o markdown and json have
// more.
const (
	planFields = 30
	planSlots  = 12
	planSteps  = 12
	planValue  = 120
	planFaults = 40
)

func drawPlan(s *screen, r *review.Report) {
	s.labelled("PLAN", plain, sideWords(r.Base)+" → "+sideWords(r.Head))
	of := r.Fleet
	if r.Path != "." {
		of += " in " + r.Path
	}
	if r.Records != "" {
		of += ", " + r.Records
	}
	s.labelled("FLEET", plain, strings.TrimPrefix(of, ", "))
	c := green
	if r.Trouble() {
		c = red
	} else if r.Summary.Changes {
		c = yellow
	}
	s.labelled("RESULT", c, review.Headline(r))
	if r.NoRecords != "" {
		s.labelled("RECORDS", yellow, "not read, so that nothing is said of nodes: "+r.NoRecords)
	}
	drawPlanTrouble(s, r)
	drawPlanFindings(s, r)
	for _, f := range r.FleetChanges {
		heading(s, "FLEET.YAML", f.Field == r.FleetChanges[0].Field)
		drawField(s, f)
	}
	for i, n := range r.NodeChanges {
		heading(s, "NODES", i == 0)
		s.prose("  "+mark(n.Change)+" ", markColour(n.Change), bold, string(n.Node))
		for _, f := range n.Fields {
			drawField(s, f)
		}
	}
	steps := review.StepsOf(r)
	for i, sv := range r.Services {
		heading(s, "SERVICES", i == 0)
		drawPlanService(s, sv, steps[sv.Service])
	}
	drawLoads(s, r)
	for i, n := range review.Remarks(r) {
		heading(s, "NOTES", i == 0)
		s.prose("  - ", plain, plain, n)
	}
}

func sideWords(side review.Side) string {
	text := side.Name
	if side.Commit != "" {
		if id := (planner.Commit{Hash: side.Commit}).Short(); !strings.HasPrefix(side.Name, id) {
			text += " (" + id + ")"
		}
	}
	if text == "" {
		return "nothing"
	}
	return text
}

// heading begins a block.
func heading(s *screen, title string, first bool) {
	if first {
		s.blank()
		s.line(s.paint(bold, title))
	}
}

// drawPlanTrouble draws what a person has to see to first.
func drawPlanTrouble(s *screen, r *review.Report) {
	if r.Refused != "" {
		s.labelled("REFUSED", red, "agents will refuse the commit, and go on with what they follow: "+r.Refused)
	}
	for i, f := range r.Faults {
		heading(s, "FAULTS", i == 0)
		if i == planFaults {
			s.prose("  ", plain, dim, fmt.Sprintf("and %d more; \"orpheus validate\" lists all", len(r.Faults)-i))
			break
		}
		c := red
		if f.Warning {
			c = yellow
		}
		lead := "  ✗ "
		if f.Warning {
			lead = "  ! "
		}
		s.prose(lead, c, plain, review.FaultWords(f))
		if len(f.Holds) > 0 {
			s.prose("      ", plain, dim, "keeps as they were: "+strings.Join(f.Holds, ", "))
		}
	}
	for i, u := range r.Unplaced {
		heading(s, "NO PLACE", i == 0)
		if i == planFaults {
			s.prose("  ", plain, dim, "and "+count(len(r.Unplaced)-i, "more slot")+"; -o json has all")
			break
		}
		c := red
		text := u.Slot
		if u.Before {
			c, text = yellow, text+" (without this commit, too)"
		}
		if u.Nearest != "" {
			text += ": " + u.Nearest
		}
		s.prose("  ✗ ", c, plain, text)
		for _, reason := range u.Reasons {
			s.prose("      ", plain, dim, review.NodeList(reason.Nodes)+": "+reason.Reason)
		}
		if len(u.Reasons) == 0 {
			s.prose("      ", plain, dim, "there are no nodes")
		}
	}
	if d := r.Deletions; d != nil {
		heading(s, "DELETIONS", true)
		for _, text := range review.DeletionWords(d) {
			s.prose("  ", plain, plain, text)
		}
	}
}

func drawPlanFindings(s *screen, r *review.Report) {
	for i, f := range r.Findings {
		heading(s, "TO LOOK AT", i == 0)
		s.prose("  ! ", yellow, plain, f.Service+" "+f.What+where(f.File, f.Line))
	}
	if r.PolicyDecides() {
		s.prose("    ", plain, dim, review.PolicyRemark)
	}
}

func where(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return " (" + file + ")"
	}
	return fmt.Sprintf(" (%s:%d)", file, line)
}

// mark is the sign of a change, as in a patch.
func mark(change string) string {
	switch change {
	case review.Added:
		return "+"
	case review.Deleted:
		return "-"
	case review.Changed:
		return "~"
	case review.Moved:
		return ">"
	}
	return "="
}

func markColour(change string) colour {
	switch change {
	case review.Added:
		return green
	case review.Deleted:
		return red
	case review.Changed, review.Moved, review.Awaits:
		return yellow
	}
	return dim
}

func drawPlanService(s *screen, sv review.Service, steps []string) {
	s.prose("  "+mark(sv.Change)+" ", markColour(sv.Change), bold, review.ServiceHead(sv))
	const lead = "      "
	if sv.Why != "" {
		s.prose(lead, plain, plain, sv.Why)
	}
	if sv.About != "" {
		s.prose(lead, plain, plain, sv.About)
	} else {
		for i, f := range sv.Fields {
			if i == planFields {
				s.prose(lead, plain, dim, fmt.Sprintf("and %s more", count(len(sv.Fields)-i, "field")))
				break
			}
			drawField(s, f)
		}
	}
	for i, slot := range sv.Slots {
		if i == planSlots {
			s.prose(lead, plain, dim, fmt.Sprintf("and %s more", count(len(sv.Slots)-i, "slot")))
			break
		}
		c := plain
		if slot.Down {
			c = yellow
		}
		s.prose(lead, plain, c, review.SlotWords(slot))
	}
	if sv.Down != "" {
		s.prose(lead+"! ", yellow, yellow, sv.Down)
	}
	for _, text := range sv.How {
		s.prose(lead, plain, dim, text)
	}
	for i, text := range steps {
		if i == planSteps {
			s.prose(lead, plain, dim, fmt.Sprintf("and %s more; -o json has all", count(len(steps)-i, "step")))
			break
		}
		s.prose(lead+"· ", dim, plain, text)
	}
}

// drawField draws a value that changes.
func drawField(s *screen, f review.Field) {
	text := f.Field + ": " + review.FieldWords(f, planValue)
	if note := review.FieldNote(f); note != "" {
		text += "  (" + note + ")"
	}
	s.prose("      ", plain, plain, text)
}

func drawLoads(s *screen, r *review.Report) {
	if len(r.Loads) == 0 || !r.Summary.Changes {
		return
	}
	s.blank()
	t := table{titles: []string{"ASKED OF", "INSTANCES", "MEMORY", "CPU", ""}}
	for _, l := range r.Loads {
		if len(r.Loads) > 22 && l.Node != "" && l.Before == l.Most && l.After == l.Most {
			continue // of many nodes those that change
		}
		row := review.LoadWords(l)
		t.add("", plain, cell{row[0], plain}, cell{row[1], plain}, cell{row[2], plain}, cell{row[3], plain})
	}
	t.draw(s)
	s.prose("", plain, dim, "before → at most meanwhile → after, of what nodes have")
}
