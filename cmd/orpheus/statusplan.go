package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// showPlanned shows whether the fleet did what was planned for a commit, from the
// history of its records: whoever has the repository sees it, and no agent keeps
// anything for it. asked = "" is the commit that most nodes follow.
func (e *env) showPlanned(ctx context.Context, o recordOptions, asked, service string, exitCode bool) error {
	st, err := e.planned(ctx, o, asked)
	if err != nil {
		return err
	}
	if service != "" {
		id := planner.ParseServiceID(service)
		st.Services = slices.DeleteFunc(st.Services, func(s planner.Outcome) bool { return s.Service != id })
		st.Unknown = slices.DeleteFunc(st.Unknown, func(other planner.ServiceID) bool { return other != id })
	}
	if o.output == "json" {
		err = writeJSON(e.stdout, st, false)
	} else {
		s := e.newScreen()
		drawPlanned(s, st)
		err = s.writeTo(e.stdout)
	}
	met := func(s planner.Outcome) bool { return s.State == planner.OutcomeMet }
	if err == nil && exitCode && (len(st.Unknown) > 0 || slices.ContainsFunc(st.Services, func(s planner.Outcome) bool { return !met(s) })) {
		return &exitError{code: exitNotReady}
	}
	return err
}

// planned reads the records and the manifests, and compares.
func (e *env) planned(ctx context.Context, o recordOptions, asked string) (plannedStatus, error) {
	var st plannedStatus
	if o.repository != "" || e.configFile != "" {
		return st, usageError(errors.New("--plan reads the commits of a checkout: go to one, or name it with -C"))
	}
	c, err := openWorkTree(ctx, o.directory)
	if err != nil {
		return st, err
	}
	reader := &planReader{checkout: c, rendered: map[string]*planRendering{}, loader: manifest.NewLoader(manifest.Limits{})}
	head, err := reader.side(ctx, "HEAD")
	if err != nil {
		return st, err
	}
	if reader.objects, err = newTreeReader(ctx, c); err != nil {
		return st, err
	}
	defer reader.objects.close()
	if reader.folder, err = reader.findFleetIn(ctx, o.path, head.tree); err != nil {
		return st, err
	}
	here, err := reader.render(ctx, head)
	if err != nil {
		return st, err
	}
	place, err := c.planPlace(ctx, here.desired, o)
	if err == nil && place.url == "" {
		err = usageError(errors.New(noPlanPlace))
	}
	if err != nil {
		return st, err
	}
	store, err := fetchRecords(ctx, place, wantedRecords{rooms: []string{"nodes/*", "status/*", "leases/*", "fleet*"}, depth: maxPlanValues})
	if err != nil {
		return st, err
	}
	defer store.close()
	if len(store.values()) == 0 {
		return st, errNoRecords(place)
	}
	book, err := readBook(store, here.desired.Nodes)
	if err == nil {
		err = book.readLeases()
	}
	if err != nil {
		return st, err
	}
	side, err := reader.plannedCommit(ctx, asked, planRecords{view: &book.view})
	if err != nil {
		return st, err
	}
	h := &planHistory{book: book, reader: reader, commit: side.Commit, came: map[planner.ServiceID]planner.Came{}, unknown: map[planner.ServiceID]bool{}, older: map[string]bool{}}
	if err = h.read(ctx); err == nil {
		st, err = h.outcomes(ctx, side)
	}
	st.Records, st.Commit = place.String(), side.commit
	return st, err
}

// plannedCommit is the commit that is meant: the one that was asked for, or the one
// that most nodes follow.
func (r *planReader) plannedCommit(ctx context.Context, asked string, records planRecords) (planSide, error) {
	if asked != "" {
		return r.side(ctx, asked)
	}
	followed := records.followedCommits()
	switch {
	case len(followed) == 0:
		return planSide{}, errors.New("no live node says which commit it follows")
	case !r.has(ctx, followed[0]):
		return planSide{}, fmt.Errorf("commit %s, which the fleet follows, is not here; fetch it", planner.Commit{Hash: followed[0]}.Short())
	}
	return r.side(ctx, followed[0])
}

// drawPlanned draws what became of a plan.
func drawPlanned(s *screen, st plannedStatus) {
	s.labelled("RECORDS", plain, st.Records)
	s.labelled("COMMIT", plain, planner.OneLine(st.Commit.Short()+" "+st.Commit.Subject, maxShownReason))
	for _, note := range st.Notes {
		s.labelled("NOTE", plain, note)
	}
	s.blank()
	if len(st.Services) == 0 && len(st.Unknown) == 0 {
		s.prose("", plain, plain, "No lease was to be given or taken back for this commit, and none was.")
		return
	}
	t := table{titles: []string{"NAME", "PLAN", "LEASES", "MESSAGE"}}
	for _, o := range st.Services {
		note := ""
		if o.Approval {
			note = "the rest waits until a person lets it go on"
		}
		t.add(note, plain, cell{o.Service.String(), plain}, cell{string(o.State), outcomeColour(o.State)}, cell{fmt.Sprintf("%d/%d", o.Done, o.Planned), plain})
		for _, what := range o.Differs {
			t.below(yellow, planner.OneLine(what, maxShownReason))
		}
	}
	for _, id := range st.Unknown {
		t.add("its records do not go back to before the commit, or are not verified", plain, cell{id.String(), plain}, cell{"not known", yellow}, cell{"", plain})
	}
	t.draw(s)
}

func outcomeColour(state planner.OutcomeState) colour {
	switch state {
	case planner.OutcomeMet:
		return green
	case planner.OutcomeDiffers:
		return red
	}
	return yellow
}
