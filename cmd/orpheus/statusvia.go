package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// reachedStatus is what `orpheus status --via ssh` tells: the records, and what the
// agents of the nodes know.
type reachedStatus struct {
	*recordedStatus
	Agents []toldStatus `json:"agents"`
}

// toldStatus is what the agent of one node told.
type toldStatus struct {
	Node planner.NodeName `json:"node"`
	Host string           `json:"host,omitempty"` // as ssh was given it
	// Error says why it was not reached.
	Error  string      `json:"error,omitempty"`
	Status *api.Status `json:"status,omitempty"`
}

// runVia shows the records, and what the agents of nodes know.
func (v statusView) runVia(ctx context.Context) error {
	fleet := newSSHFleet(v.viaOptions)
	defer fleet.close()
	var st *reachedStatus
	look := func(ctx context.Context) (*view, error) {
		read, err := v.lookVia(ctx, fleet)
		if err != nil {
			return nil, err
		}
		st = read
		return v.reached(st), nil
	}
	return v.present(ctx, watchRecords, look, func(ctx context.Context) awaited {
		recorded := v.awaitedOf(ctx, st.recordedStatus)
		recorded.ready = recorded.ready && st.asAsked()
		recorded.rests = recorded.rests && !slices.ContainsFunc(st.Agents, func(a toldStatus) bool {
			return a.Status == nil || !verdictOf(a.Status, v.now()).rests()
		})
		return recorded
	})
}

// lookVia reads the records, and asks the agents: of a service those of the nodes
// that have slots of it.
func (v statusView) lookVia(ctx context.Context, fleet *sshFleet) (*reachedStatus, error) {
	st, book, err := v.recordedStatus(ctx, v.recordOptions, 1)
	if err != nil {
		return nil, err
	}
	defer book.store.close()
	if st, err = st.narrow(v.service); err != nil {
		return nil, err
	}
	fleet.know(book)
	nodes := fleet.order
	if v.service != "" {
		nodes = st.Services[0].on("")
	}
	answers := ask(ctx, fleet, nodes, sameStatus)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	out := &reachedStatus{recordedStatus: st, Agents: []toldStatus{}}
	for _, a := range answers {
		told := toldStatus{Node: a.node, Host: a.host, Status: a.value}
		if a.err != nil {
			told.Error = a.reason()
		} else if v.service != "" {
			if told.Status, err = v.narrow(a.value); err != nil {
				told.Status, told.Error = nil, planner.OneLine(err.Error(), maxShownReason)
			}
		}
		out.Agents = append(out.Agents, told)
	}
	return out, nil
}

// on lists the nodes that have a slot of a service, or ran a hook of it last; "" =
// any.
func (r *recordedService) on(slot string) []planner.NodeName {
	var nodes []planner.NodeName
	for _, l := range r.Slots {
		if l.Node != "" && (slot == "" || l.Slot == slot) && !slices.Contains(nodes, l.Node) {
			nodes = append(nodes, l.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// asAsked reports whether all services have what their manifests ask for, and all
// agents tell so.
func (st *reachedStatus) asAsked() bool {
	return st.recordedStatus.asAsked() && !slices.ContainsFunc(st.Agents, func(a toldStatus) bool { return a.Status == nil || !asAsked(a.Status) })
}

// reached is the view of a fleet, or of one service of it.
func (v statusView) reached(st *reachedStatus) *view {
	quiet := *st
	quiet.Agents = nil
	for _, a := range st.Agents {
		if a.Status != nil {
			same := *a.Status
			same.Repository.LastRead = time.Time{}
			a.Status = &same
		}
		quiet.Agents = append(quiet.Agents, a)
	}
	whole := v.recorded(st.recordedStatus)
	return &view{value: st, news: quiet, draw: func(s *screen) {
		whole.draw(s)
		s.blank()
		if v.service == "" {
			drawAgents(s, st.Agents, v)
			return
		}
		drawToldService(s, st.Agents, v)
	}}
}

// drawAgents draws what the agents of all nodes tell.
func drawAgents(s *screen, agents []toldStatus, v statusView) {
	t := table{titles: []string{"AGENT OF", "STATE", "COMMIT", "READY", "RESTARTS", "TELLS"}, spare: []int{4, 2}, whole: []int{3, 4}}
	listed, rest := worthListing(s, agents, func(a toldStatus) bool { return a.Status != nil && verdictOf(a.Status, v.now()).grade() == gradeFine })
	for _, a := range listed {
		if a.Status == nil {
			t.add(a.Error, yellow, cell{string(a.Node), plain}, cell{"not reached", yellow}, cell{}, cell{}, cell{})
			continue
		}
		verdict := verdictOf(a.Status, v.now())
		ready, all, restarts := countInstances(a.Status)
		note, grade := "", verdict.grade()
		if grade != gradeFine {
			note = verdict.sentence()
		}
		t.add(note, noteColour(grade.colour()), cell{string(a.Node), plain}, cell{string(grade), grade.colour()},
			cell{a.Status.Repository.Applied.Short(), plain}, cell{fmt.Sprintf("%d/%d", ready, all), readyColour(ready, all)}, cell{fmt.Sprint(restarts), plain})
	}
	t.draw(s)
	rest.draw(s, "agent", "reached and fine")
}

// countInstances counts those of a node.
func countInstances(st *api.Status) (ready, all, restarts int) {
	for _, s := range st.Services {
		for _, i := range s.Instances {
			all++
			restarts += i.Restarts
			if i.Phase == planner.PhaseReady {
				ready++
			}
		}
	}
	return ready, all, restarts
}

// drawToldService draws what agents tell of one service.
func drawToldService(s *screen, agents []toldStatus, v statusView) {
	var silent []unreachedNode
	for _, a := range agents {
		if a.Status == nil {
			silent = append(silent, unreachedNode{a.Node, a.Error})
			continue
		}
		service := a.Status.Services[0]
		service.Rollout = nil // it stands above
		s.blank()
		s.line(s.paint(bold, "ON "+string(a.Status.Node)))
		drawToldInstances(s, a.Status, service, v)
	}
	drawUnreached(s, silent)
}

// drawToldInstances draws what a node knows better than the records.
func drawToldInstances(s *screen, st *api.Status, service api.Service, v statusView) {
	for i, n := range st.NotOpened {
		s.labelled(first(i, "CLOSED"), notOpenedColour(n), n.String())
	}
	if text := message(service); text != "" {
		s.labelled("MESSAGE", noteColour(serviceColour(service)), text)
	}
	for i, p := range service.Pulls {
		s.labelled(first(i, "PULLS"), plain, describePull(s, p))
	}
	drawInstances(s, service, v.now())
	drawContainers(s, service)
	drawProbes(s, service)
	drawLastLogs(s, service)
}
