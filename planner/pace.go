package planner

// pace is the disruption budget of one service and what is spent of it. All
// voluntary changes draw on it: rollouts, drains, moves, slots that are given up
// on a node.
type pace struct {
	surge, unavailable int
	// up are the slots with an instance that is not to be lost: a new one that is
	// available, or an old one that is ready. down are those without an available
	// one. An old one that is ready and not available yet makes its slot both; slots
	// that are not there, whatever is done here, are neither: see survey.absent.
	// has are those with an available one.
	up, down, has int
	// pairs are the slots whose new instance runs beside the old one.
	pairs int
	// trying are the slots whose instance at the wanted revision is not available
	// yet, moving the slots whose instance is not that is to replace another.
	// Neither counts those that wait for the end of a ready one: waiting.
	trying, moving, waiting int
}

func newPace(u Update, slots int) pace {
	var p pace
	p.surge, p.unavailable = u.Limits(slots)
	return p
}

// atOnce is how many new instances may be on their way to being available.
func (p *pace) atOnce() int { return max(1, p.surge+p.unavailable) }

// stopsFirst reports whether changes are stop-first although both instances could
// run. Where none may be unavailable none can be, whatever the order says.
func (p *pace) stopsFirst(u Update) bool {
	return p.unavailable > 0 && (u.StopFirst || p.surge == 0)
}

// begins reports whether one more slot may change, and whether its old instance
// has to end before the new one starts. changes: it gets another revision;
// otherwise it moves. single: both may not run at once. One that has no ready
// instance to lose is not held up by those that wait for the budget.
func (p *pace) begins(u Update, changes, single, ready bool) (stopFirst, ok bool) {
	underWay := p.moving
	if changes {
		underWay = p.trying
	}
	if ready {
		underWay += p.waiting
	}
	switch {
	case underWay >= p.atOnce():
		return false, false
	case !single && !p.stopsFirst(u) && p.pairs < p.surge:
		p.pairs++
		p.trying++
		p.moving++
		return false, true
	case !single && p.unavailable == 0:
		return false, false
	}
	if ready {
		p.waiting++
	} else {
		p.trying++
		p.moving++
	}
	return true, true
}

// ends reports whether the old instance of a slot, that is ready and may be
// available, may end before the new one is available, and counts it. The last
// available instance of a service with more than one slot, and the last that is
// ready, end so only where two may not run at once.
func (p *pace) ends(ready, available, single bool) bool {
	if !ready {
		return true
	}
	others := p.down
	if !available {
		others-- // its own slot
	}
	most := p.unavailable
	if single {
		most = max(1, most)
	}
	last := p.up == 1 || available && p.has == 1
	if others >= most || !single && last && others > 0 {
		return false
	}
	if available {
		p.has--
	}
	p.up--
	p.down = others + 1
	return true
}
