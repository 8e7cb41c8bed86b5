package notify

import (
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	commitC = "cccccccccccccccccccccccccccccccccccccccc"
	rev1    = planner.Revision("r1-1111111111111111")
	rev2    = planner.Revision("r1-2222222222222222")
)

// facts of node n1, which ranks first, on a commit.
func facts(commit string, edit ...func(*Facts)) Facts {
	f := Facts{Node: "n1", Fleet: "prod", Commit: planner.Commit{Hash: commit}}
	for _, e := range edit {
		e(&f)
	}
	return f
}

// web is the service that rows are about; this node tells of it.
func web(revision planner.Revision, phase Phase, edit ...func(*Service)) func(*Facts) {
	return service("web", revision, phase, edit...)
}

func service(name string, revision planner.Revision, phase Phase, edit ...func(*Service)) func(*Facts) {
	return func(f *Facts) {
		s := Service{ID: planner.ServiceID{Namespace: "default", Name: name}, Mine: true, Revision: revision, Phase: phase}
		for _, e := range edit {
			e(&s)
		}
		f.Services = append(f.Services, s)
	}
}

func because(why string) func(*Service) { return func(s *Service) { s.Why = why } }
func back(to planner.Revision) func(*Service) {
	return func(s *Service) { s.Back = to }
}
func failing(why string) func(*Service) {
	return func(s *Service) { s.Failing = why }
}
func from(commit string) func(*Service) {
	return func(s *Service) { s.Commit = commit }
}
func others(s *Service) { s.Mine = false }
func at(commit string) func(*Service) {
	return func(s *Service) { s.BlockedAt = commit }
}
func hookFailed(kind planner.HookKind) func(*Service) {
	return func(s *Service) { s.Hooks = append(s.Hooks, Hook{kind, "exit 1"}) }
}
func fresh(f *Facts) { f.Fresh = true }

func node(name string, edit func(*Node)) func(*Facts) {
	return func(f *Facts) {
		n := Node{Name: planner.NodeName(name), Live: true}
		edit(&n)
		f.Nodes = append(f.Nodes, n)
	}
}

func fencedBy(by planner.NodeName, epoch uint64) func(*Node) {
	return func(n *Node) { n.Live, n.FencedBy, n.Epoch, n.Why = false, by, epoch, "no sign of life" }
}
func alive(*Node) {}

