package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// startOf is a failed start of a slot: "web-0".
func startOf(slot string, at time.Duration) startFailure {
	service, name, _ := strings.Cut(slot, "-")
	return startFailure{At: at, Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: service}, Name: name}, Reason: "exited with code 1"}
}

func TestNodeStarts(t *testing.T) {
	nowhere, works := elsewhere{}, elsewhere{works: true, fails: true}
	for _, tt := range []struct {
		name     string
		services int
		fares    elsewhere
		starts   []string // one a second
		apart    time.Duration
		want     string
	}{
		{"too few", 3, nowhere, []string{"web-0", "db-0", "api-0", "web-0"}, 0, ""},
		{"of several services", 3, nowhere, []string{"web-0", "db-0", "api-0", "web-0", "db-0"}, 0,
			"5 starts of 3 services failed here within 5m0s, the last: db-0: exited with code 1"},
		{"of one service, where others run", 3, works, []string{"web-0", "web-1", "web-2", "web-0", "web-1", "web-2", "web-0"}, 0, ""},
		{"of the only service, which works elsewhere", 1, works, []string{"web-0", "web-1", "web-0", "web-1", "web-0"}, 0,
			"5 starts of 2 slots of web failed here within 5m0s, the last: web-0: exited with code 1"},
		{"of the only service, of which nothing is known", 1, nowhere, []string{"web-0", "web-1", "web-0", "web-1", "web-0"}, 0, ""},
		{"of the only slot", 1, works, []string{"web-0", "web-0", "web-0", "web-0", "web-0", "web-0"}, 0, ""},
		{"not within five minutes", 2, works, []string{"web-0", "db-0", "web-0", "db-0", "web-0", "db-0"}, 80 * time.Second, ""},
		{"broken everywhere", 2, elsewhere{fails: true}, []string{"web-0", "db-0", "web-0", "db-0", "web-0", "db-0"}, 0, ""},
	} {
		var n nodeStarts
		for k, slot := range tt.starts {
			n.failed(startOf(slot, time.Hour+time.Duration(k)*max(tt.apart, time.Second)), tt.services, func(startFailure) elsewhere { return tt.fares })
		}
		if n.reason != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, n.reason, tt.want)
		}
	}
}

// What an earlier process, or a person, left in the file counts as it stands.
func TestNodeStartsWithoutStrikes(t *testing.T) {
	n := nodeStarts{reason: "it failed", until: time.Hour}
	for k := range 6 {
		n.failed(startOf([]string{"web-0", "db-0"}[k%2], time.Hour), 2, func(startFailure) elsewhere { return elsewhere{} })
	}
	if n.until != time.Hour+nodeTrial {
		t.Errorf("avoided until %v", n.until)
	}
}

// A node that fails is avoided for a time, then given work; each time it fails
// again for twice as long, until something works.
func TestNodeTrials(t *testing.T) {
	none := func(startFailure) elsewhere { return elsewhere{} }
	var n nodeStarts
	now := time.Hour
	fail := func() {
		for k := range 6 {
			n.failed(startOf([]string{"web-0", "db-0"}[k%2], now), 2, none)
			now += time.Second
		}
	}
	for _, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
		fail()
		reason, began := n.reason, now
		if reason == "" {
			t.Fatal("not avoided")
		}
		for n.judge(now, none); n.reason != ""; n.judge(now, none) {
			if n.reason != reason {
				t.Fatalf("the reason changed to %q", n.reason)
			}
			now += time.Second
		}
		if took := now - began; took < want*time.Minute-2*time.Second || took > want*time.Minute {
			t.Errorf("avoided for %v, want %v min", took, int(want))
		}
	}
	fail()
	n.worked()
	if n.reason != "" {
		t.Errorf("something works, and it is avoided: %q", n.reason)
	}
	fail()
	if n.until > now+nodeTrial {
		t.Errorf("avoided for %v after something worked, want 5 min", n.until-now)
	}
}

// Failures of which the cause is known to be elsewhere neither begin it nor keep it up.
func TestNodeExcused(t *testing.T) {
	fails := func(service string, is bool) func(startFailure) elsewhere {
		return func(f startFailure) elsewhere { return elsewhere{fails: (f.Slot.Service.Name == service) == is} }
	}
	web := fails("web", true)
	var n nodeStarts
	for k := range 20 {
		n.failed(startOf([]string{"web-0", "web-1", "db-0"}[k%3], time.Duration(k)*time.Second), 2, web)
	}
	if n.reason != "" {
		t.Errorf("avoided for one service: %q", n.reason)
	}
	n.failed(startOf("api-0", 21*time.Second), 3, web)
	if n.reason == "" {
		t.Fatal("not avoided")
	}
	n.judge(22*time.Second, fails("api", false))
	if n.reason == "" {
		t.Error("one that counts is left, and it is not avoided")
	}
	n.judge(23*time.Second, fails("", false))
	if n.reason != "" {
		t.Error("none that counts is left, and it is avoided")
	}
}

