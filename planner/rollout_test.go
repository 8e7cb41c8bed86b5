package planner

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// rolloutCase is a fleet case with what concerns rollouts.
type rolloutCase struct {
	fleetCase
	good    string // template of LastGood
	history string // templates, newest first
	change  func(s *Service, d *DocView, v *View)
}

func (c rolloutCase) build(t *testing.T) (Followed, View) {
	t.Helper()
	f, v := c.fleetCase.build(t)
	s := f.Services[web]
	d, known := v.Docs[web]
	if c.good != "" {
		d.Doc.LastGood = RevisionOf(revs[c.good])
	}
	for k, letter := range strings.Split(c.history, "") {
		d.Doc.History = append(d.Doc.History, Applied{RevisionOf(revs[letter]), hash(string(rune('1' + k)))})
	}
	if c.change != nil {
		c.change(&s, &d, &v)
	}
	if f.Services[web] = s; known {
		v.Docs[web] = d
	}
	return f, v
}

// letterOf names a revision as the tables do.
func letterOf(rev Revision) string {
	for letter, t := range revs {
		if RevisionOf(t) == rev {
			return letter
		}
	}
	return string(rev)
}

func amount(n int) *Amount { return &Amount{Count: n} }

func update(u Update) func(*Service, *DocView, *View) {
	return func(s *Service, _ *DocView, _ *View) { s.Update = u }
}

var stopFirstOrder = update(Update{StopFirst: true})

