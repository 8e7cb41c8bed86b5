package planner

import "time"

// Forecast is what a fleet will do about a commit if nothing else happens: every
// image can be pulled, whatever is started becomes available, every hook
// succeeds, no node is lost. It is told by the planner of who asks: agents of
// another version may decide otherwise.
type Forecast struct {
	// Decisions are the documents as they will be written, in order. Documents of
	// deleted services are not followed to their end: see Decision.Delete.
	Decisions []Foreseen
	// View is the fleet at the end.
	View View
	// Unplaced lists the slots that no node takes at the end, ordered; Waiting
	// says what services wait for then.
	Unplaced []Unplaced
	Waiting  map[ServiceID]string
	// Races are the nodes on which the outcome hangs on who is quicker, ordered. What
	// the decisions say of these services is one of several ways.
	Races []Race
	// Nodes is how much is asked of each node that takes part or has leases, in
	// order; Load is the same for all of them together.
	Nodes []NodeLoad
	Load  NodeLoad
	// Cut is set where the forecast ends before the fleet comes to rest: after
	// maxForeseen looks.
	Cut bool
}

// Foreseen is one decision of a forecast.
type Foreseen struct {
	Decision
	// Turn counts from 1: decisions of one turn are taken at once, and what they
	// begin is available before the next.
	Turn int
	// Approved is set where a person has to let the rollout go on before:
	// Update.Promoted.
	Approved bool
	// Paused is for how long steps of this or other services rest before, after
	// all was available.
	Paused time.Duration
}

// maxForeseen bounds how often a forecast asks for what is next.
const maxForeseen = 20_000

// Foresee forecasts what the fleet of a view does from now on about what is
// followed. Of the view it takes Nodes, Docs and Fleet, whose documents must have been
// decided on the commit that is followed or one before it. Instances that are
// reported to be on their way become available; those that fail go on failing. A
// service that is suspended stays so.
func Foresee(f Followed, v View) Forecast { return ForeseeAt(f, v, time.Time{}) }

// ForeseeAt is Foresee at a time of the calendar: a service whose suspension is
// over by then is not suspended. None ends while the forecast goes on.
func ForeseeAt(f Followed, v View, wall time.Time) Forecast {
	w := newForesight(f, v)
	w.now.Wall = wall
	return w.forecast()
}

// forecast runs the fleet until it is at rest. Digests are found sooner than
// anything becomes available: what waits for them follows in the same turn.
func (w *foresight) forecast() Forecast {
	var out Forecast
	turn, same := 0, false
	var waited []Unplaced
	for k := range maxForeseen {
		d := w.decide()
		if k == 0 {
			waited = d.Unplaced
		}
		out.Unplaced, out.Waiting = d.Unplaced, d.Waiting
		if len(d.Docs) > 0 && !same {
			turn++
		}
		for _, decision := range d.Docs {
			id := decision.Doc.Service
			out.Decisions = append(out.Decisions, Foreseen{Decision: decision, Turn: turn, Approved: w.approved[id], Paused: w.paused})
			delete(w.approved, id)
		}
		if len(d.Docs) > 0 {
			w.paused = 0
			w.land(d.Docs)
		}
		asked := w.resolve(d.Resolve)
		same = asked && (same || len(d.Docs) > 0)
		switch {
		case asked:
		case len(d.Docs) > 0:
			w.fare()
		case !w.fare() && !w.wait(d.Next) && !w.approve():
			return w.ended(out, waited, false)
		}
	}
	return w.ended(out, waited, true)
}

// ended completes a forecast.
func (w *foresight) ended(out Forecast, waited []Unplaced, cut bool) Forecast {
	out.View, out.Cut = w.v, cut
	out.Races = w.races(out.Decisions, waited)
	out.Nodes, out.Load = w.load.told(w.v)
	return out
}
