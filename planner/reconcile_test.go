package planner

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	web  = ServiceID{DefaultNamespace, "web"}
	web0 = SlotID{web, "0"}

	plainA, plainB   = plain("a"), plain("b")
	volumeA, volumeB = volume("a"), volume("b")
)

// leased is a lease of slot 0 of web on n1.
func leased(token uint64, t Template) Lease {
	return Lease{Slot: "0", Node: "n1", Token: token, Revision: RevisionOf(t)}
}

// instanceOf is the running instance that a lease of web leads to.
func instanceOf(l Lease, t Template) Instance {
	slot := SlotID{web, l.Slot}
	return Instance{
		ID: InstanceID(slot, l), Driver: t.DriverName(), Slot: slot, Node: l.Node, Token: l.Token,
		Revision: l.Revision, State: StateRunning, GracePeriod: 7 * time.Second,
	}
}

func (i Instance) in(s InstanceState) Instance { i.State = s; return i }

func (i Instance) exited(e Exit) Instance { i.State, i.Exit = StateExited, &e; return i }

// halfExited is the instance with a sidecar that has ended while main runs.
func (i Instance) halfExited() Instance {
	e := Exit{Container: "sidecar", Code: 1}
	i = i.exited(e)
	i.Containers = []ContainerState{{Name: MainContainer, State: StateRunning}, {Name: e.Container, State: StateExited, Exit: &e}}
	return i
}

