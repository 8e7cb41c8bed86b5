package review

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// Input is all that a report is made from.
type Input struct {
	Base, Head Side
	Path       string
	// Before is what nodes follow that are at the base, After what they follow then
	// at the head: Settle makes both.
	Before, After planner.Followed
	// Old are the manifests of Before, New those of the head, as far as they are in
	// force.
	Old, New []manifest.Document
	// BaseFaults and Faults are those of both commits; Refused says why the head is
	// refused as a whole.
	BaseFaults, Faults []planner.Fault
	Refused            string
	// View are the records; nil = there are none, for NoRecords. It needs a template
	// for each revision in its Specs that neither Before nor After has.
	View               *planner.View
	Records, NoRecords string
	Now                time.Time
	Notes              []string
}

// Build makes the report.
func Build(in Input) *Report {
	b := &builder{in: in, out: &Report{
		Format: FormatReport, Fleet: in.After.Fleet.Name, Path: in.Path, Base: in.Base, Head: in.Head,
		Records: in.Records, NoRecords: in.NoRecords, Refused: in.Refused, Notes: in.Notes, Services: []Service{},
	}}
	b.documents()
	b.held = map[planner.ServiceID]planner.Held{}
	for _, h := range in.After.Held {
		b.held[h.Service] = h
	}
	b.faults()
	if in.Refused == "" {
		b.foresee()
		b.findRenames()
		b.services()
		b.nodes()
		b.deletions()
		b.findings()
		b.abandons()
	}
	b.summarize()
	return b.out
}

// builder makes one report.
type builder struct {
	in       Input
	out      *Report
	old, new map[subject]*manifest.Document
	held     map[planner.ServiceID]planner.Held // by the head

	specs map[planner.Revision]planner.Template
	// now is what will be done, rest what would be without the commit; both are
	// empty without records.
	now, rest planner.Forecast
	underWay  map[planner.ServiceID]bool
	fates     map[planner.ServiceID]*fate
	renames   map[planner.ServiceID][]string
	differ    map[planner.ServiceID]bool // see differs
}

// subject is what a document is about.
type subject struct{ kind, namespace, name string }

func subjectOf(d *manifest.Document) subject {
	if d.Kind == "Fleet" {
		return subject{kind: d.Kind} // which may change its name
	}
	return subject{d.Kind, d.Namespace, d.Name}
}

func serviceSubject(id planner.ServiceID) subject { return subject{"Service", id.Namespace, id.Name} }

func (b *builder) documents() {
	index := func(docs []manifest.Document) map[subject]*manifest.Document {
		out := make(map[subject]*manifest.Document, len(docs))
		for i := range docs {
			out[subjectOf(&docs[i])] = &docs[i]
		}
		return out
	}
	b.old, b.new = index(b.in.Old), index(b.in.New)
}

// ids lists all services of both sides, in order.
func (b *builder) ids() []planner.ServiceID {
	all := maps.Clone(b.in.After.Services)
	if all == nil {
		all = map[planner.ServiceID]planner.Service{}
	}
	maps.Copy(all, b.in.Before.Services)
	for id := range b.fates {
		all[id] = planner.Service{}
	}
	return slices.SortedFunc(maps.Keys(all), planner.ServiceID.Compare)
}

// services tells what becomes of each service.
func (b *builder) services() {
	for _, id := range b.ids() {
		if s := b.service(id); s.Change != "" {
			b.out.Services = append(b.out.Services, s)
		}
	}
}

// service tells of one; without a Change there is nothing to tell.
func (b *builder) service(id planner.ServiceID) Service {
	before, was := b.in.Before.Services[id]
	after, is := b.in.After.Services[id]
	out := Service{Service: id.String(), File: after.File, Line: after.Line, Old: before.Revision, New: after.Revision}
	held, isHeld := b.held[id]
	_, waited := b.in.Before.Pending[id]
	switch {
	case !was && !is: // only the records have it
	case !was:
		out.Change, out.About = Added, about(after)
	case !is:
		out.Change, out.About, out.File, out.Line = Deleted, about(before), before.File, before.Line
	case isHeld && held.Approve != "":
		if !waited {
			out.Change, out.Why, out.About = Awaits, b.words(held.Reason), about(before)
		}
	case isHeld:
		out.Change, out.Why = Kept, b.words(held.Reason)
	case b.differs(id):
		out.Change = Changed
	case before.File != after.File && before.File != "":
		out.Change, out.Why = Renamed, "described in "+after.File+", before in "+before.File
	}
	switch out.Change {
	case Added, Changed:
		out.Fields = append(changedFields(b.old[serviceSubject(id)], b.new[serviceSubject(id)]), changedFiles(before, after)...)
		out.Restarts = was && before.Revision != after.Revision
		out.How = how(before, after, b.slotCount(after), was, planner.Time{Wall: b.in.Now})
	}
	out.How = append(out.How, b.renames[id]...)
	b.fate(id, &out)
	if out.Change == Changed && !out.Restarts && !out.begins() {
		out.How = append(out.How, "no instance restarts")
	}
	if still := is && (after.Observe || after.Suspended(planner.Time{Wall: b.in.Now})); b.in.View == nil && !still {
		out.How = append(out.How, expected(before, after, out)...)
	}
	return out
}

