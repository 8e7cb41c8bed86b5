package planner

import (
	"cmp"
	"slices"
	"strconv"
)

// facts is what is known of the leases of one service, in a fleet or on a node
// that grants leases to itself.
type facts interface {
	inForce(Lease) bool
	available(Lease) bool
	// failing says why an instance is given up: see InstanceStatus.Failing.
	failing(Lease) (why string, is bool)
	// lapsed says why an instance has not been available for too long: see
	// InstanceStatus.Lapsed.
	lapsed(Lease) (why string, is bool)
	// steady: see InstanceStatus.Steady.
	steady(Lease) bool
	// ended is the outcome of a hook: "" = it succeeded.
	ended(Lease) (failed string, is bool)
	// template is that of a revision, also of one that no manifest has any more.
	template(Revision) (Template, bool)
}

// rollout is which revision of a service is wanted and why, worked out from its
// document, which it brings up to date as far as outcomes go: hooks that have
// ended, and a revision that has failed.
type rollout struct {
	// s is the service with the revision that is wanted now, manifest as the
	// manifest has it.
	s, manifest *Service
	commit      string
	doc         *LeaseDoc
	facts       facts
	// leases are those of slots; hook is that of the hook that runs, nil = none.
	leases []Lease
	hook   *Lease
	// blocked says why the manifest's revision is not tried; "" = it may be. Then
	// the last good one is wanted, or, where that cannot be or is not asked for,
	// every slot stays at the revision that it has.
	blocked string
	stays   bool
	// rolling: the wanted revision replaces another and is still to prove itself.
	rolling bool
	// found: a slot runs at the wanted revision, although the document, which was
	// lost, has no lease of it.
	found bool
	// step is how many steps of the rollout are done.
	step int
	// starts is the hook that is to run next; "" = none.
	starts HookKind
	// changed: the document must be written for what was found; said is what.
	changed bool
	said    []string
}

// newRollout works out what is wanted of a service. Of the document it changes
// Leases (hooks that have ended), Blocked and what belongs to it, LastGood, Step,
// Hooks and Failed. commit is the one that is followed; "" = this is only to be told.
func newRollout(s *Service, doc *LeaseDoc, f facts, commit string) *rollout {
	r := &rollout{s: s, manifest: s, commit: commit, doc: doc, facts: f, leases: slotLeases(doc.Leases)}
	r.forgive()
	r.unblock()
	r.outcomes()
	if doc.LastGood == "" {
		doc.LastGood = r.before()
	}
	r.block()
	r.want()
	if len(doc.History) > 0 && doc.History[0].Revision == r.s.Revision {
		r.step = min(doc.Step, len(s.Update.Steps))
	}
	return r
}

// slotLeases are the leases of slots, without those of hooks.
func slotLeases(leases []Lease) []Lease {
	isHook := func(l Lease) bool { return l.Hook != "" }
	if !slices.ContainsFunc(leases, isHook) {
		return leases
	}
	return slices.DeleteFunc(slices.Clone(leases), isHook)
}

// hookLeases are the leases of hooks.
func hookLeases(leases []Lease) (hooks []Lease) {
	for _, l := range leases {
		if l.Hook != "" {
			hooks = append(hooks, l)
		}
	}
	return hooks
}

func withoutHook(leases []Lease, hook Lease) []Lease {
	return slices.DeleteFunc(slices.Clone(leases), func(l Lease) bool { return l.Token == hook.Token && l.Hook == hook.Hook })
}

// IsBlocked reports whether a rollout of the revision has failed, and it is not
// tried again.
func (d LeaseDoc) IsBlocked(rev Revision) bool { return slices.Contains(d.Blocked, rev) }

// ran is the outcome of a hook for a revision of the service.
func (d LeaseDoc) ran(kind HookKind, rev Revision) (HookRun, bool) {
	for _, h := range d.Hooks {
		if h.Kind == kind && h.Revision == rev {
			return h, true
		}
	}
	return HookRun{}, false
}

