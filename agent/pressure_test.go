package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// gauges are readings that a test sets. The disk holds 100 things, among them
// the images on the node.
type gauges struct {
	mu     sync.Mutex
	driver *runtimetest.Fake
	others int // things on the disk that are no images
	more   []planner.Reading
}

func (g *gauges) set(others int, more ...planner.Reading) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.others, g.more = others, more
}

func (g *gauges) read([]Folder) []planner.Reading {
	images, _ := g.driver.Images(context.Background()) // a driver that is away holds none
	g.mu.Lock()
	defer g.mu.Unlock()
	used := min(uint64(g.others+len(images)), 100)
	return append([]planner.Reading{{Resource: planner.ResourceDisk, Place: "/fake", Free: 100 - used, Total: 100, Images: true}}, g.more...)
}

func (g *gauges) pressure() *Pressure {
	if g == nil {
		return nil
	}
	return &Pressure{Limits: planner.DefaultPressureLimits(), Read: g.read}
}

// inTightWorld is a world whose agent watches gauges.
func inTightWorld(t *testing.T, f func(w *world, g *gauges)) {
	inWorld(t, func(w *world) {
		w.crash()
		g := &gauges{driver: w.driver}
		w.pressure = g.pressure()
		w.start()
		f(w, g)
	})
}