func TestReconcile(t *testing.T) {
	a1, a2, b2 := leased(1, plainA), leased(2, plainA), leased(2, plainB)
	va1, vb2 := leased(1, volumeA), leased(2, volumeB)
	stopFirst2 := b2
	stopFirst2.StopFirst = true
	tests := []struct {
		// what is the case, and what the node does about it
		name    string
		leases  []Lease
		have    []Instance
		change  func(*NodeState)
		actions []string // kind instance: part of the reason
		waits   []string // part of the reason
		next    time.Duration
	}{
		// Nothing is wanted and nothing runs.
		{name: "empty"},
		// A lease without an instance starts one.
		{name: "start", leases: []Lease{a1}, actions: []string{"start " + InstanceID(web0, a1) + ": not running yet"}},
		// A lease with its running instance needs nothing.
		{name: "runs", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)}},
		// An instance of an older token is adopted, not restarted.
		{name: "older token", leases: []Lease{a2}, have: []Instance{instanceOf(a1, plainA)}},
		// An instance of a higher token than the lease's (lost state) is adopted, too.
		{name: "newer token", leases: []Lease{a1}, have: []Instance{instanceOf(a2, plainA)}},
		// A lease of another node is not ours.
		{name: "other node", leases: []Lease{{Slot: "0", Node: "n2", Token: 1, Revision: RevisionOf(plainA)}}},
		// Nothing starts on a driver that does not answer.
		{name: "unlisted driver", leases: []Lease{a1}, change: unlisted(DriverContainerd), waits: []string{"driver containerd does not answer"}},
		// Another driver that does not answer is no reason to wait ...
		{name: "other driver unlisted", leases: []Lease{a1}, change: unlisted(DriverProcess), actions: []string{"start " + InstanceID(web0, a1) + ": not running"}},
		// ... but for a single writer, whose predecessor it may run.
		{name: "single writer, other driver unlisted", leases: []Lease{va1}, change: unlisted(DriverProcess), waits: []string{"every driver answers"}},
		// A start under way is not started again.
		{name: "start busy", leases: []Lease{a1}, change: busy(instanceOf(a1, plainA))},
		// Its probes ask for a restart: it is stopped at once, and stays listed.
		{name: "doomed", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)}, change: doomed(instanceOf(a1, plainA)),
			actions: []string{"kill " + InstanceID(web0, a1) + ": liveness probe failed"}},
		// That is what its start names, which waits for the back-off.
		{name: "doomed and stopped", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA).exited(Exit{Signal: 15})}, change: doomed(instanceOf(a1, plainA)),
			actions: []string{"restart " + InstanceID(web0, a1) + ": liveness probe failed"}},
		// Where stopping it failed, that is tried again with the back-off.
		{name: "doomed, not stoppable", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)},
			change: both(doomed(instanceOf(a1, plainA)), backoff(InstanceID(web0, a1), Backoff{Failures: 2, NotBefore: 11 * time.Second})),
			next:   11 * time.Second},
		// Being stopped, it is not stopped again.
		{name: "doomed and busy", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)},
			change: both(doomed(instanceOf(a1, plainA)), busy(instanceOf(a1, plainA)))},
		// While its driver does not answer nobody knows whether it still runs.
		{name: "doomed, unlisted driver", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)},
			change: both(doomed(instanceOf(a1, plainA)), unlisted(DriverContainerd))},
		// Without a lease it ends for that reason alone.
		{name: "doomed without a lease", have: []Instance{instanceOf(a1, plainA)}, change: doomed(instanceOf(a1, plainA)),
			actions: []string{"stop " + InstanceID(web0, a1) + ": node n1 does not run service web any more"}},
		// What people hold is left alone, what is observed is left to them.
		{name: "doomed and held", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)}, change: both(doomed(instanceOf(a1, plainA)), func(st *NodeState) {
			st.Holds = []Hold{{Until: st.Now.Wall.Add(time.Hour)}}
		}), next: 10*time.Second + time.Hour},
		// A restart under way is not begun again.
		{name: "restart busy", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA).in(StateExited)}, change: busy(instanceOf(a1, plainA))},
		// Nor does it start beside itself when a driver cannot say whose it is.
		{name: "restart busy, listed without its slot", leases: []Lease{a1},
			have: []Instance{{ID: InstanceID(web0, a1), Driver: DriverContainerd, State: StatePartial}}, change: busy(instanceOf(a1, plainA))},
		// A stop under way is not repeated.
		{name: "stop busy", have: []Instance{instanceOf(a1, plainA)}, change: busy(instanceOf(a1, plainA))},
		// What a cut-off start left is started again in place.
		{name: "partial", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA).in(StatePartial)}, actions: []string{"restart " + InstanceID(web0, a1) + ": cut off"}},
		// An exited instance is restarted in place, under its own id, with how it ended.
		{name: "exited", leases: []Lease{a2}, have: []Instance{instanceOf(a1, plainA).exited(Exit{Code: 3})}, actions: []string{"restart " + InstanceID(web0, a1) + ": exited with code 3"}},
		// Out of memory is said in words, with the remedy.
		{name: "oom", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA).exited(Exit{Code: 137, Signal: 9, OOM: true})}, actions: []string{"restart " + InstanceID(web0, a1) + ": out of memory (raise resources.limits.memory)"}},
		// Back-off holds a restart until its time, and the plan says when.
		{name: "back-off", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA).exited(Exit{Code: 3})},
			change: backoff(InstanceID(web0, a1), Backoff{Failures: 2, NotBefore: 11 * time.Second, Reason: "exited with code 3"}),
			waits:  []string{"exited with code 3"}, next: 11 * time.Second},
		// At its time exactly the back-off is over.
		{name: "back-off over", leases: []Lease{a1},
			change:  backoff(InstanceID(web0, a1), Backoff{Failures: 2, NotBefore: 10 * time.Second, Reason: "exited with code 3"}),
			actions: []string{"start " + InstanceID(web0, a1) + ": again: exited with code 3"}},
		// Of two instances of one lease the one with its token stays.
		{name: "duplicate", leases: []Lease{a2}, have: []Instance{instanceOf(a1, plainA), instanceOf(a2, plainA)}, actions: []string{"stop " + InstanceID(web0, a1) + ": another instance of the same lease"}},
		// Without the lease's own the newest of the running ones stays.
		{name: "duplicate of older tokens", leases: []Lease{leased(3, plainA)}, have: []Instance{instanceOf(a1, plainA), instanceOf(a2, plainA)}, actions: []string{"stop " + InstanceID(web0, a1) + ": another instance"}},
		// A running one is better than the lease's own that exited.
		{name: "duplicate, own exited", leases: []Lease{a2}, have: []Instance{instanceOf(a1, plainA), instanceOf(a2, plainA).in(StateExited)}, actions: []string{"remove " + InstanceID(web0, a2) + ": another instance"}},
		// Start-first: both leases stand, the new instance starts beside the old one.
		{name: "start-first", leases: []Lease{a1, b2}, have: []Instance{instanceOf(a1, plainA)}, actions: []string{"start " + InstanceID(web0, b2) + ": not running yet"}},
		// Once the old lease is gone its instance is stopped, with its own grace.
		{name: "replaced", leases: []Lease{b2}, have: []Instance{instanceOf(a1, plainA), instanceOf(b2, plainB)}, actions: []string{"stop " + InstanceID(web0, a1) + ": replaced by revision " + RevisionOf(plainB).Short()}},
		// The middle one of three is replaced by the newest, not by the oldest.
		{name: "pre-empted", leases: []Lease{a1, leased(3, plainB)}, have: []Instance{instanceOf(a1, plainA), instanceOf(leased(2, volumeA), volumeA), instanceOf(leased(3, plainB), plainB)},
			actions: []string{"stop " + InstanceID(web0, leased(2, volumeA)) + ": replaced by revision " + RevisionOf(plainB).Short()}},
		// A single writer waits until its predecessor is gone ...
		{name: "single writer", leases: []Lease{vb2}, have: []Instance{instanceOf(va1, volumeA)}, actions: []string{"stop " + InstanceID(web0, va1) + ": replaced"}, waits: []string{"waits for " + InstanceID(web0, va1) + " to stop"}},
		// ... also while that one is only half there ...
		{name: "single writer, partial", leases: []Lease{vb2}, have: []Instance{instanceOf(va1, volumeA).in(StatePartial)}, actions: []string{"stop " + InstanceID(web0, va1) + ": replaced"}, waits: []string{"to stop"}},
		// ... or its start is under way and no driver lists it yet ...
		{name: "single writer, unlisted start", leases: []Lease{vb2}, change: busy(instanceOf(va1, volumeA)), waits: []string{"to stop"}},
		// ... or it has exited and is being started again; but not once it has exited for good.
		{name: "single writer, restart busy", leases: []Lease{vb2}, have: []Instance{instanceOf(va1, volumeA).in(StateExited)}, change: busy(instanceOf(va1, volumeA)), waits: []string{"to stop"}},
		{name: "single writer, exited", leases: []Lease{vb2}, have: []Instance{instanceOf(va1, volumeA).in(StateExited)}, actions: []string{"remove " + InstanceID(web0, va1) + ": replaced", "start " + InstanceID(web0, vb2) + ": not running yet"}},
		// One container of several has ended: the others write on. They get their
		// grace, and the successor waits.
		{name: "single writer, half exited", leases: []Lease{vb2}, have: []Instance{instanceOf(va1, volumeA).halfExited()}, actions: []string{"stop " + InstanceID(web0, va1) + ": replaced"}, waits: []string{"to stop"}},
		{name: "half exited", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA).halfExited()}, actions: []string{"restart " + InstanceID(web0, a1) + ": container sidecar exited with code 1"}},
		// A plain successor waits for a single writer to end ...
		{name: "old is single writer", leases: []Lease{va1, b2}, have: []Instance{instanceOf(va1, volumeA)}, waits: []string{"to stop"}},
		// ... and for one whose template nobody knows any more.
		{name: "old is unknown", leases: []Lease{b2}, have: []Instance{instanceOf(va1, volumeA)}, change: forget(volumeA), actions: []string{"stop " + InstanceID(web0, va1) + ": replaced"}, waits: []string{"is not known any more, so nothing may run beside it"}},
		// Where it would wait in any case it says so, not that it is for volumes.
		{name: "old is unknown, stop-first", leases: []Lease{stopFirst2}, have: []Instance{instanceOf(a1, plainA)}, change: forget(plainA), actions: []string{"stop " + InstanceID(web0, a1) + ": replaced"}, waits: []string{"(spec.update)"}},
		// A single writer is not in its own way.
		{name: "single writer restarts", leases: []Lease{va1}, have: []Instance{instanceOf(va1, volumeA).in(StatePartial)}, actions: []string{"restart " + InstanceID(web0, va1) + ": cut off"}},
		// Another slot's instance is in nobody's way.
		{name: "single writer, other slot", leases: []Lease{va1, {Slot: "1", Node: "n1", Token: 2, Revision: RevisionOf(volumeA)}}, have: []Instance{instanceOf(va1, volumeA)},
			actions: []string{"start " + InstanceID(SlotID{web, "1"}, Lease{Slot: "1", Token: 2, Revision: RevisionOf(volumeA)}) + ": not running yet"}},
		// A lease whose template is unknown waits; what it covers runs on.
		{name: "unknown spec", leases: []Lease{a1}, change: forget(plainA), waits: []string{"specification is not known"}},
		{name: "unknown spec, runs", leases: []Lease{a1}, have: []Instance{instanceOf(a1, plainA)}, change: forget(plainA)},
		// A slot beyond the replicas is stopped; what is left of one is removed.
		{name: "scaled down", have: []Instance{instanceOf(Lease{Slot: "1", Node: "n1", Token: 2}, plainA), instanceOf(Lease{Slot: "2", Node: "n1", Token: 3}, plainA).in(StateExited)},
			actions: []string{
				"remove " + InstanceID(SlotID{web, "2"}, Lease{Token: 3}) + ": service web has 1 replicas now",
				"stop " + InstanceID(SlotID{web, "1"}, Lease{Token: 2}) + ": service web has 1 replicas now",
			}},
		// A slot that is wanted, but not here.
		{name: "moved", have: []Instance{instanceOf(a1, plainA)}, actions: []string{"stop " + InstanceID(web0, a1) + ": node n1 does not run service web any more"}},
		// A hook without a lease has ended, whether or not slots of its service are here.
		{name: "hook", have: []Instance{instanceOf(Lease{Slot: string(HookPreRollout), Node: "n1", Token: 1}, plainA).in(StateExited)},
			actions: []string{"remove " + InstanceID(SlotID{web, string(HookPreRollout)}, Lease{Token: 1}) + ": the preRollout hook has ended"}},
		// A deleted service is stopped, and the commit is named.
		{name: "deleted", have: []Instance{instanceOf(a1, plainA)}, change: func(st *NodeState) { st.Followed.Services = nil }, actions: []string{"stop " + InstanceID(web0, a1) + ": service web is not in the manifests of commit 12345678"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := stateOf(tt.leases, tt.have)
			if tt.change != nil {
				tt.change(&st)
			}
			plan := Reconcile(st)
			st.Have = reversed(st.Have)
			if again := Reconcile(st); !reflect.DeepEqual(plan, again) {
				t.Errorf("another order of the listing gives another plan:\n%+v\n%+v", plan, again)
			}
			var actions, waits []string
			for _, a := range plan.Actions {
				actions = append(actions, string(a.Kind)+" "+a.Instance+": "+a.Reason)
			}
			for _, w := range plan.Waits {
				waits = append(waits, w.Reason)
			}
			matchAll(t, "actions", actions, tt.actions)
			matchAll(t, "waits", waits, tt.waits)
			if plan.Next != tt.next {
				t.Errorf("next is %v, want %v", plan.Next, tt.next)
			}
		})
	}
}

