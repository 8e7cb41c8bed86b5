package planner

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCoordinateRefusesToDecide: what keeps a member from writing a document
// that is due.
func TestCoordinateRefusesToDecide(t *testing.T) {
	tests := []struct {
		name    string
		change  func(f *Followed, v *View, d *DocView)
		waiting string // part of the reason; "" = it decides
	}{
		{"nothing", func(*Followed, *View, *DocView) {}, ""},
		// The records went back: the server was restored from a backup.
		{"alarm", func(_ *Followed, v *View, _ *DocView) { v.Alarm = "records went back" }, "records went back"},
		{"no commit", func(f *Followed, _ *View, _ *DocView) { f.Commit = Commit{} }, "no commit is followed"},
		{"self fenced", func(_ *Followed, v *View, _ *DocView) {
			n := v.Nodes["n1"]
			n.Record.Fence = &Fence{Epoch: 2, Fenced: true, By: "n2"}
			v.Nodes["n1"] = n
		}, "not registered, or was fenced"},
		{"self unknown", func(_ *Followed, v *View, _ *DocView) { v.Self = "n9" }, "not registered"},
		{"too new", func(_ *Followed, _ *View, d *DocView) { d.TooNew = true }, "later version"},
		// Design L6: only from the same commit or an older one.
		{"same", func(_ *Followed, _ *View, d *DocView) { d.Doc.Commit = hash("c") }, ""},
		{"ahead", func(_ *Followed, v *View, _ *DocView) { v.Relations[hash("b")] = RelationAhead }, "newer than cccccccc"},
		{"aside", func(_ *Followed, v *View, _ *DocView) { v.Relations[hash("b")] = RelationAside }, "not in the history of cccccccc"},
		{"unknown", func(_ *Followed, v *View, _ *DocView) { delete(v.Relations, hash("b")) }, "not fetched yet"},
		// ... unless people reset the floor since.
		{"aside, older generation", func(_ *Followed, v *View, _ *DocView) {
			v.Relations[hash("b")], v.Fleet.Generation = RelationAside, 1
		}, ""},
		{"later generation", func(_ *Followed, _ *View, d *DocView) { d.Doc.Generation = 1 }, "later generation"},
		{"floor is older", func(_ *Followed, v *View, _ *DocView) {
			v.Fleet.Floor, v.Relations[hash("a")] = hash("a"), RelationAncestor
		}, ""},
		{"floor is this", func(_ *Followed, v *View, _ *DocView) { v.Fleet.Floor = hash("c") }, ""},
		{"floor is ahead", func(_ *Followed, v *View, _ *DocView) {
			v.Fleet.Floor, v.Relations[hash("a")] = hash("a"), RelationAhead
		}, "does not descend from the fleet's floor"},
		// Any lease above its node's record: the read is of two instants.
		{"torn", func(_ *Followed, _ *View, d *DocView) { d.Doc.Leases[0].Epoch = 3 }, "two instants"},
		{"record missing", func(_ *Followed, _ *View, d *DocView) { d.Doc.Leases[0].Node = "n7" }, "two instants"},
		// ... but not for ever: the record is gone, or the epoch never was.
		{"torn for a minute", func(_ *Followed, _ *View, d *DocView) {
			d.Doc.Leases[0].Epoch, d.Since = maxCounter, fleetNow-time.Minute
		}, ""},
		{"torn for less", func(_ *Followed, _ *View, d *DocView) {
			d.Doc.Leases[0].Epoch, d.Since = maxCounter, fleetNow-time.Minute+1
		}, "two instants"},
		{"torn for a minute, records are new", func(_ *Followed, v *View, d *DocView) {
			d.Doc.Leases[0].Epoch, d.Since, v.NodesSince = maxCounter, fleetNow-time.Minute, fleetNow-time.Minute+1
		}, "two instants"},
		{"record missing for a minute", func(_ *Followed, _ *View, d *DocView) { d.Doc.Leases[0].Node, d.Since = "n7", fleetNow-time.Minute }, ""},
		// Garbled: its writer may be one whose record is still to be seen.
		{"lost", func(_ *Followed, _ *View, d *DocView) { *d = DocView{Since: fleetNow, Broken: "not signed"} }, "cannot be read"},
		{"garbled", func(_ *Followed, _ *View, d *DocView) { d.Broken = "not signed" }, "cannot be read"},
		{"garbled for long", func(_ *Followed, _ *View, d *DocView) { d.Broken, d.Since = "not signed", fleetNow-time.Minute }, ""},
		{"lost for long", func(_ *Followed, _ *View, d *DocView) { *d = DocView{Since: time.Minute, Broken: "not signed"} }, ""},
		// ... and who only keeps the service cannot say what it is to be.
		{"lost for long, kept", func(f *Followed, _ *View, d *DocView) {
			*d = DocView{Since: time.Minute, Broken: "not signed"}
			f.Held = []Held{{Service: web}}
		}, "does not say what it is to be"},
		{"garbled for long, kept", func(f *Followed, _ *View, d *DocView) {
			d.Broken, d.Since = "not signed", fleetNow-time.Minute
			f.Held = []Held{{Service: web}}
		}, ""},
		// A counter at its end gives no token twice.
		{"counter", func(_ *Followed, _ *View, d *DocView) { d.Doc.Tokens = maxCounter }, "cannot rise"},
		// A node that never saw the service being deleted leaves it alone.
		{"deletion unseen", func(f *Followed, _ *View, _ *DocView) { f.Services = nil }, "never saw it being deleted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: "n1", replicas: 2, target: "a", before: "0:a1@n1+"}.build(t)
			d := v.Docs[web]
			tt.change(&f, &v, &d)
			v.Docs[web] = d
			out := Coordinate(f, v, Time{Boot: fleetNow})
			why := out.Waiting[web] + out.Waiting[ServiceID{}]
			if decided := len(out.Docs) > 0; decided != (tt.waiting == "") || !strings.Contains(why, tt.waiting) {
				t.Errorf("decides %s, waiting %q; want %q", show(out.Docs), why, tt.waiting)
			}
		})
	}
}

