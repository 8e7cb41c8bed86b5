package planner

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// small has 254 places.
var small = FleetNetwork{Services: "10.9.8.0/24"}

// balanced is a service with an address.
func balanced(id ServiceID) Service {
	return Service{ID: id, Ports: []Port{{Container: 8080, Protocol: "tcp", Port: 80}}}
}

func headless(id ServiceID) Service { return Service{ID: id, Headless: true} }

func servicesOf(list ...Service) map[ServiceID]Service {
	all := map[ServiceID]Service{}
	for _, s := range list {
		all[s.ID] = s
	}
	return all
}

func inDefault(name string) ServiceID { return ServiceID{DefaultNamespace, name} }

func TestFleetNetworkPlace(t *testing.T) {
	tests := []struct {
		network FleetNetwork
		at      uint32
		v4, v6  string
	}{
		{FleetNetwork{}, 1, "10.232.0.1", "fd6f:7270:6865:7573::1"},
		{FleetNetwork{}, 0x1234, "10.232.18.52", "fd6f:7270:6865:7573::1234"},
		{FleetNetwork{}, 65534, "10.232.255.254", "fd6f:7270:6865:7573::fffe"},
		// The network's own address, the last one, and what is no place at all.
		{FleetNetwork{}, 0, "", ""},
		{FleetNetwork{}, 65535, "", ""},
		{FleetNetwork{}, 1 << 31, "", ""},
		{small, 254, "10.9.8.254", "fd6f:7270:6865:7573::fe"},
		{small, 255, "", ""},
		// The smaller of the two ranges bounds both.
		{FleetNetwork{Services: "10.0.0.0/8"}, 65534, "10.0.255.254", "fd6f:7270:6865:7573::fffe"},
		{FleetNetwork{Services: "10.0.0.0/8"}, 65535, "", ""},
		{FleetNetwork{Services: "10.0.0.0/8", Services6: "fd00::/64"}, 0xfffffe, "10.255.255.254", "fd00::ff:fffe"},
		{FleetNetwork{Services: "10.0.0.0/8", Services6: "fd00::/64"}, 0xffffff, "", ""},
		// A range that cannot be read has no places.
		{FleetNetwork{Services: "garbage"}, 1, "", ""},
	}
	for _, tt := range tests {
		v4, v6 := tt.network.Place(tt.at)
		text := func(a netip.Addr) string {
			if !a.IsValid() {
				return ""
			}
			return a.String()
		}
		if text(v4) != tt.v4 || text(v6) != tt.v6 {
			t.Errorf("place %d of %+v: %v and %v, want %q and %q", tt.at, tt.network, v4, v6, tt.v4, tt.v6)
		}
	}
	if _, _, err := (FleetNetwork{Services6: "10.0.0.0/8"}).Ranges(); err == nil || !strings.Contains(err.Error(), "network.services6 in fleet.yaml") {
		t.Errorf("error %v", err)
	}
}

