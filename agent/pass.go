package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// sourceState is what the loop knows of the repository.
type sourceState struct {
	look    Look
	loading string          // hash of the commit that is being read; "" = none
	failed  planner.Commit  // the commit that could not be read or was refused
	refused string          // why
	faults  []planner.Fault // of the refused commit
	retryAt time.Duration   // boot time; 0 = a refusal, which only a new commit ends
	tries   planner.Backoff
}

// look takes in what the repository shows.
func (a *Agent) look(ctx context.Context, look Look) {
	before := a.source.look
	if look.Commit.Hash == "" {
		look.Commit = before.Commit
	}
	a.source.look = look
	switch {
	case look.Err != nil && before.Err == nil:
		a.log.Warn("repository cannot be read: everything runs on", "err", look.Err)
	case look.Err != nil && !gitsync.SameFailure(before.Err, look.Err):
		a.log.Warn("repository still cannot be read, for another reason", "err", look.Err)
	case look.Err == nil && before.Err != nil:
		a.log.Info("repository can be read again")
	}
	a.cfg.Metrics.looked(look)
	a.load(ctx)
}

// load reads the newest commit unless it is in force, refused, or being read.
func (a *Agent) load(ctx context.Context) {
	src := &a.source
	commit := src.look.Commit
	now := a.cfg.Clock().Boot
	applied := a.desired != nil && a.desired.Commit.Hash == commit.Hash
	if applied && src.failed.Hash != "" {
		// The branch went back from a commit that was not accepted.
		src.failed, src.refused, src.retryAt, src.faults = planner.Commit{}, "", 0, nil
	}
	refused := src.failed.Hash == commit.Hash && (src.retryAt == 0 || src.retryAt > now)
	if commit.Hash == "" || applied || refused || src.loading != "" {
		return
	}
	if why := a.belowFloor(commit); why != "" {
		if src.failed.Hash != commit.Hash || src.refused != why {
			a.log.Error("commit refused: nothing changes", "commit", commit.Short(), "reason", why)
		}
		src.failed, src.refused, src.faults = commit, why, nil
		src.retryAt, src.tries = now+floorRetry, planner.Backoff{}
		return
	}
	src.loading = commit.Hash
	since := a.state.followed.Commit.Hash
	a.work(func() {
		begin := time.Now()
		loaded, err := a.cfg.Source.Load(ctx, commit, since)
		a.cfg.Metrics.loaded(time.Since(begin))
		a.post(func() {
			src.loading = ""
			a.loaded(commit, loaded, err)
			a.load(ctx) // a newer one may have come meanwhile
		})
	})
}

// loaded takes in what a commit asks for, or why it is not accepted. It is not
// before the floor on disk is.
func (a *Agent) loaded(commit planner.Commit, loaded Loaded, err error) {
	src := &a.source
	if err == nil {
		err = a.raiseFloor(commit)
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		src.failed, src.refused, src.retryAt, src.faults = commit, refusal.Error(), 0, refusal.Faults
		a.log.Error("commit refused: nothing changes", "commit", commit.Short(), "reason", refusal.Error())
		return
	case err != nil:
		now := a.cfg.Clock().Boot
		if src.failed.Hash != commit.Hash {
			src.tries = planner.Backoff{}
		}
		src.tries = src.tries.Failed(now, err.Error())
		src.failed, src.refused, src.retryAt = commit, err.Error(), max(src.tries.NotBefore, now+time.Second)
		a.log.Warn("commit cannot be read: nothing changes", "commit", commit.Short(), "err", err)
		return
	}
	src.failed, src.refused, src.retryAt, src.tries = planner.Commit{}, "", 0, planner.Backoff{}
	src.faults = nil
	a.problem(problemFloorFile, nil)
	for _, f := range loaded.Desired.Faults {
		if !f.Warning {
			a.log.Error("manifest refused: its services stay as they are", "commit", commit.Short(),
				"file", f.File, "line", f.Line, "field", f.Field, "reason", f.Reason, "remedy", f.Remedy)
		}
	}
	a.desired, a.approved = &loaded.Desired, loaded.Approved
	a.settle()
	a.log.Info("commit accepted", "commit", commit.Short(), "subject", commit.Subject, "services", len(loaded.Desired.Services))
	for _, h := range a.state.followed.Held {
		a.log.Warn("service held back", "service", h.Service, "reason", h.Reason)
	}
}