// TestCoordinateStandsIn is design L7: who is not the coordinator writes only
// what is invalid, and the later the further down it ranks.
func TestCoordinateStandsIn(t *testing.T) {
	const nodes = "n1 n2 n3 n4"
	due := fleetCase{nodes: nodes + " n5:fenced", replicas: 1, target: "a", before: "0:a1@n5v"}
	tests := []struct {
		name   string
		of     fleetCase
		rank   int
		change func(f *Followed, v *View)
		now    time.Duration // after fleetNow, since when the document stands
		writes bool
		next   time.Duration // after fleetNow; 0 = Never
	}{
		{"coordinator", due, 0, nil, 0, true, 0},
		{"first in line, early", due, 1, nil, 9 * time.Second, false, 10 * time.Second},
		{"first in line", due, 1, nil, 10 * time.Second, true, 0},
		{"second in line, early", due, 2, nil, 19 * time.Second, false, 20 * time.Second},
		{"second in line", due, 2, nil, 20 * time.Second, true, 0},
		// What makes it invalid is newer than the document.
		{"commit is new", due, 1, func(_ *Followed, v *View) { v.FollowedSince = fleetNow + 5*time.Second }, 14 * time.Second, false, 15 * time.Second},
		{"nodes are new", due, 1, func(_ *Followed, v *View) { v.NodesSince = fleetNow + 5*time.Second }, 14 * time.Second, false, 15 * time.Second},
		// A coordinator that cannot read is passed over.
		{"coordinator is blind", due, 1, func(_ *Followed, v *View) {
			first := v.Coordinators(web)[0]
			n := v.Nodes[first]
			n.Blind = true
			v.Nodes[first] = n
		}, 0, true, 0},
		// Valid: none of its business, however it would have planned it, ...
		{"valid", fleetCase{nodes: nodes, replicas: 2, target: "a", before: "0:a1@n1+ 1:a2@n1+"}, 1, nil, time.Hour, false, 0},
		// ... nor the tidying up that is left to the coordinator.
		{"void lease to forget", fleetCase{nodes: nodes + " n5:fenced", replicas: 1, target: "a", before: "0:a1@n5v 0:a2@n1+"}, 1, nil, time.Hour, false, 0},
		{"void lease, coordinator", fleetCase{nodes: nodes + " n5:fenced", replicas: 1, target: "a", before: "0:a1@n5v 0:a2@n1+"}, 0, nil, 0, true, 0},
		// Every ground in turn.
		{"old revision", fleetCase{nodes: nodes, replicas: 1, target: "b", before: "0:a1@n1+"}, 1, nil, time.Minute, true, 0},
		{"refused", fleetCase{nodes: nodes, replicas: 1, target: "a", before: "0:a1@n1!"}, 1, nil, time.Minute, true, 0},
		{"drained", fleetCase{nodes: nodes + " n5:drain", replicas: 1, target: "a", before: "0:a1@n5+"}, 1, nil, time.Minute, true, 0},
		{"move unfinished", fleetCase{nodes: nodes + " n5:drain", replicas: 1, target: "a", before: "0:a1@n5+ 0:a2@n1+"}, 1, nil, time.Minute, true, 0},
		{"slot missing", fleetCase{nodes: nodes, replicas: 2, target: "a", before: "0:a1@n1+"}, 1, nil, time.Minute, true, 0},
		{"slot too many", fleetCase{nodes: nodes, replicas: 1, target: "a", before: "0:a1@n1+ 1:a2@n1+"}, 1, nil, time.Minute, true, 0},
		{"deleted", fleetCase{nodes: nodes, before: "0:a1@n1+"}, 1, nil, time.Minute, true, 0},
		{"garbled", fleetCase{nodes: nodes, replicas: 1, target: "a", before: "0:a1@n1+"}, 1, func(_ *Followed, v *View) {
			d := v.Docs[web]
			d.Broken = "not signed"
			v.Docs[web] = d
		}, 70 * time.Second, true, 0},
		// A service that is kept: only what is void, or there twice.
		{"kept", fleetCase{nodes: nodes, kept: "x", replicas: 2, target: "b", before: "0:a1@n1+"}, 1, nil, time.Minute, false, 0},
		{"kept, nothing left", fleetCase{nodes: nodes, kept: "x", replicas: 2, target: "b", before: "-"}, 1, nil, time.Minute, false, 0},
		{"kept, no document", fleetCase{nodes: nodes, kept: "x", replicas: 2, target: "b"}, 1, nil, time.Minute, false, 0},
		{"kept, half-way", fleetCase{nodes: nodes, kept: "x", replicas: 1, target: "b", before: "0:a1@n1+ 0:b2@n1"}, 1, nil, time.Minute, true, 0},
		{"kept, fenced", fleetCase{nodes: nodes + " n5:fenced", kept: "x", replicas: 1, target: "b", before: "0:a1@n5v"}, 1, nil, time.Minute, true, 0},
		// Torn for long: counted from when it may be touched at all.
		{"torn, early", fleetCase{nodes: nodes, replicas: 1, target: "a", before: "0:a1@n7"}, 1, nil, 69 * time.Second, false, 70 * time.Second},
		{"torn", fleetCase{nodes: nodes, replicas: 1, target: "a", before: "0:a1@n7"}, 1, nil, 70 * time.Second, true, 0},
		// No document: from when the member has seen who starts with it.
		{"no document, unsettled", fleetCase{nodes: nodes, replicas: 1, target: "a"}, 0, func(_ *Followed, v *View) { v.Settled = fleetNow + time.Second }, 0, false, time.Second},
		{"no document, never settled", fleetCase{nodes: nodes, replicas: 1, target: "a"}, 0, func(_ *Followed, v *View) { v.Settled = Never }, 0, false, 0},
		{"no document", fleetCase{nodes: nodes, replicas: 1, target: "a"}, 0, func(_ *Followed, v *View) { v.Settled = fleetNow }, 0, true, 0},
		{"no document, in line, early", fleetCase{nodes: nodes, replicas: 1, target: "a"}, 1, func(_ *Followed, v *View) { v.Settled = fleetNow }, 9 * time.Second, false, 10 * time.Second},
		{"no document, in line", fleetCase{nodes: nodes, replicas: 1, target: "a"}, 1, func(_ *Followed, v *View) { v.Settled = fleetNow }, 10 * time.Second, true, 0},
		// A document without leases goes ten minutes after the deletion.
		{"tombstone", fleetCase{nodes: nodes, before: "-"}, 0, nil, 9 * time.Minute, false, 10 * time.Minute},
		{"tombstone, old", fleetCase{nodes: nodes, before: "-"}, 0, nil, 10 * time.Minute, true, 0},
		{"tombstone, in line", fleetCase{nodes: nodes, before: "-"}, 1, nil, time.Hour, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.of.build(t)
			if tt.of.before == "-" {
				v.Docs[web] = DocView{Doc: LeaseDoc{Format: FormatLeases, Service: web, Commit: hash("b"), By: "n1", Tokens: 4}, Since: fleetNow}
			}
			v.Self = v.Coordinators(web)[tt.rank]
			if tt.change != nil {
				tt.change(&f, &v)
			}
			out := Coordinate(f, v, Time{Boot: fleetNow + tt.now})
			if len(out.Docs) > 0 != tt.writes {
				t.Errorf("decides %s, waiting %v", show(out.Docs), out.Waiting)
			}
			if want := fleetNow + tt.next; tt.next == 0 && out.Next != Never || tt.next > 0 && out.Next != want {
				t.Errorf("looks again at %v, want %v after %v", out.Next, tt.next, fleetNow)
			}
			if why := newSurvey(f, v, Time{Boot: fleetNow}).invalid(web, Time{Boot: fleetNow + tt.now}); tt.rank > 0 && tt.writes != (why != "") && tt.next == 0 {
				t.Errorf("invalid: %q", why)
			}
		})
	}
}

