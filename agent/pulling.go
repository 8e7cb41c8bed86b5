package agent

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// pullProgress is how far the images of one revision have come. It is written
// by drivers and read for status, by any goroutine; nothing else follows from
// it.
type pullProgress struct {
	mu     sync.Mutex
	images map[string]runtime.Progress
	steps  atomic.Int64 // rises with every change
}

func (p *pullProgress) note(pr runtime.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.images == nil {
		p.images = map[string]runtime.Progress{}
	}
	p.images[pr.Image] = pr
	p.steps.Add(1)
}

// forget is for a pull that is over.
func (p *pullProgress) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.images = nil
	p.steps.Add(1)
}

// list is what is known of each image, in no order.
func (p *pullProgress) list() []api.Pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pulls []api.Pull
	for _, pr := range p.images {
		pulls = append(pulls, api.Pull{Image: pr.Image, Done: pr.Done, Total: pr.Total, From: pr.From})
	}
	return pulls
}

// maxPullsTold bounds the images of one service that a sentence names.
const maxPullsTold = 5

// describePulls is "pulling registry.example.com/app:2 41 of 120 MiB, 34 %".
// Images that are complete are counted, not named.
func describePulls(pulls []api.Pull) string {
	var parts []string
	var done, total int64
	for _, p := range pulls {
		if p.Total == 0 {
			continue
		}
		done, total = done+p.Done, total+p.Total
		if p.Done < p.Total {
			parts = append(parts, p.Image+" "+amount(p.Done, p.Total)+from(p))
		}
	}
	switch {
	case total == 0:
		return preparing
	case len(parts) == 0:
		return "unpacking " + amount(done, total)
	case len(pulls) == 1:
		return "pulling " + parts[0]
	}
	more := ""
	if n := len(parts) - maxPullsTold; n > 0 {
		parts, more = parts[:maxPullsTold], fmt.Sprintf(", %d more", n)
	}
	return fmt.Sprintf("pulling %d images, %s: %s%s", len(pulls), amount(done, total), strings.Join(parts, "; "), more)
}

func amount(done, total int64) string {
	unit, name := int64(1<<20), "MiB"
	if total < 10<<20 {
		unit, name = 1<<10, "KiB"
	}
	return fmt.Sprintf("%d of %d %s, %d %%", done/unit, (total+unit-1)/unit, name, 100*done/total)
}

// from names the place of an image where that is not what its name says.
func from(p api.Pull) string {
	if p.From == "" || p.From == "docker.io" || strings.HasPrefix(p.Image, p.From+"/") {
		return ""
	}
	return " from " + p.From
}

// livePulls lays the progress of pulls over a status when somebody asks for it.
// So it is as new as can be, and costs nothing while nobody looks: no pass, no
// record and no event follows from a step.
type livePulls struct {
	mu     sync.Mutex
	status *api.Status // of the last report
	under  []livePull
	steps  int64 // of all of them when laid was made
	laid   *api.Status
}

// livePull are the pulls of one service in a status.
type livePull struct {
	service  int             // its position
	progress []*pullProgress // of its preparation and of its starts
	told     bool            // the service's message tells of it,
	prepares bool            // also before anything is known of it,
	after    string          // and ends so
}

// steps rises with every change.
func (u livePull) steps() (n int64) {
	for _, p := range u.progress {
		n += p.steps.Load()
	}
	return n
}

// list is what is known of each image, by name. Several starts fetch the same
// ones: what has come for one of them is there for all.
func (u livePull) list() []api.Pull {
	var pulls []api.Pull
	for _, p := range u.progress {
		for _, pull := range p.list() {
			k := slices.IndexFunc(pulls, func(o api.Pull) bool { return o.Image == pull.Image })
			switch {
			case k < 0:
				pulls = append(pulls, pull)
			case pull.Done > pulls[k].Done:
				pulls[k] = pull
			}
		}
	}
	slices.SortFunc(pulls, func(x, y api.Pull) int { return strings.Compare(x.Image, y.Image) })
	return pulls
}

// set takes a new report in, with the pulls that are under way.
func (l *livePulls) set(st *api.Status, under []livePull) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status, l.under, l.laid = st, under, nil
}

// get is the status with the pulls as they are now. It is the same one until
// something has changed.
func (l *livePulls) get() *api.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.under) == 0 {
		return l.status
	}
	var steps int64
	for _, u := range l.under {
		steps += u.steps()
	}
	if l.laid != nil && l.steps == steps {
		return l.laid
	}
	laid := *l.status
	laid.Services = slices.Clone(laid.Services)
	for _, u := range l.under {
		s := &laid.Services[u.service]
		s.Pulls = u.list()
		if u.told && (u.prepares || len(s.Pulls) > 0) {
			s.Message = describePulls(s.Pulls) + u.after
		}
	}
	l.laid, l.steps = &laid, steps
	return l.laid
}

// reportPulls adds to a status what is being pulled: for preparations, and by
// starts of revisions that were not prepared, as a fleet's are.
func (a *Agent) reportPulls(st *api.Status) {
	starts := map[planner.ServiceID][]*pullProgress{}
	for _, f := range a.flights {
		if !f.over {
			id := f.action.Slot.Service
			starts[id] = append(starts[id], &f.pull)
		}
	}
	var under []livePull
	for k := range st.Services {
		s := &st.Services[k]
		live := livePull{service: k, progress: starts[s.ID()], told: s.Message == ""}
		p := a.prepares[planner.RevisionKey{Service: s.ID(), Revision: s.Revision}]
		switch {
		case p == nil || p.done:
		case p.active:
			live.after, live.prepares = p.lastTry(), true
			live.told = s.Message == preparing+live.after
			live.progress = append(live.progress, &p.pull)
		case p.backoff.Failures > 0:
			clock := a.cfg.Clock()
			s.RetryAt = clock.Wall.Add(max(0, p.backoff.NotBefore-clock.Boot))
		}
		if len(live.progress) > 0 {
			under = append(under, live)
		}
	}
	a.shown.set(st, under)
}

// preparing is what is said of a pull of which nothing is known yet.
const preparing = "making the images ready"

// lastTry is how the last try ended while the next one is under way.
func (p *preparation) lastTry() string {
	if p.backoff.Failures == 0 {
		return ""
	}
	return "; the last try did not work: " + p.backoff.Reason
}
