package planner

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var here = Node{Name: "n1", Labels: map[string]string{"disk": "ssd"}, OS: "linux", Arch: "amd64"}

// revs are the templates the tables name by a letter: lower case ones may run
// side by side, V and W are single writers, as are H and I, which take a port
// of the host; P and Q ask for memory.
var revs = map[string]Template{
	"a": plainA, "b": plainB, "c": plain("c"), "V": volumeA, "W": volumeB,
	"H": onHost("h"), "I": onHost("i"), "P": asking(plain("p")), "Q": asking(plain("q")),
}

// parseLeases reads "0:a1 0:b2+ 1:a3": slot, template, token, and whether its
// instance is ready.
func parseLeases(t *testing.T, text string) (leases []Lease, ready map[LeaseKey]bool) {
	t.Helper()
	ready = map[LeaseKey]bool{}
	for _, field := range strings.Fields(text) {
		field, isReady := strings.CutSuffix(field, "+")
		slot, rest, _ := strings.Cut(field, ":")
		var token uint64
		if _, err := fmt.Sscan(rest[1:], &token); err != nil {
			t.Fatalf("%q: %v", field, err)
		}
		leases = append(leases, Lease{Slot: slot, Node: here.Name, Token: token, Revision: RevisionOf(revs[rest[:1]])})
		if isReady {
			ready[LeaseKey{web, token}] = true
		}
	}
	return leases, ready
}

func showLeases(leases []Lease) string {
	var all []string
	for _, l := range leases {
		name := "?"
		for letter, t := range revs {
			if RevisionOf(t) == l.Revision {
				name = letter
			}
		}
		all = append(all, fmt.Sprintf("%s:%s%d", l.Slot, name, l.Token))
	}
	return strings.Join(all, " ")
}