// given reports whether the service was given a revision before.
func (d LeaseDoc) given(rev Revision) bool {
	return slices.ContainsFunc(d.History, func(a Applied) bool { return a.Revision == rev })
}

// Tried reports whether a slot was given a revision, as far back as the document
// tells.
func (d LeaseDoc) Tried(rev Revision) bool {
	return d.given(rev) || slices.ContainsFunc(d.Leases, func(l Lease) bool { return l.Hook == "" && l.Revision == rev })
}

func (r *rollout) say(what string) { r.said = append(r.said, what) }

// unblock forgets what was blocked once another revision is wanted (whoever
// returns to it later wants it tried again) or the service's manifest says
// something else: its hook was mended, or it has more time now. While an instance
// of the revision is still given up nothing has changed for it. At the same
// commit nothing can have changed: two versions of this program that read a
// manifest differently must not try it in turns.
func (r *rollout) unblock() {
	d, rev := r.doc, r.manifest.Revision
	switch {
	case len(d.Blocked) == 0:
		return
	case !d.IsBlocked(rev):
		r.say(d.Blocked[0].Short() + " is not wanted any more, and may be tried again")
	case !r.rewritten() || r.failure(rev) != "":
		return
	default:
		r.say(rev.Short() + " is tried again, for the manifest of the service has changed")
	}
	d.Hooks = slices.DeleteFunc(d.Hooks, func(h HookRun) bool { return h.Failed != "" && d.IsBlocked(h.Revision) })
	d.Blocked, d.BlockedWhy, d.BlockedAt, d.BlockedManifest, r.changed = nil, "", "", "", true
}

// rewritten reports whether the service's manifest has changed since its
// revision was blocked.
func (r *rollout) rewritten() bool {
	d := r.doc
	return r.commit != "" && d.BlockedAt != "" && d.BlockedAt != r.commit && d.BlockedManifest != r.manifest.Fingerprint()
}

// outcomes takes back the leases of hooks that have ended, and notes how. The
// failure of one that the manifest does not have any more, for the hook was mended
// or another revision is wanted, is only told: what is wanted later is tried.
func (r *rollout) outcomes() {
	for _, l := range hookLeases(r.doc.Leases) {
		failed, ended := r.facts.ended(l)
		if !ended {
			r.hook = &l
			continue
		}
		r.doc.Leases = withoutHook(r.doc.Leases, l)
		r.changed = true
		what := "its " + l.Hook.Field() + " hook has succeeded"
		if failed != "" {
			what = "its " + l.Hook.Field() + " hook has failed: " + failed
		}
		r.say(what)
		t, known := r.facts.template(l.Revision)
		if _, noted := r.doc.ran(l.Hook, t.Of); known && t.Of != "" && !noted && (failed == "" || r.manifest.Hooks[l.Hook].Revision == l.Revision) {
			r.doc.Hooks = append(r.doc.Hooks, HookRun{Kind: l.Hook, Revision: t.Of, Token: l.Token, Node: l.Node, Failed: OneLine(failed, maxReason), Commit: r.doc.Commit})
		}
	}
}

// before is the revision that a first rollout replaces, if a slot of it is
// available: good enough to go back to.
func (r *rollout) before() Revision {
	var newest Revision
	for _, a := range r.doc.History {
		if a.Revision != r.manifest.Revision {
			newest = a.Revision
			break
		}
	}
	var any Revision
	for _, l := range r.leases {
		if l.Revision == r.manifest.Revision || !r.facts.inForce(l) || !r.facts.available(l) {
			continue
		}
		if l.Revision == newest {
			return newest
		}
		any = cmp.Or(any, l.Revision)
	}
	return any
}

