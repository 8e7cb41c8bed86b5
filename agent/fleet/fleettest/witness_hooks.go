package fleettest

import (
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// hookID names a hook that is to run once in the whole fleet.
type hookID struct {
	service planner.ServiceID
	kind    planner.HookKind
	of      planner.Revision
}

// hooks is what the witness knows of hooks: by which lease each was started.
type hooks map[hookID]uint64

// leased: a hook gets one lease; another only if it failed, and its revision is
// tried again.
func (h hooks) leased(wit *witness, p *process, s planner.Service, l planner.Lease, old, now planner.LeaseDoc) {
	freed := slices.Contains(old.Blocked, s.Revision) && !slices.Contains(now.Blocked, s.Revision)
	if run, ran := hookRun(old, l.Hook, s.Revision); ran && !(freed && run.Failed != "") {
		wit.w.fail("R3: %s leased the %s hook of %s at %s a second time: %+v", p.m.called, l.Hook, s.ID, s.Revision.Short(), run)
	}
	others := slices.ContainsFunc(old.Leases, func(o planner.Lease) bool { return o.Hook == l.Hook })
	if others && slices.ContainsFunc(now.Leases, func(o planner.Lease) bool { return o.Hook == l.Hook && o.Token != l.Token }) {
		wit.w.fail("R3: %s leased the %s hook of %s while another runs", p.m.called, l.Hook, s.ID)
	}
}

// starts: a hook is started once, whatever becomes of it.
func (h hooks) starts(wit *witness, p *process, a planner.Action, t planner.Template) {
	if !t.Once {
		return
	}
	id := hookID{a.Slot.Service, a.Lease.Hook, t.Of}
	if token, started := h[id]; started && wit.w.restores == 0 {
		wit.w.fail("R3: %s starts the %s hook of %s at %s by token %d, it was started by token %d", p.m.called, id.kind, id.service, id.of.Short(), a.Lease.Token, token)
	}
	h[id] = a.Lease.Token
}

// landed forgets what a document may forget: a revision that is neither wanted
// nor in its history is new when it returns, and so are its hooks; one that was
// blocked and is not any more is tried again.
func (h hooks) landed(w *World, id planner.ServiceID, old, now planner.LeaseDoc) {
	for hook := range h {
		if hook.service != id {
			continue
		}
		at := w.history.commits[now.Commit]
		wanted := at != nil && at.desired.Services[id].Revision == hook.of
		runs := slices.ContainsFunc(now.Leases, func(l planner.Lease) bool { return l.Hook == hook.kind })
		freed := slices.Contains(old.Blocked, hook.of) && !slices.Contains(now.Blocked, hook.of)
		if freed || !wanted && !runs && !knows(now, hook.of) {
			delete(h, hook)
		}
	}
}

// forget is for a service whose document a stranger destroyed.
func (h hooks) forget(id planner.ServiceID) {
	for hook := range h {
		if hook.service == id {
			delete(h, hook)
		}
	}
}
