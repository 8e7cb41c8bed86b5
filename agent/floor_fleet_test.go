package agent

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// setBack shows every node, or those given, an older commit.
func (b *band) setBack(to planner.Commit, nodes ...*player) {
	if len(nodes) == 0 {
		nodes = b.nodes
	}
	for _, p := range nodes {
		p.repo.setBack(to)
	}
}

// tip is the commit that the nodes are shown.
func (b *band) tip() planner.Commit {
	f := b.nodes[0].repo
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tip
}

// TestAttack08RewrittenInAFleet: an older tip (attack 7) and a rewritten branch
// change nothing on any node; one person's word moves all of them on, and the
// next rewriting is refused again.
func TestAttack08RewrittenInAFleet(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(3)))
		b.settle(time.Minute)
		old := b.tip()
		b.commit(service("web", "b", replicas(3)))
		b.settle(2 * time.Minute)
		newest := b.tip()
		started := b.started()
		refused := func(why string, what ...string) {
			t.Helper()
			b.wantSlots("web-0 b", "web-1 b", "web-2 b")
			for _, p := range b.nodes {
				r := p.agent.Status().Repository
				if r.Applied.Hash != newest.Hash || !strings.Contains(r.Refused, newest.Short()) || !strings.Contains(r.Refused, "the fleet has followed") || !strings.Contains(r.Refused, "floor reset "+b.tip().Hash) {
					t.Errorf("%s: %s applied %s, refused %q", why, p.name, r.Applied.Short(), r.Refused)
				}
			}
			if n := b.started() - started; n != 0 {
				t.Errorf("%s: %d instances started, want none", why, n)
			}
		}
		b.setBack(old)
		b.settle(5 * time.Minute)
		refused("an older tip")
		b.nodes[1].crash()
		b.nodes[1].start()
		b.settle(5 * time.Minute)
		refused("an older tip and a restart")
		b.commit(service("web", "c", replicas(3)))
		forced := b.tip()
		b.settle(5 * time.Minute)
		refused("rewritten")
		if err := b.nodes[2].agent.ResetFloor(context.Background(), forced.Hash); err != nil {
			t.Fatal(err)
		}
		b.settle(5 * time.Minute)
		b.wantSlots("web-0 c", "web-1 c", "web-2 c")
		newest = forced
		b.setBack(old)
		b.commit(service("web", "a", replicas(3)))
		b.settle(5 * time.Minute)
		for _, p := range b.nodes {
			if r := p.agent.Status().Repository; r.Applied.Hash != forced.Hash || r.Refused == "" {
				t.Errorf("rewritten again: %s applied %s, refused %q", p.name, r.Applied.Short(), r.Refused)
			}
		}
		b.wantSlots("web-0 c", "web-1 c", "web-2 c")
	})
}

// TestAttack07FrozenNode: a node whose server hides new commits says so once the
// fleet has followed them, and runs on; when the commits show it goes on by
// itself. So does one that has lost its state folder (attack 44) and is shown
// an older tip: the records know better.
func TestAttack07FrozenNode(t *testing.T) {
	for _, lost := range []bool{false, true} {
		play(t, 3, func(b *band) {
			b.commit(service("web", "a", replicas(3)))
			b.settle(time.Minute)
			old, frozen := b.tip(), b.nodes[2]
			if lost {
				b.commit(service("web", "a", replicas(3)), service("api", "b"))
				b.settle(15 * time.Minute) // the floor is written when a commit has rested
				frozen.crash()
				if err := os.RemoveAll(frozen.state); err != nil {
					t.Fatal(err)
				}
				b.setBack(old, frozen)
				frozen.start()
			} else {
				for _, p := range b.nodes[:2] {
					p.repo.commit(planner.Desired{Services: byID([]planner.Service{service("web", "a", replicas(3)), service("api", "b")}), Fleet: b.fleet})
				}
			}
			b.settle(15 * time.Minute)
			newest := b.tip()
			said := strings.Join(frozen.agent.Status().Problems, "\n")
			if !strings.Contains(said, "behind the others'") || !strings.Contains(said, newest.Short()) {
				t.Errorf("lost %v: problems %q, want that the server is behind commit %s", lost, said, newest.Short())
			}
			// What is new waits where it was placed on the node that cannot see it.
			if got := strings.Join(b.slots(), " "); !strings.Contains(got, "web-0 a web-1 a web-2 a") || lost && !strings.Contains(got, "api-0 b") {
				t.Errorf("lost %v: running %q", lost, got)
			}
			frozen.repo.mu.Lock()
			b.nodes[0].repo.mu.Lock()
			for hash, l := range b.nodes[0].repo.commits {
				frozen.repo.commits[hash] = l
			}
			b.nodes[0].repo.mu.Unlock()
			frozen.repo.mu.Unlock()
			b.setBack(newest, frozen)
			b.settle(2 * time.Minute)
			if st := frozen.agent.Status(); st.Repository.Applied.Hash != newest.Hash || strings.Contains(strings.Join(st.Problems, "\n"), "behind the others'") {
				t.Errorf("lost %v: applied %s, problems %q", lost, st.Repository.Applied.Short(), st.Problems)
			}
			b.wantSlots("api-0 b", "web-0 a", "web-1 a", "web-2 a")
		})
	}
}