// block notes that the manifest's revision has failed: one of its hooks did, or
// the instance of a slot, while there is a revision to go back to. What fails
// once its rollout was completed is healed instead.
func (r *rollout) block() {
	rev := r.manifest.Revision
	if r.doc.IsBlocked(rev) {
		r.blocked = cmp.Or(r.doc.BlockedWhy, "its rollout failed")
		return
	}
	why := ""
	for _, kind := range HookKinds {
		if h, ran := r.doc.ran(kind, rev); why == "" && ran && h.Failed != "" {
			why = "its " + kind.Field() + " hook failed: " + h.Failed
		}
	}
	if why == "" && r.doc.LastGood != "" {
		why = r.failure(rev)
	}
	if why == "" || r.doc.LastGood == rev {
		return
	}
	r.blocked = OneLine(why, maxReason)
	r.doc.Blocked, r.doc.BlockedWhy, r.changed = []Revision{rev}, r.blocked, true
	r.doc.BlockedAt, r.doc.BlockedManifest = r.commit, r.manifest.Fingerprint()
	r.say(rev.Short() + " is blocked: " + r.blocked)
}

// failure is why the instance of a slot leased at a revision is given up, or has
// not been available for too long.
func (r *rollout) failure(rev Revision) string {
	if r.doc.LastGood == rev {
		return ""
	}
	for _, l := range r.leases {
		if l.Revision != rev || !r.facts.inForce(l) {
			continue
		}
		why, is := r.facts.failing(l)
		if !is {
			why, is = r.facts.lapsed(l)
		}
		if is {
			return SlotID{r.s.ID, l.Slot}.String() + " on " + string(l.Node) + ": " + cmp.Or(why, "it does not become available")
		}
	}
	return ""
}

// want settles which revision is wanted.
func (r *rollout) want() {
	good := r.doc.LastGood
	if r.blocked != "" {
		t, known := r.facts.template(good)
		if r.stays = r.manifest.Update.NoRevert || good == "" || !known; !r.stays {
			back := *r.manifest
			back.Revision, back.Template = good, t
			r.s = &back
		}
	}
	rev := r.s.Revision
	other := func(l Lease) bool { return l.Revision != rev && r.facts.inForce(l) }
	before := func(a Applied) bool { return a.Revision != rev }
	r.rolling = !r.stays && good != rev &&
		(good != "" || slices.ContainsFunc(r.leases, other) || r.begun() && slices.ContainsFunc(r.doc.History, before))
}

// reverts reports whether the service goes back, or went back, to its last good
// revision.
func (r *rollout) reverts() bool { return r.blocked != "" && !r.stays }

// whyBlocked tells people what is blocked and what becomes of it.
func (r *rollout) whyBlocked() string {
	rev := r.manifest.Revision.Short()
	what := rev + " is blocked: " + r.blocked + "; "
	other := func(l Lease) bool { return l.Revision != r.s.Revision }
	switch {
	case r.reverts() && !r.doc.Tried(r.manifest.Revision) && !slices.ContainsFunc(r.leases, other):
		what += "no slot has got it, and what runs stays as it is"
	case r.reverts():
		what += r.s.Revision.Short() + " is wanted again"
	case r.doc.LastGood == "":
		what += "what runs stays as it is, for no revision was good before"
	case r.manifest.Update.NoRevert:
		what += "what runs stays as it is (spec.update.autoRevert: false)"
	default:
		what += "it goes back to " + r.doc.LastGood.Short() + " as soon as its manifest of then was read"
	}
	return what + "; commit a change of the service, or revert the one that brought it"
}

// begun reports whether a slot has the wanted revision already.
func (r *rollout) begun() bool {
	return r.found || slices.ContainsFunc(r.leases, func(l Lease) bool { return l.Revision == r.s.Revision })
}

// holds says why no slot may get the wanted revision that does not have it; ""
// = one may, as far as the budget and the steps allow. What is lost comes back
// at the revision it had meanwhile. unmet says which dependency is not
// fulfilled.
func (r *rollout) holds(slots int, unmet func() string) string {
	if r.stays || r.reverts() || slots == 0 {
		return ""
	}
	if r.hook != nil {
		return r.hookRuns()
	}
	begun := r.begun()
	if !begun {
		if why := unmet(); why != "" {
			return why
		}
	}
	if r.needs(HookPreRollout) {
		r.starts = HookPreRollout
		return "its preRollout hook is to run first"
	}
	return ""
}

