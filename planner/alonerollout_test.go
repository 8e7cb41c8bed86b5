package planner

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAloneRollout: on a node that grants leases to itself, by the same rules as
// in a fleet. before: + ready.
func TestAloneRollout(t *testing.T) {
	type world struct {
		s *Service
		d *LeaseDoc
		v *Alone
		f *Followed
	}
	good := func(letter, history string) func(world) {
		return func(w world) {
			w.d.LastGood = RevisionOf(revs[letter])
			for _, h := range strings.Split(history, "") {
				w.d.History = append(w.d.History, Applied{RevisionOf(revs[h]), "old"})
			}
		}
	}
	update := func(u Update) func(world) { return func(w world) { w.s.Update = u } }
	fails := func(token uint64) func(world) {
		return func(w world) { w.v.Failing = map[LeaseKey]string{{web, token}: "exited with code 1"} }
	}
	blocked := func(w world) { w.d.Blocked, w.d.BlockedWhy = []Revision{RevisionOf(plainB)}, "it failed" }
	hooks := func(kind HookKind) func(world) {
		return func(w world) {
			w.s.Hooks = map[HookKind]Hook{kind: hookOf(kind, w.s.Template)}
			for i := range w.d.Leases {
				if w.d.Leases[i].Slot == string(kind) {
					w.d.Leases[i].Hook = kind
				}
			}
		}
	}
	ended := func(token uint64, failed string) func(world) {
		return func(w world) { w.v.Ended = map[LeaseKey]string{{web, token}: failed} }
	}
	db := ServiceID{DefaultNamespace, "db"}
	needs := func(condition DependencyCondition) func(world) {
		return func(w world) { w.s.DependsOn = []Dependency{{db, condition}} }
	}
	// has gives db one slot, ready or only running.
	has := func(ready bool) func(world) {
		return func(w world) {
			w.f.Services[db] = service(db, 1, plainA)
			l := Lease{Slot: "0", Node: here.Name, Token: 1, Revision: RevisionOf(plainA)}
			w.v.Docs[db] = LeaseDoc{Service: db, Tokens: 1, Leases: []Lease{l}}
			w.v.Ready[LeaseKey{db, 1}] = ready
			w.v.Running = []Instance{{ID: "db", Slot: SlotID{db, "0"}, Revision: l.Revision, Token: 1, State: StateRunning}}
		}
	}
	step := func(step int, since time.Duration) func(world) {
		return func(w world) {
			w.s.Update.Steps = []UpdateStep{{Slots: Amount{Count: 1}, Pause: time.Minute}}
			w.d.Step, w.v.StepSince, w.v.Now = step, map[ServiceID]time.Duration{web: since}, Time{Boot: fleetNow}
		}
	}
	tests := []struct {
		name     string
		replicas int
		target   string
		prepared string // "" = all
		before   string
		change   []func(world)

		after   string // "=" = nothing is written
		prepare string // templates
		waiting string
		good    string
		blocked bool
	}{
		// The budget.
		{name: "surge", replicas: 3, target: "b", before: "0:a1+ 1:a2+ 2:a3+", change: []func(world){update(Update{MaxSurge: amount(2)})}, after: "0:a1 0:b4 1:a2 1:b5 2:a3", good: "a"},
		{name: "not available first", replicas: 2, target: "b", before: "0:a1+ 1:a2", after: "0:a1 1:a2 1:b3", good: "a"},
		{name: "stop-first", replicas: 2, target: "b", before: "0:a1+ 1:a2+", change: []func(world){update(Update{StopFirst: true})}, after: "0:b3 1:a2", good: "a"},
		{name: "stop-first, the next waits", replicas: 2, target: "b", before: "0:b3 1:a2+", change: []func(world){update(Update{StopFirst: true})}, after: "=", waiting: "web-0 is not ready yet"},
		{name: "stop-first, not the last", replicas: 2, target: "b", before: "0:b3 1:a2+", change: []func(world){update(Update{StopFirst: true, MaxUnavailable: amount(2)})}, after: "="},
		{name: "surge and unavailable", replicas: 3, target: "b", before: "0:a1+ 1:a2+ 2:a3+", change: []func(world){update(Update{MaxUnavailable: amount(1)})}, after: "0:a1 0:b4 1:b5 2:a3", good: "a"},
		// Ready is not yet available.
		{name: "minReady", replicas: 1, target: "b", before: "0:a1+ 0:b2+", change: []func(world){func(w world) { w.s.MinReady = time.Second }}, after: "="},
		{name: "minReady, over", replicas: 1, target: "b", before: "0:a1+ 0:b2+", change: []func(world){good("a", "ba"), func(w world) {
			w.s.MinReady, w.v.Available = time.Second, map[LeaseKey]bool{{web, 2}: true}
		}}, after: "0:b2", good: "b"},
		{name: "minReady, another is not ready", replicas: 2, target: "b", before: "0:a1+ 1:a2", change: []func(world){update(Update{StopFirst: true}), func(w world) { w.s.MinReady = time.Second }}, after: "0:a1 1:b3"},
		{name: "minReady, not yet available goes first", replicas: 2, target: "b", before: "0:a1+ 1:a2+", change: []func(world){update(Update{StopFirst: true}), func(w world) {
			w.s.MinReady, w.v.Available = time.Second, map[LeaseKey]bool{{web, 1}: true}
		}}, after: "0:a1 1:b3", good: "a"},
		{name: "minReady, the last", replicas: 2, target: "b", before: "0:a1+ 1:b3", change: []func(world){update(Update{StopFirst: true, MaxUnavailable: amount(2)}), func(w world) { w.s.MinReady = time.Second }}, after: "=", waiting: "web-1 is not ready yet"},

		// A bad release: back to the last good one, which may have to be fetched.
		{name: "fails", replicas: 2, target: "b", before: "0:a1+ 0:b3 1:a2+", change: []func(world){good("a", "ba"), fails(3)}, after: "0:a1 1:a2", waiting: "is blocked: web-0 on n1: exited with code 1", good: "a", blocked: true},
		{name: "fails, stop-first", replicas: 1, target: "b", before: "0:b3", change: []func(world){good("a", "ba"), fails(3)}, after: "0:b3 0:a4", good: "a", blocked: true},
		{name: "fails, the good one is gone", replicas: 1, target: "b", prepared: "b", before: "0:b3", change: []func(world){good("a", "ba"), fails(3)}, after: "0:b3", prepare: "a", good: "a", blocked: true},
		{name: "fails, stays", replicas: 1, target: "b", before: "0:b3", change: []func(world){good("a", "ba"), fails(3), update(Update{NoRevert: true})}, after: "0:b3", waiting: "autoRevert: false", good: "a", blocked: true},
		{name: "blocked, gone back", replicas: 1, target: "b", before: "0:a1+", change: []func(world){good("a", "aba"), blocked}, after: "=", waiting: "is blocked: it failed"},
		{name: "blocked, reverted by people", replicas: 1, target: "a", before: "0:a1+", change: []func(world){good("a", "aba"), blocked}, after: "0:a1", good: "a"},
		{name: "first release fails", replicas: 1, target: "a", before: "0:a1", change: []func(world){fails(1)}, after: "="},
		{name: "completed, then fails", replicas: 1, target: "b", before: "0:b1", change: []func(world){good("b", "ba"), fails(1)}, after: "="},
		{name: "completed", replicas: 1, target: "b", before: "0:a1+ 0:b2+", change: []func(world){good("a", "ba")}, after: "0:b2", good: "b"},

		// Steps.
		{name: "step, done", replicas: 2, target: "b", before: "0:b3+ 1:a2+", change: []func(world){good("a", "ba"), step(0, 0)}, after: "0:b3 1:a2", waiting: "step 1 of 1 is done: pauses for 1m0s", good: "a"},
		{name: "step, pauses", replicas: 2, target: "b", before: "0:b3+ 1:a2+", change: []func(world){good("a", "ba"), step(1, fleetNow-time.Second)}, after: "=", waiting: "pauses for 1m0s"},
		{name: "step, over", replicas: 2, target: "b", before: "0:b3+ 1:a2+", change: []func(world){good("a", "ba"), step(1, fleetNow-time.Minute)}, after: "0:b3 1:a2 1:b4", good: "a"},

		// Hooks.
		{name: "hook, not prepared", replicas: 1, target: "b", prepared: "ab", before: "0:a1+", change: []func(world){good("a", "a"), hooks(HookPreRollout)}, after: "=", prepare: "x", waiting: "its preRollout hook is to run first"},
		{name: "hook", replicas: 1, target: "b", before: "0:a1+", change: []func(world){good("a", "a"), hooks(HookPreRollout)}, after: "0:a1 prerollout:x2", good: "a"},
		{name: "hook, runs", replicas: 1, target: "b", before: "0:a1+ prerollout:x2", change: []func(world){good("a", "a"), hooks(HookPreRollout)}, after: "=", waiting: "its preRollout hook runs on n1"},
		{name: "hook, succeeded", replicas: 1, target: "b", before: "0:a1+ prerollout:x2", change: []func(world){good("a", "a"), hooks(HookPreRollout), ended(2, "")}, after: "0:a1 0:b3", good: "a"},
		{name: "hook, failed", replicas: 1, target: "b", before: "0:a1+ prerollout:x2", change: []func(world){good("a", "a"), hooks(HookPreRollout), ended(2, "exited with code 3")}, after: "0:a1", waiting: "its preRollout hook failed: exited with code 3", good: "a", blocked: true},
		{name: "hook, too slow", replicas: 1, target: "b", before: "0:a1+ prerollout:x2", change: []func(world){good("a", "a"), hooks(HookPreRollout), fails(2)}, after: "0:a1", good: "a", blocked: true},
		{name: "last hook", replicas: 1, target: "b", before: "0:a1+ 0:b2+", change: []func(world){good("a", "ba"), hooks(HookPostRollout)}, after: "0:b2 postrollout:y3", good: "a"},
		{name: "last hook, failed", replicas: 1, target: "b", before: "0:b2+ postrollout:y3", change: []func(world){good("a", "ba"), hooks(HookPostRollout), ended(3, "x")}, after: "0:b2 0:a4", good: "a", blocked: true},
		{name: "hook, held", replicas: 1, target: "b", before: "0:a1+", change: []func(world){good("a", "a"), hooks(HookPreRollout), func(w world) { w.f.Held = []Held{{Service: web}} }}, after: "="},

		// Dependencies.
		{name: "depends on nothing known", replicas: 1, target: "a", change: []func(world){needs(DependsReady)}, after: "=", waiting: "waits for db: no manifest that is followed has it"},
		{name: "depends on what is elsewhere", replicas: 1, target: "a", change: []func(world){needs(DependsReady), has(true), func(w world) {
			s := w.f.Services[db]
			s.NodeSelector = map[string]string{LabelNode: "n9"}
			w.f.Services[db] = s
		}}, after: "=", waiting: "it does not run on this node"},
		{name: "depends, not ready", replicas: 1, target: "a", change: []func(world){needs(DependsReady), has(false)}, after: "=", waiting: "no slot of it is available"},
		{name: "depends, ready", replicas: 1, target: "a", change: []func(world){needs(DependsReady), has(true)}, after: "0:a1"},
		{name: "depends, started", replicas: 1, target: "a", change: []func(world){needs(DependsStarted), has(false)}, after: "0:a1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leases, ready := parseLeases(t, tt.before)
			s := service(web, tt.replicas, revs[tt.target])
			f := Followed{Commit: Commit{Hash: "new"}, Services: map[ServiceID]Service{}}
			v := Alone{Node: here, Docs: map[ServiceID]LeaseDoc{}, Ready: ready, Prepared: map[RevisionKey]bool{}, Specs: map[Revision]Template{}}
			for letter, tmpl := range revs {
				v.Specs[RevisionOf(tmpl)] = tmpl
				v.Prepared[RevisionKey{web, RevisionOf(tmpl)}] = tt.prepared == "" || strings.Contains(tt.prepared, letter)
			}
			doc := LeaseDoc{Service: web, Commit: "old", Leases: leases}
			for _, l := range leases {
				doc.Tokens = max(doc.Tokens, l.Token)
			}
			for _, change := range tt.change {
				change(world{&s, &doc, &v, &f})
			}
			f.Services[web] = s
			if doc.Tokens > 0 {
				v.Docs[web] = doc
			}
			out := CoordinateAlone(f, v)
			mine := slices.DeleteFunc(slices.Clone(out.Docs), func(d LeaseDoc) bool { return d.Service != web })
			prepare := ""
			for _, p := range out.Prepare {
				if p.Service == web {
					prepare += letterOf(p.Revision)
				}
			}
			if prepare != tt.prepare || !strings.Contains(out.Waiting[web], tt.waiting) {
				t.Errorf("asks for %q, waiting %q; want %q, %q", prepare, out.Waiting[web], tt.prepare, tt.waiting)
			}
			if len(mine) == 0 {
				if tt.after != "=" {
					t.Fatalf("nothing is written, want %q", tt.after)
				}
				return
			}
			got := mine[0]
			if leases := showLeases(got.Leases); leases != tt.after {
				t.Errorf("leases %q, want %q", leases, tt.after)
			}
			if letterOf(got.LastGood) != tt.good || (len(got.Blocked) > 0) != tt.blocked {
				t.Errorf("last good %q, blocked %v; want %q, %v", letterOf(got.LastGood), got.Blocked, tt.good, tt.blocked)
			}
			v.Docs[web], v.StepSince = got, map[ServiceID]time.Duration{web: v.Now.Boot}
			if more := CoordinateAlone(f, v); slices.ContainsFunc(more.Docs, func(d LeaseDoc) bool { return d.Service == web }) {
				t.Errorf("writes again: %+v", more.Docs)
			}
		})
	}
}
