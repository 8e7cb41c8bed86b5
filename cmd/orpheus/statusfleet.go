package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// maxShownUnplaced is how many slots without a node a status lists.
const maxShownUnplaced = 10

// maxNamedNodes is how many live nodes are named; of more those of which there is
// something to say.
const maxNamedNodes = 12

// drawMembership draws the lines about the node's fleet.
func drawMembership(s *screen, f *api.Fleet, now time.Time) {
	var live, told []string // told = of which there is something to say
	for _, n := range f.Nodes {
		if n.State == nodeLive {
			note := nodeNote(n)
			live = append(live, string(n.Name)+note)
			if note != "" {
				told = append(told, string(n.Name)+note)
			}
		}
	}
	names := live
	if len(live) > maxNamedNodes && !s.all {
		names = told[:min(len(told), maxNamedNodes)]
	}
	switch {
	case len(live) == 0 && f.Unread:
		s.labelled("FLEET", yellow, "the records have not been read yet since this agent started"+unreadWhy(f))
	case len(live) == 0:
		s.labelled("FLEET", yellow, "no node is registered yet")
	default:
		s.labelled("FLEET", plain, strings.TrimSuffix(count(len(live), "live node")+": "+strings.Join(names, ", "), ": "))
	}
	drawUnwell(s, f.Nodes)
	if f.Error != "" && len(live) > 0 {
		s.prose("          ", plain, red, "records cannot be read since "+age(now.Sub(f.ErrorSince))+": "+f.Error)
	}
	if f.Error != "" {
		s.prose("          ", plain, plain, "Nothing moves between nodes; what runs keeps running and is kept in order.")
	}
	if f.Records != "" && f.Error == "" {
		s.labelled("RECORDS", plain, fmt.Sprintf("%s, looked at every %s; this node read %d and pushed %d times in the last hour", f.Records,
			f.Requests.Poll.Round(100*time.Millisecond), f.Requests.ReadsPerHour, f.Requests.PushesPerHour))
	}
	for _, w := range f.Waiting {
		if w.Service == "" && f.Error == "" {
			s.prose("          ", plain, yellow, w.Reason)
		}
	}
	for _, u := range f.Unplaced[:min(len(f.Unplaced), maxShownUnplaced)] {
		s.prose("          ", plain, yellow, u.Slot+" has no node: "+strings.Join(u.Reasons, "; "))
	}
	if n := len(f.Unplaced) - maxShownUnplaced; n > 0 {
		s.prose("          ", plain, yellow, fmt.Sprintf("and %s more without a node", count(n, "slot")))
	}
	for _, bad := range f.BadRecords {
		s.prose("          ", plain, red, "record not accepted: "+bad)
	}
	if f.Ignored > 0 {
		s.prose("          ", plain, yellow, fmt.Sprintf("%s among the records are none and are ignored", count(f.Ignored, "ref")))
	}
}

// drawUnwell draws the nodes that do not take part, or get no new work.
func drawUnwell(s *screen, nodes []api.FleetNode) {
	type line struct {
		c    colour
		text string
	}
	var lines []line
	for _, n := range nodes {
		switch {
		case n.State != nodeLive:
			lines = append(lines, line{yellow, strings.TrimSpace(fmt.Sprintf("%s is %s %s", n.Name, n.State, n.Reason))})
		case n.Failing != "":
			lines = append(lines, line{red, fmt.Sprintf("%s gets no new work: %s", n.Name, n.Failing)})
		}
	}
	shown := lines
	if len(lines) > maxNamedNodes && !s.all {
		shown = lines[:maxNamedNodes]
	}
	for _, l := range shown {
		s.labelled("", l.c, l.text)
	}
	if n := len(lines) - len(shown); n > 0 {
		s.labelled("", yellow, fmt.Sprintf("and %d more that are not live or get no new work: \"orpheus nodes\" lists them", n))
	}
}

// unreadWhy says what keeps an agent from reading the records at all.
func unreadWhy(f *api.Fleet) string {
	if f.Error == "" {
		return ""
	}
	return " (Git: " + f.Error + ")"
}

func nodeNote(n api.FleetNode) string {
	switch {
	case n.Drain:
		return " (drained)"
	case n.Cordon:
		return " (cordoned)"
	case n.Probe == "down":
		return " (not reached)"
	}
	return ""
}
