package agent

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Pressure says how an agent watches what its node runs short of. While it is
// short of something the node takes no new work; nothing that runs is ever
// stopped for it, and what crashed is restarted as ever.
type Pressure struct {
	Limits planner.PressureLimits
	// Read reads how much there is: of the machine, and of the file systems of
	// some folders. It is called from any goroutine and must not block.
	Read func(folders []Folder) []planner.Reading
	// Every is how often; 0 = 10 s, as often as kubelet looks.
	Every time.Duration
}

// Folder is one whose file system is watched.
type Folder struct {
	Path   string
	Images bool // a driver keeps its images there
}

// pressure is what the loop knows of it.
type pressure struct {
	cfg       Pressure
	readings  []planner.Reading
	shortages []planner.Shortage
	held      map[planner.LeaseKey]bool // leases that were here when the shortage began
	present   map[string]bool           // digests of the images on the node, while it is short
	ran       ranRevisions
	collector collector

	short atomic.Bool   // for the watch: images are of interest
	again chan struct{} // look now
}

func newPressure(cfg *Pressure) *pressure {
	p := &pressure{again: make(chan struct{}, 1)}
	if cfg != nil {
		p.cfg = *cfg
	}
	if p.cfg.Every == 0 {
		p.cfg.Every = 10 * time.Second
	}
	return p
}