func (w *world) images() []string {
	w.t.Helper()
	all, err := w.driver.Images(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, i := range all {
		out = append(out, i.Digest)
	}
	return out
}

func pids(free uint64) planner.Reading {
	return planner.Reading{Resource: planner.ResourcePIDs, Free: free, Total: 1000}
}

// TestShortNodeTakesNothingNew: new services and slots wait with the reason,
// what runs goes on, and what crashes is restarted.
func TestShortNodeTakesNothingNew(t *testing.T) {
	inTightWorld(t, func(w *world, g *gauges) {
		w.commit(service("a", "a"))
		w.settle(20 * time.Second)
		w.wantRunning("a-0 a")
		before := w.ids()

		g.set(0, pids(3))
		w.settle(20 * time.Second)
		w.commit(service("a", "a", replicas(2)), service("b", "b"))
		w.settle(20 * time.Second)
		w.wantRunning("a-0 a")
		const why = "this node takes no new work: 99 % of the process ids of this node are used (3 left)"
		if m := w.service("a").Message; m != why {
			t.Errorf("a says %q", m)
		}
		if m := w.service("b").Message; m != why {
			t.Errorf("b says %q", m)
		}
		short := w.agent.Status().Pressure
		if len(short) != 1 || short[0].Resource != "pids" || short[0].Free != 3 || time.Since(short[0].Since) > time.Minute {
			t.Errorf("status: %+v", short)
		}
		w.driver.Exit(before[0], planner.Exit{Code: 1})
		w.settle(20 * time.Second)
		w.wantRunning("a-0 a") // again
		// An update replaces what is there: it may be the cure.
		w.commit(service("a", "c", replicas(2)), service("b", "b"))
		w.settle(20 * time.Second)
		w.wantRunning("a-0 c")

		g.set(0, pids(900))
		w.settle(40 * time.Second)
		w.wantRunning("a-0 c") // must be good for a minute
		w.settle(60 * time.Second)
		w.wantRunning("a-0 c", "a-1 c", "b-0 b")
		if s := w.agent.Status(); len(s.Pressure) > 0 {
			t.Errorf("it does not end: %+v", s.Pressure)
		}
	})
}

// TestOldImagesMakeRoom: ten revisions, some images of services that are gone,
// and a disk that fills up.
func TestOldImagesMakeRoom(t *testing.T) {
	inTightWorld(t, func(w *world, g *gauges) {
		digest := map[string]string{}
		image := func(name string) string {
			digest[w.driver.PushImage("registry.example.com/"+name)] = name
			return name
		}
		have := func() []string {
			var out []string
			for _, d := range w.images() {
				out = append(out, digest[d])
			}
			slices.Sort(out)
			return out
		}
		stays := service("stays", image("stays"))
		for k := range 2 {
			w.commit(stays, service("gone", image(fmt.Sprint("gone", k))))
			w.settle(20 * time.Second)
		}
		for k := range 10 {
			w.commit(stays, service("web", image(fmt.Sprint("web", k))))
			w.settle(20 * time.Second)
		}
		all := []string{"gone0", "gone1", "stays", "web0", "web1", "web2", "web3", "web4", "web5", "web6", "web7", "web8", "web9"}
		if got := have(); !slices.Equal(got, all) {
			t.Fatalf("images went without need: %q", got)
		}
		before := w.running()
		w.crash()
		w.start()
		w.settle(20 * time.Second)

		g.set(72) // 85 with 13 images: six have to go
		w.settle(20 * time.Second)
		if got, want := have(), []string{"gone1", "stays", "web5", "web6", "web7", "web8", "web9"}; !slices.Equal(got, want) {
			t.Errorf("left are %q, not %q", got, want)
		}
		if got := w.running(); !slices.Equal(got, before) {
			t.Errorf("what runs changed: %q", got)
		}

		// Back, without a registry.
		w.driver.SetRegistry(runtimetest.ErrRegistryDown)
		w.commit(stays, service("web", "web5"))
		w.settle(20 * time.Second)
		w.wantRunning("stays-0 stays", "web-0 web5")
		w.driver.SetRegistry(nil)

		// What more is on the disk is no image: it is told.
		g.set(93)
		w.settle(time.Minute)
		st := w.agent.Status()
		text := strings.Join(st.Problems, "\n")
		if !strings.Contains(text, "no more images can be removed: images that are needed use 6.0 MiB, volumes") || len(st.Pressure) != 1 {
			t.Errorf("problems %q, pressure %+v", st.Problems, st.Pressure)
		}
		// Revisions whose image has to be fetched wait, others do not.
		w.commit(stays, service("web", "web9"), service("new", image("new")))
		w.settle(20 * time.Second)
		w.wantRunning("stays-0 stays", "web-0 web9")
		if m := w.service("new").Message; !strings.Contains(m, "waits for room for its images: disk of this node is 99 % full (/fake") {
			t.Errorf("new says %q", m)
		}
		g.set(0)
		w.settle(20 * time.Second)
		w.wantRunning("new-0 new", "stays-0 stays", "web-0 web9")
		if st := w.agent.Status(); len(st.Problems) > 0 || len(st.Pressure) > 0 {
			t.Errorf("problems %q, pressure %+v", st.Problems, st.Pressure)
		}
	})
}

// TestNothingIsRemovedInDoubt: where anything cannot be listed or read, images
// stay.
func TestNothingIsRemovedInDoubt(t *testing.T) {
	fails := func(verb string) func(w *world) {
		return func(w *world) {
			w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
				if c.Verb == verb {
					return errors.New(verb + " fails")
				}
				return nil
			})
		}
	}
	for name, row := range map[string]struct {
		doubt func(w *world)
		told  string
	}{
		"the driver cannot be listed":          {fails("List"), "does not answer"},
		"its folders are not told":             {fails("Stores"), "Stores fails"},
		"an image cannot be removed":           {fails("RemoveImage"), "RemoveImage fails"},
		"what ran is not readable":             {func(w *world) { w.spoil(ranPath, "{") }, "to begin anew"},
		"what ran is of another, newer format": {func(w *world) { w.spoil(ranPath, `{"format":2}`) }, "format 2 is not 1"},
		"the state is lost and Git does not answer": {func(w *world) {
			w.repo.fail(errors.New("no Git"))
			w.spoil(statePath, "{")
		}, "nothing is known yet"},
	} {
		t.Run(name, func(t *testing.T) {
			inTightWorld(t, func(w *world, g *gauges) {
				for k := range 8 {
					image := fmt.Sprint("web", k)
					w.driver.PushImage("registry.example.com/" + image)
					w.commit(service("web", image))
					w.settle(20 * time.Second)
				}
				before := w.images()
				w.crash()
				row.doubt(w)
				w.start()
				g.mu.Lock()
				g.others = 99
				g.mu.Unlock()
				w.settle(time.Minute)
				w.driver.Before(nil)
				if got := w.images(); !slices.Equal(got, before) {
					t.Errorf("%d of %d images are left", len(got), len(before))
				}
				if text := strings.Join(w.agent.Status().Problems, "\n"); !strings.Contains(text, row.told) {
					t.Errorf("problems do not say %q: %q", row.told, text)
				}
			})
		})
	}
}

// spoil overwrites a file of the state folder.
func (w *world) spoil(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.state, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// TestCommitSavesAnImage: a commit that wants an old image back comes while
// images are being removed.
func TestCommitSavesAnImage(t *testing.T) {
	inTightWorld(t, func(w *world, g *gauges) {
		for k := range 8 {
			image := fmt.Sprint("web", k)
			w.driver.PushImage("registry.example.com/" + image)
			w.commit(service("web", image))
			w.settle(20 * time.Second)
		}
		first := true
		w.driver.Before(func(ctx context.Context, c runtimetest.Call) error {
			if c.Verb == "RemoveImage" && first {
				first = false
				w.driver.SetRegistry(runtimetest.ErrRegistryDown)
				w.commit(service("web", "web1")) // the next one that would go
				time.Sleep(10 * time.Second)
			}
			if c.Verb == "Prepare" && !first {
				time.Sleep(20 * time.Second) // the driver does not know of the use yet
			}
			return nil
		})
		g.set(90)
		w.settle(time.Minute)
		w.wantRunning("web-0 web1")
		if n := len(w.images()); n != 5 {
			t.Errorf("%d images are left: the one that is wanted back and the four before it should be", n)
		}
	})
}

// TestPullThatFindsNoRoom: the disk is not full by any mark, but an image does
// not fit. What nobody needs goes, and the pull is tried again at once.
func TestPullThatFindsNoRoom(t *testing.T) {
	inTightWorld(t, func(w *world, g *gauges) {
		for k := range 7 {
			image := fmt.Sprint("web", k)
			w.driver.PushImage("registry.example.com/" + image)
			w.commit(service("web", image))
			w.settle(20 * time.Second)
		}
		had := len(w.images())
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Pull" && len(w.images()) >= had {
				return errors.New("write layer: no space left on device")
			}
			return nil
		})
		w.driver.PushImage("registry.example.com/big")
		w.commit(service("web", "big"))
		w.settle(5 * time.Second)
		w.wantRunning("web-0 big")
		if len(w.images()) > had {
			t.Error("no image was removed")
		}
	})
}