func TestCoordinate(t *testing.T) {
	const all = "abcVW"
	tests := []struct {
		name     string
		replicas int
		target   string // template of the service
		prepared string // templates whose images are ready
		before   string // leases as they stand, + = ready
		tokens   uint64
		change   func(*Service, *Followed, *Alone)

		after   string // "=" = the document is not written
		prepare bool   // the target's images are asked for
	}{
		// First leases wait for the images, all slots get theirs at once.
		{name: "first, not prepared", replicas: 2, target: "a", after: "=", prepare: true},
		{name: "first", replicas: 2, target: "a", prepared: "a", after: "0:a1 1:a2"},
		{name: "first, but zero replicas", replicas: 0, target: "a", prepared: "a", after: "="},
		{name: "a negative count is none", replicas: -1, target: "a", prepared: "a", after: "="},
		// At rest nothing is written, prepared or not, ready or not.
		{name: "rest", replicas: 2, target: "a", before: "0:a1+ 1:a2+", after: "="},
		{name: "rest, unready", replicas: 2, target: "a", before: "0:a1 1:a2", after: "="},
		// Start-first: never before the images are there; then beside the old one, one slot at a time.
		{name: "update, not prepared", replicas: 2, target: "b", before: "0:a1+ 1:a2+", after: "=", prepare: true},
		{name: "update begins", replicas: 2, target: "b", prepared: all, before: "0:a1+ 1:a2+", after: "0:a1 0:b3 1:a2"},
		{name: "update goes on", replicas: 2, target: "b", prepared: all, before: "0:a1+ 0:b3 1:a2+", after: "="},
		{name: "next slot", replicas: 2, target: "b", prepared: all, before: "0:a1+ 0:b3+ 1:a2+", after: "0:b3 1:a2 1:b4"},
		{name: "update ends", replicas: 2, target: "b", prepared: all, before: "0:b3+ 1:a2+ 1:b4+", after: "0:b3 1:b4"},
		// A slot that lost readiness holds up the others, and is not given up.
		{name: "updated slot fails", replicas: 2, target: "b", prepared: all, before: "0:b3 1:a2+", after: "="},
		// An old one that fails does not hold up its own update.
		{name: "old slot fails", replicas: 1, target: "b", prepared: all, before: "0:a1", after: "0:a1 0:b2"},
		// Stop-first: the old lease goes with the grant, never before the images are there.
		{name: "stop-first, not prepared", replicas: 1, target: "W", before: "0:V1+", after: "=", prepare: true},
		{name: "stop-first", replicas: 1, target: "W", prepared: all, before: "0:V1+", after: "0:W2"},
		{name: "stop-first, one slot at a time", replicas: 2, target: "W", prepared: all, before: "0:V1+ 1:V2+", after: "0:W3 1:V2"},
		{name: "stop-first waits", replicas: 2, target: "W", prepared: all, before: "0:W3 1:V2+", after: "="},
		{name: "stop-first goes on", replicas: 2, target: "W", prepared: all, before: "0:W3+ 1:V2+", after: "0:W3 1:W4"},
		// Either side makes it stop-first.
		{name: "from single writer", replicas: 1, target: "a", prepared: all, before: "0:V1+", after: "0:a2"},
		{name: "to single writer", replicas: 1, target: "V", prepared: all, before: "0:a1+", after: "0:V2"},
		{name: "from an unknown template", replicas: 1, target: "b", prepared: all, before: "0:a1+", change: unknown("a"), after: "0:b2"},
		// Both leases stand, then the manifest turns it single-writer or the old template is lost.
		{name: "unknown in the middle", replicas: 1, target: "b", prepared: all, before: "0:a1+ 0:b2", change: unknown("a"), after: "0:b2"},
		// Pre-emption: what never became ready goes, what is ready stays.
		{name: "pre-empted", replicas: 1, target: "c", prepared: all, before: "0:a1+ 0:b2", after: "0:a1 0:c3"},
		{name: "pre-empted, not prepared", replicas: 1, target: "c", before: "0:a1+ 0:b2", after: "0:a1", prepare: true},
		{name: "pre-empted, both ready", replicas: 1, target: "c", prepared: all, before: "0:a1+ 0:b2+", after: "0:b2 0:c3"},
		{name: "pre-empted, none ready", replicas: 1, target: "c", prepared: all, before: "0:a1 0:b2", after: "0:a1 0:c3"},
		{name: "pre-empted, slots behind wait", replicas: 2, target: "c", prepared: all, before: "0:a1+ 0:b3 1:a2+", after: "0:a1 0:c4 1:a2"},
		{name: "pre-empted stop-first", replicas: 1, target: "V", prepared: all, before: "0:W2", after: "0:V3"},
		// Revert: the old one is kept as it is, nothing is started.
		{name: "reverted", replicas: 1, target: "a", prepared: all, before: "0:a1+ 0:b2", after: "0:a1"},
		{name: "reverted, not prepared", replicas: 1, target: "a", before: "0:a1+ 0:b2", after: "0:a1"},
		{name: "reverted, but unready", replicas: 1, target: "a", prepared: all, before: "0:a1 0:b2+", after: "="},
		{name: "reverted after its end", replicas: 1, target: "a", prepared: all, before: "0:b2+", after: "0:b2 0:a3"},
		// Two leases at the target (never ours): the newer stays.
		{name: "twice the target", replicas: 1, target: "a", before: "0:a1+ 0:a2", after: "0:a2"},
		// Scaling: new slots at once, also in the middle of an update; removed ones at once, prepared or not, beside one that stays and is available.
		{name: "scale up", replicas: 3, target: "a", prepared: all, before: "0:a1+", after: "0:a1 1:a2 2:a3"},
		{name: "scale up, not prepared", replicas: 3, target: "a", before: "0:a1+", after: "=", prepare: true},
		{name: "scale up and update", replicas: 2, target: "b", prepared: all, before: "0:a1+", after: "0:a1 0:b2 1:b3"},
		{name: "scale down", replicas: 1, target: "a", before: "0:a1+ 1:a2+ 10:a3+", after: "0:a1"},
		{name: "scale to zero", replicas: 0, target: "a", before: "0:a1+ 1:a2+", after: ""},
		{name: "scale down and update", replicas: 1, target: "b", before: "0:a1+ 1:a2+", after: "0:a1", prepare: true},
		{name: "a slot removed holds up nothing", replicas: 1, target: "b", prepared: all, before: "0:a1+ 1:b2", after: "0:a1 0:b3"},
		{name: "ten slots in order", replicas: 11, target: "a", prepared: all, before: "0:a1 1:a2 2:a3 3:a4 4:a5 5:a6 6:a7 7:a8 8:a9 9:a10 10:a11", after: "="},
		// On every node: one slot, named after the node; numbers go.
		{name: "every node", target: "a", prepared: all, change: everyNode, after: "n1:a1"},
		// What has another name now ends once that is available, if it is in nobody's way.
		{name: "to every node", target: "a", prepared: all, before: "0:a1+", change: everyNode, after: "0:a1 n1:a2"},
		{name: "to every node, done", target: "a", prepared: all, before: "0:a1+ n1:a2+", change: everyNode, after: "n1:a2"},
		{name: "to every node, single writer", target: "V", prepared: all, before: "0:V1+", change: everyNode, after: "n1:V2"},
		{name: "fewer slots, those that stay are down", replicas: 1, target: "a", prepared: all, before: "0:a1 1:a2+", after: "="},
		// Placement.
		{name: "selector matches", replicas: 1, target: "a", prepared: all, change: selector("disk", "ssd"), after: "0:a1"},
		{name: "selector of the node's name", replicas: 1, target: "a", prepared: all, change: selector(LabelNode, "n1"), after: "0:a1"},
		{name: "selector does not match", replicas: 1, target: "a", prepared: all, change: selector("disk", "hdd"), after: "="},
		{name: "selector matches no more", replicas: 1, target: "a", prepared: all, before: "0:a1+", change: selector("disk", "hdd"), after: ""},
		{name: "fleet lists others", replicas: 1, target: "a", prepared: all, change: fleetOf("n1", "n2"), after: "="},
		{name: "fleet lists only this node", replicas: 1, target: "a", prepared: all, change: fleetOf("n1"), after: "0:a1"},
		// Tokens rise over everything ever given, leased or not.
		{name: "after a tombstone", replicas: 1, target: "a", prepared: all, tokens: 7, after: "0:a8"},
		// Deletion: no lease, at once.
		{name: "deleted", target: "a", before: "0:a1+", change: deleted, after: ""},
		{name: "deleted before", target: "a", tokens: 5, change: deleted, after: "="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leases, ready := parseLeases(t, tt.before)
			s := service(web, tt.replicas, revs[tt.target])
			f := Followed{Commit: Commit{Hash: "new"}, Services: map[ServiceID]Service{}}
			v := Alone{Node: here, Docs: map[ServiceID]LeaseDoc{}, Ready: ready, Prepared: map[RevisionKey]bool{}, Specs: map[Revision]Template{}}
			for letter, tmpl := range revs {
				v.Specs[RevisionOf(tmpl)] = tmpl
				v.Prepared[RevisionKey{web, RevisionOf(tmpl)}] = strings.Contains(tt.prepared, letter)
			}
			before := LeaseDoc{Service: web, Commit: "old", Tokens: tt.tokens, Leases: leases}
			for _, l := range leases {
				before.Tokens = max(before.Tokens, l.Token)
			}
			if before.Tokens > 0 {
				v.Docs[web] = before
			}
			f.Services[web] = s
			if tt.change != nil {
				tt.change(&s, &f, &v)
			}
			out := CoordinateAlone(f, v)

			if asked := len(out.Prepare) > 0; asked != tt.prepare || asked && out.Prepare[0] != (RevisionKey{web, s.Revision}) {
				t.Errorf("asks for %v, want %v", out.Prepare, tt.prepare)
			}
			if tt.after == "=" {
				if len(out.Docs) != 0 {
					t.Errorf("writes %s, want nothing", showLeases(out.Docs[0].Leases))
				}
				return
			}
			if len(out.Docs) != 1 {
				t.Fatalf("writes %d documents, want %q", len(out.Docs), tt.after)
			}
			doc := out.Docs[0]
			if got := showLeases(doc.Leases); got != tt.after {
				t.Errorf("leases are %q, want %q", got, tt.after)
			}
			if doc.Service != web || doc.Commit != "new" || doc.Tokens < before.Tokens {
				t.Errorf("document %+v of %+v", doc, before)
			}
			if !reflect.DeepEqual(before.Leases, leases) {
				t.Error("the document given was changed")
			}
		})
	}
}

