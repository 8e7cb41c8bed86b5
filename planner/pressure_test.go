package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestUsedIsRoundedUp(t *testing.T) {
	for _, row := range []struct {
		free, total uint64
		want        int
	}{
		{100, 100, 0}, {99, 100, 1}, {150, 1000, 85}, {149, 1000, 86}, {1, 1 << 40, 99}, {0, 5, 100}, {0, 0, 0}, {7, 5, 0},
		{1 << 62, 1 << 63, 50},
	} {
		if got := (Reading{Free: row.free, Total: row.total}).Used(); got != row.want {
			t.Errorf("%d of %d free: %d %% used, not %d", row.free, row.total, got, row.want)
		}
	}
}

// TestAssess: readings one after another, each with what the node is short of
// after it.
func TestAssess(t *testing.T) {
	disk := func(used uint64) Reading {
		return Reading{Resource: ResourceDisk, Place: "/var", Free: 1000 - used*10, Total: 1000}
	}
	memory := func(free uint64) Reading {
		return Reading{Resource: ResourceMemory, Free: free << 20, Total: 8 << 30}
	}
	unread := Reading{Resource: ResourceDisk, Place: "/var"}
	type step struct {
		after time.Duration
		read  []Reading
		want  string // resource@since…
	}
	for _, row := range []struct {
		name  string
		steps []step
	}{
		{"it begins at the mark", []step{{0, []Reading{disk(94)}, ""}, {10, []Reading{disk(95)}, "disk@10"}}},
		{"it does not end right below it", []step{{1, []Reading{disk(95)}, "disk@1"}, {2, []Reading{disk(94)}, "disk@1"}, {3, []Reading{disk(93)}, "disk@1"},
			{4, []Reading{disk(92)}, ""}, {5, []Reading{disk(94)}, ""}}},
		{"what cannot be read stands as it was", []step{{1, []Reading{disk(96)}, "disk@1"}, {2, []Reading{unread}, "disk@1"}, {3, []Reading{disk(50)}, ""}, {4, []Reading{unread}, ""}}},
		{"what is not looked at any more is no shortage", []step{{1, []Reading{disk(96)}, "disk@1"}, {2, nil, ""}}},
		{"memory must be good for a minute", []step{{1, []Reading{memory(99)}, "memory@1"}, {2, []Reading{memory(110)}, "memory@1"}, {3, []Reading{memory(200)}, "memory@1"},
			{40, []Reading{memory(500)}, "memory@1"}, {62, []Reading{memory(500)}, "memory@1"}, {63, []Reading{memory(500)}, ""}}},
		{"and the minute begins anew", []step{{1, []Reading{memory(99)}, "memory@1"}, {2, []Reading{memory(200)}, "memory@1"}, {50, []Reading{memory(90)}, "memory@1"},
			{70, []Reading{memory(200)}, "memory@1"}, {129, []Reading{memory(200)}, "memory@1"}, {130, []Reading{memory(200)}, ""}}},
		{"several at once, in order", []step{{1, []Reading{memory(1), {Resource: ResourcePIDs, Free: 1, Total: 100}, {Resource: ResourceInodes, Place: "/b", Free: 1, Total: 100},
			{Resource: ResourceInodes, Place: "/a", Free: 2, Total: 100}, disk(99)}, "disk@1 inodes@1 inodes@1 memory@1 pids@1"}}},
	} {
		var short []Shortage
		for k, s := range row.steps {
			short = Assess(short, s.read, DefaultPressureLimits(), s.after*time.Second)
			var got []string
			for _, x := range short {
				got = append(got, fmt.Sprintf("%s@%d", x.Reading.Resource, x.Since/time.Second))
			}
			if text := strings.Join(got, " "); text != s.want {
				t.Errorf("%s, step %d: short of %q, not %q", row.name, k, text, s.want)
			}
		}
	}
	off := PressureLimits{}
	if short := Assess(nil, []Reading{disk(100)}, off, 0); len(short) > 0 || off.Collects(disk(100)) || !off.Collected(disk(100)) {
		t.Error("without marks there is pressure")
	}
}

func TestShortageInWords(t *testing.T) {
	for _, row := range []struct {
		r    Reading
		want string
	}{
		{Reading{Resource: ResourceDisk, Place: "/var/lib/containerd", Free: 12 << 30 / 10, Total: 30 << 30}, "disk of this node is 97 % full (/var/lib/containerd, 1.2 GiB free)"},
		{Reading{Resource: ResourceInodes, Place: "/var", Free: 3, Total: 100}, "97 % of the inodes of this node are used (/var, 3 free)"},
		{Reading{Resource: ResourceMemory, Free: 52 << 20, Total: 8 << 30}, "this node has 52.0 MiB of memory left"},
		{Reading{Resource: ResourceMemory, Place: "cgroup /orpheus", Free: 52 << 20, Total: 8 << 30}, "this node has 52.0 MiB of memory left in cgroup /orpheus"},
		{Reading{Resource: ResourcePIDs, Free: 4, Total: 100}, "96 % of the process ids of this node are used (4 left)"},
	} {
		if got := (Shortage{Reading: row.r}).String(); got != row.want {
			t.Errorf("%q, not %q", got, row.want)
		}
	}
}

