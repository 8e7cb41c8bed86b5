package main

import (
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestWhy: what stands, what happened, and what to do, on one screen.
func TestWhy(t *testing.T) {
	now := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	service := func(phase planner.Phase, reason string) api.Service {
		return api.Service{
			Namespace: "default", Name: "web", File: "web.yaml", Replicas: 1, Ready: 1, Updated: 1,
			Instances: []api.Instance{{Slot: "0", Phase: phase, Reason: reason}},
		}
	}
	failing := service(planner.PhaseFailed, "exited with code 1")
	failing.Ready = 0
	deleted := service(planner.PhaseReady, "")
	deleted.Approve = "Prune-Approved: 340563cd"
	pending := service(planner.PhasePending, "pulling")
	pending.Ready = 0
	refused := service(planner.PhaseReady, "")
	refused.Updated, refused.Message = 0, "revision r1-2 is refused by this node: policy"
	nowhere := api.Service{Namespace: "default", Name: "web", Replicas: 1, Message: refused.Message}
	kept := service(planner.PhaseReady, "")
	kept.Message = "kept as it was: commit 340563cd lacks it, but has files that could not be read"
	two := service(planner.PhaseReady, "")
	two.Replicas, two.Ready, two.Updated = 2, 2, 2
	two.Instances = append(two.Instances, api.Instance{Slot: "1", Phase: planner.PhaseReady})
	for _, tt := range []struct {
		name    string
		st      api.Status
		service api.Service
		slot    string
		events  []event.Event
		want    []string
		not     string
	}{
		{"all is well", api.Status{}, service(planner.PhaseReady, ""), "", nil, []string{"- nothing: it is as its manifest asks"}, "HAPPENED"},
		{"all is well with a slot of several", api.Status{}, two, "1", nil, []string{"- nothing: it is as its manifest asks"}, "wait:"},
		{"all is well with a slot on another node", api.Status{Fleet: &api.Fleet{}}, two, "2", nil, []string{"- nothing: it is as its manifest asks"}, "wait:"},
		{"under way", api.Status{}, pending, "", nil, []string{"- wait: the node is at work on it"}, ""},
		{"the node refuses what is new", api.Status{}, refused, "", nil, []string{"- see what MESSAGE says"}, "wait:"},
		{"the node refuses all of it", api.Status{}, nowhere, "", nil, []string{"- see what MESSAGE says"}, "wait:"},
		{"its file is gone, others are broken", api.Status{}, kept, "", nil, []string{"- nothing here: it runs, and stays"}, "manifest asks"},
		{"it fails", api.Status{}, failing, "", []event.Event{{At: now, Slot: "web-0", What: "action failed", Action: "start", Reason: "no such file", Detail: []string{"instance=x"}}},
			[]string{"web-0 start failed: no such file (instance=x)", "orpheus logs web", "run-revision"}, "nothing:"},
		{"it is held", api.Status{Holds: []api.Hold{{Target: "web-0", Text: "held down", Until: now}}}, service(planner.PhaseReady, ""), "0", nil,
			[]string{"HELD      web-0 is held down", `"orpheus release web-0" ends that now`}, ""},
		{"the node is held", api.Status{Holds: []api.Hold{{Target: "node", Until: now}}}, service(planner.PhaseReady, ""), "", nil, []string{"orpheus release --node"}, ""},
		{"another is held", api.Status{Holds: []api.Hold{{Target: "db", Until: now}}}, service(planner.PhaseReady, ""), "", nil, []string{"nothing:"}, "release"},
		{"a deletion waits", api.Status{}, deleted, "", nil, []string{`--trailer "Prune-Approved: 340563cd"`}, ""},
		{"its file is broken", api.Status{Faults: []planner.Fault{{File: "web.yaml", Line: 3, Reason: "is required"}}}, service(planner.PhaseReady, ""), "", nil, []string{"mend web.yaml:3"}, ""},
		{"a commit is refused", api.Status{Repository: api.Repository{Refused: "fleet.yaml is missing"}}, service(planner.PhaseReady, ""), "", nil, []string{"was refused: fleet.yaml is missing"}, ""},
		{"the records cannot be read", api.Status{Fleet: &api.Fleet{Error: "no route to host"}}, service(planner.PhaseReady, ""), "", nil, []string{"what is told of other nodes may be old: no route to host"}, "nothing:"},
		{"a port is closed", api.Status{NotOpened: []api.NotOpened{testNotOpened}, Problems: []string{testNotOpened.String()}}, service(planner.PhaseReady, ""), "", nil,
			[]string{"CLOSED    port 8080/tcp of web is not opened", "- see CLOSED: port 8080 stays closed"}, "this node has a problem"},
		{"terminals are not acted on", api.Status{}, failing, "", []event.Event{{At: now, What: "x", Reason: "\x1b[2J"}}, []string{"HAPPENED"}, "\x1b[2J"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &screen{}
			tt.st.Services = []api.Service{tt.service}
			drawWhy(s, &tt.st, tt.service, tt.slot, tt.events, now)
			text := strings.Join(s.lines, "\n")
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			if tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("%q in\n%s", tt.not, text)
			}
		})
	}
}