// differs reports whether the manifest of a service says something else, and not only
// elsewhere.
func (b *builder) differs(id planner.ServiceID) bool {
	is, known := b.differ[id]
	if !known {
		before, after := b.in.Before.Services[id], b.in.After.Services[id]
		is = before.Revision != after.Revision || before.Fingerprint() != after.Fingerprint()
		if b.differ == nil {
			b.differ = map[planner.ServiceID]bool{}
		}
		b.differ[id] = is
	}
	return is
}

// begins reports whether a slot gets an instance in the place of another.
func (s Service) begins() bool {
	return slices.ContainsFunc(s.Slots, func(slot Slot) bool { return slot.Does == Restarts || slot.Does == Moves })
}

// words are what the planner says, where the head is no commit.
func (b *builder) words(text string) string {
	if b.in.Head.Commit != "" {
		return text
	}
	return strings.ReplaceAll(text, "commit "+b.in.After.Commit.Short(), "the "+b.in.Head.Name)
}

// faults lists those of the head, and what each holds back.
func (b *builder) faults() {
	known := map[planner.Fault]bool{}
	for _, f := range b.in.BaseFaults {
		known[placeless(f)] = true
	}
	for _, f := range b.in.Faults {
		fault := Fault{Fault: f, New: !known[placeless(f)]}
		for _, h := range b.in.After.Held {
			if !f.Warning && h.Approve == "" && b.in.After.Services[h.Service].File == f.File {
				fault.Holds = append(fault.Holds, h.Service.String())
			}
		}
		b.out.Faults = append(b.out.Faults, fault)
	}
}

// placeless is a fault without where in its file it stands.
func placeless(f planner.Fault) planner.Fault {
	f.Line, f.Column = 0, 0
	return f
}

