package planner

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// many are the services s0 to s<n-1>, each in its own file; those named in
// stateful keep data.
func many(n int, stateful ...string) map[ServiceID]Service {
	all := map[ServiceID]Service{}
	for i := range n {
		id := ServiceID{DefaultNamespace, fmt.Sprint("s", i)}
		all[id] = service(id, 1, plainA)
		if slices.Contains(stateful, id.Name) {
			all[id] = service(id, 1, volumeA)
		}
	}
	return all
}

// without leaves out the services s<from> to s<to-1>.
func without(all map[ServiceID]Service, from, to int) map[ServiceID]Service {
	left := maps.Clone(all)
	for i := from; i < to; i++ {
		delete(left, ServiceID{DefaultNamespace, fmt.Sprint("s", i)})
	}
	return left
}

func followedOf(all map[ServiceID]Service) Followed {
	return Followed{Commit: Commit{Hash: hash("1")}, Services: all, Total: len(all)}
}

func hash(digit string) string { return strings.Repeat(digit, 40) }

func TestSettle(t *testing.T) {
	broken := func(file string) []Fault { return []Fault{{File: file, Line: 3, Reason: "not YAML"}} }
	tests := []struct {
		name     string
		prev     Followed
		next     map[ServiceID]Service
		faults   []Fault
		approved []string

		follows int               // number of services afterwards
		held    map[string]string // service → part of the reason
		pending map[string]string // service → commit
		total   int
	}{
		// The first commit is taken as it is.
		{name: "first", next: many(3), follows: 3, total: 3},
		{name: "first, empty", next: nil, follows: 0, total: 0},
		// A warning holds nothing back.
		{name: "warning", prev: followedOf(many(3)), next: many(2), faults: []Fault{{File: "s2.yaml", Reason: "x", Warning: true}}, follows: 2, total: 2},
		// Up to two may go whatever that is of all.
		{name: "2 of 2", prev: followedOf(many(2)), next: nil, follows: 0, total: 0},
		{name: "3 of 3", prev: followedOf(many(3)), next: nil, follows: 3, total: 0,
			held:    map[string]string{"s0": "more than 20 %", "s1": "more than 20 %", "s2": "more than 20 %"},
			pending: map[string]string{"s0": hash("2"), "s1": hash("2"), "s2": hash("2")}},
		{name: "2 of 3", prev: followedOf(many(3)), next: many(1), follows: 1, total: 1},
		// Up to a fifth of many.
		{name: "4 of 20", prev: followedOf(many(20)), next: many(16), follows: 16, total: 16},
		{name: "5 of 20", prev: followedOf(many(20)), next: many(15), follows: 20, total: 15,
			held:    heldRange(15, 20, "more than 20 %"),
			pending: pendingRange(15, 20, hash("2"))},
		{name: "3 of 14", prev: followedOf(many(14)), next: many(11), follows: 14, total: 11, held: heldRange(11, 14, "20 %"), pending: pendingRange(11, 14, hash("2"))},
		{name: "3 of 15", prev: followedOf(many(15)), next: many(12), follows: 12, total: 12},
		// New services do not pay for those that go.
		{name: "3 of 3 and 3 new", prev: followedOf(many(3)), next: without(many(6), 0, 3), follows: 6, total: 3, held: heldRange(0, 3, "20 %"), pending: pendingRange(0, 3, hash("2"))},
		// One that keeps data waits always, the others beside it go.
		{name: "volume", prev: followedOf(many(3, "s2")), next: many(1), follows: 2, total: 1, held: map[string]string{"s2": "keeps data in a volume"}, pending: map[string]string{"s2": hash("2")}},
		// A file that cannot be read: its service stays as it was, with the reason ...
		{name: "broken file", prev: followedOf(many(3)), next: many(2), faults: broken("s2.yaml"), follows: 3, total: 3, held: map[string]string{"s2": "s2.yaml has faults in commit 22222222"}},
		// ... and no other service goes, although its file is gone.
		{name: "broken and gone", prev: followedOf(many(4)), next: many(2), faults: broken("s2.yaml"), follows: 4, total: 4, held: map[string]string{"s2": "has faults", "s3": "nothing is deleted until all can be"}},
		// A fault of the repository itself, or of a file unknown before, is no service's.
		{name: "broken repository", prev: followedOf(many(1)), next: nil, faults: broken(""), follows: 1, total: 1, held: map[string]string{"s0": "nothing is deleted"}},
		{name: "new broken file", prev: followedOf(many(1)), next: many(1), faults: broken("new.yaml"), follows: 1, total: 1},
		// Services of good files move on beside the broken one.
		{name: "new beside broken", prev: followedOf(many(1)), next: without(many(3), 0, 1), faults: broken("s0.yaml"), follows: 3, total: 2, held: map[string]string{"s0": "has faults"}},
		// What waits goes on waiting for the word of a person, from the commit that first lacked it.
		{name: "still pending", prev: pendingFollowed(4, 1), next: many(1), follows: 4, total: 1, held: heldRange(1, 4, "20 %"), pending: pendingRange(1, 4, hash("1"))},
		{name: "approved in full", prev: pendingFollowed(4, 1), next: many(1), approved: []string{hash("1")}, follows: 1, total: 1},
		{name: "approved by 7", prev: pendingFollowed(4, 1), next: many(1), approved: []string{"other", "1111111"}, follows: 1, total: 1},
		{name: "approved by 6", prev: pendingFollowed(4, 1), next: many(1), approved: []string{"111111", ""}, follows: 4, total: 1, held: heldRange(1, 4, "20 %"), pending: pendingRange(1, 4, hash("1"))},
		{name: "another approved", prev: pendingFollowed(4, 1), next: many(1), approved: []string{hash("2"), hash("1") + "1"}, follows: 4, total: 1, held: heldRange(1, 4, "20 %"), pending: pendingRange(1, 4, hash("1"))},
		// Nothing approves a deletion in advance: the commit that deletes cannot know its own name.
		{name: "approved at once", prev: followedOf(many(3)), next: nil, approved: []string{hash("2")}, follows: 3, total: 0, held: heldRange(0, 3, "20 %"), pending: pendingRange(0, 3, hash("2"))},
		// A node that was away sees the deletion and its approval at once: it cannot tell what the former lacked.
		{name: "approved unseen", prev: followedOf(many(3)), next: nil, approved: []string{hash("3")}, follows: 3, total: 0, held: heldRange(0, 3, "20 %"), pending: pendingRange(0, 3, hash("2"))},
		// An approval does not reach over a commit that cannot be read.
		{name: "approved, but broken", prev: pendingFollowed(4, 1), next: many(1), faults: broken("x.yaml"), approved: []string{hash("1")}, follows: 4, total: 1, held: heldRange(1, 4, "nothing is deleted"), pending: pendingRange(1, 4, hash("1"))},
		// A small deletion while another waits is decided by itself.
		{name: "second, small", prev: pendingFollowed(10, 4), next: many(3), follows: 9, total: 3, held: heldRange(4, 10, "20 %"), pending: pendingRange(4, 10, hash("1"))},
		// A second large one waits for its own approval.
		{name: "second, large", prev: pendingFollowed(10, 4), next: nil, approved: []string{hash("1")}, follows: 4, total: 0, held: heldRange(0, 4, "20 %"), pending: pendingRange(0, 4, hash("2"))},
		// What comes back is taken as it is and waits no more; deleted again it counts as new.
		{name: "back", prev: pendingFollowed(4, 1), next: many(4), follows: 4, total: 4},
		{name: "one back", prev: pendingFollowed(4, 1), next: many(2), follows: 4, total: 2, held: heldRange(2, 4, "20 %"), pending: pendingRange(2, 4, hash("1"))},
		// After a restart only what runs here is known: the shrinking of the whole counts.
		{name: "restarted, all gone", prev: Followed{Services: many(1), Total: 50}, next: nil, follows: 1, total: 0, held: heldRange(0, 1, "20 %"), pending: pendingRange(0, 1, hash("2"))},
		{name: "restarted, within a fifth", prev: Followed{Services: many(1), Total: 50}, next: without(many(41), 0, 1), follows: 40, total: 40},
		{name: "restarted, over a fifth", prev: Followed{Services: many(1), Total: 50}, next: without(many(40), 0, 1), follows: 40, total: 39, held: heldRange(0, 1, "20 %"), pending: pendingRange(0, 1, hash("2"))},
		{name: "restarted, own volume", prev: Followed{Services: many(1, "s0"), Total: 50}, next: without(many(50), 0, 1), follows: 50, total: 49, held: heldRange(0, 1, "volume"), pending: pendingRange(0, 1, hash("2"))},
		// Files that do not parse, a restart, then they are gone: still a mass deletion.
		{name: "unreadable counts on", prev: Followed{Services: many(2), Total: 20}, next: nil, faults: broken("s0.yaml"), follows: 2, total: 20, held: heldRange(0, 2, "")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := maps.Clone(tt.prev.Services)
			next := Desired{Commit: Commit{Hash: hash("2")}, Fleet: Fleet{Name: "f"}, Services: tt.next, Faults: tt.faults}
			out := Settle(tt.prev, next, tt.approved)
			if out.Commit != next.Commit || out.Fleet.Name != "f" || len(out.Services) != tt.follows || out.Total != tt.total {
				t.Errorf("follows %d services of %d at %q, want %d of %d", len(out.Services), out.Total, out.Commit.Hash, tt.follows, tt.total)
			}
			pending := map[string]string{}
			for id, commit := range out.Pending {
				pending[id.Name] = commit
			}
			if !maps.Equal(pending, tt.pending) {
				t.Errorf("pending %v, want %v", pending, tt.pending)
			}
			if len(out.Held) != len(tt.held) || !slices.IsSortedFunc(out.Held, func(a, b Held) int { return a.Service.Compare(b.Service) }) {
				t.Errorf("held %+v, want %v", out.Held, tt.held)
			}
			for _, h := range out.Held {
				if !strings.Contains(h.Reason, tt.held[h.Service.Name]) {
					t.Errorf("%s: %q, want %q", h.Service, h.Reason, tt.held[h.Service.Name])
				}
				if since, ok := out.Pending[h.Service]; ok && len(tt.faults) == 0 && h.Approve != "Prune-Approved: "+since {
					t.Errorf("%s: approve with %q", h.Service, h.Approve)
				}
				if !reflect.DeepEqual(out.Services[h.Service], before[h.Service]) {
					t.Errorf("%s is held, but not as it was", h.Service)
				}
			}
			if !reflect.DeepEqual(before, tt.prev.Services) || !reflect.DeepEqual(next.Services, tt.next) {
				t.Error("what was given was changed")
			}
		})
	}
}