// TestTell: what is told after each of several facts, one row per story.
func TestTell(t *testing.T) {
	start := facts(commitA, web(rev1, Done))
	for name, row := range map[string]struct {
		facts []Facts
		want  []string // events of each of facts, as "kind subject"
	}{
		"the first facts are no news": {
			[]Facts{start}, []string{""},
		},
		"a rollout": {
			[]Facts{start, facts(commitB, web(rev2, Waiting)), facts(commitB, web(rev2, Rolling)), facts(commitB, web(rev2, Done))},
			[]string{"", "", "rolloutStarted web", "rolloutDone web"},
		},
		"one that nobody saw the middle of": {
			[]Facts{start, facts(commitB, web(rev2, Done))},
			[]string{"", "rolloutDone web"},
		},
		"instances that are not ready for a while are no rollout": {
			[]Facts{start, facts(commitA, web(rev1, Rolling)), facts(commitA, web(rev1, Done)), facts(commitB, web(rev1, Waiting)), facts(commitB, web(rev1, Rolling)), facts(commitB, web(rev1, Done))},
			[]string{"", "", "", "", "", ""},
		},
		"one that wavers is told once": {
			[]Facts{start, facts(commitB, web(rev2, Rolling)), facts(commitB, web(rev2, Waiting)), facts(commitB, web(rev2, Rolling))},
			[]string{"", "rolloutStarted web", "", ""},
		},
		"a new service": {
			[]Facts{start, facts(commitB, web(rev1, Done), service("db", rev1, Rolling)), facts(commitB, web(rev1, Done), service("db", rev1, Done))},
			[]string{"", "rolloutStarted db", "rolloutDone db"},
		},
		"a release that fails goes back": {
			[]Facts{start, facts(commitB, web(rev2, Rolling)), facts(commitB, web(rev2, Blocked, because("never ready"), back(rev1))), facts(commitB, web(rev2, Reverted, because("never ready"), back(rev1)))},
			[]string{"", "rolloutStarted web", "rolloutBlocked web", "rolloutReverted web"},
		},
		"both at once": {
			[]Facts{start, facts(commitB, web(rev2, Reverted, because("never ready"), back(rev1)))},
			[]string{"", "rolloutBlocked web, rolloutReverted web"},
		},
		"and to what ran, which is no rollout": {
			[]Facts{start, facts(commitB, web(rev2, Blocked)), facts(commitC, web(rev1, Done))},
			[]string{"", "rolloutBlocked web", ""},
		},
		"the same release once more": {
			[]Facts{start, facts(commitB, web(rev2, Blocked)), facts(commitA, web(rev1, Done)), facts(commitC, web(rev2, Rolling)), facts(commitC, web(rev2, Blocked))},
			[]string{"", "rolloutBlocked web", "", "rolloutStarted web", "rolloutBlocked web"},
		},
		"the same attempt, whatever node it is read from, and tried again": {
			[]Facts{start, facts(commitB, web(rev2, Blocked, at(commitB), back(rev1))), facts(commitB, web(rev2, Reverted, at(commitB), back(rev1))), facts(commitC, web(rev2, Reverted, at(commitB), back(rev1))),
				facts(commitC, web(rev2, Waiting)), facts(commitC, web(rev2, Rolling)), facts(commitC, web(rev2, Blocked, at(commitC))), facts(commitA, web(rev2, Blocked, at(commitC)))},
			[]string{"", "rolloutBlocked web", "rolloutReverted web", "", "", "rolloutStarted web", "rolloutBlocked web", ""},
		},
		"again, and nobody saw the middle of it": {
			[]Facts{start, facts(commitB, web(rev2, Blocked, at(commitB))), facts(commitC, web(rev2, Blocked, at(commitC))), facts(commitC, web(rev2, Blocked, at(commitC)))},
			[]string{"", "rolloutBlocked web", "rolloutBlocked web", ""},
		},
		"a hook that was mended, and then another fails": {
			[]Facts{start, facts(commitB, web(rev2, Blocked, at(commitB), hookFailed(planner.HookPreRollout))), facts(commitC, web(rev2, Rolling)), facts(commitC, web(rev2, Reverted, at(commitC), hookFailed(planner.HookPostRollout)))},
			[]string{"", "hookFailed web, rolloutBlocked web", "rolloutStarted web", "hookFailed web, rolloutBlocked web, rolloutReverted web"},
		},
		// The hook's outcome may be seen before the block that follows from it.
		"a hook that failed, and its block": {
			[]Facts{start, facts(commitB, web(rev2, Waiting, hookFailed(planner.HookPreRollout))), facts(commitB, web(rev2, Blocked, at(commitB), hookFailed(planner.HookPreRollout)))},
			[]string{"", "hookFailed web", "rolloutBlocked web"},
		},
		"the first commit of a node alone": {
			[]Facts{stale(facts("", fresh)), facts(commitA, web(rev1, Rolling)), facts(commitA, web(rev1, Done))},
			[]string{"", "rolloutStarted web", "rolloutDone web"},
		},
		"a first release that fails, once however it wavers": {
			[]Facts{start, facts(commitB, web(rev1, Done), service("db", rev1, Rolling)), facts(commitB, web(rev1, Done), service("db", rev1, Rolling, failing("exits"))),
				facts(commitB, web(rev1, Done), service("db", rev1, Waiting)), facts(commitB, web(rev1, Done), service("db", rev1, Waiting, failing("exits"))), facts(commitB, web(rev1, Done), service("db", rev1, Done))},
			[]string{"", "rolloutStarted db", "rolloutFailing db", "", "", "rolloutDone db"},
		},
		"its next one": {
			[]Facts{start, facts(commitB, service("db", rev1, Rolling, failing("exits"))), facts(commitC, service("db", rev2, Rolling, failing("exits")))},
			[]string{"", "rolloutStarted db, rolloutFailing db", "rolloutStarted db, rolloutFailing db"},
		},
		// What was rolled out once is healed, not rolled out.
		"what fails later": {
			[]Facts{start, facts(commitA, web(rev1, Rolling, failing("exits")))},
			[]string{"", ""},
		},
		"each step that waits": {
			[]Facts{start, facts(commitB, web(rev2, Paused, func(s *Service) { s.Step = 1 })), facts(commitB, web(rev2, Rolling)), facts(commitB, web(rev2, Paused, func(s *Service) { s.Step = 2 })),
				facts(commitB, web(rev2, Paused, func(s *Service) { s.Step = 2 }))},
			[]string{"", "rolloutPaused web", "rolloutStarted web", "rolloutPaused web", ""},
		},
		"a hook that failed": {
			[]Facts{start, facts(commitB, web(rev2, Blocked, func(s *Service) { s.Hooks = []Hook{{planner.HookPreRollout, "exit 1"}} }))},
			[]string{"", "hookFailed web, rolloutBlocked web"},
		},
		"what another node decided it tells": {
			[]Facts{start, facts(commitB, web(rev2, Rolling, others)), facts(commitB, web(rev2, Rolling)), facts(commitB, web(rev2, Done))},
			[]string{"", "", "", "rolloutDone web"},
		},
		"a node that is fenced, and back": {
			[]Facts{facts(commitA, node("n2", alive)), facts(commitA, node("n2", fencedBy("n1", 4))), facts(commitA, node("n2", fencedBy("n1", 4))), facts(commitA, node("n2", alive))},
			[]string{"", "nodeFenced n2", "", "nodeBack n2"},
		},
		"twice": {
			[]Facts{facts(commitA, node("n2", fencedBy("n1", 4))), facts(commitA, node("n2", fencedBy("n1", 6)))},
			[]string{"", "nodeFenced n2"},
		},
		"one that another fenced": {
			[]Facts{facts(commitA, node("n2", alive)), facts(commitA, node("n2", fencedBy("n3", 4))), facts(commitA, node("n2", alive))},
			[]string{"", "", ""},
		},
		"one that retired is not back": {
			[]Facts{facts(commitA, node("n2", fencedBy("n1", 4))), facts(commitA, node("n2", func(n *Node) { n.Live = false }))},
			[]string{"", ""},
		},
		"a commit is refused, once": {
			[]Facts{start, refused(start, commitB, "no fleet.yaml"), refused(start, commitB, "no fleet.yaml"), start, refused(start, commitC, "no fleet.yaml")},
			[]string{"", "commitRefused bbbbbbbb", "", "", "commitRefused cccccccc"},
		},
		"by who ranks first": {
			[]Facts{start, second(refused(start, commitB, "no fleet.yaml"))},
			[]string{"", ""},
		},
		"faults of one that is followed": {
			[]Facts{start, facts(commitB, faulty("web.yaml:3: no image")), facts(commitB, faulty("web.yaml:3: no image"))},
			[]string{"", "commitRefused bbbbbbbb", ""},
		},
		"records that went back, from every node and although all else may be wrong": {
			[]Facts{start, second(alarmed(facts(commitA, web(rev2, Done)))), second(alarmed(start)), facts(commitA, web(rev2, Done))},
			[]string{"", "alarm n1", "", "rolloutDone web"},
		},
		"while nothing can be read nothing follows": {
			[]Facts{start, stale(facts(commitB, web(rev2, Done))), stale(facts(commitA)), start},
			[]string{"", "", "", ""},
		},
		"nor before a commit is followed": {
			[]Facts{start, facts(""), start},
			[]string{"", "", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var told Told
			for k, f := range row.facts {
				var events []Event
				told, events = Tell(told, f)
				var got []string
				for _, e := range events {
					got = append(got, string(e.Kind)+" "+e.Service+e.Node+planner.Commit{Hash: e.Commit}.Short()[:len8(e)])
					if e.ID == "" || e.Text == "" {
						t.Errorf("%+v is not complete", e)
					}
				}
				if text := strings.Join(got, ", "); text != row.want[k] {
					t.Errorf("facts %d: told %q, want %q", k, text, row.want[k])
				}
			}
		})
	}
}

