package planner

import (
	"maps"
	"slices"
	"testing"
)

// A hook begins once the digests of its release are known, and runs the image
// that the slots will.
func TestHookIsPinned(t *testing.T) {
	ofItsImage := func(s *Service, _ *DocView, _ *View) {
		t := plain("b")
		t.Once, t.Of = true, s.Revision
		s.Hooks = map[HookKind]Hook{HookPreRollout: {Template: t, Revision: RevisionOf(t)}}
	}
	c := rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: ofItsImage}
	f, v := c.build(t)
	s := f.Services[web]
	hook := s.Hooks[HookPreRollout]
	key := RevisionKey{web, s.Revision}
	digests := v.Resolved[key]

	delete(v.Resolved, key)
	out := Coordinate(f, v, Time{Boot: fleetNow})
	if len(out.Docs) > 0 || !slices.Contains(out.Resolve, key) {
		t.Errorf("before the digests are known: %+v, asked for are %v", out.Docs, out.Resolve)
	}

	v.Resolved[key] = digests
	out = Coordinate(f, v, Time{Boot: fleetNow})
	if len(out.Docs) != 1 {
		t.Fatalf("decided is %+v", out)
	}
	for _, rev := range []Revision{hook.Revision, s.Revision} {
		if got := out.Docs[0].Doc.Images[rev]; !maps.Equal(got, digests) {
			t.Errorf("%s is pinned to %v, want %v", rev.Short(), got, digests)
		}
	}
}
