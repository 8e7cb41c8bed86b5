package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// placeFlags are those that say where the records of a fleet are.
var placeFlags = []string{"directory", "path", "repository", "branch", "records", "prefix", "config"}

// fromRecords reports whether a verb that usually asks the agent of this node
// was told where the records of a fleet are instead.
func fromRecords(cmd *cobra.Command) bool {
	return slices.ContainsFunc(placeFlags, func(name string) bool { return cmd.Flags().Changed(name) })
}

// mayReadRecords reports whether the records of the checkout we are in can take the
// place of an agent: nil where none answers, nobody said which one is meant, and
// there is a checkout. cause is what is wrong with the agent.
func (e *env) mayReadRecords(cmd *cobra.Command, cause error) error {
	if !errors.Is(cause, api.ErrNotRunning) || cmd.Flags().Changed("socket") {
		return e.explainAgent(cause)
	}
	if _, err := openWorkTree(cmd.Context(), "."); err != nil {
		return e.explainAgent(cause)
	}
	return nil
}

// recordsFailed says that the records cannot be read, and where they stand in for an
// agent also why that was not asked.
func recordsFailed(agent, records error) error {
	if agent == nil {
		return records
	}
	return fmt.Errorf("%w\nnor can the records of a fleet be read: %w", agent, records)
}

// recordedStatus reads what the records tell of services, with so many values of
// each. The caller closes the store of the book.
func (e *env) recordedStatus(ctx context.Context, o recordOptions, depth int) (*recordedStatus, *recordBook, error) {
	b, place, err := e.readRollouts(ctx, o, depth)
	if err != nil {
		return nil, nil, err
	}
	return b.status(place, planner.Time{Boot: 1, Wall: e.now()}), b, nil
}

// narrow keeps the service that was asked for; "" = all.
func (st *recordedStatus) narrow(name string) (*recordedStatus, error) {
	if name == "" {
		return st, nil
	}
	service, slot, err := st.find(name)
	if err != nil {
		return nil, err
	}
	if slot != "" {
		return nil, fmt.Errorf("%s is a slot of %s; \"orpheus why %s\" explains it", name, service.Service, name)
	}
	one := *st
	one.Services, one.Faults = []*recordedService{service}, service.faults(st.Faults)
	return &one, nil
}

// recorded is the view of a fleet, or of one service of it.
func (v statusView) recorded(st *recordedStatus) *view {
	st.verdictReport = st.verdict().report()
	if v.service != "" {
		st.verdictReport = st.Services[0].standing().report(recordedAdvice(st.Services[0]))
	}
	return &view{value: st, draw: func(s *screen) {
		s.all = v.all
		if v.service == "" {
			drawRecorded(s, st)
			return
		}
		service := st.Services[0]
		service.standing().draw(s)
		drawAdvice(s, recordedAdvice(service))
		s.blank()
		drawRecordedService(s, st, service, "", v.now())
	}}
}

// asAsked reports whether all services have what their manifests ask for.
func (st *recordedStatus) asAsked() bool {
	amiss := func(s *recordedService) bool { return !s.Steady() || s.Ahead != "" || s.Deleted != "" }
	return len(st.NotVerified) == 0 && broken(st.Faults) == 0 && !slices.ContainsFunc(st.Services, amiss)
}

// drawRecorded draws all services of a fleet.
func drawRecorded(s *screen, st *recordedStatus) {
	st.verdict().draw(s)
	drawPlace(s, st)
	drawFaults(s, st.Faults, "the manifests here")
	s.blank()
	t := table{titles: []string{"NAME", "READY", "ROLLOUT", "REVISION", "NODES", "MESSAGE"}, spare: []int{4, 3}}
	listed, rest := worthListing(s, st.Services, func(service *recordedService) bool {
		return service.standing().grade == gradeFine && service.Suspended == ""
	})
	for _, service := range listed {
		mark, c := rolloutMark(service.Rollout)
		if service.Deleted != "" {
			mark, c = "deleted", yellow
		}
		ready := fmt.Sprintf("%d/%d", service.Available, service.Replicas)
		if service.NotVerified != "" {
			mark, ready = "", fmt.Sprintf("?/%d", service.Replicas)
		}
		t.add(service.sentence(), noteColour(rolloutColour(service.Rollout)),
			cell{service.Service, plain},
			cell{ready, availableColour(service.Rollout)},
			cell{withBar(s, service.Rollout, mark), c},
			cell{revisionOf(service.Rollout, service.Wanted).Short(), plain},
			cell{someOf(service.nodes()), plain})
	}
	t.draw(s)
	rest.draw(s, "service", "up to date and ready")
	drawBadRecords(s, st.NotVerified)
}

// sentence says what keeps a service from being as its manifest asks.
func (r *recordedService) sentence() string {
	switch {
	case r.NotVerified != "":
		return "not known: its lease document is not verified"
	case r.Suspended != "":
		return r.Suspended
	case r.Deleted != "":
		return r.Deleted
	case r.HeldBack != "":
		return r.HeldBack
	case r.Ahead != "":
		return "the manifest here asks for " + r.Ahead.Short() + ", which no node follows yet"
	}
	return r.Summary()
}

