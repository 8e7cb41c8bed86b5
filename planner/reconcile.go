package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// NodeState is everything a node decides on.
type NodeState struct {
	Node NodeName
	// Followed and Docs say what is wanted. Only leases of this node count.
	Followed Followed
	Docs     map[ServiceID]LeaseDoc
	// Keep, Behind and Unsure are what Standing says beside Docs: leases under
	// which what runs is neither started, restarted nor stopped; leases whose
	// instance must not start yet; services of which nothing is stopped.
	Keep   map[ServiceID][]Lease
	Behind map[LeaseKey]string
	Unsure map[ServiceID]string
	// Specs holds the template of every revision that is leased here.
	// An instance of any other is taken for a single writer.
	Specs map[Revision]Template
	// Have is what the drivers list.
	Have []Instance
	// Unlisted names the drivers that could not be listed: nothing is decided
	// about what they may run.
	Unlisted map[string]bool
	// Busy holds the instances with an action under way, by id. ID, Slot and
	// Revision suffice; a start that no driver lists yet counts as one that
	// exists.
	Busy map[string]Instance
	// Backoff holds the failures of instances, by instance id.
	Backoff map[string]Backoff
	// Doomed holds the instances whose probes ask for a restart, by id.
	Doomed map[string]Doom
	// Holds are the orders of people; those that are over do not count.
	Holds []Hold
	// Short says what the node is short of, without amounts, as TakeOn's reasons
	// are told to the others; "" = nothing. While it is, TakeOn lets nothing begin
	// but what the node took on before: Held.
	Short string
	Held  map[LeaseKey]bool
	// Started holds the leases of what runs once (Template.Once) whose start was
	// begun here, whether or not anything is left of it.
	Started map[LeaseKey]bool
	Now     Time
}

// Reconcile compares the leases of a node with its instances and returns what
// to do. An instance is covered by a lease for its slot and revision; its
// token may be older. Covered instances run, all others are stopped. Of a
// single-writer slot no instance starts while another exists. Live state is
// never compared with manifests, only revisions with revisions.
func Reconcile(st NodeState) Plan {
	r := &reconciler{st: st, bySlot: map[SlotID][]Instance{}}
	r.index()
	covered := map[string]bool{}
	for id, doc := range st.Docs {
		for _, l := range doc.Leases {
			slot := SlotID{Service: id, Name: l.Slot}
			if l.Node != st.Node {
				continue
			}
			if h, held := r.hold(slot); held {
				r.held(h, slot, l, covered)
			} else {
				r.lease(slot, l, covered)
			}
		}
	}
	for id, leases := range st.Keep {
		for _, l := range leases {
			slot := SlotID{Service: id, Name: l.Slot}
			h, held := r.hold(slot)
			if i, ok := r.cover(slot, l); ok && !(held && h.Stop) {
				covered[i.ID] = true
			}
		}
	}
	for _, i := range st.Have {
		if covered[i.ID] || r.busy(i.ID) {
			continue
		}
		switch h, held := r.hold(i.Slot); {
		case held && h.Stop && i.Alive(), held && h.Revision != "":
			r.end(i, h.String(), true)
		case held:
		case !r.unsure(i.Slot.Service):
			r.end(i, r.whyEnded(i), false)
		}
	}
	slices.SortFunc(r.plan.Actions, compareActions)
	slices.SortFunc(r.plan.Observed, compareActions)
	slices.SortFunc(r.plan.Waits, func(a, b Wait) int {
		if c := a.Slot.Compare(b.Slot); c != 0 {
			return c
		}
		return cmp.Compare(a.Token, b.Token)
	})
	return r.plan
}

type reconciler struct {
	st     NodeState
	bySlot map[SlotID][]Instance
	plan   Plan
}

