package agent

import (
	"errors"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

// opened drops the published ports that this node keeps to itself, and those
// that two services claim.
func (a *Agent) opened(fronts []runtime.Front) []runtime.Front {
	var own []runtime.LeftOut
	fronts = slices.DeleteFunc(fronts, func(f runtime.Front) bool {
		if f.Kind != runtime.FrontPublished || a.cfg.Policy.MayPublish(f.Port) == "" {
			return false
		}
		own = append(own, runtime.LeftOut{Front: f, Reason: a.cfg.Policy.MayPublish(f.Port)})
		return true
	})
	kept, clashes := withoutClashes(fronts, a.balance.wanted.Fronts)
	a.balance.refused = append(own, clashes...)
	return kept
}

// notOpened takes in which fronts are left out of what stands, and tells a
// problem for each, and of those that are opened now no more.
func (a *Agent) notOpened(left []runtime.LeftOut) {
	b := &a.balance
	b.left = left
	now := b.notOpened()
	if slices.Equal(now, b.told) {
		return
	}
	for _, before := range b.told {
		if !slices.ContainsFunc(now, func(n api.NotOpened) bool { return n.What() == before.What() }) {
			a.problem(before.What(), nil)
		}
	}
	for _, n := range now {
		a.problem(n.What(), errors.New(n.Reason))
	}
	b.told = now
	a.showLed(true)
}

// notOpened are the ports that are wanted and not opened, by service and port,
// and not too many.
func (b *balance) notOpened() []api.NotOpened {
	var out []api.NotOpened
	for _, l := range slices.Concat(b.refused, b.left) {
		n := notOpenedOf(l.Front)
		n.Reason = strings.Join(strings.Fields(l.Reason), " ")
		out = append(out, n)
	}
	slices.SortFunc(out, func(x, y api.NotOpened) int {
		if c := x.ID().Compare(y.ID()); c != 0 {
			return c
		}
		return strings.Compare(x.String(), y.String())
	})
	out = slices.CompactFunc(out, func(x, y api.NotOpened) bool { return x.What() == y.What() })
	return out[:min(len(out), maxReported)]
}

// notOpenedOf is a front that is not opened, without the reason.
func notOpenedOf(f runtime.Front) api.NotOpened {
	n := api.NotOpened{Namespace: f.Service.Namespace, Name: f.Service.Name, Kind: "published", Address: f.Address, Port: f.Port, Protocol: f.Protocol}
	switch f.Kind {
	case runtime.FrontService:
		n.Kind = "service"
	case runtime.FrontHost:
		n.Kind = "host"
	}
	return n
}

// oneLine is an error as one sentence of several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
