package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
)

// rolloutCase is one state of a rollout that people meet: what the records say,
// and what is not in them.
type rolloutCase struct {
	service  planner.Service
	doc      planner.LeaseDoc
	status   []planner.InstanceStatus // by node-1, node-2 and node-3, as their leases say
	refusals map[planner.NodeName]string
	lost     planner.NodeName
	waiting  string
	unplaced []planner.Unplaced
	stepped  time.Duration // ago
}

// rollout tells of it as node-1 would.
func (c rolloutCase) rollout() *api.Rollout {
	now := planner.Time{Boot: 24 * time.Hour, Wall: testNow}
	view := planner.View{Nodes: map[planner.NodeName]planner.NodeView{}, Specs: map[planner.Revision]planner.Template{c.doc.LastGood: {}}}
	for _, name := range []planner.NodeName{"node-1", "node-2", "node-3"} {
		n := planner.NodeView{
			Record: planner.NodeRecord{Node: name, Epoch: 1, Incarnation: "i"},
			Status: planner.NodeStatus{Node: name, Incarnation: "i"},
		}
		if name == c.lost {
			n.Record.Epoch, n.Record.Fence = 2, &planner.Fence{Epoch: 2, Fenced: true, By: "node-1"}
		}
		for k, l := range c.doc.Leases {
			if l.Node == name {
				i := c.status[k]
				i.Slot, i.Token, i.Revision = planner.SlotID{Service: c.service.ID, Name: l.Slot}, l.Token, l.Revision
				n.Status.Instances = append(n.Status.Instances, i)
			}
		}
		if why := c.refusals[name]; why != "" {
			n.Status.Refusals = []planner.Refusal{{Service: c.service.ID, Revision: c.service.Revision, Reason: why}}
		}
		view.Nodes[name] = n
	}
	return api.RolloutOf(api.RolloutFacts{
		Service: c.service, Doc: planner.DocView{Doc: c.doc, StepSince: now.Boot - c.stepped}, View: view,
		Waiting: c.waiting, Unplaced: c.unplaced, Now: now,
	})
}

