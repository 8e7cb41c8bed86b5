package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// restart asks for a restart that has to work.
func (w *world) restart(service string, pull bool) api.Restart {
	w.t.Helper()
	done, err := w.agent.Restart(context.Background(), api.RestartRequest{Service: service, Pull: pull, By: "ann"})
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// digests lists what runs as "slot digest", sorted.
func (w *world) digests() []string {
	var out []string
	for _, i := range w.driver.Listing() {
		if i.State == planner.StateRunning {
			out = append(out, i.Slot.String()+" "+i.Containers[0].Digest)
		}
	}
	slices.Sort(out)
	return out
}

// restPasses checks that nothing more is done for a while.
func (w *world) restPasses(what string) {
	w.t.Helper()
	before, starts := w.ids(), len(w.driver.History())
	w.settle(5 * time.Minute)
	if after := w.ids(); !slices.Equal(after, before) || len(w.driver.History()) != starts {
		w.t.Errorf("%s: %q became %q although nothing was asked", what, before, after)
	}
}

// TestRestart: every instance is replaced once, start-first, with the image it
// had although the tag has moved; afterwards there is nothing to do, for this
// agent and the next, with Git and without.
func TestRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2)), service("db", "b"))
		w.settle(10 * time.Second)
		ids, digests := w.ids(), w.digests()
		w.driver.PushImage("registry.example.com/a")
		w.repo.fail(errors.New("connection refused"))
		done := w.restart("web", false)
		if done.Service != "web" || done.Slots != 2 || done.Images != nil {
			t.Errorf("it says %+v", done)
		}
		for range 200 {
			w.settle(100 * time.Millisecond)
			if n := len(w.running()); n < 3 || n > 4 {
				t.Fatalf("%d run: %q", n, w.running())
			}
		}
		if got := w.digests(); !slices.Equal(got, digests) {
			t.Errorf("digests are %q, were %q", got, digests)
		}
		if web := w.service("web"); web.Ready != 2 || web.Updated != 2 || web.Revision != done.Revision {
			t.Errorf("web is %+v", web)
		}
		after := w.ids()
		for _, id := range ids {
			if kept := slices.Contains(after, id); kept != strings.HasPrefix(id, "db-") {
				t.Errorf("%s: kept is %t", id, kept)
			}
		}
		w.restPasses("afterwards")
		w.crash()
		w.start()
		w.restPasses("another agent")
		w.repo.fail(nil)
		w.restPasses("Git is back")
		// The next one runs what the first one left.
		w.restart("web", false)
		w.settle(20 * time.Second)
		if again := w.ids(); len(again) != 3 || slices.ContainsFunc(again, func(id string) bool { return slices.Contains(after, id) && !strings.HasPrefix(id, "db-") }) {
			t.Errorf("restarted again, %q became %q", after, again)
		}
		w.crash()
		w.start()
		w.restPasses("after two")
	})
}

// TestRestartSurvivesKills: an agent that is killed anywhere in a restart is
// followed by one that ends it, and replaces nothing twice.
func TestRestartSurvivesKills(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 500 * time.Millisecond, 1100 * time.Millisecond, 2300 * time.Millisecond, 3 * time.Second} {
		inWorld(t, func(w *world) {
			w.driver.SetPullTime(200 * time.Millisecond)
			w.commit(service("web", "a", replicas(3)))
			w.settle(10 * time.Second)
			before := w.ids()
			w.restart("web", false)
			if after > 0 {
				w.settle(after)
			}
			w.crash()
			w.start()
			w.settle(30 * time.Second)
			w.wantRunning("web-0 a", "web-1 a", "web-2 a")
			made := map[string]bool{}
			for _, e := range w.driver.History() {
				made[e.Instance.ID] = true
			}
			for _, id := range w.ids() {
				if slices.Contains(before, id) {
					t.Errorf("killed after %v: %s was not replaced", after, id)
				}
			}
			if len(made) != 6 {
				t.Errorf("killed after %v: %d instances were made in all, want 6: %v", after, len(made), made)
			}
			w.restPasses("after a kill")
		})
	}
}

