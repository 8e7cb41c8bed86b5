package agent

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// departTime is how long an instance that is to stop waits for other nodes to
// lead connections past it. Who has not heard by then is served all the same:
// the ports that lead to the instance lead on to others.
const departTime = 3 * time.Second

// serving is what nodes tell each other of the instances that take connections.
type serving struct {
	// told is what this node says of its own, in the records and to its peers;
	// number rises with each change. Those of a former process stand until this
	// one knows better.
	told   []planner.ServingInstance
	number uint64
	begun  bool // told is of this process
	sent   sentTo

	heard      map[planner.NodeName]planner.Heard
	applied    map[planner.NodeName]heardOf // that connections are led by
	departures map[string]departure         // by instance id
}

// sentTo is what peers were told last, and whom.
type sentTo struct {
	number uint64
	to     []fleet.Peer
}

// heardOf names one announcement of a node.
type heardOf struct {
	incarnation string
	serving     uint64
}

// departure is an instance that waits, before it stops, until other nodes lead
// connections past it.
type departure struct {
	since  time.Duration // boot time
	number uint64        // of what peers were told without it
}

// serves lists the endpoints of an instance of this node, as others reach them.
func (l local) serves(id planner.ServiceID, ports []planner.Port) planner.ServingInstance {
	out := planner.ServingInstance{Slot: planner.SlotID{Service: id, Name: l.slot}, Revision: l.revision}
	for k, p := range ports {
		e := planner.Endpoint{Container: l.ports[k], Host: l.hostPorts[k]}
		if p.Protocol != "tcp" {
			e.Protocol = p.Protocol
		}
		e.Exposed = l.exposes(e.Container, p.Protocol)
		if e.Host != 0 && len(out.Endpoints) < planner.MaxEndpoints && !slices.Contains(out.Endpoints, e) {
			out.Endpoints = append(out.Endpoints, e)
		}
	}
	return out
}

// servedBy lists what takes connections of what is led, in order.
func servedBy(services map[planner.ServiceID]*composed) []planner.ServingInstance {
	var out []planner.ServingInstance
	for _, id := range sortedServices(services) {
		for _, i := range services[id].here {
			if s := i.serves(id, services[id].service.Ports); i.takes && len(s.Endpoints) > 0 {
				out = append(out, s)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b planner.ServingInstance) int {
		if c := a.Slot.Compare(b.Slot); c != 0 {
			return c
		}
		return strings.Compare(string(a.Revision), string(b.Revision))
	})
	return out
}

// kept are those of the instances told that still take connections as told.
func kept(told, serves []planner.ServingInstance) []planner.ServingInstance {
	still := map[string]planner.ServingInstance{}
	for _, i := range serves {
		still[i.Slot.String()+" "+string(i.Revision)] = i
	}
	var out []planner.ServingInstance
	for _, i := range told {
		if now, is := still[i.Slot.String()+" "+string(i.Revision)]; is && reflect.DeepEqual(i, now) {
			out = append(out, i)
		}
	}
	return out
}

// tell says to peers, and with the next report to the records, which instances
// of this node take connections.
func (a *Agent) tell(list []planner.ServingInstance) {
	s := &a.serving
	if a.fleet == nil {
		return
	}
	if !sameServing(list, s.told) || s.number == 0 {
		s.told = list
		s.number++
		a.balance.news, a.net.unsaved = true, true
	}
	s.begun = true
	a.announce()
}

func sameServing(a, b []planner.ServingInstance) bool {
	return slices.EqualFunc(a, b, func(x, y planner.ServingInstance) bool {
		return x.Slot == y.Slot && x.Revision == y.Revision && slices.Equal(x.Endpoints, y.Endpoints)
	})
}

// announce tells the peers there are now, where that is news to any.
func (a *Agent) announce() {
	s := &a.serving
	if a.fleet == nil || a.fleet.cfg.Peers == nil || !s.begun {
		return
	}
	to := a.fleet.member.Peers().Tell
	if s.sent.number == s.number && slices.Equal(s.sent.to, to) {
		return
	}
	s.sent = sentTo{s.number, to}
	a.fleet.cfg.Peers.Announce(planner.Announcement{
		Incarnation: a.fleet.member.Incarnation(), Serving: s.number, Instances: s.told,
	}, to)
}

// endpointsOf are what this node says of one instance.
func (s *serving) endpointsOf(slot planner.SlotID, rev planner.Revision) []planner.Endpoint {
	for _, i := range s.told {
		if i.Slot == slot && i.Revision == rev {
			return i.Endpoints
		}
	}
	return nil
}

// hearPeers takes in what other nodes announce, each at once.
func (a *Agent) hearPeers(ctx context.Context) {
	p := a.fleet.cfg.Peers
	a.work(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case said := <-p.Announcements():
				a.post(func() { a.hear(ctx, said) })
			case <-p.Acknowledgements():
				a.post(func() {})
			}
		}
	})
}

// hear leads connections by what a node announces, without waiting for a pass:
// that node holds up the end of an instance until this one does.
func (a *Agent) hear(ctx context.Context, said fleet.Announced) {
	if why := said.Check(); why != nil {
		a.log.Warn("announcement of a peer refused", "peer", said.Node, "err", why)
		return
	}
	delete(a.serving.applied, said.Node) // said again, it is acknowledged again
	a.serving.heard[said.Node] = planner.Heard{Announcement: said.Announcement, At: a.cfg.Clock().Boot}
	a.rebalance(ctx)
}

// applied acknowledges what connections are led by now.
func (a *Agent) applied() {
	if a.fleet == nil || a.fleet.cfg.Peers == nil {
		return
	}
	for node, h := range a.serving.heard {
		if of := (heardOf{h.Incarnation, h.Serving}); a.serving.applied[node] != of {
			a.serving.applied[node] = of
			a.fleet.cfg.Peers.Applied(node, h.Incarnation, h.Serving)
		}
	}
}

// depart notes the instances that are to stop while others take the connections
// of their service. It comes after peers were told.
func (a *Agent) depart(plan planner.Plan) {
	now := a.cfg.Clock().Boot
	before := a.serving.departures
	a.serving.departures = map[string]departure{}
	for _, action := range plan.Actions {
		if !stops(action) || a.fleet == nil || a.fleet.cfg.Peers == nil {
			continue
		}
		d, known := before[action.Instance]
		if !known && !a.relieved(action.Slot.Service, action.Instance) {
			continue
		}
		if !known {
			d = departure{now, a.serving.number}
		}
		a.serving.departures[action.Instance] = d
	}
}

// stops reports whether an action ends what runs.
func stops(action planner.Action) bool {
	return action.Kind == planner.ActionStop || action.Kind == planner.ActionKill
}

// departing reports whether an instance that is to stop still waits for other
// nodes. It holds up nothing else.
func (a *Agent) departing(action planner.Action) bool {
	d, waits := a.serving.departures[action.Instance]
	if !waits || !stops(action) || a.cfg.Clock().Boot-d.since >= departTime {
		return false
	}
	return len(a.fleet.cfg.Peers.Awaited(d.number)) > 0
}
