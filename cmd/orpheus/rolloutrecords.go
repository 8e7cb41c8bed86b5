package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// recordedStatus is what `orpheus status` and `why` tell from the records of a
// fleet, where they do not ask an agent.
type recordedStatus struct {
	// As it is shown: of all services, or of the one that was asked for.
	verdictReport

	Records string `json:"records"`
	// Commits are those that the live nodes follow, each with who does.
	Commits []followedCommit `json:"commits"`
	// Fenced are the nodes that were taken for dead and have not come back.
	Fenced   []planner.NodeName `json:"fenced,omitempty"`
	Services []*recordedService `json:"services"`
	// Faults are those of the manifests here: the services of such files are missing
	// in Services, unless the records have them.
	Faults []planner.Fault `json:"faults,omitempty"`
	// NotVerified lists the documents that are not used, whatever they say.
	NotVerified []badRecord `json:"notVerified,omitempty"`
}

// followedCommit is a commit and the nodes that follow it.
type followedCommit struct {
	Commit string             `json:"commit"` // "" = they do not say
	Nodes  []planner.NodeName `json:"nodes"`
}

// recordedService is a service as the records and the manifests here tell.
type recordedService struct {
	*api.Rollout
	// Ahead is the revision that the manifest here asks for, where the fleet knows
	// nothing of it yet.
	Ahead planner.Revision `json:"ahead,omitempty"`
	// NotVerified says why its document counts for nothing.
	NotVerified string `json:"notVerified,omitempty"`
	// Deleted says that the manifests here do not have the service any more, and what
	// becomes of it.
	Deleted string `json:"deleted,omitempty"`
	// HeldBack says that faults of the manifests here keep it as it was.
	HeldBack string `json:"heldBack,omitempty"`
	// Suspended says why the service is left alone.
	Suspended string `json:"suspended,omitempty"`

	id planner.ServiceID
}

// readRollouts reads all that the records tell of services, with so many values
// of each. The caller closes the store of the book.
func (e *env) readRollouts(ctx context.Context, o recordOptions, depth int) (*recordBook, recordPlace, error) {
	store, place, err := e.readRecords(ctx, o, wantedRecords{rooms: []string{"nodes/*", "status/*", "leases/*"}, depth: depth})
	if err != nil {
		return nil, place, err
	}
	b, err := readBook(store, place.specs)
	if err == nil {
		b.manifests = place.desired.Services
		err = b.readLeases()
	}
	if err != nil {
		store.close()
		return nil, place, err
	}
	return b, place, nil
}

// status tells of all services that the records or the manifests have.
func (b *recordBook) status(place recordPlace, now planner.Time) *recordedStatus {
	out := &recordedStatus{Records: place.String(), Commits: b.commits(), Services: []*recordedService{}, Faults: place.desired.Faults}
	ids := slices.Collect(maps.Keys(place.desired.Services))
	for id, dv := range b.view.Docs {
		if _, known := place.desired.Services[id]; !known && len(dv.Doc.Leases) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, planner.ServiceID.Compare)
	for _, name := range slices.Sorted(maps.Keys(b.view.Nodes)) {
		if r := b.view.Nodes[name].Record; r.Fence != nil && !r.Retired && !place.desired.Nodes[name].Abandoned {
			out.Fenced = append(out.Fenced, name)
		}
	}
	b.learnSpecs(place.desired)
	decided := b.decide(place.desired, now)
	for _, id := range ids {
		out.Services = append(out.Services, b.service(id, place.desired, decided, now))
	}
	for ref, why := range b.bad {
		if ref.Parse().Kind == planner.RefLeases {
			out.NotVerified = append(out.NotVerified, badRecord{ref, why})
		}
	}
	slices.SortFunc(out.NotVerified, func(a, b badRecord) int { return strings.Compare(string(a.Record), string(b.Record)) })
	return out
}

// commits lists what the live nodes follow.
func (b *recordBook) commits() []followedCommit {
	by := map[string][]planner.NodeName{}
	for name, n := range b.view.Nodes {
		if n.Live() {
			by[n.Status.Applied] = append(by[n.Status.Applied], name)
		}
	}
	var out []followedCommit
	for _, commit := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[commit])
		out = append(out, followedCommit{commit, by[commit]})
	}
	slices.SortStableFunc(out, func(a, b followedCommit) int { return len(b.Nodes) - len(a.Nodes) })
	return out
}