// TestAttackTornForEver: a thief gives a node a lease of an epoch that never
// was, or deletes the records of one: after a minute the lease is void, and the
// next has the epoch of its node's record.
func TestAttackTornForEver(t *testing.T) {
	tests := []struct {
		name  string
		nodes string
		lease Lease
		after string
		why   string
	}{
		// Its node has the slot still, and gets it at the epoch that it has.
		{"epoch that never was", "n1 n2", Lease{Node: "n1", Epoch: maxCounter}, "0:a2@n1", "n1 never had the lease's epoch"},
		// The node may come back: its lease stays until another is ready.
		{"no record", "n1", Lease{Node: "n7", Epoch: 2}, "0:a1@n7 0:a2@n1", "n7 has no record"},
	}
	for _, tt := range tests {
		f, v := fleetCase{nodes: tt.nodes, replicas: 1, target: "a", before: "0:a1@n1"}.build(t)
		d := v.Docs[web]
		d.Doc.Leases[0].Node, d.Doc.Leases[0].Epoch = tt.lease.Node, tt.lease.Epoch
		v.Docs[web] = d
		early := Coordinate(f, v, Time{Boot: fleetNow})
		if len(early.Docs) > 0 || early.Next != fleetNow+time.Minute {
			t.Errorf("%s: at once %s, next at %v", tt.name, show(early.Docs), early.Next)
		}
		out := Coordinate(f, v, Time{Boot: early.Next})
		if len(out.Docs) != 1 || showFleetLeases(out.Docs[0].Doc.Leases) != tt.after || !strings.Contains(out.Docs[0].Why, tt.why) {
			t.Fatalf("%s: decides %s", tt.name, show(out.Docs))
		}
		v.Docs[web] = DocView{Doc: out.Docs[0].Doc, Since: early.Next}
		if more := Coordinate(f, v, Time{Boot: early.Next + time.Hour}); len(more.Docs) > 0 {
			t.Errorf("%s: decides again: %s", tt.name, show(more.Docs))
		}
	}
}

