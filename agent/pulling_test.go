package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

func TestDescribePulls(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		pulls []api.Pull
		want  string
	}{
		{"nothing known", nil, "making the images ready"},
		{"asked, no answer yet", []api.Pull{{Image: "registry/app:2"}}, "making the images ready"},
		{"one", []api.Pull{{Image: "registry/app:2", Done: 41 * mib, Total: 120 * mib, From: "registry"}}, "pulling registry/app:2 41 of 120 MiB, 34 %"},
		{"a small one", []api.Pull{{Image: "registry/app:2", Done: 512, Total: 2047}}, "pulling registry/app:2 0 of 2 KiB, 25 %"},
		{"from elsewhere", []api.Pull{{Image: "nginx", Done: 0, Total: 50 * mib, From: "mirror/hub"}}, "pulling nginx 0 of 50 MiB, 0 % from mirror/hub"},
		{"of the hub", []api.Pull{{Image: "nginx", Done: 0, Total: 50 * mib, From: "docker.io"}}, "pulling nginx 0 of 50 MiB, 0 %"},
		{"two, one of them there", []api.Pull{{Image: "a", Done: 10 * mib, Total: 10 * mib}, {Image: "b", Done: 10 * mib, Total: 40 * mib}},
			"pulling 2 images, 20 of 50 MiB, 40 %: b 10 of 40 MiB, 25 %"},
		{"all there", []api.Pull{{Image: "a", Done: 10 * mib, Total: 10 * mib}}, "unpacking 10 of 10 MiB, 100 %"},
	} {
		if got := describePulls(c.pulls); got != c.want {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
}

// Progress shows in the status as it is, without a pass; nothing of it is left
// when the pull is over, and a try that failed is told while the next goes on.
func TestStatusShowsPulls(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.SetPullTime(time.Minute)
		w.commit(service("web", "a"))
		w.settle(10 * time.Second)
		before := w.agent.Status()
		said := before.Services[0].Message
		if again := w.agent.Status(); again != before {
			t.Error("the status is another although nothing changed")
		}
		p := w.agent.shown.under[0].progress[0]
		p.note(runtime.Progress{Image: "registry.example.com/a", Done: 41 << 20, Total: 120 << 20, From: "mirror.example.com"})
		web := w.service("web")
		const want = "pulling registry.example.com/a 41 of 120 MiB, 34 % from mirror.example.com"
		if web.Message != want || len(web.Pulls) != 1 || web.Pulls[0].From != "mirror.example.com" {
			t.Errorf("status says %q, %+v; want %q", web.Message, web.Pulls, want)
		}
		if before.Services[0].Message != said {
			t.Error("a status that was given out has changed")
		}
		w.driver.SetRegistry(errors.New("registry is on fire"))
		for range 1000 {
			if web = w.service("web"); !web.RetryAt.IsZero() {
				break
			}
			w.settle(100 * time.Millisecond)
		}
		if w.service("web"); !strings.Contains(web.Message, "cannot start yet: prepare registry.example.com/a: registry is on fire (tried once") || web.RetryAt.IsZero() || web.Pulls != nil {
			t.Errorf("after a failure: %q, %+v, again at %v", web.Message, web.Pulls, web.RetryAt)
		}
		w.driver.SetRegistry(nil)
		w.settle(10 * time.Second)
		if web = w.service("web"); !strings.HasSuffix(web.Message, "; the last try did not work: prepare registry.example.com/a: registry is on fire") {
			t.Errorf("while it is tried again: %q", web.Message)
		}
		w.settle(2 * time.Minute)
		if web = w.service("web"); web.Ready != 1 || web.Message != "" || web.Pulls != nil || !web.RetryAt.IsZero() {
			t.Errorf("in the end: %+v", web)
		}
	})
}

// TestFleetShowsPullsOfStarts: in a fleet a first start fetches its images
// itself. Several on one node fetch the same ones.
func TestFleetShowsPullsOfStarts(t *testing.T) {
	play(t, 1, func(b *band) {
		p := b.nodes[0]
		web := func() api.Service {
			for _, s := range p.agent.Status().Services {
				if s.Name == "web" {
					return s
				}
			}
			return api.Service{}
		}
		p.driver.SetPullTime(2 * time.Minute)
		b.commit(service("web", "a"))
		b.settle(time.Minute)
		under := p.agent.shown.under
		if len(under) != 1 || len(under[0].progress) != 1 || under[0].progress[0].steps.Load() == 0 {
			t.Errorf("it tells of %+v", under)
			return
		}
		under[0].progress[0].note(runtime.Progress{Image: "registry.example.com/a", Done: 41 << 20, Total: 120 << 20})
		const want = "pulling registry.example.com/a 41 of 120 MiB, 34 %"
		if s := web(); s.Message != want || len(s.Pulls) != 1 {
			t.Errorf("status says %q, %+v; want %q", s.Message, s.Pulls, want)
		}
		two := livePull{progress: []*pullProgress{{}, under[0].progress[0], {}}}
		two.progress[0].note(runtime.Progress{Image: "registry.example.com/a", Done: 40 << 20, Total: 120 << 20})
		two.progress[2].note(runtime.Progress{Image: "registry.example.com/b"})
		if got := two.list(); len(got) != 2 || got[0].Done != 41<<20 || got[1].Image != "registry.example.com/b" || two.steps() < 3 {
			t.Errorf("several together: %+v", got)
		}
		b.settle(3 * time.Minute)
		if s := web(); s.Ready != 1 || s.Message != "" || s.Pulls != nil {
			t.Errorf("in the end: %+v", s)
		}
	})
}
