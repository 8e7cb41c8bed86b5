package planner

import "testing"

// TestHookNode: the outcome of a hook names the node that has what it wrote, also
// once its lease has gone.
func TestHookNode(t *testing.T) {
	for phase, failed := range map[Phase]string{PhaseSucceeded: "", PhaseFailed: "exited with code 3"} {
		c := rolloutCase{
			fleetCase: fleetCase{nodes: "n1 n2", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n2"},
			good:      "a", history: "a", change: then(withHooks(HookPreRollout), 2, phase),
		}
		f, v := c.build(t)
		doc := settled(t, f, v)
		if doc == nil || len(doc.Hooks) != 1 || doc.Hooks[0].Node != "n2" || doc.Hooks[0].Failed != failed {
			t.Errorf("%s: %+v", phase, doc)
		}
	}
}

// TestAttackHookNodeIsAName: what ends on a command line of a person is a name.
func TestAttackHookNodeIsAName(t *testing.T) {
	for node, fine := range map[NodeName]bool{"": true, "n1": true, "-rf": false, "n1; rm": false, "n\x1b[2J": false} {
		d := LeaseDoc{Format: FormatLeases, Service: web, By: "n1", Tokens: 1, Hooks: []HookRun{{Kind: HookPreRollout, Revision: "r1-a", Node: node}}}
		if _, err := ParseLeaseDoc(d.Body()); (err == nil) != fine {
			t.Errorf("%q: %v", node, err)
		}
	}
}

// TestHookCommit: a revision whose preRollout hook failed was brought by the
// commit with which the hook began, though another came while it ran.
func TestHookCommit(t *testing.T) {
	c := rolloutCase{
		fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"},
		good:      "a", history: "a", change: then(withHooks(HookPreRollout), 2, PhaseFailed),
	}
	f, v := c.build(t)
	brought, unrelated := v.Docs[web].Doc.Commit, f.Commit.Hash
	doc := settled(t, f, v)
	if doc == nil || !doc.IsBlocked(f.Services[web].Revision) {
		t.Fatalf("%+v", doc)
	}
	rev := f.Services[web].Revision
	if got := doc.BroughtBy(rev); got != brought || doc.BlockedAt != unrelated {
		t.Errorf("brought by %s, blocked at %s", got, doc.BlockedAt)
	}
	doc.Hooks[0].Commit = "" // an older version wrote it
	if got := doc.BroughtBy(rev); got != unrelated {
		t.Errorf("of an older document: %s", got)
	}
}
