package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/reach"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxSilentTold bounds the places that the status names as not answering.
const maxSilentTold = 5

// newReach makes the watch over instances on other nodes that connections are
// led to. What it finds takes effect without waiting for the loop.
func (a *Agent) newReach() *reach.Watch {
	var w *reach.Watch
	w = reach.New(reach.Config{
		Balancer: a.cfg.Balancer, Dial: a.cfg.Dial, Log: a.log,
		Apply: func(ctx context.Context) error {
			bounded, cancel := context.WithTimeout(ctx, balanceTimeout)
			defer cancel()
			return a.eject(bounded, w.Ejected())
		},
	})
	return w
}

// eject has no connections led to what does not answer. It may be called from
// any goroutine but the loop's.
func (a *Agent) eject(ctx context.Context, ejected map[reach.Key]reach.Ejection) error {
	out, shown := map[reached]bool{}, map[reached]ejection{}
	for key, e := range ejected {
		place := reached{key.Target, key.Protocol}
		out[place], shown[place] = true, ejection{e.Since, e.Reason}
	}
	err := a.balance.kernel.eject(ctx, out)
	a.ledShown.showEjected(shown)
	a.work(func() { // the loop may be busy
		a.post(func() { a.problem("unanswered", describeEjected(a.reach.Ejected())) })
	})
	return err
}

// describeEjected names some of what does not answer; nil = all does.
func describeEjected(ejected map[reach.Key]reach.Ejection) error {
	if len(ejected) == 0 {
		return nil
	}
	told := map[string]bool{}
	for key, e := range ejected {
		told[fmt.Sprintf("%s (%s)", key.Slot, e.Reason)] = true
	}
	var all []string
	for text := range told {
		all = append(all, text)
	}
	slices.Sort(all)
	more := ""
	if n := len(all) - maxSilentTold; n > 0 {
		all, more = all[:maxSilentTold], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("no connections are led to instances on other nodes that do not answer this one: %s%s", strings.Join(all, ", "), more)
}

// watchReach says which instances elsewhere connections are led to.
func (a *Agent) watchReach() {
	if a.reach == nil {
		return
	}
	f := reach.Fleet{Services: map[planner.ServiceID]reach.Service{}, Peers: map[planner.NodeName]string{}}
	for name, n := range a.fleet.member.View().Nodes {
		if name != a.cfg.Node.Name && n.Live() && n.Record.Address != "" {
			f.Peers[name] = n.Record.Address
		}
	}
	for id, c := range a.balance.led {
		if len(c.there) == 0 {
			continue
		}
		s := reach.Service{}
		for _, i := range c.here {
			if i.takes {
				s.Local++
			}
		}
		for _, r := range c.there {
			s.Remote = append(s.Remote, r.watched(c.service)...)
		}
		f.Services[id] = s
	}
	a.reach.Set(f)
}

// watched are the endpoints of an instance elsewhere, one for each of its ports.
func (r remote) watched(s planner.Service) []reach.Endpoint {
	var out []reach.Endpoint
	for k, p := range s.Ports {
		for _, t := range r.targets(k) {
			e := reach.Endpoint{Node: r.node, Key: reach.Key{
				Slot: planner.SlotID{Service: s.ID, Name: r.slot}, Container: p.Container, Protocol: p.Protocol, Target: t,
			}}
			if !slices.Contains(out, e) {
				out = append(out, e)
			}
		}
	}
	return out
}