func stateOf(leases []Lease, have []Instance) NodeState {
	st := NodeState{
		Node:     "n1",
		Followed: Followed{Commit: Commit{Hash: "1234567890"}, Services: map[ServiceID]Service{web: service(web, 1, plainA)}},
		Docs:     map[ServiceID]LeaseDoc{web: {Service: web, Leases: leases}},
		Specs:    map[Revision]Template{},
		Have:     have,
		Now:      Time{Boot: 10 * time.Second},
	}
	for _, t := range []Template{plainA, plainB, volumeA, volumeB} {
		st.Specs[RevisionOf(t)] = t
	}
	return st
}

func unlisted(driver string) func(*NodeState) {
	return func(st *NodeState) { st.Unlisted = map[string]bool{driver: true} }
}

func busy(i Instance) func(*NodeState) {
	return func(st *NodeState) {
		st.Busy = map[string]Instance{i.ID: {ID: i.ID, Slot: i.Slot, Revision: i.Revision}}
	}
}

func doomed(i Instance) func(*NodeState) {
	return func(st *NodeState) {
		st.Doomed = map[string]Doom{i.ID: {Reason: "liveness probe failed", Grace: 3 * time.Second}}
	}
}

func both(first, second func(*NodeState)) func(*NodeState) {
	return func(st *NodeState) { first(st); second(st) }
}

