package planner

// unmet says which dependency of a service is not fulfilled; "" = all are. It
// asks for what the records say of the other now, never for what that depends
// on: services that depend on each other wait, and say so.
func (sv *survey) unmet(ss *serviceState) string {
	for _, d := range ss.s.DependsOn {
		if why := sv.lacks(d); why != "" {
			return "waits for " + d.Service.String() + ": " + why
		}
	}
	return ""
}

// lacks says what of a dependency is missing.
func (sv *survey) lacks(d Dependency) string {
	other := sv.byID[d.Service]
	if other == nil {
		return "no manifest that is followed has it"
	}
	switch dv, known := sv.v.Docs[d.Service]; {
	case !known:
		return "it runs nowhere yet"
	case dv.TooNew, dv.Broken != "":
		return "its document cannot be read"
	}
	rev := other.s.Revision
	if other.roll == nil || other.roll.stays {
		rev = "" // what it has is what is wanted of it
	}
	have := 0
	if d.Condition == DependsStarted {
		have = sv.startedAt(other, rev)
	} else {
		have = sv.availableAt(other, rev)
	}
	return d.Condition.lacks(have, len(other.names), other.s)
}

// lacks says whether so many of the slots of a service are enough.
func (c DependencyCondition) lacks(have, slots int, other *Service) string {
	_, unavailable := other.Update.Limits(slots)
	need := max(1, slots-unavailable)
	if have >= need {
		return ""
	}
	what := "available"
	if c == DependsStarted {
		what = "started"
	}
	switch {
	case slots == 0:
		return "it has no slot"
	case need == 1:
		return "no slot of it is " + what + " at " + other.Revision.Short()
	}
	return "fewer than " + plural(need, "slot") + " of it are " + what + " at " + other.Revision.Short()
}

// startedAt counts the slots whose instance runs at a revision; "" = at any.
func (sv *survey) startedAt(ss *serviceState, rev Revision) int {
	n := 0
	for _, name := range ss.names {
		for _, l := range ss.leased[name] {
			i, ok := sv.v.Nodes[l.Node].Instance(SlotID{ss.id, name}, l.Token)
			if ok && sv.v.InForce(l) && (rev == "" || l.Revision == rev) && i.Phase.runs() {
				n++
				break
			}
		}
	}
	return n
}

// runs reports whether an instance in the phase was started, or is being, and
// has not ended.
func (p Phase) runs() bool {
	return p == PhaseStarting || p == PhaseReady || p == PhaseUnhealthy
}
