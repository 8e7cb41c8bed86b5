package agent

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// shownLed is how connections are led, for readers on other goroutines.
type shownLed struct {
	mu     sync.Mutex
	now    *ledNow        // nil = not known yet
	answer *api.Endpoints // made of now; nil = to be made
}

// ledNow is how connections are led at one instant. It is never changed.
type ledNow struct {
	node     planner.NodeName
	v4, v6   string
	services map[planner.ServiceID]*composed
	silent   map[planner.ServiceID][]silent
	fronts   []runtime.Front
	left     map[planner.ServiceID][]api.NotOpened
	err      error
	fails    time.Duration // boot time of the first failure
	errSince time.Time
	ejected  map[reached]ejection
}

// ejection says why connections are not led to a place on another node.
type ejection struct {
	since  time.Time
	reason string
}

// showLed makes known how connections are led now, if that changed or whether
// it stands.
func (a *Agent) showLed(changed bool) {
	b := &a.balance
	if s := &a.ledShown; !changed && s.of(b.why, b.fails) {
		return
	}
	n := &ledNow{
		node: a.cfg.Node.Name, v4: b.gather.v4, v6: b.gather.v6, services: b.led, silent: b.gather.silent, fronts: b.wanted.Fronts,
		err: b.why, fails: b.fails, left: map[planner.ServiceID][]api.NotOpened{},
	}
	for _, l := range b.told {
		n.left[l.ID()] = append(n.left[l.ID()], l)
	}
	if b.fails != 0 {
		now := a.cfg.Clock()
		n.errSince = now.Wall.Add(b.fails - now.Boot)
	}
	a.ledShown.mu.Lock()
	defer a.ledShown.mu.Unlock()
	if a.ledShown.now != nil {
		n.ejected = a.ledShown.now.ejected
	}
	a.ledShown.now, a.ledShown.answer = n, nil
}

// of reports whether what is shown has this error, since that boot time.
func (s *shownLed) of(err error, fails time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.now != nil && (s.now.err == nil) == (err == nil) && s.now.fails == fails
	return same && (err == nil || s.now.err.Error() == err.Error())
}

// showEjected makes known what does not answer.
func (s *shownLed) showEjected(ejected map[reached]ejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := ledNow{}
	if s.now != nil {
		next = *s.now
	}
	next.ejected = ejected
	if s.now != nil {
		s.now, s.answer = &next, nil
	}
}

// Endpoints is how connections are led; nil as long as that is not known. It
// may be called from any goroutine; the result must not be changed.
func (a *Agent) Endpoints() *api.Endpoints {
	s := &a.ledShown
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return nil
	}
	if s.answer == nil {
		s.answer = s.now.endpoints()
	}
	return s.answer
}

func (n *ledNow) endpoints() *api.Endpoints {
	out := &api.Endpoints{Node: n.node, Range: n.v4, Range6: n.v6, Services: []api.ServiceEndpoints{}}
	for _, f := range n.fronts {
		if n.closed(f) {
			continue
		}
		switch f.Kind {
		case runtime.FrontService:
			out.Balanced.Addresses++
		case runtime.FrontPublished:
			out.Balanced.Published++
		case runtime.FrontHost:
			out.Balanced.HostPorts++
		}
		out.Balanced.Targets += len(f.Targets)
	}
	if n.err != nil {
		out.Balanced.Error, out.Balanced.ErrorSince = oneLine(n.err), n.errSince
	}
	for _, id := range sortedServices(n.services) {
		out.Services = append(out.Services, n.service(n.services[id].led))
	}
	return out
}

// closed reports whether a front is wanted and not opened.
func (n *ledNow) closed(f runtime.Front) bool {
	return slices.ContainsFunc(n.left[f.Service], func(l api.NotOpened) bool { return l.What() == notOpenedOf(f).What() })
}

func (n *ledNow) service(l *led) api.ServiceEndpoints {
	s := l.service
	out := api.ServiceEndpoints{Namespace: s.ID.Namespace, Name: s.ID.Name, Headless: s.Headless, Aliases: s.Aliases, ImagePorts: s.HasImagePorts(), NotOpened: n.left[s.ID]}
	out.NotOpened = slices.Concat(out.NotOpened, l.notOpened())
	if !s.Headless && !l.hidden() {
		out.Address, out.Address6 = l.address[0], l.address[1]
		if out.Address6 != "" && !slices.Contains(l.answered(l.address, scope{}, scope{}), out.Address6) {
			out.Address6 = "" // the name does not resolve to it either
		}
	}
	for k, p := range s.Ports {
		e := api.EndpointPort{Name: p.Name, Protocol: p.Protocol, Container: p.Container, Port: p.Port, Image: k >= l.declared}
		if p.Publish != nil {
			e.Published, e.Mode, e.Bind = p.Publish.Port, cmp.Or(p.Publish.Mode, "fleet"), p.Publish.Address
		}
		out.Ports = append(out.Ports, e)
	}
	for _, i := range l.here {
		out.Endpoints = append(out.Endpoints, n.local(l, i))
	}
	for _, r := range l.there {
		out.Endpoints = append(out.Endpoints, n.remote(l, r))
	}
	for _, i := range n.silent[s.ID] {
		out.Endpoints = append(out.Endpoints, api.Endpoint{
			Slot: i.slot, Node: i.node, State: api.EndpointDraining, Reason: i.reason, Revision: i.revision, SlotAddress: l.slots[i.slot][0],
		})
	}
	slices.SortStableFunc(out.Endpoints, func(a, b api.Endpoint) int {
		return cmp.Or(compareSlots(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node))
	})
	return out
}

func (n *ledNow) local(l *led, i local) api.Endpoint {
	e := api.Endpoint{Slot: i.slot, Node: n.node, State: api.EndpointReady, Revision: i.revision, SlotAddress: l.slots[i.slot][0]}
	if !i.takes {
		e.State, e.Reason = api.EndpointDraining, i.reason
	}
	for k := range l.service.Ports {
		e.Targets = append(e.Targets, first(i.targets(k)))
	}
	return e
}

func (n *ledNow) remote(l *led, r remote) api.Endpoint {
	e := api.Endpoint{Slot: r.slot, Node: r.node, State: api.EndpointReady, Revision: r.revision, SlotAddress: l.slots[r.slot][0]}
	for k, p := range l.service.Ports {
		targets := r.targets(k)
		e.Targets = append(e.Targets, first(targets))
		for _, t := range targets {
			if out, is := n.ejected[reached{t, p.Protocol}]; is {
				e.State, e.Reason, e.Since = api.EndpointEjected, out.reason, out.since
			}
		}
	}
	return e
}

// first is the first of several targets, as people write it; "" = there is none.
func first(targets []runtime.Target) string {
	if len(targets) == 0 {
		return ""
	}
	return net.JoinHostPort(targets[0].Address, strconv.Itoa(targets[0].Port))
}

// compareSlots orders slots of a service: numbers first, by size.
func compareSlots(a, b string) int {
	return planner.SlotID{Name: a}.Compare(planner.SlotID{Name: b})
}
