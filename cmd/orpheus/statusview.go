package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxShownFaults is how many faults a status lists; validate lists all.
	maxShownFaults = 10
	// maxShownNames is how many services are named in a sentence.
	maxShownNames = 5
	// staleRead is from when on the last look at the repository is worth a word.
	staleRead = time.Minute
)

// drawStatus draws a node, or with detail its first service.
func drawStatus(s *screen, st *api.Status, detail bool, now time.Time) {
	drawHolds(s, st.Holds)
	drawPressure(s, st.Pressure, now)
	if !detail {
		drawDeletions(s, st.Deletions)
	}
	drawNode(s, st, detail, now)
	drawTrouble(s, st)
	if detail {
		service := st.Services[0]
		drawService(s, st, service, "", st.NotOpened, now)
		if service.Rollout != nil {
			drawAdvice(s, rolloutAdvice(service.Rollout))
		}
		return
	}
	drawServices(s, st)
}

// drawDeletions draws the deletions that wait for a person's word.
func drawDeletions(s *screen, waiting []api.Deletion) {
	for _, d := range waiting {
		names := d.Services[:min(len(d.Services), maxShownNames)]
		text := strings.Join(names, ", ")
		if n := d.Count - len(names); n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		s.labelled("DELETION", yellow, fmt.Sprintf("of %s waits for your word: %s; they run on until a commit, empty or not, has the trailer %s", count(d.Count, "service"), text, d.Approve))
	}
}

// drawNode draws the block at the top. Trouble of the repository stands here.
func drawNode(s *screen, st *api.Status, brief bool, now time.Time) {
	about := string(st.Node)
	if st.Version != "" {
		about += ", orpheus " + st.Version
	}
	s.labelled("NODE", plain, about+", up "+age(now.Sub(st.StartedAt)))
	r := st.Repository
	if r.Applied.Hash == "" {
		s.labelled("COMMIT", yellow, "none yet")
	} else {
		s.labelled("COMMIT", plain, describeCommit(r.Applied, now))
	}
	switch {
	case r.Refused != "":
		s.labelled("REFUSED", red, describeCommit(r.Seen, now))
		s.prose("          ", plain, red, r.Refused)
		if r.Applied.Hash != "" {
			s.prose("          ", plain, plain, "Nothing changed for it: the commit above stays in force.")
		}
	case r.Seen.Hash != "" && r.Seen.Hash != r.Applied.Hash:
		s.labelled("NEXT", yellow, describeCommit(r.Seen, now))
	}
	where := r.URL
	if r.Following != "" {
		where += ", " + r.Following
	}
	if r.Path != "" && r.Path != "." {
		where += " in " + r.Path
	}
	if stale := now.Sub(r.LastRead); r.Error == "" && !r.LastRead.IsZero() && stale > staleRead {
		where += ", last read " + age(stale) + " ago"
	}
	s.labelled("GIT", plain, where)
	if r.Error != "" {
		s.prose("          ", plain, red, "cannot be read since "+age(now.Sub(r.ErrorSince))+": "+r.Error)
		if r.Applied.Hash != "" || len(st.Services) > 0 {
			s.prose("          ", plain, plain, "What runs keeps running and is kept in order.")
		}
	}
	if brief {
		return
	}
	if st.Fleet != nil {
		drawMembership(s, st.Fleet, now)
	}
	drawDrivers(s, st)
	if len(st.Services) > 0 {
		drawSummary(s, st)
	}
}

func describeCommit(c planner.Commit, now time.Time) string {
	text := c.Short()
	if c.Subject != "" {
		text += " " + c.Subject
	}
	if !c.Time.IsZero() {
		text += " (" + age(now.Sub(c.Time)) + " ago)"
	}
	return text
}

// drawDrivers draws a line of what works, and one for each that does not.
func drawDrivers(s *screen, st *api.Status) {
	var fine []string
	for _, d := range st.Drivers {
		if d.Error == "" {
			name := strings.TrimSpace(d.Name + " " + d.Version)
			fine = append(fine, name+" ("+count(d.Instances, "instance")+")")
		}
	}
	if len(fine) > 0 {
		s.labelled("DRIVERS", plain, strings.Join(fine, ", "))
	}
	for _, d := range st.Drivers {
		if d.Error != "" {
			s.labelled("DRIVER", red, d.Name+": "+d.Error)
		}
	}
	if st.Network != nil && st.Network.Error != "" {
		s.labelled("NETWORK", red, st.Network.Error)
	}
}