// TestCoordinateTombstoneGoes: the decision names the tokens that the floor
// must reach, and the next document begins above it.
func TestCoordinateTombstoneGoes(t *testing.T) {
	f, v := fleetCase{nodes: "n1"}.build(t)
	v.Docs[web] = DocView{Doc: LeaseDoc{Format: FormatLeases, Service: web, Commit: hash("b"), By: "n1", Tokens: 4}, Since: 0}
	out := Coordinate(f, v, Time{Boot: fleetNow})
	if len(out.Docs) != 1 || !out.Docs[0].Delete || out.Docs[0].Doc.Tokens != 4 {
		t.Fatalf("decides %+v", out.Docs)
	}
	delete(v.Docs, web)
	v.Fleet.Tokens = 4
	f.Services[web] = service(web, 1, plainA)
	if got := Coordinate(f, v, Time{Boot: fleetNow}); showFleetLeases(got.Docs[0].Doc.Leases) != "0:a5@n1" {
		t.Errorf("comes back as %s", show(got.Docs))
	}
}

// TestCoordinateTokens: the counter rises above every token that anybody may
// have seen, but no node can use it up.
func TestCoordinateTokens(t *testing.T) {
	tests := []struct {
		name     string
		doc      uint64
		floor    uint64
		reported uint64
		ended    uint64
		want     uint64
	}{
		{"of the document", 5, 0, 0, 0, 6},
		{"of the floor", 5, 9, 0, 0, 10},
		{"of an instance", 5, 0, 12, 0, 13},
		{"of a promise", 5, 0, 0, 14, 15},
		{"a lie", 5, 0, maxCounter, maxCounter, 6},
	}
	for _, tt := range tests {
		f, v := fleetCase{nodes: "n1", replicas: 2, target: "a", before: "0:a5@n1+"}.build(t)
		v.Fleet.Tokens = tt.floor
		n := v.Nodes["n1"]
		if tt.reported > 0 {
			n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{web, "7"}, Token: tt.reported})
		}
		n.Status.Ended = []EndedSlot{{SlotID{web, "7"}, tt.ended}}
		v.Nodes["n1"] = n
		out := Coordinate(f, v, Time{Boot: fleetNow})
		if got := out.Docs[0].Doc; got.Tokens != tt.want || got.Leases[1].Token != tt.want {
			t.Errorf("%s: tokens %d, want %d", tt.name, got.Tokens, tt.want)
		}
	}
}

