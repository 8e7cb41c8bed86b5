package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
)

// screens are the screens of a fleet: of each verb, from the records and from
// the agent of a node.
func (f *simFleet) screens(node planner.NodeName, service string) map[string]func(*screen) {
	place := f.recordPlace()
	b := f.book()
	st := b.status(place, planner.Time{Boot: 1, Wall: f.now})
	e := &env{now: func() time.Time { return f.now }}
	here := f.agentStatus(node)
	whyRecords, err := e.whyRecorded(st, b, service)
	if err != nil {
		f.t.Fatal(err)
	}
	entries, err := b.history(planner.ServiceID{}, 20)
	if err != nil {
		f.t.Fatal(err)
	}
	one, err := b.history(simID(service), 20)
	if err != nil {
		f.t.Fatal(err)
	}
	before, now := f.usage(node)
	measured, recorded := measuredTop([]*api.Usage{before}, []*api.Usage{now}), b.top(place)
	measured.sort("cpu")
	recorded.sort("cpu")
	events := f.events(node)
	decided, err := b.events(planner.ServiceID{}, "", usualEvents)
	if err != nil {
		f.t.Fatal(err)
	}
	return map[string]func(*screen){
		"status":          func(s *screen) { drawRecorded(s, st) },
		"status-agent":    func(s *screen) { drawStatus(s, here, false, f.now) },
		"nodes":           func(s *screen) { drawNodes(s, b.nodes(place.String())) },
		"node":            func(s *screen) { drawNodeRecord(s, b.node(node), f.now) },
		"top":             func(s *screen) { drawTop(s, recorded, false, false) },
		"top-agent":       func(s *screen) { drawTop(s, measured, false, false) },
		"top-instances":   func(s *screen) { drawTop(s, measured, true, false) },
		"why":             whyRecords.draw,
		"why-agent":       func(s *screen) { f.drawWhyHere(s, here, service, events) },
		"history":         func(s *screen) { drawHistory(s, historyReport{Entries: entries}, false) },
		"history-service": func(s *screen) { drawHistory(s, historyReport{Entries: one}, true) },
		"events": func(s *screen) {
			for _, e := range decided {
				drawEvent(s, e)
			}
		},
		"events-agent": func(s *screen) {
			for _, e := range events {
				drawEvent(s, e)
			}
		},
	}
}

func (f *simFleet) drawWhyHere(s *screen, st *api.Status, name string, events []event.Event) {
	service, slot, err := resolveAnywhere(st, name)
	if err != nil {
		f.t.Fatal(err)
	}
	events = slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool { return !e.About(name) })
	drawWhy(s, st, service, slot, events, f.now)
}

// TestFleetScreens: what people see of fleets that are well, roll, are blocked, or
// are large, at two widths. Look at the files of testdata/screens when they change.
func TestFleetScreens(t *testing.T) {
	for _, kind := range simKinds {
		f := newSimFleet(t, newRecordWriter(t, ""), kind)
		for name, draw := range f.screens(f.nodes[0], "web") {
			for _, width := range []int{80, 200} {
				s := &screen{width: width}
				draw(s)
				text := localTime.ReplaceAllString(strings.Join(s.lines, "\n")+"\n", "YYYY-MM-DD hh:mm:ss")
				golden(t, fmt.Sprintf("screens/%s/%s.%d", kind, name, width), text)
				if n := len(s.lines); kind == "hundred" && n > 100 {
					t.Errorf("%s %s at %d columns: %d lines", kind, name, width, n)
				}
			}
			// No line is wider than its screen, and none is lost where it is narrow.
			for _, width := range []int{40, 60, 80, 100, 132, 200} {
				s := &screen{width: width}
				draw(s)
				for _, line := range s.lines {
					if n := terminal.Columns(line); n > width {
						t.Errorf("%s %s: %d columns on a screen of %d: %s", kind, name, n, width, line)
					}
				}
			}
		}
	}
}

// TestFirstLineAnswers: whether it is fine stands first, and what to do next.
func TestFirstLineAnswers(t *testing.T) {
	for kind, want := range map[string][2]string{
		"healthy": {"STATE     FINE: 6 of 6 up to date and ready", "RECORDS"},
		"rolling": {"STATE     AT WORK: web (rolling 1/3); 5 of 6 up to date and ready", "TO DO     nothing: it goes on by itself"},
		"blocked": {"STATE     NOT FINE: queue (", "TO DO     orpheus why queue"},
		"hundred": {"STATE     NOT FINE: 1 node fenced: node-017; app-200 (reverting 1/2), web (REVERTED); ", "TO DO     orpheus nodes"},
	} {
		f := newSimFleet(t, newRecordWriter(t, ""), kind)
		s := &screen{}
		f.screens(f.nodes[0], "web")["status"](s)
		for k, start := range want {
			if !strings.HasPrefix(s.lines[k], start) {
				t.Errorf("%s: line %d is %q, want %q", kind, k+1, s.lines[k], start)
			}
		}
	}
}