// rolloutCases are the states, by name. Revision 2 ran, revision 9 is wanted.
func rolloutCases() map[string]rolloutCase {
	const was, next = "2", "9"
	ready := planner.InstanceStatus{Phase: planner.PhaseReady, Available: true}
	base := func(change func(*rolloutCase)) rolloutCase {
		c := rolloutCase{
			service: planner.Service{ID: webService, File: "services/web.yaml", Replicas: 3, Revision: testRevision(next)},
			doc: planner.LeaseDoc{
				Service: webService, Commit: strings.Repeat("4f2a", 10), Tokens: 3, LastGood: testRevision(was),
				History: []planner.Applied{{Revision: testRevision(next), Commit: strings.Repeat("4f2a", 10)}, {Revision: testRevision(was), Commit: strings.Repeat("17be", 10)}},
			},
			status: []planner.InstanceStatus{ready, ready, ready},
		}
		for k := range 3 {
			c.doc.Leases = append(c.doc.Leases, planner.Lease{Slot: fmt.Sprint(k), Node: planner.NodeName(fmt.Sprintf("node-%d", k+1)), Epoch: 1, Token: uint64(k + 1), Revision: testRevision(was)})
		}
		change(&c)
		return c
	}
	// give adds a lease at the wanted revision.
	give := func(c *rolloutCase, slot int, node planner.NodeName, st planner.InstanceStatus) {
		c.doc.Tokens++
		c.doc.Leases = append(c.doc.Leases, planner.Lease{Slot: fmt.Sprint(slot), Node: node, Epoch: 1, Token: c.doc.Tokens, Revision: c.service.Revision})
		c.status = append(c.status, st)
	}
	all := func(c *rolloutCase) {
		for k := range c.doc.Leases {
			c.doc.Leases[k].Revision = c.service.Revision
		}
	}
	block := func(c *rolloutCase, why string) {
		c.doc.Blocked, c.doc.BlockedWhy = []planner.Revision{c.service.Revision}, why
	}
	probe := "readiness probe httpGet http://:8080/healthz: 503; not available within 10m0s"
	approve := []planner.UpdateStep{{Slots: planner.Amount{Count: 1}, Approve: true}, {Slots: planner.Amount{Count: 50, Percent: true}, Pause: 10 * time.Minute}}
	return map[string]rolloutCase{
		"under way": base(func(c *rolloutCase) {
			give(c, 0, "node-1", planner.InstanceStatus{Phase: planner.PhaseStarting, Reason: "readiness probe has not succeeded yet"})
		}),
		"counts its seconds": base(func(c *rolloutCase) {
			c.service.MinReady = 30 * time.Second
			give(c, 0, "node-1", planner.InstanceStatus{Phase: planner.PhaseReady})
		}),
		"to approve": base(func(c *rolloutCase) {
			c.service.Update.Steps = approve
			c.doc.Leases[0].Revision, c.doc.Step = c.service.Revision, 1
		}),
		"pauses": base(func(c *rolloutCase) {
			c.service.Update.Steps, c.service.Update.Promoted = approve, string(c.service.Revision)
			c.doc.Leases[0].Revision, c.doc.Leases[1].Revision, c.doc.Step, c.stepped = c.service.Revision, c.service.Revision, 2, 4*time.Minute
		}),
		"reverted": base(func(c *rolloutCase) { block(c, "web-0 on node-2: "+probe) }),
		"reverting": base(func(c *rolloutCase) {
			block(c, "web-0 on node-2: "+probe)
			c.doc.Leases[0].Revision = c.service.Revision
			c.status[0] = planner.InstanceStatus{Phase: planner.PhaseUnhealthy, Failing: true, Reason: probe}
		}),
		"blocked": base(func(c *rolloutCase) {
			c.service.Update.NoRevert = true
			block(c, "web-0 on node-1: "+probe)
			c.doc.Leases[0].Revision = c.service.Revision
			c.status[0] = planner.InstanceStatus{Phase: planner.PhaseUnhealthy, Failing: true, Restarts: 4, Reason: probe}
		}),
		"hook runs": base(func(c *rolloutCase) {
			c.service.Hooks = map[planner.HookKind]planner.Hook{planner.HookPreRollout: {Revision: "r1-h"}}
			c.doc.History = c.doc.History[1:]
			c.doc.Leases = append(c.doc.Leases, planner.Lease{Slot: "prerollout", Hook: planner.HookPreRollout, Node: "node-3", Epoch: 1, Token: 9, Revision: "r1-h"})
			c.status = append(c.status, planner.InstanceStatus{Phase: planner.PhaseReady})
		}),
		"hook failed": base(func(c *rolloutCase) {
			c.service.Hooks = map[planner.HookKind]planner.Hook{planner.HookPreRollout: {Revision: "r1-h"}}
			c.doc.History = c.doc.History[1:]
			why := "exited with code 1: last line: ERROR 1045 (28000): access denied for user 'migrate'"
			block(c, "its preRollout hook failed: "+why)
			c.doc.BlockedAt = c.doc.Commit
			c.service.Hooks[planner.HookPostRollout] = planner.Hook{Revision: "r1-p"} // is not to run any more
			c.doc.Hooks = []planner.HookRun{{Kind: planner.HookPreRollout, Revision: c.service.Revision, Token: 9, Node: "node-3", Failed: why}}
		}),
		"waits for another": base(func(c *rolloutCase) {
			c.doc.History = c.doc.History[1:]
			c.service.DependsOn = []planner.Dependency{{Service: planner.ParseServiceID("db")}}
			c.waiting = "waits for db: fewer than 2 slots of it are available at r1-33333333"
		}),
		"no room": base(func(c *rolloutCase) {
			all(c)
			c.doc.LastGood = c.service.Revision
			c.doc.Leases, c.status = c.doc.Leases[:2], c.status[:2]
			c.unplaced = []planner.Unplaced{{Slot: planner.SlotID{Service: webService, Name: "2"}, Reasons: []planner.NodeReason{
				{Node: "node-1", Reason: "asks for 512Mi of memory, 301Mi are left"}, {Node: "node-2", Reason: "drains"}, {Node: "node-3", Reason: "label disk is not ssd"},
			}}}
		}),
		"moves off a bad node": base(func(c *rolloutCase) {
			all(c)
			c.doc.LastGood = c.service.Revision
			c.doc.Failed = []planner.FailedOn{{Slot: "1", Node: "node-2", Revision: c.service.Revision}}
			c.status[1] = planner.InstanceStatus{Phase: planner.PhaseFailed, Failing: true, Restarts: 5, Reason: "exited with code 1; failed 5 times within 5m0s"}
			give(c, 1, "node-3", planner.InstanceStatus{Phase: planner.PhasePulling})
		}),
		"refused": base(func(c *rolloutCase) {
			c.refusals = map[planner.NodeName]string{"node-2": "privileged containers are not allowed here (policy.allowPrivileged)"}
			give(c, 0, "node-1", planner.InstanceStatus{Phase: planner.PhasePending})
		}),
		"node lost": base(func(c *rolloutCase) { all(c); c.doc.LastGood, c.lost = c.service.Revision, "node-3" }),
		"done":      base(func(c *rolloutCase) { all(c); c.doc.LastGood = c.service.Revision }),
	}
}