func TestAllocate(t *testing.T) {
	web, db, old := inDefault("web"), inDefault("db"), inDefault("old")
	none := func(ServiceID) bool { return false }
	at := func(slots ...string) map[ServiceID][]string { return map[ServiceID][]string{web: slots} }
	fresh, err := Addresses(nil).Allocate(FleetNetwork{}, servicesOf(balanced(web), headless(db), Service{ID: old}), at("0", "1", "10"), none)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		before   Addresses
		services []Service
		slots    map[ServiceID][]string
		keep     func(ServiceID) bool
		want     string
	}{
		{name: "a service without port has none", services: []Service{{ID: old, Ports: []Port{{Container: 80, Publish: &Publish{Port: 80}}}}}, want: ""},
		{name: "the fresh ones", before: fresh, services: []Service{balanced(web), headless(db)}, slots: at("0", "1", "10"), want: "default/db@16761 default/web@11942/0:48579,1:55964,10:52426"},
		// What stands, stays, also where it is not where it would be put first.
		{name: "stays", before: Addresses{"default/web": {At: 5, Slots: map[string]uint32{"0": 6}}}, services: []Service{balanced(web)}, slots: at("0"), want: "default/web@5/0:6"},
		{name: "stays without port", before: Addresses{"default/web": {At: 5}}, services: []Service{{ID: web}}, slots: at("0"), want: "default/web@5"},
		{name: "gone", before: Addresses{"default/web": {At: 5}, "default/old": {At: 6}}, services: []Service{balanced(web)}, want: "default/web@5"},
		{name: "gone, but kept", before: Addresses{"default/old": {At: 6, Slots: map[string]uint32{"0": 7}}}, keep: func(id ServiceID) bool { return id == old }, want: "default/old@6/0:7"},
		{name: "a slot is gone", before: Addresses{"default/web": {At: 5, Slots: map[string]uint32{"0": 6, "1": 7}}}, services: []Service{balanced(web)}, slots: at("1"), want: "default/web@5/1:7"},
		{name: "a slot is gone, but its service kept", before: Addresses{"default/web": {At: 5, Slots: map[string]uint32{"0": 6}}}, services: []Service{balanced(web)}, keep: func(ServiceID) bool { return true }, want: "default/web@5/0:6"},
		// What is new goes around what stands.
		{name: "collision", before: Addresses{"default/old": {At: fresh["default/web"].At}}, services: []Service{balanced(web), balanced(old)}, want: "default/old@11942 default/web@11943"},
		// A name that comes twice, or is none, is one slot or none.
		{name: "slots", before: Addresses{"default/web": {At: 5}}, services: []Service{balanced(web)}, slots: at("0", "0", "../x", ""), want: "default/web@5/0:48579"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			services := servicesOf(tt.services...)
			got, err := tt.before.Allocate(FleetNetwork{}, services, tt.slots, tt.keep)
			if err != nil || showAddresses(got) != tt.want {
				t.Errorf("%v: %s\nwant %s", err, showAddresses(got), tt.want)
			}
		})
	}
	if _, ok := fresh.Of(old); ok {
		t.Error("a service without port has an address")
	}
	if a, ok := fresh.Of(web); !ok || a.At == 0 {
		t.Error("web has no address")
	}
}

