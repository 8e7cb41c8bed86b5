package agent

import (
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// led is a service whose connections are led, with all that decides where to.
// It is made anew where something of it changes, never changed.
type led struct {
	// service has, behind the ports that it declares, those of its images: see
	// addImagePorts.
	service  planner.Service
	declared int
	place    planner.ServiceAddress
	// address are those of the service, slots those of its slots.
	address addresses
	slots   map[string]addresses
	// closed says why the address does not have a port here, see closedPorts.
	closed []string
	here   []local
	there  []remote
}

// addresses of one thing by family: IPv4, IPv6; "" = none.
type addresses [2]string

// local is an instance of this node as a place to connect to.
type local struct {
	id       string
	slot     string
	revision planner.Revision
	// takes: new connections; it is ready, and its end is not decided. runs: it
	// may while none of the service takes any, since it has no probes that say
	// whether it is ready.
	takes, runs bool
	address     addresses
	own         bool  // the addresses are its own, not the node's
	ports       []int // it listens on, in the order of the service's ports; 0 = not on this one
	hostPorts   []int // of the node that lead to them; 0 = none
	image       []imagePort
	reason      string
}

// remote is an instance of another node that takes connections.
type remote struct {
	node     planner.NodeName
	slot     string
	revision planner.Revision
	address  string // of the node; "" = not known
	ports    []int  // of the node, in the order of the service's ports; 0 = none
	image    []imagePort
}

func (l local) same(o local) bool {
	return l.id == o.id && l.slot == o.slot && l.revision == o.revision && l.takes == o.takes && l.runs == o.runs &&
		l.address == o.address && l.own == o.own && l.reason == o.reason && slices.Equal(l.ports, o.ports) && slices.Equal(l.hostPorts, o.hostPorts) && slices.Equal(l.image, o.image)
}

func (r remote) same(o remote) bool {
	return r.node == o.node && r.slot == o.slot && r.revision == o.revision && r.address == o.address && slices.Equal(r.ports, o.ports) && slices.Equal(r.image, o.image)
}

// same reports whether the same is led to the same places. Whether the
// service's manifest is the same the caller knows.
func (l *led) same(o *led) bool {
	return l.address == o.address && slices.Equal(l.service.Ports, o.service.Ports) && slices.Equal(l.closed, o.closed) && maps.Equal(l.slots, o.slots) && l.place.At == o.place.At && maps.Equal(l.place.Slots, o.place.Slots) &&
		slices.EqualFunc(l.here, o.here, local.same) && slices.EqualFunc(l.there, o.there, remote.same)
}

// taken reports whether any instance of the service but one takes connections.
func (l *led) taken(but string) bool {
	return len(l.there) > 0 || slices.ContainsFunc(l.here, func(i local) bool { return i.takes && i.id != but })
}

// targets are where port k of an instance of this node is reached.
func (l local) targets(k int) []runtime.Target {
	var out []runtime.Target
	for _, address := range l.address {
		if address != "" && l.ports[k] != 0 {
			out = append(out, runtime.Target{Address: address, Port: l.ports[k]})
		}
	}
	return out
}

// targets are where port k of an instance elsewhere is reached.
func (r remote) targets(k int) []runtime.Target {
	if r.address == "" || r.ports[k] == 0 {
		return nil
	}
	return []runtime.Target{{Address: r.address, Port: r.ports[k]}}
}

// scope says which instances connections are led to.
type scope struct {
	slot string // "" = of all slots
	here bool   // of this node only
}

// targets are where connections to port k are led to: to instances that take
// connections or, while there is none in the whole fleet, to those here that
// run.
func (l *led) targets(k int, of scope) []runtime.Target {
	var takes, runs []runtime.Target
	taken := false
	for _, i := range l.here {
		switch {
		case of.slot != "" && i.slot != of.slot:
		case i.takes:
			taken = true
			takes = append(takes, i.targets(k)...)
		case i.runs:
			runs = append(runs, i.targets(k)...)
		}
	}
	for _, r := range l.there {
		if of.slot == "" || r.slot == of.slot {
			taken = true
			if !of.here {
				takes = append(takes, r.targets(k)...)
			}
		}
	}
	if !taken {
		takes = runs
	}
	return ordered(takes)
}

// relief is where the port of the node that leads to port k of an instance
// leads while that takes no connections: who has not heard of it yet is served
// all the same.
func (l *led) relief(k int, but string) []runtime.Target {
	var here, there []runtime.Target
	for _, i := range l.here {
		if i.takes && i.id != but {
			here = append(here, i.targets(k)...)
		}
	}
	for _, r := range l.there {
		there = append(there, r.targets(k)...)
	}
	if len(here) > 0 {
		return ordered(here)
	}
	return ordered(there)
}

// ordered sorts targets: equal ones make equal fronts.
func ordered(targets []runtime.Target) []runtime.Target {
	slices.SortFunc(targets, func(a, b runtime.Target) int {
		if c := strings.Compare(a.Address, b.Address); c != 0 {
			return c
		}
		return a.Port - b.Port
	})
	return slices.Compact(targets)
}

// six reports whether an address is one of IPv6.
func six(address string) bool { return strings.Contains(address, ":") }

// ofFamily are the targets of one family: 0 is IPv4, 1 is IPv6.
func ofFamily(targets []runtime.Target, family int) []runtime.Target {
	var out []runtime.Target
	for _, t := range targets {
		if six(t.Address) == (family == 1) {
			out = append(out, t)
		}
	}
	return out
}