// learnSpecs notes that the last good revisions can be returned to: that they
// can is known to the nodes, not here.
func (b *recordBook) learnSpecs(d planner.Desired) {
	b.view.Specs = map[planner.Revision]planner.Template{}
	for id, dv := range b.view.Docs {
		if good := dv.Doc.LastGood; good != "" && good != d.Services[id].Revision {
			b.view.Specs[good] = planner.Template{}
		}
	}
}

// decide lets the planner find out, from the records and the manifests alone,
// what is awaited, and what no node takes.
func (b *recordBook) decide(d planner.Desired, now planner.Time) planner.Decisions {
	var live []planner.NodeName
	for name, n := range b.view.Nodes {
		if n.Live() {
			live = append(live, name)
		}
	}
	if len(live) == 0 || d.Commit.Hash == "" {
		return planner.Decisions{}
	}
	out := planner.Decisions{Waiting: map[planner.ServiceID]string{}}
	coordinators := map[planner.NodeName]bool{}
	for id := range d.Services {
		if ranked := b.view.Coordinators(id); len(ranked) > 0 && b.unsettled(d.Services[id]) {
			coordinators[ranked[0]] = true
		}
	}
	const most = 32 // coordinators that are asked: each costs a look at the whole fleet
	names := slices.Sorted(maps.Keys(coordinators))
	for _, name := range names[:min(len(names), most)] {
		view := b.view
		// As one who has just begun, so that no time has passed for any pause.
		view.Self, view.Relations, view.Settled = name, map[string]planner.Relation{}, now.Boot
		for _, dv := range b.view.Docs {
			view.Relations[dv.Doc.Commit] = planner.RelationSame
		}
		f := planner.Followed{Commit: d.Commit, Fleet: d.Fleet, Services: d.Services, Nodes: d.Nodes, Unread: !d.Complete()}
		decided := planner.Coordinate(f, view, now)
		out.Unplaced = append(out.Unplaced, decided.Unplaced...)
		for id, why := range decided.Waiting {
			if ranked := b.view.Coordinators(id); len(ranked) > 0 && ranked[0] == name {
				out.Waiting[id] = why
			}
		}
	}
	return out
}

// unsettled reports whether a service does not have what its manifest asks for.
func (b *recordBook) unsettled(s planner.Service) bool {
	dv := b.view.Docs[s.ID]
	return !planner.RolloutOf(s, dv.Doc, b.view).State.Over() || len(dv.Doc.Leases) == 0
}

// service tells of one.
func (b *recordBook) service(id planner.ServiceID, d planner.Desired, decided planner.Decisions, now planner.Time) *recordedService {
	dv := b.view.Docs[id]
	s, described := d.Services[id]
	out := &recordedService{id: id, NotVerified: b.bad[planner.LeasesRef(id, 0)]}
	if newest := newestRevision(dv.Doc); !described {
		s = undescribed(id, dv.Doc)
		out.Deleted, out.HeldBack = b.deleted(d), heldBackHere(d)
	} else if newest != "" && !b.knows(dv.Doc, s.Revision) && !b.followed(d.Commit.Hash) {
		out.Ahead, s.Revision = s.Revision, newest
	}
	if s.Suspended(now) {
		out.Suspended = s.Suspend.String()
	}
	f := api.RolloutFacts{
		Service: s, Doc: dv, View: b.view, Waiting: decided.Waiting[id], Unplaced: decided.Unplaced, Commit: d.Commit,
		Stands: b.stands(id, now.Wall), Quiet: func(node planner.NodeName) time.Duration { return b.quiet(node, now.Wall) },
	}
	if out.Ahead != "" || out.NotVerified != "" || !described {
		f.Waiting, f.Unplaced, f.Commit = "", nil, planner.Commit{}
	}
	if ranked := b.view.Coordinators(id); len(ranked) > 0 && !b.knows(dv.Doc, s.Revision) && b.view.Nodes[ranked[0]].Status.Applied != d.Commit.Hash {
		f.Waiting, f.Unplaced = "", nil // who decides on it has nothing to decide yet
	}
	out.Rollout = api.RolloutOf(f)
	return out
}