func unknown(letter string) func(*Service, *Followed, *Alone) {
	return func(_ *Service, _ *Followed, v *Alone) { delete(v.Specs, RevisionOf(revs[letter])) }
}

func everyNode(s *Service, f *Followed, _ *Alone) { s.EveryNode = true; f.Services[web] = *s }

func selector(key, value string) func(*Service, *Followed, *Alone) {
	return func(s *Service, f *Followed, _ *Alone) {
		s.NodeSelector = map[string]string{key: value}
		f.Services[web] = *s
	}
}

func fleetOf(nodes ...NodeName) func(*Service, *Followed, *Alone) {
	return func(_ *Service, f *Followed, _ *Alone) { f.Fleet.Nodes = nodes }
}

func deleted(_ *Service, f *Followed, _ *Alone) { delete(f.Services, web) }

// TestCoordinateTombstone checks that a deletion keeps tokens, pins and
// history, so that the service comes back as it was and under higher tokens.
func TestCoordinateTombstone(t *testing.T) {
	rev := RevisionOf(plainA)
	doc := LeaseDoc{
		Service: web, Commit: "old", Tokens: 4, Leases: []Lease{leased(4, plainA)},
		Images:  map[Revision]map[string]string{rev: {"a": "sha256:1"}},
		History: []Applied{{Revision: rev, Commit: "old"}},
	}
	v := Alone{Node: here, Docs: map[ServiceID]LeaseDoc{web: doc}}
	out := CoordinateAlone(Followed{Commit: Commit{Hash: "new"}}, v)
	want := doc
	want.Commit, want.Leases = "new", nil
	if len(out.Docs) != 1 || !reflect.DeepEqual(out.Docs[0], want) {
		t.Fatalf("got %+v, want %+v", out.Docs, want)
	}

	v.Docs = map[ServiceID]LeaseDoc{web: out.Docs[0]}
	v.Prepared = map[RevisionKey]bool{{web, rev}: true}
	back := CoordinateAlone(Followed{Commit: Commit{Hash: "later"}, Services: map[ServiceID]Service{web: service(web, 1, plainA)}}, v)
	if len(back.Docs) != 1 || back.Docs[0].Leases[0].Token != 5 || !reflect.DeepEqual(back.Docs[0].Images, doc.Images) {
		t.Errorf("comes back as %+v", back.Docs)
	}
}