func showAddresses(a Addresses) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		text := fmt.Sprintf("%s@%d", key, a[key].At)
		for i, slot := range slices.SortedFunc(maps.Keys(a[key].Slots), compareSlotNames) {
			text += fmt.Sprintf("%s%s:%d", map[bool]string{true: "/", false: ","}[i == 0], slot, a[key].Slots[slot])
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// holdAddresses holds what is true of all addresses: no place twice, and all
// of them in the range.
func holdAddresses(t rapid.TB, n FleetNetwork, a Addresses) {
	seen := map[uint32]string{}
	note := func(at uint32, name string) {
		if v4, _ := n.Place(at); !v4.IsValid() {
			t.Fatalf("%s has place %d, which is none", name, at)
		}
		if other, twice := seen[at]; twice {
			t.Fatalf("%s and %s have place %d", name, other, at)
		}
		seen[at] = name
	}
	for key, s := range a {
		note(s.At, key)
		for slot, at := range s.Slots {
			note(at, key+"/"+slot)
		}
	}
}

// TestAllocateProperties: services and slots come and go; some steps begin
// from a record that others wrote.
func TestAllocateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		network := small
		if rapid.Bool().Draw(t, "large") {
			network = FleetNetwork{}
		}
		var a Addresses
		for range 5 {
			if rapid.IntRange(0, 4).Draw(t, "hostile") == 0 {
				a = drawAddresses(t)
			}
			services, slots := drawServices(t)
			kept := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "kept")
			keep := func(id ServiceID) bool { return id.Name == kept }
			sound := a.Sound(network)
			holdAddresses(t, network, sound)
			next, err := a.Allocate(network, services, slots, keep)
			holdAddresses(t, network, next)
			// Every name that needs a place has one, or the error says why not.
			for id, s := range services {
				at, has := next.Of(id)
				for _, slot := range slots[id] {
					has = has && (at.Slots[slot] != 0 || !s.NeedsAddress())
				}
				if s.NeedsAddress() && !has && err == nil {
					t.Fatalf("%v has no place, and nobody says so: %s", id, showAddresses(next))
				}
			}
			// What stood and is still wanted did not move.
			for key, was := range sound {
				id, _ := parseAddressKey(key)
				now, has := next[key]
				if _, wanted := services[id]; has && now.At != was.At || !has && (wanted || keep(id)) || has && !wanted && !keep(id) {
					t.Fatalf("%s was %+v, is %+v", key, was, now)
				}
				for slot, at := range was.Slots {
					if has && now.Slots[slot] != at && (keep(id) || slices.Contains(slots[id], slot)) {
						t.Fatalf("slot %s of %s moved from %d to %d", slot, key, at, now.Slots[slot])
					}
				}
			}
			// The same again changes nothing, and comes from any order of a map.
			again, err2 := next.Allocate(network, services, slots, keep)
			if fmt.Sprintf("%p", again) != fmt.Sprintf("%p", next) || fmt.Sprint(err) != fmt.Sprint(err2) {
				t.Fatalf("%v, then %v:\n%s\n%s", err, err2, showAddresses(next), showAddresses(again))
			}
			other, _ := maps.Clone(a).Allocate(network, maps.Clone(services), maps.Clone(slots), keep)
			if showAddresses(other) != showAddresses(next) {
				t.Fatalf("another order:\n%s\n%s", showAddresses(next), showAddresses(other))
			}
			a = next
		}
	})
}