// TestCoordinateKeeps: unknown fields, history and what does not concern the
// decision are written back; a blocked revision is forgotten once the manifest
// has another.
func TestCoordinateKeeps(t *testing.T) {
	f, v := fleetCase{nodes: "n1", replicas: 2, target: "a", before: "0:a1@n1+"}.build(t)
	d := v.Docs[web]
	d.Doc.Unknown, d.Doc.Leases[0].Unknown = `{"later":1}`, `{"other":2}`
	d.Doc.Blocked, d.Doc.LastGood = []Revision{"r1-x"}, "r1-y"
	d.Doc.History = []Applied{{RevisionOf(plainA), hash("b")}}
	v.Docs[web] = d
	got := Coordinate(f, v, Time{Boot: fleetNow}).Docs[0].Doc
	if got.Unknown != d.Doc.Unknown || got.Leases[0] != d.Doc.Leases[0] || got.LastGood != "r1-y" ||
		len(got.Blocked) > 0 || !slices.Equal(got.History, d.Doc.History) {
		t.Errorf("kept %+v", got)
	}
}

// TestCoordinateRestoresGarbled: the last good value is written again even if
// nothing else is to do, with what is wrong as the reason.
func TestCoordinateRestoresGarbled(t *testing.T) {
	f, v := fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1+"}.build(t)
	d := v.Docs[web]
	d.Broken, d.Since = "the signature is n7's\nbut not really", time.Minute
	v.Docs[web] = d
	out := Coordinate(f, v, Time{Boot: fleetNow})
	if len(out.Docs) != 1 || showFleetLeases(out.Docs[0].Doc.Leases) != "0:a1@n1" ||
		!strings.Contains(out.Docs[0].Why, "put right: the signature is n7's") || strings.Contains(out.Docs[0].Why, "\n") {
		t.Errorf("decides %s", show(out.Docs))
	}
}