// TestCoordinateAdoption: the document is lost, the instances run.
func TestCoordinateAdoption(t *testing.T) {
	running := func(slot, letter string, token uint64) Instance {
		tmpl := revs[letter]
		return instanceOf(Lease{Slot: slot, Node: "n1", Token: token, Revision: RevisionOf(tmpl)}, tmpl)
	}
	tests := []struct {
		name     string
		target   string // "" = an orphan; "-" = not wanted at all
		replicas int
		before   string
		have     []Instance
		ready    []uint64

		after  string
		tokens uint64
	}{
		// What runs at the target is kept, without its images being asked for.
		{name: "at the target", target: "a", replicas: 1, have: []Instance{running("0", "a", 5)}, after: "0:a5", tokens: 5},
		// What runs at another revision is kept until the target's images are there.
		{name: "at another", target: "b", replicas: 1, have: []Instance{running("0", "a", 5)}, after: "0:a5", tokens: 5},
		// Lost in the middle of an update: both go on, whatever the listing's order.
		{name: "in an update", target: "b", replicas: 1, have: []Instance{running("0", "a", 5), running("0", "b", 6)}, ready: []uint64{5}, after: "0:a5 0:b6", tokens: 6},
		{name: "in an update, done", target: "b", replicas: 1, have: []Instance{running("0", "b", 6), running("0", "a", 5)}, ready: []uint64{5, 6}, after: "0:b6", tokens: 6},
		// Of two at one revision the newer is leased.
		{name: "twice", target: "a", replicas: 1, have: []Instance{running("0", "a", 5), running("0", "a", 6)}, after: "0:a6", tokens: 6},
		// What does not run is no reason for a lease, but its token is taken.
		{name: "exited", target: "a", replicas: 1, have: []Instance{running("0", "a", 9).in(StateExited), running("0", "b", 8).in(StatePartial)}, after: "", tokens: 9},
		// A slot the service does not have any more is not adopted for long.
		{name: "beyond the replicas", target: "a", replicas: 1, have: []Instance{running("0", "a", 5), running("1", "a", 6)}, after: "0:a5", tokens: 6},
		// Orphans: known from their labels only, they stay, each.
		{name: "orphan", have: []Instance{running("0", "a", 5), running("3", "b", 6), running("n1", "a", 7)}, after: "0:a5 3:b6 n1:a7", tokens: 7},
		{name: "orphan, exited", have: []Instance{running("0", "a", 5).in(StateExited)}, after: "", tokens: 5},
		// An instance of a token the document gave is no stray: its lease went.
		{name: "token was given", target: "a", replicas: 2, before: "0:a6+", have: []Instance{running("1", "a", 6), running("1", "a", 5)}, after: "=", tokens: 6},
		// The document is older than what runs (an old copy came back).
		{name: "old document", target: "b", replicas: 1, before: "0:a1+", have: []Instance{running("0", "b", 5)}, ready: []uint64{1, 5}, after: "0:b5", tokens: 5},
		{name: "old document, same revision", target: "a", replicas: 1, before: "0:a1+", have: []Instance{running("0", "a", 5)}, after: "0:a1", tokens: 5},
		// Wanted nowhere and no document: not ours to lease.
		{name: "not wanted", target: "-", have: []Instance{running("0", "a", 5)}, after: "="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leases, ready := parseLeases(t, tt.before)
			for _, token := range tt.ready {
				ready[LeaseKey{web, token}] = true
			}
			f := Followed{Services: map[ServiceID]Service{web: service(web, tt.replicas, revs[tt.target])}}
			switch tt.target {
			case "":
				f.Services[web] = Service{ID: web, Orphan: true}
			case "-":
				f.Services = nil
			}
			v := Alone{Node: here, Docs: map[ServiceID]LeaseDoc{}, Ready: ready, Running: tt.have, Specs: map[Revision]Template{}}
			for _, tmpl := range revs {
				v.Specs[RevisionOf(tmpl)] = tmpl
			}
			if len(leases) > 0 {
				v.Docs[web] = LeaseDoc{Service: web, Tokens: leases[len(leases)-1].Token, Leases: leases}
			}
			out := CoordinateAlone(f, v)
			v.Running = reversed(v.Running)
			if again := CoordinateAlone(f, v); !reflect.DeepEqual(out, again) {
				t.Errorf("another order of the listing: %+v, %+v", out, again)
			}
			if tt.after == "=" {
				if len(out.Docs) > 0 {
					t.Errorf("writes %+v", out.Docs)
				}
				return
			}
			if len(out.Docs) != 1 {
				t.Fatalf("writes %d documents", len(out.Docs))
			}
			if got := showLeases(out.Docs[0].Leases); got != tt.after || out.Docs[0].Tokens != tt.tokens {
				t.Errorf("%q, tokens %d; want %q, %d", got, out.Docs[0].Tokens, tt.after, tt.tokens)
			}
		})
	}
}

