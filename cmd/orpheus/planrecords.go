package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// planRecords are the records as a plan takes them; without a view why says why
// there are none.
type planRecords struct {
	view  *planner.View
	from  string
	why   string
	notes []string
}

// planView reads the records from where a fleet's manifests say they are.
func (e *env) planView(ctx context.Context, c *checkout, d planner.Desired, o planOptions) (planRecords, error) {
	if o.offline {
		return planRecords{why: "--offline: the records were not read"}, nil
	}
	place, err := c.planPlace(ctx, d, o.recordOptions)
	if err != nil {
		return planRecords{}, err
	}
	if place.url == "" {
		return planRecords{why: noPlanPlace}, nil
	}
	store, err := fetchRecords(ctx, place, wantedRecords{rooms: []string{"nodes/*", "status/*", "leases/*", "fleet*"}, depth: 1})
	switch {
	case ctx.Err() != nil:
		return planRecords{}, ctx.Err()
	case err != nil && o.recordsGiven():
		return planRecords{}, err
	case err != nil:
		return planRecords{why: err.Error()}, nil
	}
	defer store.close()
	if len(store.values()) == 0 {
		return planRecords{why: fmt.Sprintf("there are no %s yet: no node has registered there, or all stand alone (coordination: none)", place)}, nil
	}
	return readPlanView(store, place, d)
}

// noPlanPlace says that nobody says where the records are.
const noPlanPlace = "this checkout has no remote, and fleet.yaml does not say where the records are; --records URL does"

// planPlace is where the records are; without url nobody says.
func (c *checkout) planPlace(ctx context.Context, d planner.Desired, o recordOptions) (recordPlace, error) {
	if o.records != "" {
		place := recordPlace{url: o.records, secret: secretOf(o.records)}
		err := place.absolute(".")
		return place.placed(nil, o), err
	}
	place, err := c.ownRemote(ctx)
	return place.placed(d.Fleet.Records, o), err
}

// readPlanView verifies the records.
func readPlanView(store recordStore, place recordPlace, d planner.Desired) (planRecords, error) {
	book, err := readBook(store, d.Nodes)
	if err == nil {
		err = book.readLeases()
	}
	if err == nil {
		err = book.each(planner.RefFleet, book.takeFleet)
	}
	if err != nil {
		return planRecords{}, err
	}
	out := planRecords{view: &book.view, from: place.String()}
	bad := map[planner.RefKind]int{}
	for ref := range book.bad {
		bad[ref.Parse().Kind]++
	}
	for _, kind := range []struct {
		kind planner.RefKind
		what string
	}{{planner.RefNode, "record of a node is"}, {planner.RefStatus, "status of a node is"}, {planner.RefLeases, "lease document is"}, {planner.RefFleet, "fleet record is"}} {
		if n := bad[kind.kind]; n > 0 {
			out.notes = append(out.notes, fmt.Sprintf("not verified and left out, so that the plan may be wrong: %d times a %s; \"orpheus nodes\" and \"orpheus status\" name them", n, kind.what))
		}
	}
	return out, nil
}

// takeFleet verifies the record that is nobody's.
func (b *recordBook) takeFleet(ref planner.Ref, record planner.Record) error {
	body, key, err := signed(ref, record)
	if err != nil {
		return err
	}
	rec, err := planner.ParseFleetRecord(body)
	if err != nil {
		return err
	}
	if err := b.signedBy(rec.By, key); err != nil {
		return err
	}
	b.view.Fleet = rec
	return nil
}

// running lists the services that have leases.
func (p planRecords) running() []planner.ServiceID {
	if p.view == nil {
		return nil
	}
	var ids []planner.ServiceID
	for id, dv := range p.view.Docs {
		if len(dv.Doc.Leases) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, planner.ServiceID.Compare)
	return ids
}

// followedCommits are those that the live nodes follow: what most follow comes
// first.
func (p planRecords) followedCommits() []string {
	if p.view == nil {
		return nil
	}
	by := map[string]int{}
	for _, n := range p.view.Nodes {
		if n.Live() && n.Status.Applied != "" {
			by[n.Status.Applied]++
		}
	}
	commits := slices.Sorted(maps.Keys(by))
	slices.SortStableFunc(commits, func(a, b string) int { return cmp.Compare(by[b], by[a]) })
	return commits
}

// learnTemplates finds the templates of revisions that run and that neither side
// has, in the commits that brought them.
func (r *planReader) learnTemplates(ctx context.Context, view *planner.View, known ...map[planner.ServiceID]planner.Service) error {
	const most = 20 // commits that are read for it
	view.Specs = map[planner.Revision]planner.Template{}
	read := 0
	for _, id := range slices.SortedFunc(maps.Keys(view.Docs), planner.ServiceID.Compare) {
		doc := view.Docs[id].Doc
		for _, l := range doc.Leases {
			has := func(services map[planner.ServiceID]planner.Service) bool {
				_, is := services[id].TemplateOf(l.Revision)
				return is
			}
			commit := doc.BroughtBy(l.Revision)
			if _, learnt := view.Specs[l.Revision]; learnt || slices.ContainsFunc(known, has) || read >= most || !r.has(ctx, commit) {
				continue
			}
			read++
			s, err := r.side(ctx, commit)
			if err != nil {
				return err
			}
			d, _, err := r.load(ctx, s)
			if errors.Is(err, context.Canceled) {
				return err
			}
			if t, is := d.Services[id].TemplateOf(l.Revision); err == nil && is {
				view.Specs[l.Revision] = t
			}
		}
	}
	return nil
}