// TestCoordinatePins: no more than one slot runs a tag whose digest is not
// known, and all run the same digest afterwards.
func TestCoordinatePins(t *testing.T) {
	rev := RevisionOf(plainA)
	key := RevisionKey{web, rev}
	image := plainA.Images()[0]
	digest := map[string]string{image: "sha256:1"}
	reports := func(v *View, d string) {
		n := v.Nodes["n1"]
		n.Status.Images = []ResolvedImages{{web, rev, map[string]string{image: d}}}
		v.Nodes["n1"] = n
	}
	unpinned := func(v *View) {
		d := v.Docs[web]
		d.Doc.Images = nil
		v.Docs[web] = d
	}
	tests := []struct {
		name   string
		target string
		before string
		change func(v *View)
		after  string // "" = nothing is decided
		asks   bool
		pins   map[string]string // of the revision
	}{
		{"known", "a", "", func(*View) {}, "0:a1@n1 1:a2@n1", false, digest},
		{"not yet", "a", "", func(v *View) { delete(v.Resolved, key) }, "", true, nil},
		// The registry does not answer: one slot, whose node tells.
		{"registry down", "a", "", func(v *View) {
			delete(v.Resolved, key)
			v.Unresolvable = map[RevisionKey]string{key: "timeout"}
		}, "0:a1@n1", false, nil},
		{"not told yet", "a", "0:a1@n1+", func(v *View) { unpinned(v) }, "", false, nil},
		{"told", "a", "0:a1@n1+", func(v *View) { unpinned(v); reports(v, "sha256:2") }, "0:a1@n1 1:a2@n1", false, map[string]string{image: "sha256:2"}},
		// What another asked meanwhile does not count: this is what runs.
		{"told garbage", "a", "0:a1@n1+", func(v *View) { unpinned(v); reports(v, "latest") }, "", false, nil},
		// Its node is lost: it tries again elsewhere, alone.
		{"teller lost", "a", "0:a1@n1v", func(v *View) {
			unpinned(v)
			delete(v.Resolved, key)
			v.Unresolvable = map[RevisionKey]string{key: "timeout"}
		}, "0:a2@n1", false, nil},
		// A pin once set stays, whatever the tag is now.
		{"pinned", "a", "0:a1@n1+", func(v *View) { v.Resolved[key] = map[string]string{image: "sha256:9"}; reports(v, "sha256:9") }, "0:a1@n1 1:a2@n1", false, digest},
		// An update waits for its digests, what runs goes on.
		{"update", "b", "0:a1@n1+ 1:a2@n1+", func(v *View) { delete(v.Resolved, RevisionKey{web, RevisionOf(plainB)}) }, "", true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: "n1", replicas: 2, target: tt.target, before: tt.before}.build(t)
			tt.change(&v)
			out := Coordinate(f, v, Time{Boot: fleetNow})
			if asks := len(out.Resolve) > 0; asks != tt.asks {
				t.Errorf("asks for %v", out.Resolve)
			}
			if tt.after == "" {
				if len(out.Docs) > 0 {
					t.Fatalf("decides %s", show(out.Docs))
				}
				return
			}
			if len(out.Docs) != 1 || showFleetLeases(out.Docs[0].Doc.Leases) != tt.after {
				t.Fatalf("decides %s", show(out.Docs))
			}
			if got := out.Docs[0].Doc.Images[rev]; !maps.Equal(got, tt.pins) {
				t.Errorf("pins %v, want %v", got, tt.pins)
			}
		})
	}
}