// TestCoordinateAdoptionKeepsEpoch: the adopted lease names the instance that
// runs, so that its next start has the same id.
func TestCoordinateAdoptionKeepsEpoch(t *testing.T) {
	l := Lease{Slot: "0", Node: "n1", Epoch: 3, Token: 5, Revision: RevisionOf(plainA)}
	i := instanceOf(l, plainA)
	i.Epoch = 3
	out := CoordinateAlone(Followed{Services: map[ServiceID]Service{web: {ID: web, Orphan: true}}}, Alone{Node: here, Running: []Instance{i}})
	if len(out.Docs) != 1 || !slices.Equal(out.Docs[0].Leases, []Lease{l}) || InstanceID(web0, out.Docs[0].Leases[0]) != i.ID {
		t.Errorf("adopted as %+v, want %+v", out.Docs, l)
	}
}

// TestCoordinateMemory checks that history and pins are bounded, and that
// nothing that may be wanted again is forgotten.
func TestCoordinateMemory(t *testing.T) {
	v := Alone{Node: here, Ready: map[LeaseKey]bool{}, Prepared: map[RevisionKey]bool{}, Specs: map[Revision]Template{}}
	doc := LeaseDoc{Service: web}
	var applied []Revision
	for n := range MaxHistory + 10 {
		tmpl := plain(fmt.Sprint("image-", n))
		rev := RevisionOf(tmpl)
		applied = slices.Insert(applied, 0, rev)
		v.Specs[rev], v.Prepared[RevisionKey{web, rev}] = tmpl, true
		doc = Pin(doc, rev, map[string]string{"image": fmt.Sprint("sha256:", n)})
		for range 2 { // granted, then ready: the old lease goes
			v.Docs = map[ServiceID]LeaseDoc{web: doc}
			out := CoordinateAlone(Followed{Commit: Commit{Hash: fmt.Sprint(n)}, Services: map[ServiceID]Service{web: service(web, 1, tmpl)}}, v)
			for _, d := range out.Docs {
				doc = d
			}
			v.Ready[LeaseKey{web, doc.Tokens}] = true
		}
		if len(doc.Leases) != 1 || doc.Leases[0].Revision != rev || doc.History[0] != (Applied{rev, fmt.Sprint(n)}) {
			t.Fatalf("after %d updates: %+v", n+1, doc)
		}
	}
	if len(doc.History) != MaxHistory || len(doc.Images) != MaxHistory {
		t.Errorf("%d revisions and %d pins are kept, want %d", len(doc.History), len(doc.Images), MaxHistory)
	}
	for n, a := range doc.History {
		if a.Revision != applied[n] || doc.Images[a.Revision] == nil {
			t.Errorf("history %d is %v with pins %v", n, a, doc.Images[a.Revision])
		}
	}
}