func drawServices(t *rapid.T) (map[ServiceID]Service, map[ServiceID][]string) {
	services, slots := map[ServiceID]Service{}, map[ServiceID][]string{}
	for range rapid.IntRange(0, 12).Draw(t, "services") {
		id := ServiceID{rapid.SampledFrom([]string{"default", "shop", "shop-x"}).Draw(t, "namespace"), rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name")}
		s := Service{ID: id, Headless: rapid.Bool().Draw(t, "headless")}
		if rapid.Bool().Draw(t, "port") {
			s = balanced(id)
		}
		services[id] = s
		for i := range rapid.IntRange(0, 30).Draw(t, "slots") {
			slots[id] = append(slots[id], fmt.Sprint(i))
		}
	}
	return services, slots
}

// drawAddresses is what anyone may have written.
func drawAddresses(t *rapid.T) Addresses {
	place := rapid.OneOf(rapid.Uint32Range(0, 4), rapid.Uint32Range(250, 256), rapid.Uint32())
	name := rapid.SampledFrom([]string{"default/a", "shop/a", "shop/b", "shop-x/a", "a", "", "/", "../x", "default/a/b", "Default/A", "\x1b/x"})
	a := Addresses{}
	for range rapid.IntRange(0, 6).Draw(t, "entries") {
		s := ServiceAddress{At: place.Draw(t, "at"), Slots: map[string]uint32{}}
		for range rapid.IntRange(0, 3).Draw(t, "slots") {
			s.Slots[rapid.SampledFrom([]string{"0", "1", "", "../x", "n1", "\x00"}).Draw(t, "slot")] = place.Draw(t, "slot at")
		}
		a[name.Draw(t, "key")] = s
	}
	return a
}

// TestAllocateLost: where the record was lost most get the same again, and all
// who had no neighbour in the way.
func TestAllocateLost(t *testing.T) {
	services, slots := map[ServiceID]Service{}, map[ServiceID][]string{}
	var a Addresses
	for i := range 200 { // one after the other, each beside all before it
		id := inDefault(fmt.Sprintf("s%d", i*7919%200))
		services[id], slots[id] = balanced(id), []string{"0", "1", "2"}
		a, _ = a.Allocate(FleetNetwork{}, services, slots, nil)
	}
	again, err := Addresses(nil).Allocate(FleetNetwork{}, services, slots, nil)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for id := range services {
		if a[id.addressKey()].At != again[id.addressKey()].At {
			moved++
		}
	}
	if moved > 4 {
		t.Errorf("%d of 200 services have another address", moved)
	}
}

// TestAllocateFull: who comes too late is told what to do; who is there stays.
func TestAllocateFull(t *testing.T) {
	services, slots := map[ServiceID]Service{}, map[ServiceID][]string{}
	for i := range 300 {
		id := inDefault(fmt.Sprintf("s%03d", i))
		services[id], slots[id] = balanced(id), []string{"0"}
	}
	a, err := Addresses(nil).Allocate(small, services, slots, nil)
	want := "the range of service addresses 10.9.8.0/24 is full: 46 services and 254 slots have no address, such as service s254; give network.services in fleet.yaml a larger one"
	if err == nil || err.Error() != want || len(a) != 254 {
		t.Errorf("%d have an address: %v\nwant %s", len(a), err, want)
	}
	holdAddresses(t, small, a)
	if again, err := a.Allocate(FleetNetwork{}, services, slots, nil); err != nil || len(again) != 300 || again["default/s000"].At != a["default/s000"].At {
		t.Errorf("in a larger range %d have one: %v", len(again), err)
	}
	// It may be the other family's range that is too small.
	_, err = Addresses(nil).Allocate(FleetNetwork{Services: "10.0.0.0/8"}, services, manySlots(services, 300), nil)
	if err == nil || !strings.Contains(err.Error(), "fd6f:7270:6865:7573::/112 is full") || !strings.Contains(err.Error(), "network.services6") {
		// 90,000 slots fill the record before they fill the range.
		if err == nil || !strings.Contains(err.Error(), "record is full") {
			t.Errorf("error %v", err)
		}
	}
}

func manySlots(services map[ServiceID]Service, n int) map[ServiceID][]string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	slots := map[ServiceID][]string{}
	for id := range services {
		slots[id] = names
	}
	return slots
}

// TestAllocateRecord: the fleet's record stays within its bound, whatever there
// is; the slots of services that are not headless go first.
func TestAllocateRecord(t *testing.T) {
	services := map[ServiceID]Service{}
	for i := range 500 {
		id := inDefault(fmt.Sprintf("plain-%03d", i))
		services[id] = balanced(id)
	}
	for i := range 20 {
		id := ServiceID{strings.Repeat("n", 63), fmt.Sprintf("%s-%02d", strings.Repeat("x", 55), i)}
		services[id] = headless(id)
	}
	a, err := Addresses(nil).Allocate(FleetNetwork{}, services, manySlots(services, 50), nil)
	if err == nil || !strings.Contains(err.Error(), "the fleet's record is full") {
		t.Errorf("error %v", err)
	}
	record := FleetRecord{Format: FormatFleet, By: "n1", Addresses: a}
	if n := len(record.Body()); n > maxBody || n < maxAddressBytes*8/10 {
		t.Errorf("a body of %d bytes", n)
	}
	for id, s := range services {
		if at, ok := a.Of(id); !ok || s.Headless && len(at.Slots) != 50 {
			t.Errorf("%v has %d slots", id, len(at.Slots))
		}
	}
	if again, err2 := a.Allocate(FleetNetwork{}, services, manySlots(services, 50), nil); fmt.Sprintf("%p", again) != fmt.Sprintf("%p", a) || err2.Error() != err.Error() {
		t.Errorf("the same again changes something: %v", err2)
	}
	// One more service pushes slots out, not services.
	late := inDefault(strings.Repeat("z", 58))
	services[late] = balanced(late)
	more, err := a.Allocate(FleetNetwork{}, services, manySlots(services, 50), nil)
	if _, ok := more.Of(late); !ok || err == nil {
		t.Errorf("the new service has no address: %v", err)
	}
	// Too many services, too.
	for i := range 10_000 {
		id := inDefault(fmt.Sprintf("more-%05d", i))
		services[id] = balanced(id)
	}
	most, err := more.Allocate(FleetNetwork{}, services, nil, nil)
	record.Addresses = most
	body := record.Body()
	if _, parseErr := ParseFleetRecord(body); parseErr != nil || len(body) > maxBody || err == nil || !strings.Contains(err.Error(), "services have no address, such as service more-") {
		t.Errorf("%d bytes, %d services: %v, %v", len(body), len(most), err, parseErr)
	}
}