// pendingFollowed follows n services of which those from keep on wait for
// approval.
func pendingFollowed(n, keep int) Followed {
	f := followedOf(many(n))
	f.Total = keep
	f.Pending = map[ServiceID]string{}
	for i := keep; i < n; i++ {
		f.Pending[ServiceID{DefaultNamespace, fmt.Sprint("s", i)}] = hash("1")
	}
	return f
}

func heldRange(from, to int, reason string) map[string]string {
	all := map[string]string{}
	for i := from; i < to; i++ {
		all[fmt.Sprint("s", i)] = reason
	}
	return all
}

func pendingRange(from, to int, commit string) map[string]string { return heldRange(from, to, commit) }

// TestAttack25UnreadableThenGone: first break most files, wait for an agent to
// restart with nothing but its own services, then delete the broken files.
func TestAttack25UnreadableThenGone(t *testing.T) {
	all := many(20)
	var faults []Fault
	for i := 2; i < 20; i++ {
		faults = append(faults, Fault{File: fmt.Sprintf("s%d.yaml", i), Reason: "not YAML"})
	}
	broken := Settle(followedOf(all), Desired{Commit: Commit{Hash: hash("2")}, Services: many(2), Faults: faults}, nil)
	restarted := Followed{Commit: broken.Commit, Services: without(many(4), 0, 2), Total: broken.Total}
	gone := Settle(restarted, Desired{Commit: Commit{Hash: hash("3")}, Services: many(2)}, nil)
	if len(gone.Services) != 4 {
		t.Errorf("a mass deletion in two steps went through: %+v", gone)
	}
}

