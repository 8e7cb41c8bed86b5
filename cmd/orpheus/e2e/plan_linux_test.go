package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// change is one commit of the story.
type change struct {
	what  string
	files map[string]string // gitsynctest.Delete removes one
	// verb is a verb of orpheus that makes the commit; revert takes the last one
	// back; approve has the message approve the deletions of the last one.
	verb            []string
	revert, approve bool
	// work has it planned from the work tree, too: that is to say the same.
	work bool
	// counts is what the summary of the plan has to say, so that the commit is what
	// the story takes it for.
	counts string
	// code is the exit code of the plan.
	code int
	// proves looks at what else the plan says; nil = nothing.
	proves func(*testing.T, toldPlan)
	// underWay are the services of which the plan says that they change without it.
	underWay []string
	// first and then name services of which the second waits for the first.
	first, then string
}

// planned is a fleet whose commits are planned in a checkout before they are
// pushed.
type planned struct {
	*fleet
	checkout string
	last     string // commit
	rested   map[string]history
}

// TestPlansComeTrue: before each of more than thirty commits `orpheus plan` tells
// what it will do, and then the fleet of three nodes does that: each slot on the
// node, at the revision and in the step that the plan has said, and nothing else.
// What came is read from the history of the records and from the processes, and
// compared with the plan's JSON; `orpheus status --plan` says so too.
func TestPlansComeTrue(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3, CPU: "2", Memory: "1Gi", Config: "repository: {path: prod}\n"})
	f.push("app:1", "1", "8080")
	f.push("app:2", "2", "8080")
	p := &planned{fleet: f, checkout: filepath.Join(f.Dir, "checkout")}
	p.last = f.commit("an empty fleet", map[string]string{"prod/fleet.yaml": planFleet("hello", "")})
	f.must(f.StartAgents())
	f.await("all nodes are there", 2*patience, func(all []*api.Status) string {
		for _, st := range all {
			if st == nil || st.Repository.Applied.Hash != p.last {
				return "an agent does not follow the fleet"
			}
		}
		if r := f.records(t.Context()); len(r.nodes) < len(f.Nodes) || len(r.statuses) < len(f.Nodes) {
			return "a node has no records yet"
		}
		return ""
	})
	_, err := f.Repo.Git("", "clone", "-q", f.RepoURL(), p.checkout)
	f.must(err)
	for i, c := range planStory(f) {
		began := time.Now()
		ok := t.Run(fmt.Sprintf("%02d %s", i+1, c.what), func(t *testing.T) {
			outer := f.t
			f.t = t
			defer func() { f.t = outer }()
			p.comesTrue(c)
		})
		t.Logf("%02d %s: %s", i+1, c.what, time.Since(began).Round(100*time.Millisecond))
		if !ok {
			p.rested = p.rests("to go on")
		}
	}
}

// comesTrue plans a commit, pushes it, waits until the fleet is at rest, and
// compares.
func (p *planned) comesTrue(c change) {
	t := p.t
	t.Helper()
	work := p.edit(c)
	tip, err := p.git("rev-parse", "HEAD")
	p.must(err)
	out, code := p.orpheus("plan", "-C", p.checkout, "-o", "json", "HEAD~1..HEAD")
	plan := readPlan(t, out)
	if code != c.code || plan.counts() != c.counts || plan.Cut || plan.Records == "" || !slices.Equal(plan.UnderWay, c.underWay) {
		t.Errorf("the plan has exit code %d and says %q, want %d and %q:\n%.6000s", code, plan.counts(), c.code, c.counts, out)
	}
	if work != nil {
		compareSides(t, *work, plan)
	}
	if c.proves != nil {
		c.proves(t, plan)
	}
	before, ran := p.histories(), p.places()
	if late := leasesBetween(p.rested, before); late != "" {
		t.Errorf("after the fleet seemed to be at rest leases changed:\n%s", late)
	}
	_, err = p.git("push", "-q", "origin", "main")
	p.must(err)
	p.last = tip
	after := p.rests(c.what)
	p.rested = after
	compareSteps(t, plan, before, after)
	now := plan.untilApproved(t)
	compareSlots(t, now, before, after)
	compareRunning(t, now, ran, p.places())
	compareOrder(t, c, before, after)
	p.compareUnplaced(plan)
	if plan.Refused == "" {
		p.compareStatus(plan, before, after)
	}
	if t.Failed() {
		text, _ := p.orpheus("plan", "-C", p.checkout, "HEAD~1..HEAD")
		t.Logf("the plan was\n%s\nand is now\n%s", out, text)
	}
}