// rolloutStatus shows a rollout as the status of node-1 does, which has slot 0.
func rolloutStatus(r *api.Rollout) *api.Status {
	web := testService("web", "9", 1, "*:80/tcp→8080")
	web.Instances = nil
	web.Ready, web.Updated = 0, 0
	for _, l := range r.Slots {
		if l.Node == "node-1" {
			web.Instances = append(web.Instances, api.Instance{Slot: l.Slot, ID: "x", Phase: l.Phase, Revision: l.Revision, Reason: l.Reason, StartedAt: ago(time.Hour), Address: "10.64.0.2", Token: 1})
			if l.Phase == planner.PhaseReady {
				web.Ready++
			}
		}
	}
	web.Rollout, web.Message = r, r.Summary()
	st := testStatus(testService("db", "1", 1), web)
	st.Fleet = &api.Fleet{Registered: true, Nodes: []api.FleetNode{{Name: "node-1", State: "live"}, {Name: "node-2", State: "live"}, {Name: "node-3", State: "live"}}, Records: "https://git.example.com/team/fleet.git"}
	return st
}

// TestRolloutScreens: every state of a rollout is one screen that says what
// runs, what is awaited or failed, and what to do.
func TestRolloutScreens(t *testing.T) {
	for name, c := range rolloutCases() {
		st := rolloutStatus(c.rollout())
		one, err := statusView{service: "web"}.narrow(st)
		if err != nil {
			t.Fatal(err)
		}
		for _, width := range []int{80, 200} {
			text := drawn(one, true, width)
			golden(t, fmt.Sprintf("rollout/%s.%d", name, width), text)
			for line := range strings.Lines(text) {
				if n := terminal.Columns(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("%s: line of %d columns: %s", name, n, line)
				}
			}
			if n := strings.Count(text, "\n"); n > 40 {
				t.Errorf("%s at %d columns: %d lines are no screen", name, width, n)
			}
		}
		one.Problems = nil
		one.Services[0].Ready, one.Services[0].Updated, one.Services[0].Replicas = 1, 1, len(one.Services[0].Instances) // all is well here
		if fine := name == "done"; asAsked(one) != fine {
			t.Errorf("%s: as asked is %v", name, !fine)
		}
	}
}