// TestGoneServiceIsForgotten with its images, not before.
func TestGoneServiceIsForgotten(t *testing.T) {
	inTightWorld(t, func(w *world, g *gauges) {
		w.commit(service("a", "a"), service("b", "b"))
		w.settle(20 * time.Second)
		w.commit(service("a", "a"))
		w.settle(20 * time.Second)
		ran := func() []string {
			l := loadRan(filepath.Join(w.state, ranPath))
			var names []string
			for id := range maps.Keys(l.services) {
				names = append(names, id.Name)
			}
			slices.Sort(names)
			return names
		}
		if got := ran(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("remembered: %q", got)
		}
		g.set(90)
		w.settle(time.Minute)
		if got := ran(); !slices.Equal(got, []string{"a"}) || len(w.images()) != 1 {
			t.Errorf("remembered after its image went: %q, %d images", got, len(w.images()))
		}
	})
}

// TestFleetShortNode: what runs on a node that is short of something stays
// there, and is restarted there; others take the new work. In status it says no
// amounts: a fleet at rest pushes nothing.
func TestFleetShortNode(t *testing.T) {
	play(t, 2, func(b *band) {
		short := b.nodes[0]
		short.crash()
		short.gauges = &gauges{driver: short.driver}
		short.start()
		web := service("web", "a", replicas(4))
		b.commit(web)
		b.settle(time.Minute)
		before := b.running()
		if n := short.running(); n != 2 {
			t.Fatalf("%d of 4 slots run on a node of two: %q", n, before)
		}
		short.gauges.set(0, pids(10))
		b.settle(time.Minute)
		b.commit(web, service("new", "b", replicas(3)))
		b.settle(time.Minute)
		if got := b.running(); !slices.Equal(got, slices.Sorted(slices.Values(append(before, "new-0 b n2", "new-1 b n2", "new-2 b n2")))) {
			t.Errorf("what ran moved, or new work came: %q", got)
		}
		if got := statusOf(t, b.nodes[1].agent, "n1").Pressure; !slices.Equal(got, []string{"pids"}) {
			t.Errorf("it says it is short of %q", got)
		}
		pushes := pushesOf(t, b.nodes[0].agent)
		for k := range uint64(6) {
			short.gauges.set(0, pids(10+k))
			b.settle(20 * time.Second)
		}
		if now := pushesOf(t, b.nodes[0].agent); now != pushes {
			t.Errorf("%d pushes to tell of amounts", now-pushes)
		}
		for k, i := range short.driver.Listing() {
			if k == 0 { // nothing of it is left, but its lease was taken on before
				short.driver.Vanish(i.ID)
				continue
			}
			short.driver.Exit(i.ID, planner.Exit{Code: 1})
		}
		b.settle(time.Minute)
		if n := short.running(); n != 2 {
			t.Errorf("of what crashed or was removed there, %d of 2 run again", n)
		}
		short.gauges.set(0, pids(900))
		b.settle(3 * time.Minute)
		b.commit(web, service("new", "b", replicas(3)), service("last", "c", replicas(3)))
		b.settle(time.Minute)
		if n := short.running(); n < 4 {
			t.Errorf("after the shortage it takes no new work: %q", b.running())
		}
	})
}

// statusOf is what a member of a fleet knows of a node's status: the loop's own.
func statusOf(t *testing.T, a *Agent, node planner.NodeName) (status planner.NodeStatus) {
	t.Helper()
	if err := a.onLoop(context.Background(), func() error {
		status = a.fleet.member.View().Nodes[node].Status
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return status
}

func pushesOf(t *testing.T, a *Agent) (pushes uint64) {
	t.Helper()
	if err := a.onLoop(context.Background(), func() error {
		pushes = a.fleet.member.Stats().Pushes
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return pushes
}
