package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// runPlanned shows whether the fleet did what was planned for a commit, from the
// history of its records: whoever has the repository sees it, and no agent keeps
// anything for it. Without one that was asked for it is what most nodes follow.
func (v statusView) runPlanned(ctx context.Context) error {
	var st plannedStatus
	look := func(ctx context.Context) (*view, error) {
		var err error
		if st, err = v.planned(ctx, v.recordOptions, v.commit); err != nil {
			return nil, err
		}
		if v.service != "" {
			id := planner.ParseServiceID(v.service)
			st.Services = slices.DeleteFunc(st.Services, func(s planner.Outcome) bool { return s.Service != id })
			st.Unknown = slices.DeleteFunc(st.Unknown, func(other planner.ServiceID) bool { return other != id })
		}
		return &view{draw: func(s *screen) { drawPlanned(s, st) }, value: st}, nil
	}
	return v.present(ctx, watchRecords, look, func(context.Context) awaited { return st.awaited() })
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
	reader := newPlanReader(c)
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
		return st, &noRecordsError{place}
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
	if err == nil {
		err = reader.tellReaders(ctx, &st, book.commits(), asked == "")
	}
	return st, err
}

// tellReaders notes who has read the commit that is told of and, with later, which
// commit of the checkout nobody has.
func (r *planReader) tellReaders(ctx context.Context, st *plannedStatus, followed []followedCommit, later bool) error {
	has := func(commit string) (read, not []planner.NodeName) {
		for _, c := range followed {
			if c.Commit == commit || r.has(ctx, c.Commit) && r.contains(ctx, c.Commit, commit) {
				read = append(read, c.Nodes...)
			} else {
				not = append(not, c.Nodes...)
			}
		}
		slices.Sort(read)
		slices.Sort(not)
		return read, not
	}
	st.Read, st.NotRead = has(st.Commit.Hash)
	if !later {
		return nil
	}
	names := []string{"HEAD"}
	upstream, err := r.git(ctx, "rev-parse", "--quiet", "--verify", "--abbrev-ref", "@{upstream}")
	if err == nil { // what others pushed counts more where it has what is here, too
		names = append(names, strings.TrimSpace(upstream))
	}
	for _, name := range names {
		s, err := r.side(ctx, name)
		if err != nil {
			return err
		}
		before := st.Commit.Hash
		if st.Later != nil {
			before = st.Later.Hash
		}
		if s.Commit == before || !r.contains(ctx, s.Commit, before) {
			continue
		}
		if read, _ := has(s.Commit); len(read) == 0 {
			st.Later = &laterCommit{Commit: s.commit, Name: name}
			r.findPushed(ctx, st.Later)
		}
	}
	return nil
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

// findPushed finds out whether a commit is where the fleet can read it: on the
// branch that the server names, where the checkout knows that one, else on any.
func (r *planReader) findPushed(ctx context.Context, l *laterCommit) {
	on := "refs/remotes/"
	if main, err := r.git(ctx, "symbolic-ref", "--quiet", "--short", "refs/remotes/"+cmp.Or(r.remote, "origin")+"/HEAD"); err == nil {
		_, l.main, _ = strings.Cut(strings.TrimSpace(main), "/")
		on += strings.TrimSpace(main)
		l.elsewhere = r.branch != l.main
	}
	out, err := r.git(ctx, "for-each-ref", "--count=1", "--contains="+l.Hash, on)
	l.Pushed = err == nil && strings.TrimSpace(out) != ""
}

// drawPlanned draws what became of a plan.
func drawPlanned(s *screen, st plannedStatus) {
	s.labelled("RECORDS", plain, strings.TrimPrefix(st.Records, "records "))
	s.labelled("COMMIT", plain, planner.OneLine(st.Commit.Short()+" "+st.Commit.Subject, maxShownReason))
	switch {
	case len(st.Read) == 0:
		s.labelled("READ BY", yellow, "no live node yet: what is told below is of the time before it")
	case len(st.NotRead) > 0:
		s.labelled("READ BY", yellow, nodesOrCount(st.Read)+"; not yet by "+nodesOrCount(st.NotRead))
	default:
		s.labelled("READ BY", plain, nodesOrCount(st.Read))
	}
	if st.Later != nil {
		for i, text := range st.Later.told() {
			s.labelled(first(i, "LATER"), yellow, text)
		}
	}
	for _, note := range st.Notes {
		s.labelled("NOTE", plain, note)
	}
	s.blank()
	if len(st.Services) == 0 && len(st.Unknown) == 0 && len(st.Read) == 0 {
		s.prose("", plain, plain, "No lease is to be given or taken back for this commit.")
		return
	}
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

// told says that this is not the last word, and how to have it.
func (l *laterCommit) told() []string {
	wait := "orpheus status --plan --wait --commit " + l.Name
	switch {
	case l.Pushed:
		wait = "to wait for it: " + wait
	case l.elsewhere:
		wait = "to wait for it, once it is on " + l.main + ": " + wait
	default:
		wait = "to wait for it: git push && " + wait
	}
	about := fmt.Sprintf("%s here is %s %s: no node has read it yet, and nothing of it is told below", l.Name, l.Short(), l.Subject)
	return []string{planner.OneLine(about, maxShownReason), planner.OneLine(wait, maxShownReason)}
}

func outcomeColour(state planner.OutcomeState) colour {
	switch state {
	case planner.OutcomeMet, planner.OutcomeOpen:
		return green
	case planner.OutcomeDiffers:
		return red
	}
	return yellow
}