// len8 is how much of the commit is the subject of an event.
func len8(e Event) int {
	if e.Kind == CommitRefused {
		return 8
	}
	return 0
}

func refused(f Facts, commit, why string) Facts {
	f.Refused, f.Refusal = planner.Commit{Hash: commit}, why
	return f
}

func faulty(text ...string) func(*Facts) {
	return func(f *Facts) { f.Faults, f.FaultCount = text, len(text) }
}

func second(f Facts) Facts  { f.Rank = 1; return f }
func stale(f Facts) Facts   { f.Stale = true; return f }
func alarmed(f Facts) Facts { f.Stale, f.Alarm = true, "leases of web went back"; return f }

// TestTellOnEveryNode: nodes that see the same tell each event once, and its id
// does not depend on who tells it.
func TestTellOnEveryNode(t *testing.T) {
	seen := map[string]int{}
	for _, self := range []planner.NodeName{"n1", "n2", "n3"} {
		on := func(f Facts, wrote planner.NodeName) Facts {
			f.Node = self
			f.Rank = slices.Index([]planner.NodeName{"n2", "n3", "n1"}, self)
			for k := range f.Services {
				f.Services[k].Mine = self == wrote
			}
			return f
		}
		told, _ := Tell(Told{}, on(facts(commitA, web(rev1, Done), node("n4", alive)), "n1"))
		for _, f := range []Facts{
			on(facts(commitB, web(rev2, Rolling), node("n4", fencedBy("n3", 2))), "n1"),
			on(facts(commitB, web(rev2, Done), node("n4", alive)), "n2"),
			on(refused(facts(commitB, web(rev2, Done), node("n4", alive)), commitC, "rewritten"), "n2"),
		} {
			var events []Event
			told, events = Tell(told, f)
			for _, e := range events {
				seen[string(e.Kind)+" "+e.ID]++
			}
		}
	}
	if len(seen) != 5 {
		t.Errorf("told %v, want five events", seen)
	}
	for e, n := range seen {
		if n != 1 {
			t.Errorf("%s is told %d times", e, n)
		}
	}
}