// TestRestartAndCommits: a restart lasts as long as the manifest makes the same
// revision. Its end is no restart.
func TestRestartAndCommits(t *testing.T) {
	inWorld(t, func(w *world) {
		file := func() string {
			data, err := os.ReadFile(filepath.Join(w.state, restartsPath))
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		first := service("web", "a")
		w.commit(first)
		w.settle(10 * time.Second)
		w.restart("web", false)
		w.settle(10 * time.Second)
		one := w.ids()
		// What restarts nothing lets the restart be.
		w.commit(service("web", "a", replicas(2)), service("db", "b"))
		w.settle(10 * time.Second)
		if two := w.ids(); len(two) != 3 || !slices.Contains(two, one[0]) {
			t.Errorf("more replicas: %q became %q", one, two)
		}
		// Another image replaces what runs, once, and ends the restart.
		w.commit(service("web", "c", replicas(2)), service("db", "b"))
		w.settle(20 * time.Second)
		w.wantRunning("db-0 b", "web-0 c", "web-1 c")
		if f := file(); f != `{"format":1,"restarts":[]}` {
			t.Errorf("the restart is kept: %s", f)
		}
		w.restPasses("the restart has ended")
		w.crash()
		w.start()
		w.restPasses("another agent")
		// Back: the revision of before, and no restart of long ago.
		w.commit(first)
		w.settle(20 * time.Second)
		if web := w.service("web"); web.Revision != first.Revision || web.Ready != 1 {
			t.Errorf("reverted: %+v", web)
		}
		// A service that is deleted takes its restart with it.
		w.restart("web", false)
		w.settle(10 * time.Second)
		w.commit(service("db", "b"))
		w.settle(10 * time.Second)
		if f := file(); f != `{"format":1,"restarts":[]}` {
			t.Errorf("the restart of a service that is gone is kept: %s", f)
		}
	})
}

// resolvingFake is a driver that can say what a tag stands for.
type resolvingFake struct {
	*runtimetest.Fake
	resolve func(image string) (string, error)
}

var _ runtime.Resolver = resolvingFake{}

func (f resolvingFake) Resolve(_ context.Context, image string) (string, error) {
	return f.resolve(image)
}

// TestRestartPull: what the tag stands for now runs afterwards, whatever becomes
// of it meanwhile; the answer says what has changed.
func TestRestartPull(t *testing.T) {
	inWorld(t, func(w *world) {
		const image = "registry.example.com/a"
		var now string
		var fault error
		w.crash()
		w.more = map[string]runtime.Driver{planner.DriverContainerd: resolvingFake{w.driver, func(string) (string, error) { return now, fault }}}
		w.start()
		now = w.driver.PushImage(image)
		first := now
		w.commit(service("web", "a"))
		w.settle(10 * time.Second)
		same := w.restart("web", true)
		if len(same.Images) != 1 || same.Images[0] != (api.RestartImage{Image: image, Before: first, After: first}) {
			t.Errorf("nothing new, and it says %+v", same.Images)
		}
		w.settle(10 * time.Second)
		now = w.driver.PushImage(image)
		second := now
		moved := w.restart("web", true)
		w.driver.PushImage(image) // too late for this restart
		if len(moved.Images) != 1 || moved.Images[0] != (api.RestartImage{Image: image, Before: first, After: second}) {
			t.Errorf("it says %+v", moved.Images)
		}
		w.settle(10 * time.Second)
		if got := w.digests(); !slices.Equal(got, []string{"web-0 " + second}) {
			t.Errorf("running %q; want %s", got, second)
		}
		ids := w.ids()
		fault = errors.New("registry.example.com does not answer")
		if _, err := w.agent.Restart(context.Background(), api.RestartRequest{Service: "web", Pull: true}); err == nil || !strings.Contains(err.Error(), "nothing is restarted: registry.example.com does not answer") {
			t.Errorf("without the registry: %v", err)
		}
		w.settle(10 * time.Second)
		if got := w.ids(); !slices.Equal(got, ids) {
			t.Errorf("%q became %q without an answer of the registry", ids, got)
		}
		w.restart("web", false) // needs none
		w.settle(10 * time.Second)
		if got := w.digests(); !slices.Equal(got, []string{"web-0 " + second}) {
			t.Errorf("running %q; want %s", got, second)
		}
	})
}

// TestRestartHeldMeanwhile: a hold, or a commit that forbids a restart, counts
// also if it comes while the registry is asked.
func TestRestartHeldMeanwhile(t *testing.T) {
	for want, come := range map[string]func(*world){
		"web is left alone": func(w *world) { w.order(api.HoldRequest{Target: "web", For: time.Hour}) },
		"mode: observe":     func(w *world) { w.commit(service("web", "a", func(s *planner.Service) { s.Observe = true })) },
		"nothing here":      func(w *world) { w.commit(service("db", "b")) },
	} {
		inWorld(t, func(w *world) {
			digest := w.driver.PushImage("registry.example.com/a")
			w.crash()
			w.more = map[string]runtime.Driver{planner.DriverContainerd: resolvingFake{w.driver, func(string) (string, error) {
				time.Sleep(20 * time.Second)
				return digest, nil
			}}}
			w.start()
			w.commit(service("web", "a"))
			w.settle(10 * time.Minute)
			asked := make(chan error, 1)
			go func() {
				_, err := w.agent.Restart(context.Background(), api.RestartRequest{Service: "web", Pull: true})
				asked <- err
			}()
			w.settle(time.Second)
			come(w)
			w.settle(time.Minute)
			if err := <-asked; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

// What cannot be restarted says why.
func TestRestartRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("quiet", "a", func(s *planner.Service) { s.Observe = true }),
			service("later", "a", func(s *planner.Service) {
				s.Suspend = &planner.Suspension{Reason: "rest", Until: time.Now().Add(24 * time.Hour)}
			}),
			service("greedy", "a", func(s *planner.Service) { s.Template.HostNetwork = true }),
			service("held", "a"), service("none", "a", replicas(0)))
		w.settle(10 * time.Second)
		w.order(api.HoldRequest{Target: "held", For: time.Hour})
		w.settle(time.Second)
		for target, want := range map[string]string{
			"":        "name a service",
			"nothing": `nothing here is called "nothing"; this node runs greedy, held, later, quiet, web`,
			"web-0":   "web-0 is a slot: a restart is of a whole service, slot by slot: orpheus restart web",
			"quiet":   "quiet has mode: observe",
			"held":    "held is left alone by",
			"later":   "later is ",
			"greedy":  "greedy is refused by this node: ",
		} {
			if _, err := w.agent.Restart(context.Background(), api.RestartRequest{Service: target}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v; want %q", target, err, want)
			}
		}
		// What cannot be written down does not happen.
		path := filepath.Join(w.state, restartsPath+".new")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := w.agent.Restart(context.Background(), api.RestartRequest{Service: "web"}); err == nil || !strings.Contains(err.Error(), "write restarts") {
			t.Errorf("a folder in the way: %v", err)
		}
		w.restPasses("nothing was restarted")
	})
}

// A file that cannot be read, or is of another release, is told, once, and set
// aside.
func TestRestartsUnreadable(t *testing.T) {
	for _, content := range []string{"{", `{"format":2,"restarts":[]}`} {
		inWorld(t, func(w *world) {
			w.crash()
			path := filepath.Join(w.state, restartsPath)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			w.start()
			if problems := strings.Join(w.agent.Status().Problems, "\n"); !strings.Contains(problems, "restarts cannot be read") {
				t.Errorf("%s: problems are %q", content, problems)
			}
			if _, err := os.Stat(path + ".unreadable"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRestartsAreLeftWithTheFleet: a node that joined a fleet finds no old
// restarts of its own when it leaves.
func TestRestartsAreLeftWithTheFleet(t *testing.T) {
	play(t, 1, func(b *band) {
		p := b.nodes[0]
		b.settle(time.Second)
		p.crash()
		path := filepath.Join(p.state, restartsPath)
		if err := os.WriteFile(path, []byte(`{"format":1,"restarts":[]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		p.start()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the file is kept: %v", err)
		}
	})
}

// TestRestartLays: whichever of the two files an agent wrote last before it was
// killed, the next one comes to the same.
func TestRestartLays(t *testing.T) {
	plain := service("web", "a")
	at := func(value string) planner.Service {
		return service("web", "a", func(s *planner.Service) { s.Template.RestartedAt = value })
	}
	r := restart{Service: plain.ID, At: "tuesday", Before: "monday", Base: plain.Revision}
	for _, c := range []struct {
		name     string
		in, want planner.Service
		still    bool
	}{
		{"as the commit has it", plain, at("tuesday"), true},
		{"laid already", at("tuesday"), at("tuesday"), true},
		{"with the restart before", at("monday"), at("tuesday"), true},
		{"restarted by a commit", at("wednesday"), at("wednesday"), false},
		{"changed", service("web", "b"), service("web", "b"), false},
		{"changed, and laid", service("web", "b", func(s *planner.Service) { s.Template.RestartedAt = "tuesday" }), service("web", "b"), false},
	} {
		if got, still := r.lay(c.in); got.Revision != c.want.Revision || still != c.still || got.Revision != planner.RevisionOf(got.Template) {
			t.Errorf("%s: %s %t; want %s %t", c.name, got.Revision.Short(), still, c.want.Revision.Short(), c.still)
		}
	}
}
