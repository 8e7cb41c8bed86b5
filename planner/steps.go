package planner

import (
	"strconv"
	"strings"
	"time"
)

// need is how many of so many slots a step asks for.
func (s UpdateStep) need(slots int) int {
	return min(max(1, s.Slots.Of(slots, true)), max(1, slots))
}

// promotedLetters is how many letters of a revision name it, after "r1-".
const promotedLetters = 8

// passes reports whether spec.update.promoted lets a revision pass a step,
// counted from 1.
func (u Update) passes(rev Revision, step int) bool {
	name, upTo, bounded := strings.Cut(u.Promoted, "/")
	if bounded {
		n, err := strconv.Atoi(upTo)
		if err != nil || step > n {
			return false
		}
	}
	return len(name) >= len("r1-")+promotedLetters && strings.HasPrefix(string(rev), name)
}

// stepping is how far a rollout may go for now.
type stepping struct {
	// most is how many slots may have the wanted revision.
	most int
	// step is how many steps are done; through: the rest may follow.
	step    int
	through bool
	// why says what the next step waits for; "" = for slots to be available. next
	// is the boot time at which a pause ends; Never = none runs.
	why  string
	next time.Duration
	// person is set where only a person can let it go on.
	person bool
}

// stepwise reports whether a rollout goes on that is held back by steps.
func (r *rollout) stepwise() bool { return r.rolling && len(r.s.Update.Steps) > 0 }

// steps works out how far the rollout may go: available is how many slots are
// available at the wanted revision, if it goes stepwise, since when its present
// step is known to be the last that was done.
func (r *rollout) steps(slots, available int, since time.Duration, now Time) stepping {
	steps := r.s.Update.Steps
	if !r.stepwise() {
		return stepping{most: slots, step: r.step, through: true}
	}
	out := stepping{step: r.step}
	for {
		out.wait(r.s, since, now)
		switch {
		case out.why != "":
			out.most = steps[out.step-1].need(slots)
			return out
		case out.step == len(steps):
			out.most, out.through = slots, true
			return out
		case available < steps[out.step].need(slots):
			out.most = steps[out.step].need(slots)
			return out
		}
		out.step++
		since = now.Boot // of a step that is done only now the pause begins
	}
}

// wait works out what the last step that is done still waits for.
func (p *stepping) wait(s *Service, since time.Duration, now Time) {
	if p.step == 0 {
		return
	}
	step, done := s.Update.Steps[p.step-1], "step "+counted(p.step, len(s.Update.Steps), "is done")
	over := since + step.Pause
	switch {
	case step.Approve && !s.Update.passes(s.Revision, p.step):
		p.why, p.person = done+": waits for spec.update.promoted: "+s.Revision.Short(), true
	case now.Boot < over:
		p.why, p.next = done+": pauses for "+step.Pause.String(), over
	}
}