// TestRolloutOverview: the table marks each service in a word.
func TestRolloutOverview(t *testing.T) {
	all := rolloutCases()
	st := testStatus(testService("db", "1", 1))
	elsewhere := []*api.Rollout{}
	for _, name := range []string{"under way", "to approve", "pauses", "reverted", "reverting", "blocked", "no room", "done"} {
		r := all[name].rollout()
		r.Service = strings.ReplaceAll(name, " ", "-")
		s := rolloutStatus(r).Services[1]
		s.Name = r.Service
		st.Services = append(st.Services, s)
		if name == "reverted" || name == "to approve" {
			elsewhere = append(elsewhere, r)
		}
	}
	st.Fleet = &api.Fleet{Registered: true, Nodes: []api.FleetNode{{Name: "node-1", State: "live"}}, Rollouts: elsewhere}
	for _, width := range []int{80, 200} {
		golden(t, fmt.Sprintf("rollout/overview.%d", width), drawn(st, false, width))
	}
	st.Services, st.Problems = st.Services[:1], nil
	if asAsked(st) {
		t.Error("a rollout that failed on other nodes is said to be as asked")
	}
	st.Fleet.Rollouts = elsewhere[:1]
	if asAsked(st) {
		t.Error("a rollout elsewhere that waits for approval is said to be as asked")
	}
	if st.Fleet.Rollouts = nil; !asAsked(st) {
		t.Error("what is as asked is not said to be")
	}
}

// localTime is when something happened, which depends on where one is.
var localTime = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)

// TestWhyRollout: why says what happened and what to do, for a service and for
// one slot, also of another node.
func TestWhyRollout(t *testing.T) {
	events := []event.Event{
		{At: ago(12 * time.Minute), Level: "info", Service: "web", Slot: "web-0", What: "leases decided", Reason: "web-0 changes to r1-99999999: commit 4f2a4f2a changed it", Detail: []string{"commit=4f2a4f2a"}},
		{At: ago(2 * time.Minute), Level: "warn", Service: "web", What: "rollout blocked", Reason: "revision r1-99999999 of commit 4f2a4f2a: web-0 on node-2: readiness probe; it goes back to revision r1-22222222 of commit 17be17be"},
	}
	for name, slot := range map[string]string{"reverting": "", "moves off a bad node": "1", "waits for another": "", "pauses": "", "hook failed": ""} {
		st := rolloutStatus(rolloutCases()[name].rollout())
		called := "web"
		if slot != "" {
			called += "-" + slot
		}
		service, found, err := resolveAnywhere(st, called)
		if err != nil || found != slot {
			t.Fatalf("%s: %q %v", called, found, err)
		}
		for _, width := range []int{80, 200} {
			s := &screen{width: width}
			drawWhy(s, st, service, slot, events, testNow)
			text := localTime.ReplaceAllString(strings.Join(s.lines, "\n")+"\n", "YYYY-MM-DD hh:mm:ss")
			golden(t, fmt.Sprintf("rollout/why %s.%d", name, width), text)
		}
	}
}

