package fleettest

import (
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// instance is what the driver of a machine runs.
type instance struct {
	planner.Instance
	ready time.Duration // true time from when on it answers its probe; 0 = never
	noted bool          // the agent has taken its exit for a failure
	once  bool          // it runs to its end
	// worked: it was ready when it exited. ending: somebody decided its end.
	// fenced: its node was, while it ran.
	worked, ending, fenced bool
}

// isReady reports whether the instance answers its probe.
func (i *instance) isReady(now time.Duration) bool {
	return i.State == planner.StateRunning && i.ready != 0 && now >= i.ready
}

// flight is an action under way.
type flight struct {
	action planner.Action
	spec   planner.Template // of a start
}

// listing is what the driver shows, in order.
func (m *machine) listing() []planner.Instance {
	if m.silent {
		return nil
	}
	all := make([]planner.Instance, 0, len(m.instances))
	for _, id := range slices.Sorted(maps.Keys(m.instances)) {
		all = append(all, m.instances[id].Instance)
	}
	return all
}

// afterReboot is what a driver finds when the machine is back.
func (m *machine) afterReboot() map[string]*instance {
	left := map[string]*instance{}
	for _, id := range slices.Sorted(maps.Keys(m.instances)) {
		i := m.instances[id]
		if i.State != planner.StatePartial && m.w.rng.IntN(8) > 0 {
			i.State, i.Exit, i.ready, i.noted = planner.StateExited, &planner.Exit{Unknown: true}, 0, false
			left[id] = i
		}
	}
	return left
}

// launch begins an action.
func (p *process) launch(a planner.Action) {
	w, m := p.w, p.m
	f := &flight{action: a, spec: p.specs[a.Lease.Revision]}
	p.flights[a.Instance] = f
	w.say(m.called, "%s", a)
	w.witness.acts[a.Slot.Service]++
	took := w.between(50*time.Millisecond, 400*time.Millisecond)
	if a.Kind == planner.ActionStart || a.Kind == planner.ActionRestart {
		if f.spec.Once {
			m.disk.begun[onceKey{a.Slot.Service, a.Lease.Token, a.Lease.Revision}] = true
		}
		w.witness.starts(p, a)
		took += p.pulling(f.spec)
	} else {
		w.witness.ends(p, a)
		if a.Kind == planner.ActionStop {
			took += w.between(0, a.Grace)
		}
	}
	p.later(took, func() { p.landed(f) })
}

// pulling is how long the images take to come.
func (p *process) pulling(t planner.Template) time.Duration {
	for _, ref := range t.Images() {
		if !p.m.images[ref] {
			return p.w.between(200*time.Millisecond, 3*time.Second)
		}
	}
	return 0
}

// pull has the images of a template on the machine, or says why not.
func (p *process) pull(t planner.Template) string {
	for _, ref := range t.Images() {
		if !p.m.images[ref] && p.w.registryDown {
			return "the registry does not answer"
		}
		p.m.images[ref] = true
	}
	return ""
}

// landed ends an action.
func (p *process) landed(f *flight) {
	m, a := p.m, f.action
	delete(p.flights, a.Instance)
	p.dirty = true
	starts := a.Kind == planner.ActionStart || a.Kind == planner.ActionRestart
	if m.startFails && p.w.rng.IntN(3) > 0 {
		p.failed(a.Instance, a.Slot, a.Lease.Revision, "the driver fails")
		if starts {
			p.counts(a.Instance, a.Slot, true)
		}
		return
	}
	if starts {
		if why := p.pull(f.spec); why != "" {
			p.failed(a.Instance, a.Slot, a.Lease.Revision, why)
			delete(m.disk.begun, onceKey{a.Slot.Service, a.Lease.Token, a.Lease.Revision}) // nothing of it was executed
			delete(p.w.witness.hooks, hookID{a.Slot.Service, a.Lease.Hook, f.spec.Of})
			return
		}
		if !p.w.calm && p.w.rng.IntN(40) == 0 {
			p.failed(a.Instance, a.Slot, a.Lease.Revision, "the start fails")
			p.counts(a.Instance, a.Slot, true)
			return
		}
	}
	m.carryOut(a, f.spec)
}

// failed lets an instance back off, as if it had failed once more for each node on
// which its slot was given up.
func (p *process) failed(id string, slot planner.SlotID, rev planner.Revision, why string) {
	n := p.backoff[id].Failures
	next := planner.Backoff{Failures: n + p.givenUpOn(slot, rev)}.Failed(p.now().Boot, why)
	next.Failures = n + 1
	p.backoff[id] = next
}

// counts notes a failure that is the instance's own, or its driver's. never: it
// never became ready.
func (p *process) counts(id string, slot planner.SlotID, never bool) {
	p.failures[id]++
	if never {
		p.starts.fail(slot, p.now().Boot)
	}
}

// carryOut is what an action does to the driver.
func (m *machine) carryOut(a planner.Action, t planner.Template) {
	w := m.w
	delete(m.instances, a.Instance)
	if a.Kind != planner.ActionStart && a.Kind != planner.ActionRestart {
		w.say(m.called, "%s is gone", a.Instance)
		w.witness.ran(m)
		return
	}
	i := &instance{Instance: planner.Instance{
		ID: a.Instance, Driver: a.Driver, Slot: a.Slot, Node: m.node, Epoch: a.Lease.Epoch, Token: a.Lease.Token,
		Revision: a.Lease.Revision, State: planner.StateRunning, GracePeriod: a.Grace,
		Containers: []planner.ContainerState{{
			Name: planner.MainContainer, Image: t.Containers[0].Image, Digest: w.digest(t.Containers[0].Image), State: planner.StateRunning,
		}},
	}}
	m.instances[i.ID] = i
	m.live(i, t)
	w.say(m.called, "%s runs (%s token %d)", i.ID, i.Slot, i.Token)
	w.witness.ran(m)
}

// cutOff is what the death of an agent makes of the actions under way.
func (p *process) cutOff() {
	for _, id := range slices.Sorted(maps.Keys(p.flights)) {
		f := p.flights[id]
		a := f.action
		switch i := p.m.instances[id]; p.w.rng.IntN(3) {
		case 0:
		case 1:
			if why := p.pull(f.spec); why == "" {
				p.m.carryOut(a, f.spec)
			}
		default:
			if i != nil {
				i.State, i.Exit = planner.StateExited, &planner.Exit{Unknown: true}
			} else if a.Kind == planner.ActionStart {
				p.m.instances[id] = &instance{Instance: planner.Instance{
					ID: id, Driver: a.Driver, Slot: a.Slot, Node: p.m.node, Epoch: a.Lease.Epoch, Token: a.Lease.Token,
					Revision: a.Lease.Revision, State: planner.StatePartial, GracePeriod: a.Grace,
				}}
			}
		}
	}
}

// digest is what a tag stands for now: tags move.
func (w *World) digest(ref string) string {
	return "sha256:" + hexSum(ref, w.tags)
}