// hookRuns says which hook holds back what comes next: all but the last of the
// wanted revision do.
func (r *rollout) hookRuns() string {
	where := " hook runs on " + string(r.hook.Node)
	if own, has := r.manifest.Hooks[r.hook.Hook]; !has || own.Revision != r.hook.Revision {
		return "an older commit's " + r.hook.Hook.Field() + where
	}
	if r.hook.Hook == HookPostRollout {
		return ""
	}
	return "its " + r.hook.Hook.Field() + where
}

// needs reports whether a hook has to run for the wanted revision: each runs
// once for each.
func (r *rollout) needs(kind HookKind) bool {
	_, has := r.manifest.Hooks[kind]
	_, ran := r.doc.ran(kind, r.s.Revision)
	if !has || ran || r.blocked != "" || r.hook != nil {
		return false
	}
	return kind != HookPreRollout || !r.doc.given(r.s.Revision) && !r.begun()
}

// beside is the revision of a slot that has no lease yet, while it is not its
// turn to have the wanted one: the last good one, if other slots have leases or
// steps let some have the wanted one. "" = it gets none.
func (r *rollout) beside(p stepping) Revision {
	good := r.doc.LastGood
	if _, known := r.facts.template(good); good == "" || !known || len(r.leases) == 0 && p.most == 0 {
		return ""
	}
	return good
}

// completes notes that so many slots, all that have leases, have the wanted
// revision and are available, and that its steps are behind it.
func (r *rollout) completes(slots int) {
	rev := r.s.Revision
	switch {
	case r.stays || slots == 0 || r.doc.LastGood == rev || r.hook != nil:
		return
	case r.needs(HookPostRollout):
		r.starts = HookPostRollout
		return
	case r.doc.LastGood != "" || r.rolling: // of a first release it is written with what comes next
		r.changed = true
		r.say(rev.Short() + " is rolled out: " + plural(slots, "slot") + " available")
	}
	r.doc.LastGood = rev
}

// hookAsked is the hook that is to get a lease now.
func (r *rollout) hookAsked() (Hook, bool) {
	h, ok := r.manifest.Hooks[r.starts]
	return h, ok && r.starts != ""
}

// tidy drops the outcomes of hooks that nobody asks about any more, and the
// nodes on which slots failed that do not have the revision any more, or came to
// themselves there. wanted is the manifest's revision.
func tidy(d *LeaseDoc, wanted Revision, f facts) {
	d.tidyHooks(wanted)
	d.Failed = slices.DeleteFunc(d.Failed, func(on FailedOn) bool {
		has, recovered := false, false
		for _, l := range d.Leases {
			if on.concerns(l) {
				has, recovered = true, recovered || l.Node == on.Node && f.inForce(l) && f.available(l)
			}
		}
		return !has || recovered
	})
	d.Failed = d.Failed[max(0, len(d.Failed)-MaxFailed):]
}

// tidyHooks drops the outcomes for revisions that are neither wanted nor in the
// history, but for the last that were a success: a commit may have been overtaken
// before any slot had its revision, and come back.
func (d *LeaseDoc) tidyHooks(wanted Revision) {
	others := 0
	for k := len(d.Hooks) - 1; k >= 0; k-- {
		h := d.Hooks[k]
		if h.Revision == wanted || d.given(h.Revision) {
			continue
		}
		if h.Failed == "" {
			others++
		}
		if h.Failed != "" || others > MaxHistory {
			d.Hooks = slices.Delete(d.Hooks, k, k+1)
		}
	}
}

// counted is the number of something and its unit, for people.
func counted(n, of int, what string) string {
	return strconv.Itoa(n) + " of " + strconv.Itoa(of) + " " + what
}