// TestSettleIsRepeatable: to settle the same commit again changes nothing but
// what its own approval said.
func TestSettleIsRepeatable(t *testing.T) {
	next := Desired{Commit: Commit{Hash: hash("2")}, Services: many(1), Faults: nil}
	once := Settle(followedOf(many(9, "s3")), next, nil)
	if twice := Settle(once, next, nil); !reflect.DeepEqual(once, twice) {
		t.Errorf("once  %+v\ntwice %+v", once, twice)
	}
}

func TestFault(t *testing.T) {
	tests := []struct {
		fault Fault
		want  string
	}{
		{Fault{File: "a.yaml", Line: 3, Column: 5, Field: "spec.image", Reason: "is empty", Remedy: "name one"}, "a.yaml:3:5: spec.image: is empty; name one"},
		{Fault{File: "a.yaml", Line: 3, Reason: "is empty"}, "a.yaml:3: is empty"},
		{Fault{File: "a.yaml", Column: 5, Reason: "is empty"}, "a.yaml: is empty"},
		{Fault{Reason: "no fleet.yaml"}, "no fleet.yaml"},
	}
	for _, tt := range tests {
		if got := tt.fault.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	ordered := []Fault{{File: "a", Line: 9}, {File: "b", Line: 1}, {File: "b", Line: 2, Column: 1}, {File: "b", Line: 2, Column: 2}, {File: "b", Line: 2, Column: 2, Field: "x"}, {File: "b", Line: 2, Column: 2, Field: "x", Reason: "r"}}
	shuffled := reversed(ordered)
	slices.SortFunc(shuffled, CompareFaults)
	if !slices.Equal(shuffled, ordered) {
		t.Errorf("order %v", shuffled)
	}
}

// An orphan may keep data nobody knows of any more: it goes only by a
// person's word.
func TestSettleOrphanWaitsForApproval(t *testing.T) {
	web := ServiceID{Namespace: DefaultNamespace, Name: "web"}
	prev := Followed{Services: map[ServiceID]Service{web: {ID: web, Orphan: true}}}
	lacks := Desired{Commit: Commit{Hash: "1111111111111111111111111111111111111111"}}
	held := Settle(prev, lacks, nil)
	if len(held.Held) != 1 || held.Held[0].Approve == "" || len(held.Services) != 1 {
		t.Fatalf("followed %+v, want the orphan held until it is approved", held)
	}
	approving := Desired{Commit: Commit{Hash: "2222222222222222222222222222222222222222"}}
	if gone := Settle(held, approving, []string{lacks.Commit.Hash}); len(gone.Services) != 0 {
		t.Errorf("services %v, want none after the approval", gone.Services)
	}
}

// TestSettleGone: a deletion is remembered until the service returns; what is
// only held back, or was never followed, is no deletion.
func TestSettleGone(t *testing.T) {
	s := func(n int) ServiceID { return ServiceID{DefaultNamespace, fmt.Sprint("s", n)} }
	commit := func(digit string, services map[ServiceID]Service, faults ...Fault) Desired {
		return Desired{Commit: Commit{Hash: hash(digit)}, Services: services, Faults: faults}
	}
	f := Settle(followedOf(many(9, "s8")), commit("2", many(8, "s8")), nil)
	if len(f.Gone) > 0 {
		t.Errorf("gone although it waits for approval: %v", f.Gone)
	}
	f = Settle(f, commit("3", many(8)), []string{hash("2")})
	f = Settle(f, commit("4", many(7)), nil)
	want := map[ServiceID]string{s(8): hash("3"), s(7): hash("4")}
	if !maps.Equal(f.Gone, want) {
		t.Errorf("gone: %v, want %v", f.Gone, want)
	}
	f = Settle(f, commit("5", many(6), Fault{File: "x.yaml", Reason: "not YAML"}), nil)
	if !maps.Equal(f.Gone, want) {
		t.Errorf("gone in a commit with faults: %v, want %v", f.Gone, want)
	}
	f = Settle(f, commit("6", many(9)), nil)
	if len(f.Gone) > 0 {
		t.Errorf("gone although it returned: %v", f.Gone)
	}
}

// TestSettleGoneIsBounded: of too many the oldest deletions are forgotten.
func TestSettleGoneIsBounded(t *testing.T) {
	prev := followedOf(many(2))
	prev.Gone = map[ServiceID]string{}
	for i := range maxGone {
		prev.Gone[ServiceID{"old", fmt.Sprint("s", i)}] = hash("1")
	}
	f := Settle(prev, Desired{Commit: Commit{Hash: hash("2")}}, nil)
	if len(f.Gone) != maxGone || f.Gone[ServiceID{DefaultNamespace, "s0"}] != hash("2") || f.Gone[ServiceID{DefaultNamespace, "s1"}] != hash("2") {
		t.Errorf("%d are remembered", len(f.Gone))
	}
}