// TestAttackWordsOfOthers: what records, manifests and programs say is one line
// of bounded length, in events and statuses, and calls nobody in a chat.
func TestAttackWordsOfOthers(t *testing.T) {
	evil := strings.Repeat("x\n\x1b[2J<!channel> @everyone \u202e", 1000)
	told, _ := Tell(Told{}, facts(commitA, web(rev1, Done), node("n2", alive)))
	f := facts(commitB, web(rev2, Reverted, because(evil), back(rev1)), node("n2", func(n *Node) { fencedBy("n1", 4)(n); n.Why = evil }), faulty(evil, evil))
	_, events := Tell(told, refused(f, commitC, evil))
	if len(events) < 5 {
		t.Fatalf("%d events", len(events))
	}
	var batch []queued
	for _, e := range events {
		for _, text := range []string{e.Text, e.Reason} {
			if len(text) > maxText || strings.ContainsAny(text, "\n\x1b\u202e") {
				t.Errorf("%s: %q", e.Kind, text)
			}
		}
		batch = append(batch, queued{event: e, fleet: "prod"})
	}
	body, err := payload(batch)
	if err != nil || len(body) > 64<<10 {
		t.Fatalf("%d bytes, error %v", len(body), err)
	}
	if text := chat(events[0].Text); strings.Contains(text, "<!") || strings.Contains(text, "@everyone") {
		t.Errorf("calls everybody: %q", text)
	}
	for _, e := range follow(nil, refused(f, commitC, evil)) {
		if len(e.Want.Text) > maxDescription || strings.ContainsAny(e.Want.Text, "\n\x1b\u202e") {
			t.Errorf("%q", e.Want.Text)
		}
	}
}