func backoff(id string, b Backoff) func(*NodeState) {
	return func(st *NodeState) { st.Backoff = map[string]Backoff{id: b} }
}

func forget(t Template) func(*NodeState) {
	return func(st *NodeState) { delete(st.Specs, RevisionOf(t)) }
}

// matchAll wants as many lines as given, each with all words of its like:
// "head: tail" wants the head exactly and the tail somewhere after it.
func matchAll(t *testing.T, what string, got, want []string) {
	t.Helper()
	match := len(got) == len(want)
	for n := 0; match && n < len(got); n++ {
		head, tail, ok := strings.Cut(want[n], ": ")
		if !ok {
			head, tail = "", want[n]
		}
		match = strings.HasPrefix(got[n], head) && strings.Contains(got[n][len(head):], tail)
	}
	if !match {
		t.Errorf("%s:\n  got  %q\n  want %q", what, got, want)
	}
}

// TestReconcileFields checks what an action carries for those who act.
func TestReconcileFields(t *testing.T) {
	grace := int64(5)
	graceful := plainA
	graceful.TerminationGracePeriodSeconds = &grace
	l := leased(1, graceful)
	st := stateOf([]Lease{l}, []Instance{instanceOf(leased(9, plainB), plainB)})
	st.Specs[RevisionOf(graceful)] = graceful
	got := Reconcile(st).Actions
	want := []Action{
		{Kind: ActionStop, Slot: web0, Instance: st.Have[0].ID, Driver: DriverContainerd, Grace: 7 * time.Second, Reason: "replaced by revision " + l.Revision.Short()},
		{Kind: ActionStart, Slot: web0, Instance: InstanceID(web0, l), Driver: DriverContainerd, Lease: l, Grace: 5 * time.Second, Reason: "not running yet"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestReconcileOrder checks that the order is total: kind, service, slot by
// number, instance; and that the earliest wait is the plan's next.
func TestReconcileOrder(t *testing.T) {
	other := ServiceID{"shop", "api"}
	st := stateOf(nil, nil)
	st.Followed.Services = nil
	st.Backoff = map[string]Backoff{}
	var leases []Lease
	for n, slot := range []string{"10", "9", "2", "n1"} {
		leases = append(leases, Lease{Slot: slot, Node: "n1", Token: uint64(n), Revision: RevisionOf(plainA)})
	}
	st.Docs[web] = LeaseDoc{Service: web, Leases: leases[:2]}
	st.Docs[other] = LeaseDoc{Service: other, Leases: leases}
	for n, slot := range []SlotID{{web, "10"}, {other, "2"}} {
		id := InstanceID(slot, leases[n*2])
		st.Backoff[id] = Backoff{Failures: 1, NotBefore: time.Duration(20+n) * time.Second, Reason: "exited"}
	}
	gone := ServiceID{DefaultNamespace, "gone"}
	for _, i := range []Instance{{ID: "z", State: StateRunning}, {ID: "a", State: StateRunning}, {ID: "m", State: StateExited}} {
		i.Slot, i.Driver = SlotID{gone, "0"}, DriverContainerd
		st.Have = append(st.Have, i)
	}
	plan := Reconcile(st)
	var got []string
	for _, a := range plan.Actions {
		id := ""
		if a.Kind != ActionStart {
			id = " " + a.Instance
		}
		got = append(got, string(a.Kind)+" "+a.Slot.String()+id)
	}
	want := []string{"remove gone-0 m", "stop gone-0 a", "stop gone-0 z", "start web-9", "start shop/api-9", "start shop/api-10", "start shop/api-n1"}
	if !slices.Equal(got, want) {
		t.Errorf("actions\n got %q\nwant %q", got, want)
	}
	if len(plan.Waits) != 2 || plan.Waits[0].Slot != (SlotID{web, "10"}) || plan.Next != 20*time.Second {
		t.Errorf("waits %+v, next %v", plan.Waits, plan.Next)
	}
}

func TestDescribeExit(t *testing.T) {
	tests := []struct {
		exit *Exit
		want string
	}{
		// Nobody saw it.
		{nil, "it ended while nobody watched (reboot, or its supervisor was killed)"},
		{&Exit{Unknown: true, Code: 1}, "it ended while nobody watched (reboot, or its supervisor was killed)"},
		// The flat service's only container needs no name.
		{&Exit{Container: MainContainer, Code: 0}, "exited with code 0"},
		{&Exit{Code: 143, Signal: 15}, "killed by signal 15"},
		// One of several has one.
		{&Exit{Container: "proxy", Code: 137, Signal: 9, OOM: true}, "container proxy killed by the kernel: out of memory (raise resources.limits.memory)"},
		{&Exit{Container: "proxy", Code: 2}, "container proxy exited with code 2"},
	}
	for _, tt := range tests {
		if got := DescribeExit(tt.exit); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.exit, got, tt.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	var b Backoff
	now := 100 * time.Second
	// At once, then 1 s doubling to 5 min, and no further.
	for n, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
		b = b.Failed(now, "exited")
		if b.NotBefore != now+want*time.Second || b.Failures != n+1 || b.Reason != "exited" {
			t.Errorf("failure %d: %+v, want a delay of %d s", n+1, b, want)
		}
	}
	// However often it fails, the shift does not overflow.
	for n := 10; n < 200; n++ {
		if b := (Backoff{Failures: n}).Failed(0, ""); b.NotBefore != backoffMax {
			t.Errorf("after %d failures: %v", n, b.NotBefore)
		}
	}
}

func TestInstanceID(t *testing.T) {
	l := leased(1, plainA)
	id := InstanceID(web0, l)
	// Readable, and the same for ever: a start that was cut off is found again.
	if !strings.HasPrefix(id, "web-0-") || len(id) != len("web-0-")+12 {
		t.Errorf("id %q", id)
	}
	others := map[string]string{id: "itself"}
	add := func(what string, slot SlotID, l Lease) {
		id := InstanceID(slot, l)
		if same, ok := others[id]; ok {
			t.Errorf("%s: has the id of %s: %s", what, same, id)
		}
		others[id] = what
		if len(id) > 63 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || id[0] == '-' {
			t.Errorf("%s: %q is no name for a driver", what, id)
		}
	}
	change := func(f func(*Lease)) Lease { l := l; f(&l); return l }
	add("other token", web0, change(func(l *Lease) { l.Token++ }))
	add("other epoch", web0, change(func(l *Lease) { l.Epoch++ }))
	add("other revision", web0, change(func(l *Lease) { l.Revision = "r1-x" }))
	add("other slot", SlotID{web, "1"}, l)
	add("other namespace", SlotID{ServiceID{"shop", "web"}, "0"}, l)
	// Names that look the same when joined are not the same.
	add("web-0, slot 0", SlotID{ServiceID{DefaultNamespace, "web-0"}, "0"}, l)
	add("web, slot 0-0", SlotID{web, "0-0"}, l)
	// As long as names can be, and with what drivers do not take.
	add("long", SlotID{ServiceID{strings.Repeat("n", 63), strings.Repeat("s", 63)}, strings.Repeat("h", 253)}, l)
	add("dots and capitals", SlotID{web, "Node.Example.COM"}, l)
	if node, other := (Lease{Node: "n1"}), (Lease{Node: "n2"}); InstanceID(web0, node) != InstanceID(web0, other) {
		t.Error("a renamed node loses its instances")
	}
}