// nodes lists those that have slots of the service.
func (r *recordedService) nodes() []string {
	var names []string
	for _, l := range r.Slots {
		if l.Node != "" && !slices.Contains(names, string(l.Node)) {
			names = append(names, string(l.Node))
		}
	}
	slices.Sort(names)
	return names
}

// someOf shortens a list for a column.
func someOf(names []string) string {
	const few = 3
	if n := len(names) - few; n > 0 {
		return strings.Join(names[:few], ",") + fmt.Sprintf(" +%d", n)
	}
	return strings.Join(names, ",")
}

// drawPlace says where what is shown was read, and what the nodes follow.
func drawPlace(s *screen, st *recordedStatus) {
	s.labelled("RECORDS", plain, strings.TrimPrefix(st.Records, "records "))
	for i, c := range st.Commits {
		names := nodesOrCount(c.Nodes)
		text := planner.Commit{Hash: c.Commit}.Short() + " is followed by " + names
		if c.Commit == "" {
			text = names + ": none, as far as is recorded"
		}
		s.labelled(first(i, "COMMIT"), plain, planner.OneLine(text, maxShownReason))
	}
	if len(st.Commits) == 0 {
		s.labelled("NODES", yellow, "none is live")
	}
}

// drawRecordedService draws one service of a fleet, or one slot of it.
func drawRecordedService(s *screen, st *recordedStatus, service *recordedService, slot string, now time.Time) {
	drawPlace(s, st)
	drawFaults(s, service.faults(st.Faults), "the manifests here")
	s.blank()
	s.labelled("SERVICE", bold, service.Service)
	s.labelled("READY", availableColour(service.Rollout), fmt.Sprintf("%d of %d", service.Available, service.Replicas))
	if service.File != "" {
		s.labelled("FILE", plain, service.File)
	}
	if service.Suspended != "" {
		s.labelled("SUSPENDED", yellow, service.Suspended)
	}
	switch {
	case service.NotVerified != "":
		s.labelled("ROLLOUT", red, service.sentence())
	case service.Deleted != "":
		s.labelled("DELETED", yellow, service.Deleted)
	default:
		drawRollout(s, service.Rollout, now)
	}
	if service.HeldBack != "" {
		s.labelled("MESSAGE", yellow, service.HeldBack)
	}
	if service.Ahead != "" {
		s.labelled("AHEAD", yellow, "the manifest here asks for "+service.Ahead.Short()+", which no node follows yet")
	}
	if service.NotVerified == "" {
		drawSlots(s, service.Rollout, slot)
	}
	drawBadRecords(s, st.NotVerified)
}

// faults are those that may concern a service: all of its file, and where its file
// is not known all that there are.
func (r *recordedService) faults(all []planner.Fault) []planner.Fault {
	return slices.DeleteFunc(slices.Clone(all), func(f planner.Fault) bool { return f.Warning || r.File != "" && f.File != r.File })
}

// recordedAdvice says what there is to do about a service.
func recordedAdvice(service *recordedService) []string {
	if service.Deleted != "" {
		return []string{"to let a deletion happen that waits for a person: push a commit, empty or not, with the trailer that \"orpheus status\" shows on a node that has the service (" + planner.PruneTrailer + ")",
			"or, if it was deleted by mistake, put its manifest back and commit"}
	}
	advice := rolloutAdvice(service.Rollout)
	if service.HeldBack != "" {
		advice = append([]string{"mend what stands under FAULTS, and commit: until then the service stays as it was"}, advice...)
	}
	if service.Ahead != "" {
		advice = append(advice, "commit and push what is changed here, or wait for the nodes to follow it")
	}
	return advice
}

// whyDecisions is how many of the last decisions go on one screen.
const whyDecisions = 6

// whyRecorded explains a service or slot from the records.
func (e *env) whyRecorded(st *recordedStatus, b *recordBook, name string) (*view, error) {
	service, slot, err := st.find(name)
	if err != nil {
		return nil, err
	}
	report := historyReport{Records: st.Records}
	if report.Entries, err = b.history(service.id, whyDecisions-1); err != nil {
		return nil, err
	}
	standing := service.standing()
	advice := recordedAdvice(service)
	if len(advice) == 0 {
		advice = []string{"nothing: it is as its manifest asks"}
		if !service.Steady() {
			advice = []string{"wait: the fleet is at work on it"}
		}
	}
	return &view{
		draw: func(s *screen) {
			standing.draw(s)
			drawAdvice(s, advice)
			s.blank()
			drawRecordedService(s, st, service, slot, e.now())
			if len(report.Entries) > 0 {
				s.blank()
				s.line(s.paint(bold, "DECIDED"))
				drawHistory(s, report, true)
			}
		},
		value: whyReport{
			Service: service.Service, Slot: slot, verdictReport: standing.report(advice),
			Records: st.Records, Recorded: service, Decided: report.Entries,
		},
	}, nil
}