// index sorts the instances by slot, those included that are only under way.
func (r *reconciler) index() {
	listed := map[string]bool{}
	for _, i := range r.st.Have {
		listed[i.ID] = true
		if b, busy := r.st.Busy[i.ID]; busy {
			// Half made or half gone, a driver may not know any more whose it is.
			i.Slot, i.Token, i.Revision = b.Slot, b.Token, b.Revision
		}
		r.bySlot[i.Slot] = append(r.bySlot[i.Slot], i)
	}
	for id, i := range r.st.Busy {
		if !listed[id] {
			i.ID, i.State = id, StatePartial
			r.bySlot[i.Slot] = append(r.bySlot[i.Slot], i)
		}
	}
	for _, instances := range r.bySlot {
		slices.SortFunc(instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	}
}

func (r *reconciler) busy(id string) bool {
	_, ok := r.st.Busy[id]
	return ok
}

// lease decides for one lease and notes which instance it covers.
func (r *reconciler) lease(slot SlotID, l Lease, covered map[string]bool) {
	spec, known := r.st.Specs[l.Revision]
	have, ok := r.cover(slot, l)
	if ok {
		covered[have.ID] = true
		if have.State == StateRunning || r.busy(have.ID) {
			r.doomed(slot, l, have)
			return
		}
	}
	if over := r.over(slot, l, have, ok); over != "" {
		r.wait(slot, l, over, 0)
		return
	}
	id := InstanceID(slot, l)
	kind, reason := ActionStart, "not running yet"
	if ok {
		id, kind, reason = have.ID, ActionRestart, r.whyRestart(have)
	} else if b := r.st.Backoff[id]; b.Failures > 0 {
		reason = "again: " + b.Reason
	}
	driver := spec.DriverName()
	switch {
	case !known:
		r.wait(slot, l, "its specification is not known on this node until the repository can be read", 0)
		return
	case r.st.Unlisted[driver]:
		r.wait(slot, l, "driver "+driver+" does not answer", 0)
		return
	}
	if other := r.inTheWay(slot, l, id, spec); other != "" {
		r.wait(slot, l, other, 0)
		return
	}
	if why := r.behind(slot, l, spec); why != "" {
		r.wait(slot, l, why, 0)
		return
	}
	if b := r.st.Backoff[id]; b.NotBefore > r.st.Now.Boot {
		r.wait(slot, l, b.Reason, b.NotBefore)
		return
	}
	r.act(Action{Kind: kind, Slot: slot, Instance: id, Driver: driver, Lease: l, Grace: spec.Grace(), Reason: reason})
}

// act adds an action to the plan, or to what is only told of an observed
// service.
func (r *reconciler) act(a Action) {
	if !r.st.Followed.Services[a.Slot.Service].Observe {
		r.plan.Actions = append(r.plan.Actions, a)
		return
	}
	r.plan.Observed = append(r.plan.Observed, a)
	if a.Kind == ActionStart || a.Kind == ActionRestart {
		r.wait(a.Slot, a.Lease, "mode: observe: "+string(a.Kind)+" is left to people: "+a.Reason, Never)
	}
}

// hold is the order of people that counts for a slot. What they order goes
// before what a manifest leaves to them.
func (r *reconciler) hold(slot SlotID) (Hold, bool) {
	h, held := HoldOf(r.st.Holds, slot, r.st.Now)
	if held {
		r.plan.Next = earlier(r.plan.Next, r.st.Now.bootAt(h.Until))
	}
	return h, held
}

// held decides for a lease of a slot that people hold.
func (r *reconciler) held(h Hold, slot SlotID, l Lease, covered map[string]bool) {
	if h.Revision != "" && h.Revision != l.Revision {
		r.swapped(h, slot, l, covered)
		return
	}
	if h.Revision != "" {
		r.lease(slot, l, covered)
		return
	}
	have, ok := r.cover(slot, l)
	if ok && !h.Stop {
		covered[have.ID] = true
	}
	if !ok || have.State != StateRunning || h.Stop {
		r.wait(slot, l, h.String(), Never)
	}
}

// swapped runs another revision than the lease's, under its token. What runs
// under the lease goes once the other does, or first where both may not run.
func (r *reconciler) swapped(h Hold, slot SlotID, l Lease, covered map[string]bool) {
	for _, o := range r.st.Docs[slot.Service].Leases {
		if o.Slot == l.Slot && o.Node == l.Node && (o.Token > l.Token || o.Revision == h.Revision) {
			return // another lease of the slot stands for it
		}
	}
	other := l
	other.Revision = h.Revision
	if old, ok := r.cover(slot, l); ok && !r.st.Specs[l.Revision].SingleWriter() && !r.st.Specs[h.Revision].SingleWriter() {
		if now, runs := r.cover(slot, other); !runs || now.State != StateRunning {
			covered[old.ID] = true
		}
	}
	r.lease(slot, other, covered)
}

// cover finds the instance a lease covers: of those of its slot and revision
// the running one, else that with the lease's own token, else the newest. The
// others are superfluous.
func (r *reconciler) cover(slot SlotID, l Lease) (Instance, bool) {
	var best Instance
	found := false
	better := func(a, b Instance) bool {
		if ar, br := a.State == StateRunning, b.State == StateRunning; ar != br {
			return ar
		}
		if a.Token != b.Token {
			return a.Token == l.Token || b.Token != l.Token && a.Token > b.Token
		}
		return a.ID < b.ID
	}
	once := r.once(l)
	for _, i := range r.bySlot[slot] {
		if once && i.Token != l.Token {
			continue // of an earlier lease: it ran for that
		}
		if i.Revision == l.Revision && (!found || better(i, best)) {
			best, found = i, true
		}
	}
	return best, found
}

// unsure reports whether nothing of a service may be stopped.
func (r *reconciler) unsure(id ServiceID) bool {
	_, one := r.st.Unsure[id]
	_, all := r.st.Unsure[ServiceID{}]
	return one || all
}

// behind says whose lease has to go before an instance of a single writer may
// start: an older one of its slot, here or on another node.
func (r *reconciler) behind(slot SlotID, l Lease, spec Template) string {
	if why := r.st.Behind[LeaseKey{slot.Service, l.Token}]; why != "" {
		return why
	}
	for _, o := range r.st.Docs[slot.Service].Leases {
		switch {
		case o.Slot != l.Slot || o.Node != l.Node || o.Token >= l.Token:
		case spec.SingleWriter() || r.st.Specs[o.Revision].SingleWriter():
			return "waits until its predecessor's lease is taken back: only one instance may use its volumes, host network or devices"
		case l.StopFirst:
			return "waits until its predecessor's lease is taken back: " + stopsFirst
		}
	}
	return ""
}

// stopsFirst is why a lease with StopFirst waits.
const stopsFirst = "its service has the old instance stopped first (spec.update)"

// kept reports whether an instance stands under a void lease: it goes once another
// of its slot is ready, and to wait for its end would be to wait for ever.
func (r *reconciler) kept(i Instance) bool {
	return covers(r.st.Keep[i.Slot.Service], r.st.Node, slotRevision{i.Slot, i.Revision})
}

// inTheWay says what keeps a single-writer slot from starting: any other
// instance of it that exists or may exist. Old and new template both count; a
// template that is no longer known may have been a single writer's.
func (r *reconciler) inTheWay(slot SlotID, l Lease, id string, spec Template) string {
	single := spec.SingleWriter()
	for _, i := range r.bySlot[slot] {
		if i.ID == id || !i.Alive() && !r.busy(i.ID) {
			continue
		}
		old, known := r.st.Specs[i.Revision]
		switch {
		case single || i.Revision != l.Revision && known && old.SingleWriter():
			return "waits for " + i.ID + " to stop: only one instance may use its volumes, host network or devices"
		case l.StopFirst && i.Token < l.Token && !r.kept(i):
			return "waits for " + i.ID + " to stop: " + stopsFirst
		case i.Revision != l.Revision && !known:
			return "waits for " + i.ID + " to stop: what its revision " + i.Revision.Short() + " was is not known any more, so nothing may run beside it"
		case spec.Once:
			return "waits for " + i.ID + " to stop: it is of an earlier run"
		}
	}
	if !single {
		return ""
	}
	for _, unlisted := range r.st.Unlisted {
		if unlisted {
			return "waits until every driver answers: only one instance may use its volumes, host network or devices"
		}
	}
	return ""
}

// end stops or removes an instance that no lease covers, or that people want
// down.
func (r *reconciler) end(i Instance, reason string, ordered bool) {
	kind := ActionStop
	if !i.Alive() {
		kind = ActionRemove
	}
	r.act(Action{Kind: kind, Slot: i.Slot, Instance: i.ID, Driver: i.Driver, Grace: i.GracePeriod, Reason: reason, Ordered: ordered})
}

func (r *reconciler) wait(slot SlotID, l Lease, reason string, until time.Duration) {
	r.plan.Waits = append(r.plan.Waits, Wait{Slot: slot, Token: l.Token, Reason: reason, Until: until})
	r.plan.Next = earlier(r.plan.Next, until)
}

// whyRestart names the drift of a covered instance that does not run.
func (r *reconciler) whyRestart(i Instance) string {
	if i.State == StatePartial {
		return "its start was cut off, or a part of it was removed by hand"
	}
	if doom, is := r.st.Doomed[i.ID]; is {
		return doom.Reason
	}
	return DescribeExit(i.Exit)
}

// DescribeExit says in the user's words how an instance ended.
func DescribeExit(e *Exit) string {
	switch {
	case e == nil || e.Unknown:
		return "it ended while nobody watched (reboot, or its supervisor was killed)"
	case e.OOM:
		return inContainer(e, "killed by the kernel: out of memory (raise resources.limits.memory)")
	case e.Signal != 0:
		return inContainer(e, fmt.Sprintf("killed by signal %d", e.Signal))
	}
	return inContainer(e, "exited with code "+strconv.Itoa(e.Code))
}

func inContainer(e *Exit, what string) string {
	if e.Container == "" || e.Container == MainContainer {
		return what
	}
	return "container " + e.Container + " " + what
}

// whyEnded says why no lease covers an instance.
func (r *reconciler) whyEnded(i Instance) string {
	s, ok := r.st.Followed.Services[i.Slot.Service]
	if !ok {
		return "service " + i.Slot.Service.String() + " is not in the manifests of commit " + r.st.Followed.Commit.Short()
	}
	newest := Revision("")
	for _, l := range r.st.Docs[i.Slot.Service].Leases { // of a slot, oldest first
		switch {
		case l.Slot != i.Slot.Name || l.Node != r.st.Node:
		case l.Revision == i.Revision:
			return "another instance of the same lease runs"
		default:
			newest = l.Revision
		}
	}
	if kind := HookKind(i.Slot.Name); slices.Contains(HookKinds, kind) && !s.EveryNode {
		return "the " + kind.Field() + " hook has ended"
	}
	if newest != "" {
		return "replaced by revision " + newest.Short()
	}
	if n, err := strconv.Atoi(i.Slot.Name); err == nil && !s.EveryNode && n >= s.Replicas {
		return fmt.Sprintf("service %s has %d replicas now", s.ID, s.Replicas)
	}
	return "node " + string(r.st.Node) + " does not run service " + s.ID.String() + " any more"
}
