package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// maxPlanValues is how many values of each record are read for what became of a
// plan.
const maxPlanValues = 100

// plannedStatus is what became of the plan for one commit.
type plannedStatus struct {
	Records string         `json:"records"`
	Commit  planner.Commit `json:"commit"`
	// Read are the live nodes that follow the commit or a later one, NotRead the
	// others: for these what is told is of the time before they hear of it.
	Read    []planner.NodeName `json:"read,omitempty"`
	NotRead []planner.NodeName `json:"notRead,omitempty"`
	// Later is a commit of the checkout that comes after Commit and that no live
	// node has read.
	Later *laterCommit `json:"later,omitempty"`
	// Services are those of which something was planned, or happened.
	Services []planner.Outcome `json:"services"`
	// Unknown are those whose records do not go back to before the commit.
	Unknown []planner.ServiceID `json:"unknown,omitempty"`
	Notes   []string            `json:"notes,omitempty"`
}

// laterCommit is one that the fleet has not read.
type laterCommit struct {
	planner.Commit
	Name   string `json:"name"`   // as git calls it in the checkout
	Pushed bool   `json:"pushed"` // the fleet's server has it, as far as the checkout knows

	main      string // the branch that the server names; "" = not known
	elsewhere bool   // another one is checked out
}

// awaited tells whether all went as planned, or may yet.
func (st *plannedStatus) awaited() awaited {
	if len(st.Read) == 0 {
		return awaited{says: "commit " + st.Commit.Short() + " is not read by any node yet"}
	}
	out := awaited{ready: len(st.Unknown) == 0, rests: true}
	var says []string
	for _, o := range st.Services {
		out.ready = out.ready && (o.State == planner.OutcomeMet || o.State == planner.OutcomeOpen)
		out.rests = out.rests && o.State != planner.OutcomeUnderWay
		says = append(says, fmt.Sprintf("%s %s %d/%d", o.Service, o.State, o.Done, o.Planned))
	}
	for _, id := range st.Unknown {
		says = append(says, id.String()+" not known")
	}
	out.says = strings.Join(says, "; ")
	return out
}

// planHistory is what the records say of the time since a commit.
type planHistory struct {
	book   *recordBook
	reader *planReader
	commit string
	came   map[planner.ServiceID]planner.Came
	// unknown are the services whose values do not go back far enough; since is
	// when the first document was decided on the commit, by its writer's clock.
	unknown map[planner.ServiceID]bool
	since   time.Time
	older   map[string]bool // whether commits come before it
}

// read takes the values that the documents had since the commit.
func (h *planHistory) read(ctx context.Context) error {
	for _, ref := range h.book.refs(planner.RefLeases) {
		parts := ref.Parse()
		if parts.Shard > 0 { // which value of one shard went with which of another is not recorded
			h.unknown[parts.Service] = true
			continue
		}
		came, first, err := h.values(ctx, ref)
		if errors.Is(err, errStore) {
			return err
		}
		if err != nil {
			h.unknown[parts.Service] = true
			continue
		}
		h.came[parts.Service] = came
		if !first.IsZero() && (h.since.IsZero() || first.Before(h.since)) {
			h.since = first
		}
	}
	return nil
}

// values are those of one document: the last that was decided before the commit
// was known, and all after it until a later commit took over. first is when the
// first of these was written.
func (h *planHistory) values(ctx context.Context, ref planner.Ref) (came planner.Came, first time.Time, err error) {
	var docs []planner.LeaseDoc // newest first
	id := h.book.store.values()[ref]
	for range maxPlanValues {
		entry, err := h.book.entry(ref, id)
		switch {
		case err != nil:
			return came, first, err
		case entry.NotVerified != "":
			return came, first, errors.New(entry.NotVerified)
		}
		switch {
		case entry.Commit == h.commit:
			docs, first = append(docs, entry.doc), entry.Time
		case h.before(ctx, entry.Commit):
			came.Docs = append(docs, entry.doc)
			slices.Reverse(came.Docs)
			return came, first, nil
		default:
			came.Superseded, docs = true, nil
		}
		if entry.parent == "" {
			came.Docs = append(docs, planner.LeaseDoc{})
			slices.Reverse(came.Docs)
			return came, first, nil
		}
		id = entry.parent
	}
	return came, first, fmt.Errorf("more than %d values were written since", maxPlanValues)
}

// before reports whether a commit comes before the one that was planned.
func (h *planHistory) before(ctx context.Context, commit string) bool {
	older, known := h.older[commit]
	if !known {
		older = h.reader.has(ctx, commit) && h.reader.contains(ctx, h.commit, commit)
		h.older[commit] = older
	}
	return older
}

// view is the fleet as it was when the commit came: documents as they stood, and
// the nodes that had leases under the epochs of these. Of how nodes and instances
// fared then nothing is recorded: they are taken to have been well.
func (h *planHistory) view() planner.View {
	v := planner.View{Nodes: map[planner.NodeName]planner.NodeView{}, Docs: map[planner.ServiceID]planner.DocView{}, Fleet: h.book.view.Fleet}
	epochs := map[planner.NodeName]uint64{}
	for id, came := range h.came {
		doc := came.Docs[0]
		if doc.Format != 0 {
			v.Docs[id] = planner.DocView{Doc: doc}
		}
		for _, l := range doc.Leases {
			epochs[l.Node] = max(epochs[l.Node], l.Epoch)
		}
	}
	for id := range h.unknown { // they take room
		if dv, known := h.book.view.Docs[id]; known {
			v.Docs[id] = dv
		}
	}
	for name, n := range h.book.view.Nodes {
		record := n.Record
		if epoch := epochs[name]; epoch > 0 && epoch < record.Epoch {
			record.Epoch, record.Fence = epoch, nil // it has come back since
		}
		v.Nodes[name] = planner.NodeView{Record: record, Status: planner.NodeStatus{Node: name, Incarnation: record.Incarnation}}
	}
	return v
}

// outcomes makes the plan that the commit had, and compares it with what came.
func (h *planHistory) outcomes(ctx context.Context, side planSide) (out plannedStatus, err error) {
	var base planSide
	if parent, parentErr := h.reader.side(ctx, side.Commit+"^"); parentErr == nil {
		base = parent
	}
	view := h.view()
	before, err := h.reader.settle(ctx, base, planRecords{view: &view}.running())
	if err != nil {
		return out, err
	}
	after, err := h.reader.render(ctx, side)
	if err != nil {
		return out, err
	}
	if after.refused != nil {
		return out, fmt.Errorf("agents refuse commit %s: %s; \"orpheus plan\" shows it", side.commit.Short(), after.refused.Why())
	}
	approved, err := h.reader.approvals(ctx, "", side.Commit)
	if err != nil {
		return out, err
	}
	follows := planner.Settle(before.followed, after.desired, approved)
	if err := h.reader.learnTemplates(ctx, &view, before.followed.Services, follows.Services); err != nil {
		return out, err
	}
	for _, s := range before.followed.Services {
		view.Specs[s.Revision] = s.Template
		for _, hook := range s.Hooks {
			view.Specs[hook.Revision] = hook.Template
		}
	}
	forecast := planner.ForeseeAt(follows, view, h.since)
	out.Notes = before.notes
	if forecast.Cut {
		out.Notes = append(out.Notes, "the plan is too long to be told to its end")
	}
	all := forecast.Compare(h.came)
	out.Services = slices.DeleteFunc(all, func(o planner.Outcome) bool { return h.unknown[o.Service] })
	out.Unknown = slices.SortedFunc(maps.Keys(h.unknown), planner.ServiceID.Compare)
	return out, nil
}