// git runs git in the checkout.
func (p *planned) git(args ...string) (string, error) {
	return p.Repo.Git("", append([]string{"-C", p.checkout}, args...)...)
}

// edit makes the commit in the checkout. It returns the plan of the work tree from
// before there was one, if that is asked for.
func (p *planned) edit(c change) (work *toldPlan) {
	p.t.Helper()
	switch {
	case c.verb != nil:
		if out, code := p.orpheus(append(c.verb, "-C", p.checkout, "--no-push")...); code != 0 {
			p.t.Fatalf("orpheus %v: %s", c.verb, out)
		}
		return nil
	case c.revert:
		_, err := p.git("revert", "--no-edit", "HEAD")
		p.must(err)
		return nil
	}
	for name, text := range c.files {
		file := filepath.Join(p.checkout, name)
		if text == gitsynctest.Delete {
			p.must(os.Remove(file))
			continue
		}
		p.must(os.MkdirAll(filepath.Dir(file), 0o755))
		p.must(os.WriteFile(file, []byte(text), 0o644))
	}
	if c.work {
		// Nodes take some seconds to record that they follow a commit.
		p.await("the records name the last commit", patience, func([]*api.Status) string {
			for name, st := range p.records(p.t.Context()).statuses {
				if st.Applied != p.last {
					return string(name) + " does not"
				}
			}
			return ""
		})
		out, _ := p.orpheus("plan", "-C", p.checkout, "-o", "json")
		told := readPlan(p.t, out)
		work = &told
	}
	_, err := p.git("add", "-A")
	p.must(err)
	message := []string{"-m", c.what}
	if c.approve {
		message = append(message, "--trailer", planner.PruneTrailer+": "+p.last)
	}
	_, err = p.git(append([]string{"commit", "-q", "--allow-empty"}, message...)...)
	p.must(err)
	return work
}

// compareSides demands that a plan says the same of a work tree and of the commit
// that is made of it.
func compareSides(t *testing.T, work, commit toldPlan) {
	t.Helper()
	a, err := json.Marshal([]any{work.Summary, work.Services, work.Turns, work.Loads, work.Unplaced})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal([]any{commit.Summary, commit.Services, commit.Turns, commit.Loads, commit.Unplaced})
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("of the work tree the plan was\n%s\nand of its commit\n%s", a, b)
	}
}

// quiet is for how long nothing may be written about leases before a fleet that
// has nothing to do is taken to be at rest. What comes later is seen by the next
// commit: see comesTrue.
const quiet = time.Second

// rests waits until the fleet has nothing left to do about the last commit: every
// agent follows it, or refuses it; what it has to run is ready; no slot changes,
// and no rollout is under way.
func (p *planned) rests(what string) map[string]history {
	p.t.Helper()
	var leases map[string]string
	var since time.Time
	p.await(what, 3*patience, func(all []*api.Status) string {
		now := p.refs()
		maps.DeleteFunc(now, func(ref, _ string) bool { return !strings.HasPrefix(ref, prefix+"leases/") })
		if !maps.Equal(now, leases) {
			leases, since = now, time.Now()
		}
		stuck := unplaced(all)
		for k, st := range all {
			if st == nil {
				return "an agent does not answer"
			}
			if missing := p.follows(st, stuck); missing != "" {
				since = time.Now()
				return p.Nodes[k].Name + ": " + missing
			}
		}
		if missing := p.recorded(); missing != "" {
			return missing
		}
		if time.Since(since) < quiet {
			return "something was written just now"
		}
		return ""
	})
	return p.histories()
}

