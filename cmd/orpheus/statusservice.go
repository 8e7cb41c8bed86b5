package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// readyAtNewest counts the instances that are ready and have the wanted
// revision: one that crashes has it, too.
func readyAtNewest(s api.Service) (n int) {
	for _, i := range s.Instances {
		if i.Phase == planner.PhaseReady && i.Revision == s.Revision {
			n++
		}
	}
	return n
}

// drawService draws one service with its instances and images, and its ports
// that are not opened. slot is the only one whose places in the fleet are drawn;
// "" = of all.
func drawService(s *screen, st *api.Status, service api.Service, slot string, closed []api.NotOpened, now time.Time) {
	s.blank()
	s.labelled("SERVICE", bold, service.ID().String())
	s.labelled("READY", readinessColour(service), describeReady(service))
	for _, field := range []struct{ label, text string }{
		{"REVISION", describeRevision(service)}, {"DRIVER", service.Driver},
		{"PORTS", ports(service.Published)}, {"FILE", service.File},
	} {
		if field.text != "" {
			s.labelled(field.label, plain, field.text)
		}
	}
	for i, n := range closed {
		s.labelled(first(i, "CLOSED"), notOpenedColour(n), n.String())
	}
	told := ""
	if service.Rollout != nil && (service.Rollout.State != planner.RolloutDone || service.Rollout.Steps > 0) {
		drawRollout(s, service.Rollout, now)
		told = service.Rollout.Summary() // is said in more words above
	}
	if text := message(service); text != "" && text != told {
		s.labelled("MESSAGE", noteColour(serviceColour(service)), text)
	}
	for i, p := range service.Pulls {
		s.labelled(first(i, "PULLS"), plain, describePull(s, p))
	}
	if elsewhere(service) {
		for i, n := range unreached(st.Fleet, service.Rollout, slot) {
			s.labelled(first(i, "UNREACHED"), yellow, string(n)+": what is told of its slots is what it said last")
		}
		drawSlots(s, service.Rollout, slot)
	}
	drawInstances(s, service, now)
	drawContainers(s, service)
	drawProbes(s, service)
	drawLastLogs(s, service)
	drawImages(s, service)
}

// describeRevision is what the slots are to have, and what the manifest asks for
// where that is another.
func describeRevision(service api.Service) string {
	text := service.Revision.Short()
	if is := hasRevision(service); is != service.Revision {
		return is.Short() + "; the manifest asks for " + text
	}
	return text
}

// hasRevision is what the slots have and are to keep: of a service that is held
// back what runs of it here.
func hasRevision(service api.Service) planner.Revision {
	wanted := func(i api.Instance) bool { return i.Revision == service.Revision }
	if service.Rollout == nil && len(service.Instances) > 0 && service.Approve != "" && !slices.ContainsFunc(service.Instances, wanted) {
		return service.Instances[0].Revision
	}
	return revisionOf(service.Rollout, service.Revision)
}

// describeReady counts the instances that are ready, and where slots are on
// other nodes too, all of them.
func describeReady(service api.Service) string {
	ready, r := fmt.Sprintf("%d of %d", service.Ready, service.Replicas), service.Rollout
	switch {
	case elsewhere(service) && service.Replicas == 0 && len(service.Instances) == 0 && !placed(r):
		return fmt.Sprintf("%d of %d: no slot has a node yet", r.Available, r.Replicas)
	case elsewhere(service) && service.Replicas == 0 && len(service.Instances) == 0:
		return fmt.Sprintf("%d of %d, all on other nodes", r.Available, r.Replicas)
	case elsewhere(service):
		return fmt.Sprintf("%d of %d in the fleet, %s on this node", r.Available, r.Replicas, ready)
	}
	if newest := readyAtNewest(service); newest < service.Ready {
		ready += fmt.Sprintf(", %d with the newest revision", newest)
	}
	return ready
}

// elsewhere reports whether other nodes have slots of the service, or, in a fleet,
// some have no node.
func elsewhere(service api.Service) bool {
	r := service.Rollout
	return r != nil && slices.ContainsFunc(r.Slots, func(l api.RolloutSlot) bool {
		return (l.Node != "" || service.Replicas < r.Replicas) && !slices.ContainsFunc(service.Instances, func(i api.Instance) bool { return i.Slot == l.Slot && i.Revision == l.Revision })
	})
}

func drawInstances(s *screen, service api.Service, now time.Time) {
	s.blank()
	t := table{titles: []string{"SLOT", "PHASE", "RESTARTS", "AGE", "ADDRESS", "REVISION", "REASON"}, spare: []int{4, 5}}
	if elsewhere(service) {
		t.titles[0] = "ON THIS NODE"
	}
	for _, i := range service.Instances {
		since := ""
		if !i.StartedAt.IsZero() {
			since = age(now.Sub(i.StartedAt))
		}
		state := phaseColour(i.Phase)
		reason := i.Reason
		if saidOfSlot(service.Rollout, i) && elsewhere(service) {
			reason = "" // it stands above
		}
		t.add(reason, noteColour(state),
			cell{planner.SlotID{Service: service.ID(), Name: i.Slot}.String(), plain},
			cell{string(i.Phase), state},
			cell{strconv.Itoa(i.Restarts), plain},
			cell{since, plain},
			cell{i.Address, plain},
			cell{i.Revision.Short(), plain})
	}
	t.draw(s)
}

// saidOfSlot reports whether the slots of the fleet tell an instance's reason.
func saidOfSlot(r *api.Rollout, i api.Instance) bool {
	return r != nil && slices.ContainsFunc(r.Slots, func(l api.RolloutSlot) bool {
		return l.Slot == i.Slot && l.Revision == i.Revision && l.Reason == i.Reason
	})
}

// drawContainers draws them where the instance does not say it all.
func drawContainers(s *screen, service api.Service) {
	several := slices.ContainsFunc(service.Instances, func(i api.Instance) bool { return len(i.Containers) > 1 })
	if !several {
		return
	}
	s.blank()
	t := table{titles: []string{"SLOT", "CONTAINER", "STATE", "PID", "EXIT"}}
	for _, i := range service.Instances {
		for _, c := range i.Containers {
			exit, pid := "", ""
			if c.Exit != nil {
				own := *c.Exit
				own.Container = "" // it stands in its column
				exit = planner.DescribeExit(&own)
			}
			if c.PID > 0 {
				pid = strconv.Itoa(c.PID)
			}
			t.add(exit, plain, cell{planner.SlotID{Service: service.ID(), Name: i.Slot}.String(), plain}, cell{c.Name, plain}, cell{c.State, plain}, cell{pid, plain})
		}
	}
	t.draw(s)
}

// drawImages draws what each reference was resolved to. Digests are never
// cut: they are there to be copied.
func drawImages(s *screen, service api.Service) {
	digests := map[string][]string{}
	for _, i := range service.Instances {
		for ref, digest := range i.Images {
			if !slices.Contains(digests[ref], digest) {
				digests[ref] = append(digests[ref], digest)
			}
		}
	}
	if len(digests) == 0 {
		return
	}
	s.blank()
	s.line(s.paint(bold, "IMAGES"))
	for _, ref := range slices.Sorted(maps.Keys(digests)) {
		s.prose("  ", plain, plain, ref)
		slices.Sort(digests[ref])
		for _, digest := range digests[ref] {
			s.prose("    ", plain, dim, digest)
		}
	}
}

// placed reports whether a slot was given to any node.
func placed(r *api.Rollout) bool {
	return slices.ContainsFunc(r.Slots, func(l api.RolloutSlot) bool { return l.Node != "" })
}