// TestAttack33Addresses: what a hostile writer may put into the fleet's record
// is read, repaired where it cannot be, and takes nobody else's address.
func TestAttack33Addresses(t *testing.T) {
	body := `{"format": 1, "generation": 0, "tokens": 0, "by": "n1", "addresses": {
		"default/web": {"at": 5, "slots": {"0": 6, "1": 5, "../x": 9, "2": 0}, "later": {"x": 1}},
		"default/zzz": {"at": 5, "slots": {"0": 7}},
		"default/all": {"at": 4294967295},
		"default/own": {"at": 0},
		"../../nodes/x": {"at": 8},
		"web": {"at": 10}}}`
	record, err := ParseFleetRecord(body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := showAddresses(record.Addresses.Sound(FleetNetwork{})), "default/web@5/0:6"; got != want {
		t.Errorf("believed: %s\nwant: %s", got, want)
	}
	services := servicesOf(balanced(inDefault("web")), balanced(inDefault("zzz")))
	slots := map[ServiceID][]string{inDefault("web"): {"0", "1"}, inDefault("zzz"): {"0"}}
	a, err := record.Addresses.Allocate(FleetNetwork{}, services, slots, nil)
	holdAddresses(t, FleetNetwork{}, a)
	web, zzz := a["default/web"], a["default/zzz"]
	if err != nil || len(a) != 2 || web.At != 5 || web.Slots["0"] != 6 || zzz.At == 5 || zzz.Slots["0"] != 7 || web.Unknown != `{"later":{"x":1}}` {
		t.Errorf("%v: %s, unknown %q", err, showAddresses(a), web.Unknown)
	}
	record.Addresses = a
	again, err := ParseFleetRecord(record.Body())
	if err != nil || again.Body() != record.Body() || again.Addresses["default/web"].Unknown != web.Unknown {
		t.Errorf("%v\n%s", err, again.Body())
	}
	for _, garbled := range []string{`{"default/web": {"at": -1}}`, `{"default/web": {"at": 4294967296}}`, `{"default/web": 5}`, `[]`, `{"default/web": {"at": 1, "slots": {"0": "1"}}}`} {
		if _, err := ParseFleetRecord(`{"format": 1, "generation": 0, "tokens": 0, "by": "n1", "addresses": ` + garbled + `}`); err == nil || !strings.Contains(err.Error(), "addresses") {
			t.Errorf("%s: error %v", garbled, err)
		}
	}
}

// BenchmarkAllocate: nothing to do for 1,000 services of 10 slots.
func BenchmarkAllocate(b *testing.B) {
	services := map[ServiceID]Service{}
	for i := range 1000 {
		id := inDefault(fmt.Sprintf("s%d", i))
		services[id] = balanced(id)
	}
	slots := manySlots(services, 10)
	a, err := Addresses(nil).Allocate(FleetNetwork{}, services, slots, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if again, _ := a.Allocate(FleetNetwork{}, services, slots, nil); len(again) != 1000 {
			b.Fatal(len(again))
		}
	}
}