// watchPressure reads now and then how full the node is.
func (a *Agent) watchPressure(ctx context.Context) {
	if a.cfg.Pressure == nil {
		return
	}
	folders := map[string][]string{} // by driver, as last told
	a.work(func() {
		for ctx.Err() == nil {
			readings := a.pressure.cfg.Read(a.folders(ctx, folders))
			var present map[string]bool
			if a.pressure.short.Load() {
				present = a.presentImages(ctx)
			}
			a.post(func() { a.weigh(ctx, readings, present) })
			timer := time.NewTimer(a.pressure.cfg.Every)
			select {
			case <-timer.C:
			case <-a.pressure.again:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	})
}

// tendPressure keeps what ran here on disk, and looks how full it is as soon as
// an image found no room.
func (a *Agent) tendPressure() {
	if a.cfg.Pressure == nil {
		return
	}
	a.noteRan()
	if c := a.pressure.collector; !c.active && a.pullsWithoutRoom() > c.failed {
		a.pressure.look()
	}
}

// look has the watch read at once.
func (p *pressure) look() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// folders lists what is watched: where the drivers keep their data, and the
// state folder. A driver that does not answer keeps its folders where it last
// said.
func (a *Agent) folders(ctx context.Context, known map[string][]string) []Folder {
	var out []Folder
	for _, name := range slices.Sorted(maps.Keys(a.drivers)) {
		driver := a.drivers[name].driver
		storer, ok := driver.(runtime.Storer)
		if !ok {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, listTimeout)
		paths, err := storer.Stores(asking)
		cancel()
		if err == nil {
			known[name] = paths
		}
		_, keeps := driver.(runtime.ImageKeeper)
		for _, path := range known[name] {
			out = append(out, Folder{Path: path, Images: keeps})
		}
	}
	return append(out, Folder{Path: a.cfg.StateDir})
}

// presentImages lists the digests of the images on the node; what cannot be
// listed is not there.
func (a *Agent) presentImages(ctx context.Context) map[string]bool {
	present := map[string]bool{}
	for _, d := range a.drivers {
		if keeper, ok := d.driver.(runtime.ImageKeeper); ok {
			asking, cancel := context.WithTimeout(ctx, listTimeout)
			images, err := keeper.Images(asking)
			cancel()
			if err != nil {
				continue
			}
			for _, i := range images {
				present[i.Digest] = true
			}
		}
	}
	return present
}

// weigh takes readings in.
func (a *Agent) weigh(ctx context.Context, readings []planner.Reading, present map[string]bool) {
	p := a.pressure
	before := p.shortages
	p.readings, p.present = readings, present
	p.shortages = planner.Assess(before, readings, p.cfg.Limits, a.cfg.Clock().Boot)
	for _, s := range p.shortages {
		if !short(before, s) {
			a.log.Warn("node is short of "+string(s.Reading.Resource)+": it takes no new work, what runs goes on", "reason", s.String())
		}
	}
	for _, s := range before {
		if !short(p.shortages, s) {
			k := slices.IndexFunc(readings, func(r planner.Reading) bool { return same(r, s.Reading) })
			if k >= 0 {
				s.Reading = readings[k]
			}
			a.log.Info("node is not short of "+string(s.Reading.Resource)+" any more", "reason", s.String())
		}
	}
	switch {
	case len(p.shortages) == 0:
		p.held = nil
	case p.held == nil:
		p.held = a.leasesHere()
	}
	if p.short.Swap(len(p.shortages) > 0) != (len(p.shortages) > 0) {
		p.look()
	}
	a.cfg.Metrics.weighed(readings, p.shortages)
	a.collectIfNeeded(ctx)
}

func same(a, b planner.Reading) bool { return a.Resource == b.Resource && a.Place == b.Place }

// short reports whether a shortage is among some.
func short(among []planner.Shortage, s planner.Shortage) bool {
	return slices.ContainsFunc(among, func(o planner.Shortage) bool { return same(o.Reading, s.Reading) })
}

// leasesHere are the leases this node works by.
func (a *Agent) leasesHere() map[planner.LeaseKey]bool {
	here := map[planner.LeaseKey]bool{}
	for id, doc := range a.state.docs {
		for _, l := range doc.Leases {
			if l.Node == a.cfg.Node.Name {
				here[planner.LeaseKey{Service: id, Token: l.Token}] = true
			}
		}
	}
	return here
}

// shortOf says what the node is short of; "" = nothing.
func (a *Agent) shortOf() string {
	var all []string
	for _, s := range a.pressure.shortages {
		all = append(all, s.String())
	}
	return strings.Join(all, "; ")
}

// lacksOf says what the node is short of in words for the others; "" = nothing.
// Amounts would be news all the time.
func (a *Agent) lacksOf() string {
	var all []string
	for _, s := range a.pressure.shortages {
		all = append(all, s.Lacks())
	}
	if len(all) == 0 {
		return ""
	}
	return "this node is short of " + strings.Join(all, ", ")
}

// shortResources names what the node is short of, for the coordinators.
func (a *Agent) shortResources() []string {
	var names []string
	for _, s := range a.pressure.shortages {
		names = append(names, string(s.Reading.Resource))
	}
	return slices.Compact(names)
}

// noRoom says why the images of a revision cannot be fetched now; "" = they can,
// or are there: to go back to them takes nothing.
func (a *Agent) noRoom(key planner.RevisionKey) string {
	var why string
	for _, s := range a.pressure.shortages {
		if s.Reading.Images && why == "" {
			why = s.String()
		}
	}
	if why == "" {
		return ""
	}
	images, complete := a.digestsOf(key)
	for _, digest := range images {
		complete = complete && a.pressure.present[digest]
	}
	if complete {
		return ""
	}
	return why
}

// waitsForRoom says why the images of a service's revision are not fetched yet.
func (a *Agent) waitsForRoom(p *preparation, s planner.Service) string {
	if p.active {
		return ""
	}
	return a.noRoom(planner.RevisionKey{Service: s.ID, Revision: s.Revision})
}

// explainShort says why slots of a service have nothing.
func (a *Agent) explainShort(out *api.Service) string {
	if len(out.Instances) >= out.Replicas || len(a.pressure.shortages) == 0 {
		return ""
	}
	return "this node takes no new work: " + a.shortOf()
}

// noSpace reports whether something failed because a disk is full.
func noSpace(reason string) bool { return strings.Contains(reason, "no space left on device") }

// reportPressure is what the node is short of, and how its stores fare.
func (a *Agent) reportPressure() []api.Pressure {
	var out []api.Pressure
	now := a.cfg.Clock()
	for _, s := range a.pressure.shortages {
		out = append(out, api.Pressure{
			Resource: string(s.Reading.Resource), Place: s.Reading.Place, Used: s.Reading.Used(),
			Free: s.Reading.Free, Total: s.Reading.Total, Since: now.Wall.Add(s.Since - now.Boot), Text: s.String(),
		})
	}
	return out
}