// TestCoordinateKeepsPinsInUse: a lease that outlives the history keeps its
// pins, and so does the revision that is about to be given.
func TestCoordinateKeepsPinsInUse(t *testing.T) {
	doc := LeaseDoc{Service: web, Tokens: 3, Leases: []Lease{leased(1, plainA), {Slot: "1", Node: "n1", Token: 2, Revision: RevisionOf(plainA)}}}
	for _, tmpl := range []Template{plainA, plainB, volumeA} {
		doc = Pin(doc, RevisionOf(tmpl), map[string]string{"image": "sha256:1"})
	}
	s := service(web, 1, plainB)
	out := CoordinateAlone(Followed{Services: map[ServiceID]Service{web: s}}, Alone{Node: here, Docs: map[ServiceID]LeaseDoc{web: doc}})
	got := slices.Sorted(maps.Keys(out.Docs[0].Images))
	want := slices.Sorted(slices.Values([]Revision{RevisionOf(plainA), RevisionOf(plainB)}))
	if !slices.Equal(got, want) {
		t.Errorf("pins of %v are kept, want %v", got, want)
	}
	if len(doc.Images) != 3 {
		t.Error("the document given was changed")
	}
}

// TestCoordinateOrder checks that documents and preparations come in the
// order of services.
func TestCoordinateOrder(t *testing.T) {
	f := Followed{Services: map[ServiceID]Service{}}
	v := Alone{Node: here, Prepared: map[RevisionKey]bool{}}
	var want []ServiceID
	for _, ns := range []string{"a", "b"} {
		for _, name := range []string{"x", "y", "z"} {
			id := ServiceID{ns, name}
			want = append(want, id)
			f.Services[id] = service(id, 1, plainA)
			v.Prepared[RevisionKey{id, RevisionOf(plainA)}] = ns == "a"
		}
	}
	out := CoordinateAlone(f, v)
	var got []ServiceID
	for _, d := range out.Docs {
		got = append(got, d.Service)
	}
	for _, p := range out.Prepare {
		got = append(got, p.Service)
	}
	if !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestPin(t *testing.T) {
	rev := RevisionOf(plainA)
	d := Pin(LeaseDoc{}, rev, map[string]string{"a:1": "sha256:1", "b:1": ""})
	// A digest nobody knows is no pin.
	if want := map[Revision]map[string]string{rev: {"a:1": "sha256:1"}}; !reflect.DeepEqual(d.Images, want) {
		t.Fatalf("pins %v", d.Images)
	}
	// A tag that moved changes nothing; a new reference is added; the value given is not touched.
	moved := Pin(d, rev, map[string]string{"a:1": "sha256:2", "c:1": "sha256:3"})
	if want := map[Revision]map[string]string{rev: {"a:1": "sha256:1", "c:1": "sha256:3"}}; !reflect.DeepEqual(moved.Images, want) || len(d.Images[rev]) != 1 {
		t.Errorf("pins %v of %v", moved.Images, d.Images)
	}
	// Without digests there is no entry.
	if none := Pin(LeaseDoc{}, rev, nil); len(none.Images) != 0 {
		t.Errorf("pins %v", none.Images)
	}
}