// settle lays the newest commit over what is followed.
func (a *Agent) settle() {
	before := a.state.followed
	a.followed(planner.Settle(a.state.followed, *a.desired, a.approved))
	a.endRestarts()
	for id, s := range before.Services {
		if _, kept := a.state.followed.Services[id]; s.Orphan && !kept && a.fleet == nil {
			a.letGo(id)
		}
	}
	a.unsaved = a.unsaved || before.Commit.Hash != a.state.followed.Commit.Hash
}

// followed takes in what the node works towards from now on. Only this goes
// over every service of the repository: what runs here is noted, so that a
// pass costs as much as the node has to do, however large the fleet is.
func (a *Agent) followed(f planner.Followed) {
	a.layRestarts(f)
	a.state.followed = f
	a.followings++
	a.polling.Store(int64(f.Fleet.PollInterval))
	if a.fleet != nil {
		a.fleet.member.Followed(f, a.cfg.Clock())
	}
	a.here = a.here[:0]
	for id, s := range f.Services {
		if s.Orphan || a.fleet == nil && planner.RunsHere(a.cfg.Node, f.Fleet, s) {
			a.here = append(a.here, id)
		}
	}
}

// concerned lists the services that have anything to do with this node, in
// order: that run here by what is followed, that leases were given for, or of
// which there are instances.
func (a *Agent) concerned(all []planner.Instance) []planner.ServiceID {
	ids := slices.Clone(a.here)
	for id := range a.state.docs {
		ids = append(ids, id)
	}
	for _, i := range all {
		ids = append(ids, i.Slot.Service)
	}
	slices.SortFunc(ids, planner.ServiceID.Compare)
	return slices.Compact(ids)
}

// letGo records that an orphan is not wanted: its instances are orphans no
// more. No token they carry is given again.
func (a *Agent) letGo(id planner.ServiceID) {
	doc := a.state.docs[id]
	doc.Service, doc.Commit = id, a.desired.Commit.Hash
	all, _ := a.instances()
	for _, i := range all {
		if i.Slot.Service == id {
			doc.Tokens = max(doc.Tokens, i.Token)
		}
	}
	a.state.docs[id] = doc
}

// pass brings decisions up to date with everything the loop knows. It starts
// nothing and stops nothing itself. What it waits for: writes to the state
// folder; how a commit stands to the floor, and in a fleet to those of others
// (Config.Relate bounds that); addresses and ports in the kernel, each bounded
// by balanceTimeout.
func (a *Agent) pass(ctx context.Context) {
	begin, now := time.Now(), a.cfg.Clock().Boot
	if a.source.retryAt != 0 && a.source.retryAt <= now {
		a.load(ctx)
	}
	a.keepOrphans()
	a.mendStateFolder()
	a.copyFloor()
	if a.sweepDue() {
		a.sweep(ctx)
	}
	a.endHolds()
	a.followOnce()
	a.noteFirstReleases()
	a.coordinate(ctx)
	a.noticeLostState()
	a.keepHeld()
	a.tendPressure()
	plan := a.plan()
	a.lead(ctx, plan)
	a.followProbes()
	a.cancelSuperseded()
	for _, action := range plan.Actions {
		if (a.sweeping == nil || a.sweeping[action.Instance]) && !a.connected(action) && !a.departing(action) {
			a.launch(ctx, action)
		}
	}
	a.prepare(ctx)
	a.forget()
	a.keepEnds()
	a.report()
	a.notify()
	a.schedule(plan, now)
	a.cfg.Metrics.passed(time.Since(begin))
}

