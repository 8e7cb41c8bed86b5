package planner

import (
	"fmt"
	"testing"
)

// TestHookRunsOncePerRevision: a hook that has succeeded does not run again for a
// revision that a newer commit overtook before any slot was given it.
func TestHookRunsOncePerRevision(t *testing.T) {
	overtaken := func(s *Service, d *DocView, v *View) {
		old := hookOf(HookPreRollout, revs["b"])
		d.Doc.Leases[1].Hook, d.Doc.Leases[1].Revision = HookPreRollout, old.Revision
		v.Specs[old.Revision] = old.Template
		s.Hooks = map[HookKind]Hook{HookPreRollout: hookOf(HookPreRollout, s.Template)}
	}
	for phase, again := range map[Phase]bool{PhaseSucceeded: false, PhaseFailed: true} {
		c := rolloutCase{
			fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "c", before: "0:a1@n1+ prerollout:x2@n1"},
			good:      "a", history: "a", change: then(overtaken, 2, phase),
		}
		f, v := c.build(t)
		ended := settled(t, f, v)
		if ended == nil {
			t.Fatalf("%s: nothing is decided", phase)
		}
		back := service(web, 1, revs["b"])
		back.Hooks = map[HookKind]Hook{HookPreRollout: hookOf(HookPreRollout, revs["b"])}
		f.Services[web] = back
		doc := *ended
		doc.Leases = slotLeases(doc.Leases) // that of c's is told below
		v.Docs[web] = DocView{Doc: doc, Since: fleetNow}
		got := settled(t, f, v)
		if got == nil {
			t.Fatalf("%s: nothing is decided for the revision that is wanted again", phase)
		}
		if runs := len(hookLeases(got.Leases)) > 0; runs != again {
			t.Errorf("%s: its hook runs again: %v, want %v: %s", phase, runs, again, showFleetLeases(got.Leases))
		}
	}
}

// TestHookOutcomesAreBounded: of revisions that nobody asks about any more the
// last that succeeded are known.
func TestHookOutcomesAreBounded(t *testing.T) {
	d := LeaseDoc{Service: web}
	for k := range 3 * MaxHistory {
		d.Hooks = append(d.Hooks, HookRun{Kind: HookPreRollout, Revision: Revision(fmt.Sprintf("r1-%d", k))})
	}
	d.Hooks = append(d.Hooks, HookRun{Kind: HookPreRollout, Revision: "r1-wanted", Failed: "exited with code 1"})
	tidy(&d, "r1-wanted", &fleetFacts{})
	if len(d.Hooks) != MaxHistory+1 || d.Hooks[0].Revision != Revision(fmt.Sprintf("r1-%d", 2*MaxHistory)) || d.Hooks[MaxHistory].Revision != "r1-wanted" {
		t.Errorf("%d outcomes: %+v", len(d.Hooks), d.Hooks)
	}
}

// TestHookMendedWhileItRuns: the failure of a hook that the manifest does not
// have any more blocks nothing: the one it has is tried.
func TestHookMendedWhileItRuns(t *testing.T) {
	for name, mended := range map[string]bool{"mended": true, "removed": false} {
		change := func(s *Service, d *DocView, v *View) {
			old := hookOf(HookPreRollout, s.Template)
			old.Template.Containers[0].Args = []string{"as it was"}
			old.Revision = RevisionOf(old.Template)
			d.Doc.Leases[1].Hook, d.Doc.Leases[1].Revision = HookPreRollout, old.Revision
			v.Specs[old.Revision] = old.Template
			if mended {
				s.Hooks = map[HookKind]Hook{HookPreRollout: hookOf(HookPreRollout, s.Template)}
			}
		}
		c := rolloutCase{
			fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"},
			good:      "a", history: "a", change: then(change, 2, PhaseFailed),
		}
		f, v := c.build(t)
		got := settled(t, f, v)
		if got == nil || len(got.Blocked) > 0 {
			t.Fatalf("%s: %+v", name, got)
		}
		if runs := len(hookLeases(got.Leases)) > 0; runs != mended {
			t.Errorf("%s: a hook runs: %v: %s", name, runs, showFleetLeases(got.Leases))
		}
	}
}

// TestHookFailedForWhatWasOvertaken: the failure of a hook of a revision that is
// not wanted any more does not block it when it comes back.
func TestHookFailedForWhatWasOvertaken(t *testing.T) {
	overtaken := func(s *Service, d *DocView, v *View) {
		old := hookOf(HookPostRollout, revs["b"])
		d.Doc.Leases[1].Hook, d.Doc.Leases[1].Revision = HookPostRollout, old.Revision
		v.Specs[old.Revision] = old.Template
	}
	c := rolloutCase{
		fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "c", before: "0:b1@n1+ postrollout:x2@n1"},
		good:      "a", history: "ba", change: then(overtaken, 2, PhaseFailed),
	}
	f, v := c.build(t)
	ended := settled(t, f, v)
	if ended == nil || len(hookLeases(ended.Leases)) > 0 {
		t.Fatalf("%+v", ended)
	}
	back := service(web, 1, revs["b"])
	back.Hooks = map[HookKind]Hook{HookPostRollout: hookOf(HookPostRollout, revs["b"])}
	f.Services[web] = back
	v.Docs[web] = DocView{Doc: *ended, Since: fleetNow}
	if got := settled(t, f, v); got == nil || len(got.Blocked) > 0 {
		t.Errorf("wanted again: %+v", got)
	}
}
