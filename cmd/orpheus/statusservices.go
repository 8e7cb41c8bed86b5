package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

func drawServices(s *screen, st *api.Status) {
	s.blank()
	if len(st.Services) == 0 {
		text := "No service is to run on this node."
		if st.Repository.Applied.Hash == "" {
			text = "No commit is in force yet, so nothing is to run on this node."
		}
		s.prose("", plain, plain, text)
		return
	}
	t := table{titles: []string{"NAME", "READY", "ROLLOUT", "REVISION", "DRIVER", "PORTS", "MESSAGE"}, spare: []int{4, 3, 5}}
	listed, rest := worthListing(s, st.Services, func(service api.Service) bool { return standingOf(st, service).grade == gradeFine })
	for _, service := range listed {
		state := serviceColour(service)
		note := message(service)
		if slices.ContainsFunc(st.Deletions, func(d api.Deletion) bool { return d.Approve == service.Approve }) {
			note = service.Message // the headline says the way out
		}
		mark, markColour := rolloutMark(service.Rollout)
		t.add(note, noteColour(state),
			cell{service.ID().String(), plain},
			cell{fmt.Sprintf("%d/%d", service.Ready, service.Replicas), instancesColour(service)},
			cell{withBar(s, service.Rollout, mark), markColour},
			cell{hasRevision(service).Short(), plain},
			cell{service.Driver, plain},
			cell{ports(service.Published), plain})
		for _, p := range service.Pulls {
			t.below(plain, describePull(s, p))
		}
	}
	t.draw(s)
	rest.draw(s, "service", "up to date and ready")
	if st.Fleet != nil {
		drawElsewhere(s, st.Fleet.Rollouts)
	}
}

// drawElsewhere draws the rollouts of services that nothing runs of on this
// node.
func drawElsewhere(s *screen, rollouts []*api.Rollout) {
	if len(rollouts) == 0 {
		return
	}
	s.blank()
	t := table{titles: []string{"ON OTHER NODES", "READY", "ROLLOUT", "REVISION", "MESSAGE"}, spare: []int{3}}
	listed, rest := worthListing(s, rollouts, func(r *api.Rollout) bool { return rolloutStanding(r).grade == gradeFine })
	for _, r := range listed {
		mark, c := rolloutMark(r)
		t.add(r.Summary(), c, cell{r.Service, plain}, cell{fmt.Sprintf("%d/%d", r.Available, r.Replicas), plain}, cell{withBar(s, r, mark), c}, cell{revisionOf(r, r.Wanted).Short(), plain})
	}
	t.draw(s)
	rest.draw(s, "service", "as asked")
}

// message is a service's sentence, with the way out where it waits for one.
func message(service api.Service) string {
	if service.Approve == "" {
		return service.Message
	}
	return service.Message + "; to let it happen, push a commit, empty or not, with the trailer " + service.Approve
}

// ports shortens "*:8080/tcp→80" to "8080→80": everywhere and TCP go without
// saying.
func ports(published []string) string {
	var short []string
	for _, p := range published {
		short = append(short, strings.Replace(strings.TrimPrefix(p, "*:"), "/tcp→", "→", 1))
	}
	return strings.Join(short, ",")
}

// settled reports whether a service is as its manifest asks, here and, as far as
// the node knows, in its fleet.
func settled(s api.Service) bool {
	return s.Ready == s.Replicas && s.Updated == s.Replicas && len(s.Instances) == s.Replicas && s.Approve == "" && !underWay(s.Rollout)
}

// heldBack reports whether a fault of its file keeps a service as it was.
func heldBack(st *api.Status, s api.Service) bool {
	return s.File != "" && slices.ContainsFunc(st.Faults, func(f planner.Fault) bool { return !f.Warning && f.File == s.File })
}

// serviceColour is red where something fails, yellow where it is under way.
func serviceColour(s api.Service) colour {
	if slices.ContainsFunc(s.Instances, func(i api.Instance) bool { return phaseColour(i.Phase) == red }) || s.Rollout != nil && s.Rollout.Failed() {
		return red
	}
	if settled(s) {
		return green
	}
	return yellow
}

func noteColour(state colour) colour {
	if state == green {
		return plain
	}
	return state
}

func phaseColour(p planner.Phase) colour {
	switch p {
	case planner.PhaseReady, planner.PhaseSucceeded:
		return green
	case planner.PhaseFailed, planner.PhaseUnhealthy:
		return red
	}
	return yellow
}