// breaks has every start of some nodes fail, or of some images.
func (p *player) breaks(err error, images ...string) {
	p.driver.Behave(func(_ runtime.Workload, c runtime.Container) runtimetest.Behaviour {
		for _, image := range images {
			if strings.HasSuffix(c.Image, "/"+image) {
				return runtimetest.Behaviour{StartError: err}
			}
		}
		if len(images) == 0 {
			return runtimetest.Behaviour{StartError: err}
		}
		return runtimetest.Behaviour{}
	})
}

func (p *player) saysFailing() string { return p.standing().Failing }

// A node on which nothing starts says so, also after a restart of its agent,
// until something works; one to which only a broken release comes does not.
func TestNodeFailing(t *testing.T) {
	play(t, 3, func(b *band) {
		broken := b.nodes[0]
		broken.breaks(errors.New("read-only file system"))
		for _, p := range b.nodes[1:] {
			p.breaks(errors.New("exited with code 1"), "c")
		}
		// One of them is broken everywhere.
		b.commit(service("web", "a", replicas(6)), service("api", "b", replicas(3)), service("bad", "c", replicas(6)))
		b.settle(45 * time.Second)
		const want = "failed here within 5m0s, the last: "
		if why := broken.saysFailing(); !strings.Contains(why, want) || !strings.Contains(why, "read-only file system") {
			t.Fatalf("the broken node tells %q", why)
		}
		for _, p := range b.nodes[1:] {
			if why := p.saysFailing(); why != "" {
				t.Errorf("%s tells %q", p.name, why)
			}
		}
		why := broken.saysFailing()
		broken.crash()
		broken.start()
		b.settle(10 * time.Second)
		if got := broken.saysFailing(); got != why {
			t.Errorf("after a restart of the agent it tells %q, want %q", got, why)
		}
		if p := broken.agent.Status().Problems; len(p) != 1 || !strings.Contains(p[0], want) {
			t.Errorf("problems: %q", p)
		}
		broken.driver.Behave(nil)
		b.settle(20 * time.Minute)
		if got := broken.saysFailing(); got != "" {
			t.Errorf("when something works it tells %q", got)
		}
	})
}

// A release that is broken everywhere is no reason to avoid the nodes, also
// where it is all they have.
func TestBrokenReleaseIsNoBrokenNode(t *testing.T) {
	play(t, 3, func(b *band) {
		for _, p := range b.nodes {
			p.breaks(errors.New("exited with code 1"), "c")
		}
		b.commit(service("bad", "c", replicas(6)), service("worse", "c", replicas(6)))
		b.settle(time.Minute)
		for range 100 {
			b.settle(10 * time.Second)
			for _, p := range b.nodes {
				if why := p.saysFailing(); why != "" {
					t.Fatalf("%s tells %q", p.name, why)
				}
			}
		}
	})
}

// The only node of a fleet is not to be avoided: nobody else would take its work.
func TestOnlyNodeFailing(t *testing.T) {
	play(t, 1, func(b *band) {
		p := b.nodes[0]
		p.breaks(errors.New("read-only file system"))
		b.commit(service("web", "a", replicas(2)), service("api", "b", replicas(2)))
		b.settle(time.Minute)
		if why := p.saysFailing(); why != "" {
			t.Errorf("it tells %q", why)
		}
		if pr := p.agent.Status().Problems; len(pr) != 1 || !strings.Contains(pr[0], "read-only file system") {
			t.Errorf("problems: %q", pr)
		}
	})
}

// A reboot ends everything at once; that is no failure.
func TestRebootIsNoFailure(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(4)), service("api", "b", replicas(4)), service("db", "c", withVolume))
		w.settle(time.Minute)
		w.crash()
		w.driver.Reboot()
		w.start()
		for range 20 {
			w.settle(100 * time.Millisecond)
			for _, i := range w.told() {
				if i.Failing {
					t.Errorf("%s is given up: %q", i.Slot, i.Reason)
				}
			}
			if p := w.agent.Status().Problems; len(p) > 0 {
				t.Errorf("problems: %q", p)
			}
		}
	})
}