// TestCoordinateNeedsNoPins: processes have no images, digests are digests.
func TestCoordinateNeedsNoPins(t *testing.T) {
	for _, tmpl := range []Template{process("/bin/a"), plain("r.example/a@sha256:" + strings.Repeat("0", 64))} {
		f, v := fleetCase{nodes: "n1", replicas: 2, target: "a"}.build(t)
		f.Services[web] = service(web, 2, tmpl)
		if out := Coordinate(f, v, Time{Boot: fleetNow}); len(out.Docs) != 1 || len(out.Docs[0].Doc.Leases) != 2 || len(out.Resolve) > 0 {
			t.Errorf("%+v: %s, asks for %v", tmpl, show(out.Docs), out.Resolve)
		}
	}
}

// TestCoordinateOrphans: a service known only from what runs is left alone.
func TestCoordinateOrphans(t *testing.T) {
	f, v := fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1+ 1:a2@n1+"}.build(t)
	f.Services[web] = Service{ID: web, Orphan: true}
	if out := Coordinate(f, v, Time{Boot: fleetNow}); len(out.Docs)+len(out.Unplaced) > 0 {
		t.Errorf("decides %+v", out)
	}
}

// TestCoordinateSharesRoom: two services change at once, but there is room for
// one of them; the other waits for it.
func TestCoordinateSharesRoom(t *testing.T) {
	f, v := fleetCase{nodes: "n1:room=350", replicas: 1, target: "Q", before: "0:P1@n1+"}.build(t)
	other := ServiceID{DefaultNamespace, "zweb"}
	f.Services[other] = service(other, 1, revs["Q"])
	d := v.Docs[web]
	d.Doc.Service = other
	v.Docs[other] = d
	v.Resolved[RevisionKey{other, RevisionOf(revs["Q"])}] = digestsOf(revs["Q"])
	n := v.Nodes["n1"]
	n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{other, "0"}, Token: 1, Revision: RevisionOf(revs["P"]), Phase: PhaseReady})
	v.Nodes["n1"] = n
	out := Coordinate(f, v, Time{Boot: fleetNow})
	if len(out.Docs) != 1 || out.Docs[0].Doc.Service != web || reasonsOf(out.Unplaced) != "n1: 50 of memory free, 100 asked" {
		t.Errorf("decides %s, unplaced %v", show(out.Docs), out.Unplaced)
	}
}

// TestCoordinateSaysWhatHolds: a change that waits for another says for which.
func TestCoordinateSaysWhatHolds(t *testing.T) {
	f, v := fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n1 1:a2@n1+"}.build(t)
	if why := Coordinate(f, v, Time{Boot: fleetNow}).Waiting[web]; !strings.HasPrefix(why, "web-0 is not ready yet at r1-") {
		t.Errorf("waiting: %q", why)
	}
}

// TestCoordinateFleetOrder: services in order, whatever the maps' is.
func TestCoordinateFleetOrder(t *testing.T) {
	f, v := fleetCase{nodes: "n1:room=100", target: "a"}.build(t)
	f.Services = map[ServiceID]Service{}
	var want []ServiceID
	for i := range 9 {
		id := ServiceID{DefaultNamespace, fmt.Sprint("s", i)}
		want = append(want, id)
		f.Services[id] = service(id, 1, plain("x@sha256:1"))
	}
	first := Coordinate(f, v, Time{Boot: fleetNow})
	var got []ServiceID
	for _, d := range first.Docs {
		got = append(got, d.Doc.Service)
	}
	if !slices.Equal(got, want) {
		t.Errorf("order %v", got)
	}
	for range 20 {
		if again := Coordinate(f, v, Time{Boot: fleetNow}); !reflect.DeepEqual(again, first) {
			t.Fatal("the same values, other decisions")
		}
	}
}