// unplaced are the slots that no node takes, in order, as those say who coordinate
// their services.
func unplaced(all []*api.Status) (slots []string) {
	for _, st := range all {
		if st != nil && st.Fleet != nil {
			for _, u := range st.Fleet.Unplaced {
				slots = append(slots, u.Slot)
			}
		}
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

// follows says what keeps a node from being done with the last commit. A rollout of
// a service that has no place for some slot is never done.
func (p *planned) follows(st *api.Status, stuck []string) (missing string) {
	if st.Repository.Applied.Hash != p.last && (st.Repository.Refused == "" || st.Repository.Seen.Hash != p.last) {
		return "it does not follow the commit"
	}
	for _, s := range st.Services {
		lacks := slices.ContainsFunc(stuck, func(slot string) bool { return strings.HasPrefix(slot, s.ID().String()+"-") })
		if r := s.Rollout; r != nil && (r.State == planner.RolloutPaused || r.State == planner.RolloutRolling && !lacks) {
			return s.Name + " is " + string(r.State)
		}
		if len(s.Instances) != s.Replicas || s.Ready != s.Replicas {
			return fmt.Sprintf("%s has %d instances, %d of %d ready", s.Name, len(s.Instances), s.Ready, s.Replicas)
		}
	}
	return ""
}

// recorded says which slot still changes by the records.
func (p *planned) recorded() (missing string) {
	for _, doc := range p.records(p.t.Context()).docs {
		slots := map[string]bool{}
		for _, l := range doc.Leases {
			if l.Hook != "" || slots[l.Slot] {
				return planner.SlotID{Service: doc.Service, Name: l.Slot}.String() + " has several leases, or is a hook that runs"
			}
			slots[l.Slot] = true
		}
	}
	return ""
}

// compareOrder demands that the leases of one service came after all of those that
// it waits for.
func compareOrder(t *testing.T, c change, before, after map[string]history) {
	t.Helper()
	if c.first == "" {
		return
	}
	given := func(service string) (first, last time.Time) {
		h := after[service]
		for i := len(before[service].docs); i < len(h.docs); i++ {
			if (history{docs: h.docs[:i+1], times: h.times[:i+1]}).since(history{docs: h.docs[:i]}) != nil {
				if first.IsZero() {
					first = h.times[i]
				}
				last = h.times[i]
			}
		}
		return first, last
	}
	_, ended := given(c.first)
	began, _ := given(c.then)
	if began.IsZero() || ended.IsZero() || began.Before(ended) {
		t.Errorf("%s began at %s, and waits for %s, which changed until %s", c.then, began, c.first, ended)
	}
}

// compareUnplaced demands that the agents find no place for the slots of the plan,
// and for all others.
func (p *planned) compareUnplaced(plan toldPlan) {
	p.t.Helper()
	var told []string
	for _, u := range plan.Unplaced {
		told = append(told, u.Slot)
	}
	slices.Sort(told)
	if are := unplaced(p.Statuses(p.t.Context())); !slices.Equal(told, are) {
		p.t.Errorf("no place was planned for %q, and there is none for %q", told, are)
	}
}

// compareStatus demands that `orpheus status --plan` finds, too, that all came as
// planned, for those services whose leases changed.
func (p *planned) compareStatus(plan toldPlan, before, after map[string]history) {
	p.t.Helper()
	// A node writes down after a moment which commit it follows; one that changes
	// nothing is all that is awaited then.
	p.await("the records name the commit", patience, func([]*api.Status) string {
		for name, st := range p.records(p.t.Context()).statuses {
			if st.Applied != p.last {
				return string(name) + " has not recorded that it follows it"
			}
		}
		return ""
	})
	out, code := p.orpheus("status", "--plan", "--commit", p.last, "-C", p.checkout, "-o", "json", "--exit-code")
	var st struct {
		Services []planner.Outcome
		Unknown  []string
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		p.t.Fatalf("orpheus status --plan: %v\n%s", err, out)
	}
	met := code == 0 && len(st.Unknown) == 0
	var told, changed []string
	for _, s := range st.Services {
		met = met && s.State == planner.OutcomeMet
		told = append(told, s.Service.String())
	}
	for service, h := range after {
		if len(h.since(before[service])) > 0 {
			changed = append(changed, service)
		}
	}
	slices.Sort(told)
	slices.Sort(changed)
	if !met || !slices.Equal(told, changed) {
		p.t.Errorf("orpheus status --plan has exit code %d; %q changed:\n%s", code, changed, out)
	}
}