// keepOrphans follows the services of instances that no manifest and no record
// knows (the state was lost): they run on until a commit, within the deletion
// budget, shows that they are not wanted.
func (a *Agent) keepOrphans() {
	found := false
	all, _ := a.instances()
	for _, i := range all {
		id := i.Slot.Service
		if _, busy := a.flights[i.ID]; busy {
			continue // half made or half gone, a driver may not know whose it is
		}
		_, followed := a.state.followed.Services[id]
		_, recorded := a.state.docs[id]
		if a.fleet != nil {
			recorded = a.fleet.standing.Unsure[id] == ""
		}
		if !followed && !recorded {
			a.state.followed.Services[id] = planner.Service{ID: id, Orphan: true}
			a.here = append(a.here, id)
			found = true
			a.log.Warn("instance of an unknown service found: it is kept", "service", id, "instance", i.ID)
		}
	}
	if found && a.desired != nil {
		a.settle()
		a.unsaved = true
	}
}

// coordinate decides leases and writes them down before anything acts on
// them. What cannot be written does not happen.
func (a *Agent) coordinate(ctx context.Context) {
	all, _ := a.instances()
	a.tendProgress(all)
	if a.fleet != nil {
		a.takePart(ctx, all)
		return
	}
	now := a.cfg.Clock()
	a.unwritten = false
	view := planner.Alone{
		Node:     a.cfg.Node,
		Docs:     a.state.docs,
		Ready:    a.readyLeases(all, now),
		Prepared: map[planner.RevisionKey]bool{},
		Running:  all,
		Specs:    a.state.specs,
		Ended:    a.endedHooks(),
		Short:    a.shortOf() != "",
		Now:      now,
	}
	view.Available, view.Failing, view.Lapsed, view.StepSince = a.availableLeases(), a.failingLeases(), a.lapsedLeases(), a.stepSince()
	for key, p := range a.prepares {
		view.Prepared[key] = p.done
	}
	a.notifying.alone = view
	decided := planner.CoordinateAlone(a.decidable(all), view)
	a.decideAt, a.waitsFor = decided.Next, decided.Waiting
	a.want(decided.Prepare)
	decided.Docs = a.pinListed(decided.Docs, all)
	if len(decided.Docs) == 0 && !a.unsaved {
		return
	}
	next := a.state.with(decided.Docs, all)
	if err := next.save(filepath.Join(a.cfg.StateDir, statePath), false); err != nil {
		a.problem("state", fmt.Errorf("%w: nothing new is started or stopped until it can be written", err))
		a.unwritten = true
		return
	}
	a.problem("state", nil)
	before := a.state.docs
	a.state, a.unsaved, a.statefile = next, false, true
	a.noteSteps(now.Boot)
	for _, d := range decided.Docs {
		event.LogAlone(a.log, a.state.followed.Services[d.Service], before[d.Service], d)
	}
}

// decidable is what is followed of the services that concern this node,
// without those that leases cannot be given for yet: no document knows their
// tokens, and the driver that may run them since before the state was lost has
// not been listed.
func (a *Agent) decidable(all []planner.Instance) planner.Followed {
	f := a.state.followed
	f.Services = map[planner.ServiceID]planner.Service{}
	for _, id := range a.concerned(all) {
		s, followed := a.state.followed.Services[id]
		_, recorded := a.state.docs[id]
		d := a.drivers[s.Template.DriverName()]
		if followed && (recorded || s.Orphan || d == nil || d.listed) {
			f.Services[id] = s
		}
	}
	return f
}

// readyLeases lists the leases whose instance is ready.
func (a *Agent) readyLeases(all []planner.Instance, now planner.Time) map[planner.LeaseKey]bool {
	ready := map[planner.LeaseKey]bool{}
	for _, i := range all {
		if !a.ready(i, now) {
			continue
		}
		for _, l := range a.state.docs[i.Slot.Service].Leases {
			if l.Slot == i.Slot.Name && l.Revision == i.Revision {
				ready[planner.LeaseKey{Service: i.Slot.Service, Token: l.Token}] = true
			}
		}
	}
	return ready
}