// TestCollecting: from one mark down to the other.
func TestCollecting(t *testing.T) {
	limits := DefaultPressureLimits()
	for used, want := range map[uint64][2]bool{84: {false, false}, 85: {true, false}, 80: {false, false}, 79: {false, true}} {
		r := Reading{Resource: ResourceDisk, Free: 100 - used, Total: 100, Images: true}
		if got := [2]bool{limits.Collects(r), limits.Collected(r)}; got != want {
			t.Errorf("%d %% used: begin, end = %v, not %v", used, got, want)
		}
		if r.Images = false; limits.Collects(r) {
			t.Error("images are removed for a disk that has none")
		}
	}
}

// TestTakeOnWhileShort: a node that is short of something goes on with what it
// has, and takes nothing new.
func TestTakeOnWhileShort(t *testing.T) {
	const node = NodeName("n1")
	web := ServiceID{Name: "web"}
	spec := Template{Containers: []Container{{Name: "main"}}}
	instance := func(slot string, state InstanceState) Instance {
		return Instance{ID: slot, Slot: SlotID{web, slot}, Revision: "r2", State: state}
	}
	for _, row := range []struct {
		name    string
		have    []Instance
		held    map[LeaseKey]bool
		before  map[RevisionKey]string
		short   string
		take    string
		behind  string
		refused string
	}{
		{name: "nothing is short", take: "1 2"},
		{name: "new leases are refused", short: "full", refused: "full"},
		{name: "what runs goes on, and what crashed is restarted", have: []Instance{instance("0", StateRunning), instance("1", StateExited)}, short: "full", take: "1 2"},
		{name: "what was taken on before begins", held: map[LeaseKey]bool{{web, 1}: true, {web, 2}: true}, short: "full", take: "1 2"},
		{name: "a refusal would move what runs: the other slot waits", have: []Instance{instance("0", StateRunning)}, short: "full", take: "1 2", behind: "2: full"},
		{name: "the refusal stands as long", before: map[RevisionKey]string{{web, "r2"}: "old"}, short: "full", refused: "full"},
		{name: "and no longer", before: map[RevisionKey]string{{web, "r2"}: "full"}, take: "1 2"},
	} {
		st := NodeState{
			Node: node, Have: row.have, Specs: map[Revision]Template{"r2": spec}, Short: row.short, Held: row.held,
			Docs:     map[ServiceID]LeaseDoc{web: {Service: web, Leases: []Lease{{Slot: "0", Node: node, Token: 1, Revision: "r2"}, {Slot: "1", Node: node, Token: 2, Revision: "r2"}}}},
			Followed: Followed{Services: map[ServiceID]Service{web: {ID: web, Revision: "r2", Template: spec}}},
		}
		got := TakeOn(st, ResourceList{}, func(Service) string { return "" }, row.before)
		var take, behind []string
		for _, l := range got.Docs[web].Leases {
			take = append(take, fmt.Sprint(l.Token))
			if why := got.Behind[LeaseKey{web, l.Token}]; why != "" {
				behind = append(behind, fmt.Sprintf("%d: %s", l.Token, why))
			}
		}
		if strings.Join(take, " ") != row.take || strings.Join(behind, " ") != row.behind || got.Refused[RevisionKey{web, "r2"}] != row.refused {
			t.Errorf("%s: takes on %v, behind %v, refuses %q", row.name, take, behind, got.Refused)
		}
	}
}

// TestAloneWhileShort: no slot gets its first lease; one that has a lease keeps
// it, and is updated.
func TestAloneWhileShort(t *testing.T) {
	leases, ready := parseLeases(t, "0:a1+")
	for _, row := range []struct {
		name     string
		short    bool
		revision string
		want     string
	}{
		{"more slots wait", true, "a", "0:a1"},
		{"an update begins", true, "b", "0:a1 0:b2"},
		{"there is room", false, "a", "0:a1 1:a2 2:a3"},
	} {
		template := revs[row.revision]
		s := Service{ID: web, Replicas: 3, Template: template, Revision: RevisionOf(template)}
		v := Alone{Node: here, Docs: map[ServiceID]LeaseDoc{web: {Service: web, Tokens: 1, Leases: slices.Clone(leases)}}, Ready: maps.Clone(ready),
			Prepared: map[RevisionKey]bool{{web, s.Revision}: true}, Specs: map[Revision]Template{RevisionOf(revs["a"]): revs["a"]}, Short: row.short}
		got := v.Docs[web].Leases
		if c := CoordinateAlone(Followed{Services: map[ServiceID]Service{web: s}}, v); len(c.Docs) > 0 {
			got = c.Docs[0].Leases
		}
		if text := showLeases(got); text != row.want {
			t.Errorf("%s: %s, not %s", row.name, text, row.want)
		}
	}
}
