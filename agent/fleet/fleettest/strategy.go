package fleettest

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// strategy draws how changes of a service are rolled out.
func (c *chaos) strategy(s planner.Service) planner.Service {
	single := s.Template.SingleWriter()
	s.Update = planner.Update{StopFirst: c.rng.IntN(4) == 0, NoRevert: c.rng.IntN(8) == 0}
	if !single && !s.Update.StopFirst && c.rng.IntN(3) == 0 {
		s.Update.MaxSurge = c.amount(0, 2)
	}
	if !single && c.rng.IntN(3) == 0 {
		s.Update.MaxUnavailable = c.amount(0, 2)
	}
	if c.rng.IntN(3) == 0 {
		s.Update.Steps = c.steps()
	}
	s.MinReady = []time.Duration{0, 0, 2 * time.Second, 5 * time.Second}[c.rng.IntN(4)]
	s.ProgressDeadline = c.between(40*time.Second, 90*time.Second).Truncate(time.Second)
	s.Reschedule = planner.Reschedule{Failures: 2 + c.rng.IntN(4), Within: c.between(time.Minute, 4*time.Minute).Truncate(time.Second)}
	s.Reschedule.Never = c.rng.IntN(6) == 0
	s.DependsOn = nil
	if c.rng.IntN(5) == 0 {
		s = c.depending(s)
	}
	s.Hooks = nil
	if c.rng.IntN(4) == 0 {
		s = c.hooked(s, good)
	}
	return s
}

// amount draws a number, or a percentage.
func (c *chaos) amount(from, to int) *planner.Amount {
	if c.rng.IntN(2) == 0 {
		return &planner.Amount{Count: 10 * c.rng.IntN(11), Percent: true}
	}
	return &planner.Amount{Count: from + c.rng.IntN(to-from+1)}
}

func (c *chaos) steps() []planner.UpdateStep {
	steps := []planner.UpdateStep{{Slots: planner.Amount{Count: 1}, Pause: c.between(0, 20*time.Second), Approve: c.rng.IntN(3) == 0}}
	if c.rng.IntN(2) == 0 {
		steps = append(steps, planner.UpdateStep{Slots: planner.Amount{Count: 50, Percent: true}, Pause: c.between(0, 10*time.Second)})
	}
	return steps
}

// depending has a service wait for another. Those that come first by name wait
// for nobody that comes after: there are no circles.
func (c *chaos) depending(s planner.Service) planner.Service {
	for _, id := range c.services() {
		if id.Compare(s.ID) < 0 && c.rng.IntN(2) == 0 {
			d := planner.Dependency{Service: id}
			if c.rng.IntN(3) == 0 {
				d.Condition = planner.DependsStarted
			}
			s.DependsOn = append(s.DependsOn, d)
		}
	}
	return s
}

// undepend has nobody wait for a service any more: it is deleted.
func (c *chaos) undepend(on planner.ServiceID) {
	for _, id := range c.services() {
		s := c.wanted.services[id]
		s.DependsOn = slices.DeleteFunc(slices.Clone(s.DependsOn), func(d planner.Dependency) bool { return d.Service == on })
		c.Want(s)
	}
}

// hooked gives a service hooks of a character.
func (c *chaos) hooked(s planner.Service, of character) planner.Service {
	s.Hooks = map[planner.HookKind]planner.Hook{}
	which := 1 + c.rng.IntN(3)
	for k, kind := range planner.HookKinds {
		if which&(1<<k) == 0 {
			continue
		}
		s.Hooks[kind] = hook(s.ID.Name, kind, c.version(of, ""), c.between(15*time.Second, 40*time.Second).Truncate(time.Second))
	}
	return rehooked(s)
}

// hook makes a hook of a service; rehooked completes it.
func hook(name string, kind planner.HookKind, version string, timeout time.Duration) planner.Hook {
	one := int64(1)
	return planner.Hook{Timeout: timeout, Template: planner.Template{
		Containers: []planner.Container{{
			Name: planner.MainContainer, Image: fmt.Sprintf("registry.example/%s-%s:%s", name, kind, version),
			Resources: planner.Resources{Requests: planner.ResourceList{CPUMillis: 20}},
		}},
		TerminationGracePeriodSeconds: &one, Once: true,
	}}
}

// rehooked gives the hooks of a service the revisions they have for its own.
func rehooked(s planner.Service) planner.Service {
	hooks := map[planner.HookKind]planner.Hook{}
	for kind, hook := range s.Hooks {
		hook.Template.Of = s.Revision
		hook.Revision = planner.RevisionOf(hook.Template)
		hooks[kind] = hook
	}
	if s.Hooks != nil {
		s.Hooks = hooks
	}
	return s
}

// sound reports whether a service can be rolled out as the manifest has it.
func sound(s planner.Service) bool {
	for _, hook := range s.Hooks {
		if !works(hook.Template) {
			return false
		}
	}
	return works(s.Template)
}

// promote lets every rollout pass its steps. It reports whether there was one to
// be let pass.
func (c *chaos) promote() (any bool) {
	for _, id := range c.services() {
		s := c.wanted.services[id]
		waits := slices.ContainsFunc(s.Update.Steps, func(step planner.UpdateStep) bool { return step.Approve })
		if waits && s.Update.Promoted != string(s.Revision) {
			s.Update.Promoted = string(s.Revision)
			c.Want(s)
			any = true
		}
	}
	return any
}

// attend is a person who looks after rollouts now and then: what waits for
// approval gets it.
func (c *chaos) attend() {
	if !c.healing && c.promote() {
		c.Commit("promotes what waits")
	}
	c.after(c.between(20*time.Second, 90*time.Second), c.attend)
}