// nodeState is what this node decides on, beside the instances it has.
func (a *Agent) nodeState(all []planner.Instance) planner.NodeState {
	st := planner.NodeState{
		Node:     a.cfg.Node.Name,
		Followed: a.state.followed,
		Docs:     a.state.docs,
		Specs:    a.state.specs,
		Have:     all,
		Busy:     map[string]planner.Instance{},
		Backoff:  map[string]planner.Backoff{},
		Holds:    a.holds(),
		Doomed:   a.doomed(all),
		Started:  a.startedOnce(),
		Short:    a.lacksOf(),
		Held:     a.pressure.held,
		Now:      a.cfg.Clock(),
	}
	if a.fleet != nil {
		st.Keep, st.Behind, st.Unsure = a.fleet.standing.Keep, a.fleet.standing.Behind, a.fleet.standing.Unsure
	}
	for id, f := range a.flights {
		st.Busy[id] = f.instance()
	}
	for id, t := range a.tracks {
		st.Backoff[id] = t.backoff
	}
	return st
}

// plan compares leases with instances.
func (a *Agent) plan() planner.Plan {
	all, unlisted := a.instances()
	st := a.takeOn(a.nodeState(all))
	st.Unlisted = unlisted
	plan := planner.Reconcile(st)
	a.observed = plan.Observed
	plan.Actions = a.permitted(plan.Actions, all, unlisted)
	a.waits = map[planner.LeaseKey]planner.Wait{}
	for _, w := range plan.Waits {
		a.waits[planner.LeaseKey{Service: w.Slot.Service, Token: w.Token}] = w
	}
	return plan
}

// permitted drops the ends of instances that this process may not bring about
// yet. Until it has read a commit itself it stops nothing that runs (design
// L17): the state on disk may be old. Until any commit was ever read it does
// not even remove what does not run: it may be all that is left of the state.
// While leases cannot be written nothing ends for the lack of one. Nothing
// starts while the records are about to tell whether it still may.
func (a *Agent) permitted(actions []planner.Action, all []planner.Instance, unlisted map[string]bool) []planner.Action {
	running := map[string]bool{}
	for _, i := range all {
		running[i.ID] = i.State != planner.StatePartial && i.Alive()
	}
	return slices.DeleteFunc(actions, func(action planner.Action) bool {
		ends := action.Kind == planner.ActionStop || action.Kind == planner.ActionRemove
		if !ends && a.early() {
			return true
		}
		unread := a.state.followed.Commit.Hash == "" || a.desired == nil && running[action.Instance] ||
			a.fleet != nil && !a.fleet.member.Whole()
		return ends && (!action.Ordered && (unread || a.unwritten) || unlisted[action.Driver])
	})
}

// schedule sets the timer to the next instant something is due although
// nothing happens. What was due when the pass began it has dealt with; what
// became due while it lasted is due at once.
func (a *Agent) schedule(plan planner.Plan, began time.Duration) {
	now := a.cfg.Clock().Boot
	next := now + time.Minute
	due := func(t time.Duration) {
		if t > began && t < next {
			next = t
		}
	}
	due(plan.Next)
	due(a.decideAt)
	due(a.onceKnown)
	due(a.source.retryAt)
	due(a.swept + sweepInterval)
	due(a.balance.retry)
	due(a.notifying.due)
	for _, d := range a.serving.departures {
		due(d.since + departTime)
	}
	if a.fleet != nil {
		due(a.fleet.next)
		due(a.fleet.begun + firstLook)
		due(a.fleet.retryAt)
	}
	for _, t := range a.tracks {
		if t.running {
			due(t.since + readyAfter)
		}
	}
	for _, p := range a.prepares {
		if !p.done && !p.active {
			due(p.backoff.NotBefore)
		}
	}
	a.progressDue(due)
	if a.balance.news { // to be told with the next report
		a.balance.news, next = false, now
	}
	a.timer.Reset(max(0, next-now))
}

// forget drops what is remembered of instances that neither exist nor are
// wanted.
func (a *Agent) forget() {
	keep := map[string]bool{}
	for _, d := range a.drivers {
		for _, i := range d.instances {
			keep[i.ID] = true
		}
	}
	for id, doc := range a.state.docs {
		for _, l := range doc.Leases {
			keep[planner.InstanceID(planner.SlotID{Service: id, Name: l.Slot}, l)] = true
		}
	}
	for id, t := range a.tracks {
		if !keep[id] && !t.waiting && a.flights[id] == nil {
			delete(a.tracks, id)
		}
	}
	a.forgetProgress(keep)
}
