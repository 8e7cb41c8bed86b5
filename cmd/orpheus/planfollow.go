package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// maxSettled is how many commits before the base are looked at for what the base
// cannot tell: services of its broken files, and those whose deletion waits.
const maxSettled = 50

// planBase is what nodes follow that are at the base of a plan.
type planBase struct {
	followed  planner.Followed
	documents []manifest.Document // of the services in it
	faults    []planner.Fault
	notes     []string
}

// settle works out what nodes follow at the base. Of a base with faults, or
// one that lacks services which the records show running, the commits before it
// tell the rest, as they told it to the nodes.
func (r *planReader) settle(ctx context.Context, base planSide, running []planner.ServiceID) (planBase, error) {
	here, err := r.render(ctx, base)
	if err != nil {
		return planBase{}, err
	}
	out := planBase{documents: here.documents, faults: here.desired.Faults}
	lacking := func(d planner.Desired) bool {
		return slices.ContainsFunc(running, func(id planner.ServiceID) bool { _, has := d.Services[id]; return !has })
	}
	if here.refused != nil {
		out.faults = here.refused.Faults
	}
	if base.tree == "" || here.refused == nil && here.desired.Complete() && !lacking(here.desired) {
		if base.tree != "" {
			out.followed = planner.Settle(planner.Followed{}, here.desired, nil)
		}
		return out, nil
	}
	chain, err := r.before(ctx, base, lacking)
	if err != nil {
		return out, err
	}
	from := map[planner.ServiceID]planSide{} // the last commit that spoke for it
	var last planSide                        // that was followed
	for _, s := range slices.Backward(chain) {
		d, refused, err := r.load(ctx, s)
		if err != nil {
			return out, err
		}
		if refused {
			continue // nobody followed it
		}
		approved, err := r.approvals(ctx, "", s.Commit)
		if err != nil {
			return out, err
		}
		out.followed = planner.Settle(out.followed, d, approved)
		last = s
		for id := range d.Services {
			from[id] = s
		}
	}
	if here.refused != nil && last.tree != "" { // what it says of the fleet and its nodes is in force
		there, err := r.render(ctx, last)
		if err != nil {
			return out, err
		}
		out.documents = slices.DeleteFunc(slices.Clone(there.documents), func(d manifest.Document) bool { return d.Kind == "Service" })
	}
	if n := len(chain); n > 1 {
		out.notes = append(out.notes, fmt.Sprintf("the base alone does not tell all that nodes follow: the history before it was read too, %s back to %s", count(n-1, "commit"), chain[n-1].commit.Short()))
	}
	return out, r.addDocuments(ctx, &out, from)
}

// before lists the base and the commits before it, newest first, as far back as
// there is something to learn.
func (r *planReader) before(ctx context.Context, base planSide, lacking func(planner.Desired) bool) ([]planSide, error) {
	out, err := r.git(ctx, "rev-list", "--first-parent", fmt.Sprintf("--max-count=%d", maxSettled), base.Commit)
	if err != nil {
		return nil, err
	}
	var chain []planSide
	for id := range strings.FieldsSeq(out) {
		s, err := r.side(ctx, id)
		if err != nil {
			return nil, err
		}
		chain = append(chain, s)
		if d, refused, err := r.load(ctx, s); err != nil {
			return nil, err
		} else if !refused && d.Complete() && !lacking(d) {
			return chain, nil
		}
	}
	return chain, nil
}

// addDocuments adds the manifests of services that the base does not have, from
// the commits that have them: of the last few that are needed.
func (r *planReader) addDocuments(ctx context.Context, b *planBase, from map[planner.ServiceID]planSide) error {
	const most = 5
	has := map[planner.ServiceID]bool{}
	for _, d := range b.documents {
		if d.Kind == "Service" {
			has[planner.ServiceID{Namespace: d.Namespace, Name: d.Name}] = true
		}
	}
	read := map[string]bool{}
	for _, id := range slices.SortedFunc(maps.Keys(b.followed.Services), planner.ServiceID.Compare) {
		s := from[id]
		if has[id] || s.tree == "" || len(read) >= most || read[s.tree] {
			continue
		}
		read[s.tree] = true
		there, err := r.render(ctx, s)
		if err != nil {
			return err
		}
		for _, d := range there.documents {
			if other := (planner.ServiceID{Namespace: d.Namespace, Name: d.Name}); d.Kind == "Service" && !has[other] && from[other].tree == s.tree {
				has[other], b.documents = true, append(b.documents, d)
			}
		}
	}
	return nil
}

// approvals are the values of the Prune-Approved trailers of a range; from "" = of
// one commit.
func (r *planReader) approvals(ctx context.Context, from, to string) ([]string, error) {
	messages, err := r.messages(ctx, from, to)
	var out []string
	for _, m := range messages {
		out = append(out, gitsync.ApprovalsIn(m)...)
	}
	return out, err
}