// stands is for how long the document of a service has been as it is, by the
// calendar of who wrote it; 0 = it is not known.
func (b *recordBook) stands(id planner.ServiceID, now time.Time) time.Duration {
	var last time.Time
	for shard := range planner.MaxShards {
		if at := b.at[planner.LeasesRef(id, shard)]; at.After(last) {
			last = at
		}
	}
	return since(last, now)
}

// quiet is for how long a node has written no record of itself; 0 = it is not
// known. One at rest writes none: its heartbeats have no time.
func (b *recordBook) quiet(node planner.NodeName, now time.Time) time.Duration {
	last := b.at[planner.NodeRef(node)]
	if at := b.at[planner.StatusRef(node)]; at.After(last) {
		last = at
	}
	return since(last, now)
}

func since(at, now time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(0, now.Sub(at))
}

// deleted says what becomes of a service that the manifests here do not have: ""
// where no manifests were read, or some could not be.
func (b *recordBook) deleted(d planner.Desired) string {
	commit := d.Commit.Short()
	switch {
	case d.Commit.Hash == "" || !d.Complete():
		return ""
	case !b.followed(d.Commit.Hash):
		return "the manifests here (" + commit + ") do not have it; no node follows them yet"
	}
	return "commit " + commit + " does not have it any more: it ends, or runs on until a person approves its deletion"
}

// heldBackHere says why a service that the manifests here do not have stays as it
// was; "" = none of them has a fault.
func heldBackHere(d planner.Desired) string {
	if d.Commit.Hash == "" || d.Complete() {
		return ""
	}
	return "kept as it was: the manifests here (" + d.Commit.Short() + ") have faults"
}

// newestRevision is the one that was wanted when the document was written.
func newestRevision(doc planner.LeaseDoc) planner.Revision {
	switch {
	case len(doc.Blocked) > 0:
		return doc.Blocked[0]
	case len(doc.History) > 0:
		return doc.History[0].Revision
	}
	return ""
}

// knows reports whether a document has heard of a revision.
func (b *recordBook) knows(doc planner.LeaseDoc, rev planner.Revision) bool {
	return doc.IsBlocked(rev) || slices.ContainsFunc(doc.History, func(a planner.Applied) bool { return a.Revision == rev })
}

// followed reports whether a live node follows a commit.
func (b *recordBook) followed(commit string) bool {
	for _, n := range b.view.Nodes {
		if n.Live() && commit != "" && n.Status.Applied == commit {
			return true
		}
	}
	return false
}

// undescribed is a service of which there is no manifest here, as its document
// shows it.
func undescribed(id planner.ServiceID, doc planner.LeaseDoc) planner.Service {
	s := planner.Service{ID: id, Revision: newestRevision(doc)}
	for _, l := range doc.Leases {
		n, err := strconv.Atoi(l.Slot)
		switch {
		case err == nil:
			s.Replicas = max(s.Replicas, n+1)
		case l.Hook == "":
			s.EveryNode = true
		}
		if s.Revision == "" {
			s.Revision = l.Revision
		}
	}
	return s
}

// find keeps one service, or the one that a slot is of.
func (st *recordedStatus) find(name string) (service *recordedService, slot string, err error) {
	called := planner.ParseServiceID(name).String()
	for _, s := range st.Services {
		if s.Service == called {
			return s, "", nil
		}
	}
	for _, s := range st.Services {
		if slot, is := s.Slot(called); is {
			return s, slot, nil
		}
	}
	const few = 12
	var names []string
	for _, s := range st.Services {
		names = append(names, s.Service)
	}
	text := fmt.Sprintf("there is no service %q among the %s, nor in the manifests here", name, st.Records)
	switch {
	case len(names) > few:
		text += fmt.Sprintf("; \"orpheus status\" lists those %d that there are", len(names))
	case len(names) > 0:
		text += "; there are " + strings.Join(names, ", ")
	}
	if n := broken(st.Faults); n > 0 {
		text += fmt.Sprintf("; %s of the manifests here may hide it, see \"orpheus validate\"", count(n, "fault"))
	}
	return nil, "", errors.New(text)
}
