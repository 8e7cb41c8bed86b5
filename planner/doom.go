package planner

import "time"

// Doom is why a running instance is to be restarted, and how long it has to
// stop.
type Doom struct {
	Reason string
	Grace  time.Duration
}

// doomed has a covered instance stopped whose probes ask for it. It stays
// listed, so that its start follows the back-off of one that ended by itself.
func (r *reconciler) doomed(slot SlotID, l Lease, have Instance) {
	doom, is := r.st.Doomed[have.ID]
	if !is || have.State != StateRunning || r.busy(have.ID) || r.st.Unlisted[have.Driver] {
		return
	}
	if again := r.st.Backoff[have.ID].NotBefore; again > r.st.Now.Boot { // stopping it has just failed
		r.plan.Next = earlier(r.plan.Next, again)
		return
	}
	r.act(Action{Kind: ActionKill, Slot: slot, Instance: have.ID, Driver: have.Driver, Lease: l, Grace: doom.Grace, Reason: doom.Reason})
}