// TestPace: how many slots change at once, and when the old instance of one goes.
func TestPace(t *testing.T) {
	surge := func(n int) func(*Service, *DocView, *View) { return update(Update{MaxSurge: amount(n)}) }
	three := fleetCase{nodes: "n1", replicas: 3, target: "b", before: "0:a1@n1+ 1:a2@n1+ 2:a3@n1+"}
	minReady := func(s *Service, _ *DocView, _ *View) { s.MinReady = time.Second }
	young := func(u Update) func(*Service, *DocView, *View) {
		return func(s *Service, _ *DocView, _ *View) { s.MinReady, s.Update = time.Second, u }
	}
	tests := []struct {
		name string
		rolloutCase
		after string // "=" = nothing is decided
	}{
		// As many as the surge at once, each beside its old instance.
		{"surge", rolloutCase{fleetCase: three, change: surge(2)}, "0:a1@n1 0:b4@n1 1:a2@n1 1:b5@n1 2:a3@n1"},
		{"surge, all", rolloutCase{fleetCase: three, change: surge(9)}, "0:a1@n1 0:b4@n1 1:a2@n1 1:b5@n1 2:a3@n1 2:b6@n1"},
		{"surge in percent, rounded up", rolloutCase{fleetCase: three, change: update(Update{MaxSurge: &Amount{34, true}})}, "0:a1@n1 0:b4@n1 1:a2@n1 1:b5@n1 2:a3@n1"},
		// One that is done makes room for the next.
		{"surge, next", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 3, target: "b", before: "0:a1@n1+ 0:b4@n1+ 1:a2@n1+ 1:b5@n1 2:a3@n1+"}, change: surge(2)}, "0:b4@n1 1:a2@n1 1:b5@n1 2:a3@n1 2:b6@n1"},
		// Those that have nothing to lose go first.
		{"not available first", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1"}}, "0:a1@n1 1:a2@n1 1:b3@n1"},
		// Beyond the surge, one that may be unavailable changes stop-first.
		{"surge and unavailable", rolloutCase{fleetCase: three, change: update(Update{MaxSurge: amount(1), MaxUnavailable: amount(1)})}, "0:a1@n1 0:b4@n1 1:a2@n1 1:b5@n1s 2:a3@n1"},
		// No surge: stop-first, whatever the order says. The new lease waits beside
		// the old one for its images ...
		{"no surge", rolloutCase{fleetCase: three, change: surge(0)}, "0:a1@n1 0:b4@n1s 1:a2@n1 2:a3@n1"},
		{"stop-first", rolloutCase{fleetCase: three, change: stopFirstOrder}, "0:a1@n1 0:b4@n1s 1:a2@n1 2:a3@n1"},
		{"stop-first, not prepared", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b4@n1s 1:a2@n1+"}, change: stopFirstOrder}, "="},
		{"stop-first, prepared", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b4@n1~s 1:a2@n1+"}, change: stopFirstOrder}, "0:b4@n1s 1:a2@n1"},
		// ... and for the budget: another slot is down, which goes first.
		{"stop-first, another is down", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 3, target: "b", before: "0:a1@n1+ 0:b4@n1~s 1:a2@n1 2:a3@n1+"}, change: stopFirstOrder}, "0:a1@n1 0:b4@n1s 1:a2@n1 1:b5@n1s 2:a3@n1"},
		{"stop-first, another is down and changes", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 3, target: "b", before: "0:a1@n1+ 0:b4@n1~s 1:b5@n1 2:a3@n1+"}, change: stopFirstOrder}, "="},
		// However many may be unavailable, the last available one stays ...
		{"stop-first, the last", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n1~s 1:b4@n1"}, change: update(Update{StopFirst: true, MaxUnavailable: amount(2)})}, "="},
		// ... but where the service has no other.
		{"stop-first, the only", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b3@n1~s"}, change: stopFirstOrder}, "0:b3@n1s"},
		// A single writer goes where none may be unavailable, but one at a time.
		{"single writer, another is down", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "I", before: "0:H1@n1+ 0:I3@n1~ 1:I2@n2"}}, "="},
		{"single writer, all are up", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "I", before: "0:H1@n1+ 0:I3@n1~ 1:I2@n2+"}}, "0:I3@n1 1:I2@n2"},
		// A slot that no node takes is not one that could be lost.
		{"single writer, another has no place", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "I", before: "0:H1@n1+ 0:I3@n1~"}}, "0:I3@n1"},
		// Taken back to where none may be unavailable: what waits for that is replaced.
		{"order changed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b2@n1~s"}}, "0:a1@n1 0:b3@n1"},
		// Ready is not yet available.
		{"minReady", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+* 0:b2@n1+"}, change: minReady}, "="},
		{"minReady, over", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+* 0:b2@n1+*"}, change: minReady}, "0:b2@n1"},
		// It is not to be lost, either: what is not ready goes first ...
		{"minReady, another is not ready", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1"}, change: young(Update{StopFirst: true})}, "0:a1@n1 1:a2@n1 1:b3@n1s"},
		{"minReady, another is not ready, steps", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1"}, good: "a", history: "a", change: young(Update{StopFirst: true, Steps: []UpdateStep{{Slots: Amount{Count: 1}}}})}, "0:a1@n1 1:a2@n1 1:b3@n1s"},
		{"minReady, not yet available goes first", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+* 0:b3@n1~s 1:a2@n1+ 1:b4@n1~s"}, change: young(Update{StopFirst: true})}, "0:a1@n1 0:b3@n1s 1:b4@n1s"},
		{"minReady, another changes", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b4@n1~s 1:b3@n1"}, change: young(Update{StopFirst: true})}, "="},
		// ... and the last stays.
		{"minReady, the last", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b4@n1~s 1:b3@n1"}, change: young(Update{StopFirst: true, MaxUnavailable: amount(2)})}, "="},
		{"minReady, the last available", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+* 0:b3@n1~s 1:a2@n1+"}, change: young(Update{StopFirst: true, MaxUnavailable: amount(2)})}, "0:a1@n1 0:b3@n1s 1:a2@n1 1:b4@n1s"},
		// A drain has the same budget ...
		{"drain", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain n2", replicas: 3, target: "a", before: "0:a1@n1+ 1:a2@n1+ 2:a3@n1+"}, change: surge(2)}, "0:a1@n1 0:a4@n2 1:a2@n1 1:a5@n2 2:a3@n1"},
		{"drain, stop-first", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain n2", replicas: 2, target: "a", before: "0:a1@n1+ 1:a2@n1+"}, change: stopFirstOrder}, "0:a1@n1 0:a3@n2s 1:a2@n1"},
		// ... and not one of its own beside a rollout's.
		{"drain in a rollout", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:drain", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n1 1:a2@n2+"}}, "="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.build(t)
			got := settled(t, f, v)
			if got == nil != (tt.after == "=") || got != nil && showFleetLeases(got.Leases) != tt.after {
				t.Errorf("%v, want %q", got, tt.after)
			}
		})
	}
}

// settled is the document that is decided, nil if none is; decided on it again,
// nothing changes.
func settled(t *testing.T, f Followed, v View) *LeaseDoc {
	t.Helper()
	now := Time{Boot: fleetNow}
	out := Coordinate(f, v, now)
	if len(out.Docs) == 0 {
		return nil
	}
	d := out.Docs[0].Doc
	v.Docs[web] = DocView{Doc: d, Since: fleetNow, StepSince: fleetNow}
	if more := Coordinate(f, v, now); len(more.Docs) > 0 {
		t.Errorf("decides again: %s", show(more.Docs))
	}
	return &d
}

// hookOf is the hook of a revision; its templates are in revs for the tables.
func hookOf(kind HookKind, of Template) Hook {
	h := plain("hook")
	h.Once, h.Of = true, RevisionOf(of)
	h.Containers[0].Args = []string{string(kind)}
	return Hook{Template: h, Revision: RevisionOf(h)}
}

func init() {
	revs["x"], revs["y"] = hookOf(HookPreRollout, plainB).Template, hookOf(HookPostRollout, plainB).Template
	revs["z"] = hookOf(HookPreRollout, plain("c")).Template
}

// withHooks gives service b its hooks, and the leases of hooks their kind.
func withHooks(kinds ...HookKind) func(*Service, *DocView, *View) {
	return func(s *Service, d *DocView, v *View) {
		s.Hooks = map[HookKind]Hook{}
		for _, kind := range kinds {
			s.Hooks[kind] = hookOf(kind, s.Template)
		}
		for i := range d.Doc.Leases {
			l := &d.Doc.Leases[i]
			if kind := HookKind(l.Slot); slices.Contains(HookKinds, kind) {
				l.Hook = kind
			}
		}
	}
}

// then makes a change after another, of what nodes report of a lease.
func then(first func(*Service, *DocView, *View), token uint64, phase Phase) func(*Service, *DocView, *View) {
	return func(s *Service, d *DocView, v *View) {
		first(s, d, v)
		for name, n := range v.Nodes {
			for i := range n.Status.Instances {
				if n.Status.Instances[i].Token == token {
					n.Status.Instances[i].Phase = phase
					if phase == PhaseFailed {
						n.Status.Instances[i].Reason = "exited with code 3"
					}
				}
			}
			v.Nodes[name] = n
		}
	}
}

// TestRollout: what blocks a revision and what then becomes of it, what holds a
// rollout back, and what people are told.
func TestRollout(t *testing.T) {
	block := func(letter string) func(*Service, *DocView, *View) {
		return func(_ *Service, d *DocView, _ *View) {
			d.Doc.Blocked, d.Doc.BlockedWhy = []Revision{RevisionOf(revs[letter])}, "it failed"
		}
	}
	noRevert := func(s *Service, _ *DocView, _ *View) { s.Update.NoRevert = true }
	// mended blocks what another manifest of the same revision asked for.
	mended := func(s *Service, d *DocView, v *View) {
		block("b")(s, d, v)
		d.Doc.BlockedAt, d.Doc.BlockedManifest = "c0", s.Fingerprint()
		s.ProgressDeadline = time.Hour
	}
	lapsed := func(token uint64) func(*Service, *DocView, *View) {
		return func(_ *Service, _ *DocView, v *View) {
			for _, i := range v.Nodes["n1"].Status.Instances {
				if i.Token == token {
					n := v.Nodes["n1"]
					n.Status.Instances = slices.Clone(n.Status.Instances)
					at := slices.IndexFunc(n.Status.Instances, func(o InstanceStatus) bool { return o.Token == token })
					n.Status.Instances[at].Lapsed, n.Status.Instances[at].Reason = true, "has not been ready for 10m0s"
					v.Nodes["n1"] = n
				}
			}
		}
	}
	both := func(a, b func(*Service, *DocView, *View)) func(*Service, *DocView, *View) {
		return func(s *Service, d *DocView, v *View) { a(s, d, v); b(s, d, v) }
	}
	forgotten := func(letter string) func(*Service, *DocView, *View) {
		return func(_ *Service, _ *DocView, v *View) { delete(v.Specs, RevisionOf(revs[letter])) }
	}
	steps := func(promoted string, step int, since time.Duration, of ...UpdateStep) func(*Service, *DocView, *View) {
		return func(s *Service, d *DocView, _ *View) {
			s.Update.Steps, s.Update.Promoted = of, promoted
			d.Doc.Step, d.StepSince = step, since
		}
	}
	one, pause, approve := UpdateStep{Slots: Amount{Count: 1}}, UpdateStep{Slots: Amount{Count: 1}, Pause: time.Minute}, UpdateStep{Slots: Amount{Count: 1}, Approve: true}
	half := UpdateStep{Slots: Amount{50, true}, Approve: true}
	b := string(RevisionOf(plainB))
	pre, post := withHooks(HookPreRollout), withHooks(HookPostRollout)
	refusesHook := func(s *Service, d *DocView, v *View) {
		pre(s, d, v)
		n := v.Nodes["n1"]
		n.Status.Refusals = []Refusal{{web, s.Hooks[HookPreRollout].Revision, "no room"}}
		v.Nodes["n1"] = n
	}
	needs := func(condition DependencyCondition) func(*Service, *DocView, *View) {
		return func(s *Service, _ *DocView, _ *View) {
			s.DependsOn = []Dependency{{ServiceID{"default", "db"}, condition}}
		}
	}
	tests := []struct {
		name string
		rolloutCase
		after   string // "=" = nothing is decided
		waiting string // part of it
		blocked string // template
		good    string // template
		step    int
	}{
		// A release whose instance is given up is blocked, and goes back at once: the
		// instance that never was available ends.
		{"fails", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n1f 1:a2@n1+"}, good: "a", history: "ba"},
			"0:a1@n1 1:a2@n1", "is blocked: web-0 on n1: exited with code 1", "b", "a", 0},
		{"fails, after some", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+ 1:b4@n1f"}, good: "a", history: "ba"},
			"0:b3@n1 0:a5@n1 1:a2@n1", "is wanted again; commit a change", "b", "a", 0},
		// Gone back: nothing more is to do, whoever looks.
		{"blocked, gone back", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "ba", change: block("b")}, "=", "is blocked: it failed", "b", "a", 0},
		// What is lost meanwhile comes back as it was good, also if the bad one was lost.
		{"blocked, lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 2, target: "b", before: "0:a1@n1+ 1:b2@n2v"}, good: "a", history: "ba", change: block("b")}, "0:a1@n1 1:b2@n2v 1:a3@n1", "", "b", "a", 0},
		{"blocked, scaled up", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+"}, good: "a", history: "ba", change: block("b")}, "0:a1@n1 1:a2@n1", "", "b", "a", 0},
		// A git revert restarts nothing, and a fixed commit rolls out.
		{"reverted by people", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1+"}, good: "a", history: "ba", change: block("b")}, "0:a1@n1", "", "", "a", 0},
		{"fixed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "c", before: "0:a1@n1+"}, good: "a", history: "ba", change: block("b")}, "0:a1@n1 0:c2@n1", "", "", "a", 0},
		// Another manifest of the same revision is tried again: it has more time, say.
		{"tried again", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "ba", change: mended}, "0:a1@n1 0:b2@n1", "", "", "a", 0},
		{"tried again, still failing", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b1@n1f 1:a2@n1+"}, good: "a", history: "ba", change: both(noRevert, mended)}, "=", "autoRevert: false", "b", "a", 0},
		// What was available and is not for long stops a rollout, but moves nowhere.
		{"lapses", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1 1:a2@n1+"}, good: "a", history: "ba", change: lapsed(3)},
			"0:b3@n1 0:a4@n1 1:a2@n1", "web-0 on n1: has not been ready for 10m0s", "b", "a", 0},
		{"lapses, completed", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:b3@n1 1:b2@n1+"}, good: "b", history: "ba", change: lapsed(3)}, "=", "", "", "b", 0},
		// autoRevert: false, or a good one that nobody knows (any more): all stay.
		{"stays", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b1@n1f 1:a2@n1+"}, good: "a", history: "ba", change: noRevert}, "0:b1@n1 1:a2@n1", "autoRevert: false", "b", "a", 0},
		{"stays, the pair is left with what runs", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b2@n1f"}, good: "a", history: "ba", change: noRevert}, "0:a1@n1", "", "b", "a", 0},
		{"stays, lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 2, target: "b", before: "0:b1@n1 1:b2@n2v"}, good: "a", history: "ba", change: both(noRevert, block("b"))}, "0:b1@n1 1:b2@n2v 1:b3@n1", "", "b", "a", 0},
		{"stays, drained", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:drain", replicas: 1, target: "b", before: "0:a1@n2+"}, good: "a", history: "ba", change: both(noRevert, block("b"))}, "0:a1@n2 0:a2@n1", "", "b", "a", 0},
		{"stays, not read yet", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1"}, good: "a", history: "ba", change: both(forgotten("a"), block("b"))}, "=", "as soon as its manifest of then was read", "b", "a", 0},
		// A first release has nothing to go back to; one that was completed is healed.
		{"first release fails", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1f"}, history: "b"}, "=", "", "", "", 0},
		{"completed, then fails", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1f"}, good: "b", history: "ba"}, "=", "", "", "b", 0},
		// The first release counts as good once the next begins, if it was ready.
		{"good by the way", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, history: "a"}, "0:a1@n1 0:b2@n1", "", "", "a", 0},
		{"never good", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1"}, history: "a"}, "0:a1@n1 0:b2@n1", "", "", "", 0},
		// Completed with the write that takes the last old lease back ...
		{"completed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b2@n1+"}, good: "a", history: "ba"}, "0:b2@n1", "", "", "b", 0},
		// ... or, stop-first, with one of its own.
		{"completed, stop-first", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b2@n1+"}, good: "a", history: "ba"}, "0:b2@n1", "", "", "b", 0},

		// Steps: so many, then a rest.
		{"step", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 0, 0, approve)}, "0:b3@n1 1:a2@n1", "step 1 of 1 is done: waits for spec.update.promoted: " + b[:11], "", "a", 1},
		{"step, waits", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 1, 0, approve)}, "=", "waits for spec.update.promoted", "", "a", 1},
		{"step, promoted", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps(b[:11], 1, 0, approve)}, "0:b3@n1 1:a2@n1 1:b4@n1", "", "", "a", 1},
		{"step, another promoted", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps("r1-00000000", 1, 0, approve)}, "=", "waits for", "", "a", 1},
		{"step, promoted up to it", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 4, target: "b", before: "0:b3@n1+ 1:b4@n1+ 2:a5@n1+ 3:a6@n1+"}, good: "a", history: "ba", change: steps(b[:11]+"/1", 1, 0, approve, half)}, "0:b3@n1 1:b4@n1 2:a5@n1 3:a6@n1", "step 2 of 2 is done", "", "a", 2},
		{"step, pauses", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 1, fleetNow-59*time.Second, pause)}, "=", "pauses for 1m0s", "", "a", 1},
		{"step, pause over", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 1, fleetNow-time.Minute, pause)}, "0:b3@n1 1:a2@n1 1:b4@n1", "", "", "a", 1},
		{"step, not available yet", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 0, 0, one)}, "=", "", "", "a", 0},
		// A step holds back neither moves nor what is lost nor new slots: they go on
		// at the revision of before.
		{"step, drained", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:drain", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n2+"}, good: "a", history: "ba", change: steps("", 1, 0, approve)}, "0:b3@n1 1:a2@n2 1:a4@n1", "", "", "a", 1},
		{"step, drained, goes on", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:drain", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n2+ 1:a4@n1+"}, good: "a", history: "ba", change: steps("", 1, 0, approve)}, "0:b3@n1 1:a4@n1", "", "", "a", 1},
		{"step, lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n2v"}, good: "a", history: "ba", change: steps("", 1, 0, approve)}, "0:b3@n1 1:a2@n2v 1:a4@n1", "", "", "a", 1},
		{"step, scaled up", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 3, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 1, 0, approve)}, "0:b3@n1 1:a2@n1 2:a4@n1", "", "", "a", 1},
		// The slot whose turn it is waits for the budget, and the others for their
		// turn: those that are down come first.
		{"step, stop-first, others are down", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n1~s 1:a2@n1"}, good: "a", history: "ba", change: func(s *Service, d *DocView, v *View) {
			steps("", 0, 0, approve)(s, d, v)
			s.Update.StopFirst = true
		}}, "0:a1@n1 1:a2@n1 1:b4@n1s", "", "", "a", 0},
		// A first release has no steps, nor has the way back.
		{"step, first release", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b"}, change: steps("", 0, 0, approve)}, "0:b1@n1 1:b2@n1", "", "", "", 0},
		{"step, fails", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1f 1:a2@n1+"}, good: "a", history: "ba", change: steps("", 0, 0, approve)}, "0:b3@n1 0:a4@n1 1:a2@n1", "", "b", "a", 0},

		// Hooks: the first one before any slot, under a lease of its own.
		{"hook", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: pre}, "0:a1@n1 prerollout:x2@n1", "preRollout hook begins on n1", "", "a", 0},
		{"hook, first release", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b"}, change: pre}, "prerollout:x1@n1", "", "", "", 0},
		{"hook, nothing to run", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 0, target: "b"}, change: pre}, "=", "", "", "", 0},
		{"hook, runs", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: then(pre, 2, PhaseRunning)}, "=", "its preRollout hook runs on n1", "", "a", 0},
		{"hook, succeeded", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: then(pre, 2, PhaseSucceeded)}, "0:a1@n1 0:b3@n1", "", "", "a", 0},
		{"hook, failed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: then(pre, 2, PhaseFailed)}, "0:a1@n1", "its preRollout hook failed: exited with code 3", "b", "a", 0},
		{"hook, failed, nothing was good", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "prerollout:x2@n1"}, change: then(pre, 2, PhaseFailed)}, "", "no revision was good before", "b", "", 0},
		// Mended, it runs again, though it is for the same revision.
		{"hook, mended", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: func(s *Service, d *DocView, v *View) {
			pre(s, d, v)
			d.Doc.Hooks = []HookRun{{Kind: HookPreRollout, Revision: s.Revision, Token: 1, Failed: "exited with code 3"}}
			mended(s, d, v)
		}}, "0:a1@n1 prerollout:x2@n1", "preRollout hook begins on n1", "", "a", 0},
		{"hook, too slow", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1f"}, good: "a", history: "a", change: pre}, "0:a1@n1", "hook failed: exited with code 1", "b", "a", 0},
		// Its node is lost: nobody knows.
		{"hook, lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n2v"}, good: "a", history: "a", change: pre}, "0:a1@n1", "nobody knows whether it succeeded", "b", "a", 0},
		// ... but what it had told before.
		{"hook, told and lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n2v"}, good: "a", history: "a", change: then(pre, 2, PhaseSucceeded)}, "0:a1@n1 0:b3@n1", "", "", "a", 0},
		// Refused, it never began: elsewhere, or nowhere for now.
		{"hook, refused", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: refusesHook}, "0:a1@n1 prerollout:x3@n2", "", "", "a", 0},
		{"hook, refused everywhere", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: refusesHook}, "0:a1@n1", "no node takes its preRollout hook", "", "a", 0},
		// A slot that is lost meanwhile comes back as it was; a drain goes on.
		{"hook, a slot is lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 1, target: "b", before: "0:a1@n2v prerollout:x2@n1"}, good: "a", history: "a", change: pre}, "0:a1@n2v 0:a3@n1 prerollout:x2@n1", "", "", "a", 0},
		// A newer commit waits for the end of an older one's.
		{"hook of an older commit", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "c", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: pre}, "=", "an older commit's preRollout hook runs on n1", "", "a", 0},
		{"hook of an older commit, ended", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "c", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: then(pre, 2, PhaseFailed)}, "0:a1@n1 prerollout:z3@n1", "", "", "a", 0},
		// Once for each revision: not again on the way back to one that was given.
		{"hook, given before", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "ab", change: pre}, "0:a1@n1 0:b2@n1", "", "", "a", 0},
		// The last one once all are available; only then it is completed.
		{"last hook", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b2@n1+"}, good: "a", history: "ba", change: post}, "0:b2@n1 postrollout:y3@n1", "postRollout hook begins on n1", "", "a", 0},
		{"last hook, succeeded", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b2@n1+ postrollout:y3@n1"}, good: "a", history: "ba", change: then(post, 3, PhaseSucceeded)}, "0:b2@n1", "", "", "b", 0},
		{"last hook, failed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b2@n1+ postrollout:y3@n1"}, good: "a", history: "ba", change: then(post, 3, PhaseFailed)}, "0:b2@n1 0:a4@n1", "its postRollout hook failed", "b", "a", 0},
		{"last hook, first release failed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b2@n1+ postrollout:y3@n1"}, history: "b", change: then(post, 3, PhaseFailed)}, "0:b2@n1", "what runs stays", "b", "", 0},
		{"last hook, completed before", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b2@n1+"}, good: "b", history: "ba", change: post}, "=", "", "", "b", 0},
		// A service that is kept starts none.
		{"hook, kept", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", kept: "x", before: "0:a1@n1+"}, good: "a", history: "a", change: pre}, "=", "", "", "a", 0},

		// dependsOn: what is not there is not fulfilled.
		{"depends", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b"}, change: needs(DependsReady)}, "=", "waits for db: no manifest that is followed has it", "", "", 0},
		{"depends, a rollout", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: needs(DependsReady)}, "=", "waits for db", "", "a", 0},
		{"depends, has begun", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: needs(DependsReady)}, "0:b3@n1 1:a2@n1 1:b4@n1", "", "", "a", 0},
		{"depends, lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced", replicas: 1, target: "b", before: "0:a1@n2v"}, good: "a", history: "a", change: needs(DependsReady)}, "0:a1@n2v 0:a2@n1", "", "", "a", 0},
		{"depends, scaled up", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "a", before: "0:a1@n1+"}, good: "a", history: "a", change: needs(DependsReady)}, "0:a1@n1 1:a2@n1", "", "", "a", 0},

		// A slot that keeps failing goes elsewhere, beside the old one ...
		{"rescheduled", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 1, target: "a", before: "0:a1@n1f"}, good: "a", history: "a"}, "0:a1@n1 0:a2@n2", "", "", "a", 0},
		// ... if there is another that takes it, and people do not forbid it.
		{"rescheduled, nowhere", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:cordon", replicas: 1, target: "a", before: "0:a1@n1f"}, good: "a", history: "a"}, "=", "", "", "a", 0},
		{"rescheduled, never", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 1, target: "a", before: "0:a1@n1f"}, good: "a", history: "a", change: func(s *Service, _ *DocView, _ *View) { s.Reschedule.Never = true }}, "=", "", "", "a", 0},
		{"rescheduled, bound", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 1, target: "V", before: "0:V1@n1f"}, good: "V", history: "V"}, "=", "", "", "V", 0},
		{"rescheduled, of a node", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", each: true, target: "a", before: "n1:a1@n1f n2:a2@n2+"}, good: "a", history: "a"}, "=", "", "", "a", 0},
		// A node on which everything fails gets no new work.
		{"failing node", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "a", before: "0:a1@n1+"}, good: "a", history: "a", change: func(_ *Service, _ *DocView, v *View) {
			n := v.Nodes["n2"]
			n.Status.Failing = "5 failures in 5 minutes"
			v.Nodes["n2"] = n
		}}, "0:a1@n1 1:a2@n1", "", "", "a", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.rolloutCase.build(t)
			before := v.Docs[web].Doc
			if why := Coordinate(f, v, Time{Boot: fleetNow}).Waiting[web]; !strings.Contains(why, tt.waiting) {
				t.Errorf("waiting: %q, want %q", why, tt.waiting)
			}
			got := settled(t, f, v)
			if got == nil {
				if tt.after != "=" {
					t.Fatalf("nothing is decided, want %q", tt.after)
				}
				got = &before
			} else if leases := showFleetLeases(got.Leases); leases != tt.after {
				t.Errorf("leases %q, want %q", leases, tt.after)
			}
			if blocked := len(got.Blocked) > 0; blocked != (tt.blocked != "") || blocked && letterOf(got.Blocked[0]) != tt.blocked {
				t.Errorf("blocked %v, want %q", got.Blocked, tt.blocked)
			}
			if letterOf(got.LastGood) != tt.good || got.Step != tt.step {
				t.Errorf("last good %q, step %d; want %q, %d", letterOf(got.LastGood), got.Step, tt.good, tt.step)
			}
		})
	}
}