// A slot that left several nodes has one line.
func TestDescribeAvoided(t *testing.T) {
	r := &api.Rollout{Service: "web", Avoided: []api.Avoided{{Slot: "0", Node: "node-3", Revision: "r1-99999999"}, {Slot: "1", Node: "node-2", Revision: "r1-99999999"}, {Slot: "0", Node: "node-1", Revision: "r1-99999999"}}}
	want := "web-0 kept failing on node-3,node-1 at r1-99999999: other nodes come first;web-1 kept failing on node-2 at r1-99999999: other nodes come first"
	if got := strings.Join(describeAvoided(r), ";"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What has no node yet is not on other nodes, and a node that stands alone has no
// others.
func TestReadyOfWhatHasNoNode(t *testing.T) {
	r := &api.Rollout{Service: "web", State: planner.RolloutRolling, Replicas: 2, Slots: []api.RolloutSlot{{Slot: "0"}, {Slot: "1"}}}
	for want, s := range map[string]api.Service{
		"0 of 2: no slot has a node yet": {Rollout: r},              // in a fleet
		"0 of 2":                         {Rollout: r, Replicas: 2}, // alone
	} {
		if got := describeReady(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Slots on a node that is not reached are shown as it told of them last, and that
// is said.
func TestUnreachedNodeIsTold(t *testing.T) {
	st := rolloutStatus(rolloutCases()["done"].rollout())
	st.Services = st.Services[1:]
	const want = "UNREACHED node-2: what is told of its slots is what it said last"
	if text := drawn(st, true, 80); strings.Contains(text, "UNREACHED") {
		t.Error(text)
	}
	st.Fleet.Nodes[1].Probe = "down"
	if text := drawn(st, true, 80); !strings.Contains(text, want) {
		t.Error(text)
	}
	s := &screen{}
	drawWhy(s, st, st.Services[0], "2", nil, testNow)
	if text := strings.Join(s.lines, "\n"); strings.Contains(text, "UNREACHED") {
		t.Errorf("slot 2 is on node-3:\n%s", text)
	}
}

// Advice names what a failed instance wrote, where that is kept, and blames a
// node only where the release may be good.
func TestRolloutAdvice(t *testing.T) {
	const failed = "revision r1-99999999 failed: web-0 on node-2: exited with code 3; reverted to r1-22222222"
	slot := func(node planner.NodeName, failing bool) api.RolloutSlot {
		return api.RolloutSlot{Slot: "0", Node: node, Revision: "r1-99999999", Available: !failing, Failing: failing}
	}
	for name, c := range map[string]struct {
		r    api.Rollout
		want []string
		not  string
	}{
		"the slot is still there":            {api.Rollout{State: planner.RolloutReverted, Failure: failed, Slots: []api.RolloutSlot{slot("node-2", false)}}, []string{"see what web-0 wrote, on node-2: orpheus logs web-0"}, "orpheus nodes"},
		"the slot has left, and so its logs": {api.Rollout{State: planner.RolloutReverted, Failure: failed, Slots: []api.RolloutSlot{slot("node-1", false)}}, []string{"revert the commit"}, "logs"},
		"a first release, on one node":       {api.Rollout{State: planner.RolloutRolling, Target: "r1-99999999", Slots: []api.RolloutSlot{slot("node-1", true)}}, []string{"orpheus logs web-0", "mend web.yaml and commit, or see what is wrong with node-1"}, "hardly"},
		"a first release, on two nodes": {api.Rollout{State: planner.RolloutRolling, Target: "r1-99999999", Slots: []api.RolloutSlot{slot("node-1", true)}, Avoided: []api.Avoided{{Slot: "0", Node: "node-2", Revision: "r1-99999999"}}},
			[]string{"orpheus logs web-0", "mend web.yaml and commit: it fails on node-1,node-2"}, "orpheus nodes"},
		"a good release": {api.Rollout{State: api.RolloutDegraded, Target: "r1-99999999", LastGood: "r1-99999999", Slots: []api.RolloutSlot{slot("node-1", true)}}, []string{"see what is wrong with node-1"}, "mend"},
	} {
		c.r.Service, c.r.File = "web", "web.yaml"
		text := strings.Join(rolloutAdvice(&c.r), "\n")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if strings.Contains(text, c.not) {
			t.Errorf("%s: %q in\n%s", name, c.not, text)
		}
	}
}

// A node on which everything fails gets no new work: it says so wherever nodes
// are shown.
func TestFailingNodeIsShown(t *testing.T) {
	const why = "5 failures of 2 slots in 5m: no space left on device"
	st := testStatus(testService("db", "1", 1))
	st.Fleet = &api.Fleet{Registered: true, Nodes: []api.FleetNode{{Name: "node-1", State: "live"}, {Name: "node-2", State: "live", Failing: why}}}
	if text := drawn(st, false, 0); !strings.Contains(text, "node-2 gets no new work: "+why) {
		t.Error(text)
	}
	if text, c := nodeRemark(nodeReport{State: nodeLive, Failing: why}); text != "gets no new work: "+why || c != red {
		t.Error(text)
	}
}