// nodes tells what the commit says anew of the fleet and its nodes.
func (b *builder) nodes() {
	fleet := subject{kind: "Fleet"}
	b.out.FleetChanges = changedFields(b.old[fleet], b.new[fleet])
	if len(b.in.Old) == 0 {
		b.out.FleetChanges = nil // all of it is new
	}
	b.absent()
	names := map[string]bool{}
	for _, docs := range []map[subject]*manifest.Document{b.old, b.new} {
		for s := range docs {
			if s.kind == "Node" {
				names[s.name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s := subject{kind: "Node", name: name}
		n := Node{Node: planner.NodeName(name), Change: Changed}
		switch {
		case b.old[s] == nil:
			n.Change = Added
		case b.new[s] == nil && b.in.After.Nodes[n.Node].Kept:
			continue // the commit cannot speak for it
		case b.new[s] == nil:
			n.Change = Deleted
		}
		if n.Fields = changedFields(b.old[s], b.new[s]); len(n.Fields) > 0 {
			b.out.NodeChanges = append(b.out.NodeChanges, n)
			b.nodeNotes(n)
		}
	}
}

// absent notes which nodes of fleet.yaml have no record: once they have, slots go to
// them too.
func (b *builder) absent() {
	if b.in.View == nil {
		return
	}
	var names []planner.NodeName
	for _, name := range b.in.After.Fleet.Nodes {
		if _, registered := b.in.View.Nodes[name]; !registered {
			names = append(names, name)
		}
	}
	if n := len(names); n > 0 {
		b.out.Notes = append(b.out.Notes, list(names, 20)+" of fleet.yaml "+verb(n, "has", "have")+" not registered yet: the plan does without "+verb(n, "it", "them"))
	}
}

// nodeNotes adds what a reviewer would ask of a node that the commit speaks of.
func (b *builder) nodeNotes(n Node) {
	if b.in.View == nil || n.Change == Deleted {
		return
	}
	if _, registered := b.in.View.Nodes[n.Node]; !registered {
		b.out.Notes = append(b.out.Notes, "no node "+string(n.Node)+" has registered yet: what is said of it counts once it does")
		return
	}
	if !b.in.After.Nodes[n.Node].Drain || b.in.Before.Nodes[n.Node].Drain {
		return
	}
	const most = 20
	var stay []string
	for _, id := range slices.SortedFunc(maps.Keys(b.now.View.Docs), planner.ServiceID.Compare) {
		slots := b.slots(b.now.View, id)
		for _, name := range slices.SortedFunc(maps.Keys(slots), func(x, y string) int { return planner.SlotID{Name: x}.Compare(planner.SlotID{Name: y}) }) {
			if slots[name].Node == n.Node {
				stay = append(stay, planner.SlotID{Service: id, Name: name}.String())
			}
		}
	}
	if len(stay) > 0 {
		b.out.Notes = append(b.out.Notes, string(n.Node)+" is drained, and keeps at the end: "+list(stay, most))
	}
}

// deletions sums up what goes and what waits.
func (b *builder) deletions() {
	d := Deletions{Budget: max(2, max(b.in.Before.Total, len(b.in.Before.Services))/5)}
	for _, s := range b.out.Services {
		switch s.Change {
		case Deleted:
			d.Services = append(d.Services, s.Service)
		case Awaits:
			d.Waiting = append(d.Waiting, s.Service)
			d.Approve = b.held[planner.ParseServiceID(s.Service)].Approve
			if b.in.Head.Commit == "" {
				d.Approve = planner.PruneTrailer + ": COMMIT"
			}
		}
	}
	if len(d.Services)+len(d.Waiting) > 0 {
		b.out.Deletions = &d
	}
	var waits []string
	for _, id := range slices.SortedFunc(maps.Keys(b.in.Before.Pending), planner.ServiceID.Compare) {
		if _, still := b.in.After.Pending[id]; still {
			waits = append(waits, id.String())
		}
	}
	if n := len(waits); n > 0 {
		b.out.Notes = append(b.out.Notes, plural(n, "deletion")+" of earlier commits still "+verb(n, "awaits", "await")+" approval: "+list(waits, 20))
	}
}

// summarize counts.
func (b *builder) summarize() {
	sum := &b.out.Summary
	for _, s := range b.out.Services {
		switch s.Change {
		case Added:
			sum.Added++
		case Changed:
			sum.Changed++
		case Deleted:
			sum.Deleted++
		}
		sum.Changes = sum.Changes || s.Change != Kept && s.Change != Renamed && s.Change != Begun
		if s.Change == Begun {
			continue
		}
		sum.count(s.Slots)
	}
	for _, t := range b.out.Turns {
		sum.Steps += len(t.Steps)
	}
	sum.Turns = len(b.out.Turns)
	sum.Changes = sum.Changes || len(b.out.FleetChanges)+len(b.out.NodeChanges) > 0
	sum.Trouble = b.out.Refused != "" || b.out.Deletions != nil && len(b.out.Deletions.Waiting) > 0 ||
		slices.ContainsFunc(b.out.Faults, func(f Fault) bool { return !f.Warning }) ||
		slices.ContainsFunc(b.out.Unplaced, func(u Unplaced) bool { return !u.Before })
}

// count adds what becomes of slots.
func (sum *Summary) count(slots []Slot) {
	for _, s := range slots {
		switch {
		case s.Observed:
		case s.Does == Restarts:
			sum.Restart++
		case s.Does == Moves:
			sum.Move++
		case s.Does == Appears:
			sum.Appear++
		case s.Does == Goes:
			sum.Go++
		}
	}
}

// about says in a few words what a service is.
func about(s planner.Service) string {
	parts := []string{plural(s.Replicas, "replica")}
	if s.EveryNode {
		parts[0] = "on every node"
	}
	if images := s.Template.Images(); len(images) > 0 {
		parts = append(parts, strings.Join(images, ", "))
	} else {
		parts = append(parts, "driver "+s.Template.DriverName())
	}
	if s.HasVolumes() {
		parts = append(parts, "with a volume")
	}
	return strings.Join(parts, ", ")
}