// drawSummary names the services that are not as their manifests ask.
func drawSummary(s *screen, st *api.Status) {
	var unsettled []string
	for _, service := range st.Services {
		if !settled(service) || heldBack(st, service) {
			unsettled = append(unsettled, service.ID().String())
		}
	}
	text := fmt.Sprintf("%d of %d up to date and ready", len(st.Services)-len(unsettled), len(st.Services))
	if len(unsettled) == 0 {
		s.labelled("SERVICES", green, text)
		return
	}
	if n := len(unsettled) - maxShownNames; n > 0 {
		unsettled = append(unsettled[:maxShownNames], fmt.Sprintf("%d more", n))
	}
	s.labelled("SERVICES", yellow, text+", not "+strings.Join(unsettled, ", "))
}

// drawTrouble draws the node's problems and the faults of the newest commit.
func drawTrouble(s *screen, st *api.Status) {
	if len(st.Problems) > 0 {
		s.blank()
		s.line(s.paint(bold, "PROBLEMS"))
		for _, p := range st.Problems {
			s.prose("  ", plain, red, p)
		}
	}
	if len(st.Faults) == 0 {
		return
	}
	drawFaults(s, st.Faults, st.FaultsIn)
	if broken(st.Faults) > 0 && st.FaultsIn == st.Repository.Applied.Short() {
		s.prose("  ", plain, dim, "Services of these files stay as they were; the others follow the commit.")
	}
}

// drawFaults lists faults, and where they are.
func drawFaults(s *screen, faults []planner.Fault, in string) {
	if len(faults) == 0 {
		return
	}
	s.blank()
	title := "FAULTS"
	if in != "" {
		title += " in " + in
	}
	s.line(s.paint(bold, title))
	for i, f := range faults {
		if i == maxShownFaults {
			s.prose("  ", plain, dim, fmt.Sprintf("and %d more: \"orpheus validate\" in the repository lists all", len(faults)-i))
			break
		}
		c, where := red, f
		if where.Remedy = ""; f.Warning {
			c = yellow
		}
		s.prose("  ", plain, c, where.String())
		if f.Remedy != "" {
			s.prose("    → ", dim, plain, f.Remedy)
		}
	}
}

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
	t := table{titles: []string{"NAME", "READY", "ROLLOUT", "REVISION", "DRIVER", "PORTS", "MESSAGE"}, spare: []int{4, 3}}
	for _, service := range st.Services {
		state := serviceColour(service)
		note := message(service)
		if slices.ContainsFunc(st.Deletions, func(d api.Deletion) bool { return d.Approve == service.Approve }) {
			note = service.Message // the headline says the way out
		}
		mark, markColour := rolloutMark(service.Rollout)
		t.add(note, noteColour(state),
			cell{service.ID().String(), plain},
			cell{fmt.Sprintf("%d/%d", service.Ready, service.Replicas), instancesColour(service)},
			cell{mark, markColour},
			cell{hasRevision(service).Short(), plain},
			cell{service.Driver, plain},
			cell{ports(service.Published), plain})
	}
	t.draw(s)
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
	for _, r := range rollouts {
		mark, c := rolloutMark(r)
		t.add(r.Summary(), c, cell{r.Service, plain}, cell{fmt.Sprintf("%d/%d", r.Available, r.Replicas), plain}, cell{mark, c}, cell{revisionOf(r, r.Wanted).Short(), plain})
	}
	t.draw(s)
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

func broken(faults []planner.Fault) int {
	n := 0
	for _, f := range faults {
		if !f.Warning {
			n++
		}
	}
	return n
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// placed reports whether a slot was given to any node.
func placed(r *api.Rollout) bool {
	return slices.ContainsFunc(r.Slots, func(l api.RolloutSlot) bool { return l.Node != "" })
}
