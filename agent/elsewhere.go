package agent

import (
	"hash/maphash"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// gathered is what was made of the records and announcements, and of what: it
// is made anew only where something of that changed, since it goes over the
// whole fleet.
type gathered struct {
	followed uint64 // number of what is followed
	records  recordsKey
	places   planner.Addresses
	given    planner.Addresses // as they count
	v4, v6   string            // the ranges of service addresses
	there    map[planner.ServiceID][]planner.RemoteInstance
	silent   map[planner.ServiceID][]silent
	nodes    []string // addresses of the fleet's other nodes
}

// recordsKey tells whether nodes, leases or announcements changed.
type recordsKey struct {
	known  bool
	nodes  map[planner.NodeName]nodeKey
	leases uint64
}

// same reports whether two keys are of the same; the zero value, of nothing
// gathered yet, is the same as none.
func (k recordsKey) same(o recordsKey) bool {
	return o.nodes != nil && k.known == o.known && k.leases == o.leases && maps.Equal(k.nodes, o.nodes)
}

type nodeKey struct {
	address, incarnation, says string
	live                       bool
	since                      time.Duration
	heard                      heardOf
}

// silent is an instance of another node that takes no connections, though it
// may have taken some.
type silent struct {
	node     planner.NodeName
	slot     string
	revision planner.Revision
	reason   string
}

var leaseSeed = maphash.MakeSeed()

func (a *Agent) recordsKey() recordsKey {
	view := a.fleet.member.View()
	// Records that went back tell of another time.
	k := recordsKey{known: a.knowsFleet() && view.Alarm == "", nodes: make(map[planner.NodeName]nodeKey, len(view.Nodes))}
	for name, n := range view.Nodes {
		k.nodes[name] = nodeKey{
			address: n.Record.Address, incarnation: n.Record.Incarnation, says: n.Status.Incarnation, live: n.Live(), since: n.StatusSince,
		}
	}
	for name, h := range a.serving.heard {
		key := k.nodes[name]
		key.heard = heardOf{h.Incarnation, h.Serving}
		k.nodes[name] = key
	}
	for id, doc := range view.Docs { // a sum: in any order
		k.leases += maphash.Comparable(leaseSeed, struct {
			planner.ServiceID
			since time.Duration
		}{id, doc.Since})
	}
	return k
}

// knowsFleet reports whether this process knows as much of the fleet as the
// last did: it has read the records, and has heard of every live node what it
// announces, or waited for it. Until then what the last process knew counts.
func (a *Agent) knowsFleet() bool {
	ms := a.fleet
	if a.net.known || !ms.member.Whole() {
		return a.net.known
	}
	view, late := ms.member.View(), a.cfg.Clock().Boot >= ms.begun+firstLook
	for name, n := range view.Nodes {
		if name != view.Self && n.Live() && n.Record.Address != "" && a.serving.heard[name].Incarnation != n.Record.Incarnation && a.net.loaded && !late && ms.cfg.Peers != nil {
			return false
		}
	}
	a.net.known = true
	return true
}

// gatherElsewhere brings up to date what the records and announcements say, and
// reports whether that changed.
func (a *Agent) gatherElsewhere() bool {
	g := &a.balance.gather
	changed := false
	if g.followed != a.followings {
		g.followed, changed = a.followings, true
	}
	if a.fleet != nil {
		if key := a.recordsKey(); !key.same(g.records) {
			g.records, changed = key, true
			a.gatherFleet()
		}
	}
	if places := a.places(changed); changed || !sameMap(places, g.places) {
		g.places, changed = places, true
		g.given = places.Sound(a.state.followed.Fleet.Network)
	}
	g.v4, g.v6 = "", ""
	if v4, v6, err := a.state.followed.Fleet.Network.Ranges(); err == nil {
		g.v4 = v4.String()
		if a.subnets[1] != "" {
			g.v6 = v6.String()
		}
	}
	return changed
}

// sameMap reports whether two maps are one: who changes addresses makes a new
// map.
func sameMap(a, b planner.Addresses) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// gatherFleet makes lists of what others run anew.
func (a *Agent) gatherFleet() {
	g, view := &a.balance.gather, a.fleet.member.View()
	if !g.records.known {
		g.there, g.nodes, g.silent = a.remembered(), a.net.nodes, nil
		return
	}
	g.there = planner.Serving(view, a.serving.heard)
	g.nodes, g.silent = nil, map[planner.ServiceID][]silent{}
	serves := map[planner.NodeName]map[planner.SlotID]planner.Revision{}
	for _, there := range g.there {
		for _, i := range there {
			if serves[i.Node] == nil {
				serves[i.Node] = map[planner.SlotID]planner.Revision{}
			}
			serves[i.Node][i.Slot] = i.Revision
		}
	}
	for name, n := range view.Nodes {
		if name == view.Self || n.Record.Retired {
			continue
		}
		// Also where it was fenced: what it runs goes on, and needs what runs here.
		if host, why := view.Reach(name); why == "" {
			g.nodes = append(g.nodes, host.String())
		}
		if !n.Live() || !n.Current() {
			continue
		}
		for _, i := range n.Status.Instances {
			shown := i.Phase == planner.PhaseReady || i.Phase == planner.PhaseUnhealthy || i.Phase == planner.PhaseStarting
			if rev, takes := serves[name][i.Slot]; shown && !(takes && rev == i.Revision) {
				id := i.Slot.Service
				g.silent[id] = append(g.silent[id], silent{name, i.Slot.Name, i.Revision, reasonOf(i)})
			}
		}
	}
	slices.Sort(g.nodes)
	g.nodes = slices.Compact(g.nodes)
	for _, list := range g.silent {
		slices.SortFunc(list, func(a, b silent) int {
			return strings.Compare(a.slot+" "+string(a.node)+" "+string(a.revision), b.slot+" "+string(b.node)+" "+string(b.revision))
		})
	}
}

func reasonOf(i planner.InstanceStatus) string {
	if i.Reason != "" {
		return i.Reason
	}
	if i.Phase == planner.PhaseReady {
		return "it takes no connections: it ends, or has just become ready"
	}
	return string(i.Phase)
}

// specOf is the template of a revision of a service, where it is known.
func (a *Agent) specOf(s planner.Service, rev planner.Revision) (planner.Template, bool) {
	if spec, known := s.TemplateOf(rev); known {
		return spec, true
	}
	if spec, known := a.state.specs[rev]; known {
		return spec, true
	}
	if a.fleet != nil {
		return a.fleet.member.Spec(rev)
	}
	return planner.Template{}, false
}

// remotes are the instances of a service on other nodes, with the ports that
// lead to them in the order of the service's.
func (a *Agent) remotes(s planner.Service) []remote {
	var out []remote
	inside := a.inside()
	for _, i := range a.balance.gather.there[s.ID] {
		if i.Address == "" || inside(i.Address) {
			continue
		}
		r := remote{node: i.Node, slot: i.Slot.Name, revision: i.Revision, address: i.Address, ports: make([]int, len(s.Ports))}
		if s.HasImagePorts() {
			r.image = exposedAt(i.Endpoints)
		}
		spec, _ := a.specOf(s, i.Revision)
		for k, p := range s.Ports {
			listens := containerPort(spec, p)
			for _, e := range i.Endpoints {
				if e.Container == listens && (e.Protocol == p.Protocol || e.Protocol == "" && p.Protocol == "tcp") {
					r.ports[k] = e.Host
				}
			}
		}
		out = append(out, r)
	}
	return out
}
