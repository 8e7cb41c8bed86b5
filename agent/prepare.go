package agent

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// preparation is the work that must be done before a revision may have
// leases: it is admitted by the node's policy, and its images are there.
type preparation struct {
	done    bool
	active  bool
	cancel  context.CancelFunc
	backoff planner.Backoff
	refused string // why this node does not run it; "" = it does
	pull    pullProgress
}

// want notes which revisions must be prepared now. Work for revisions that
// nobody waits for any more is cancelled.
func (a *Agent) want(needs []planner.RevisionKey) {
	needed := map[planner.RevisionKey]bool{}
	for _, key := range needs {
		needed[key] = true
		if a.prepares[key] == nil {
			a.prepares[key] = &preparation{}
		}
	}
	for key, p := range a.prepares {
		if needed[key] || p.done && a.mayNeed(key) {
			continue
		}
		if p.active {
			p.cancel()
		}
		delete(a.prepares, key)
	}
}

// mayNeed reports whether a revision may get leases without being asked for
// again: it is wanted, of a hook of what is wanted, or what a bad release goes
// back to.
func (a *Agent) mayNeed(key planner.RevisionKey) bool {
	_, wanted := a.state.followed.Services[key.Service].TemplateOf(key.Revision)
	return wanted || key.Revision == a.state.docs[key.Service].LastGood
}

// serviceOf is a service as it is followed, at one of its revisions: the wanted
// one, an older one or that of a hook. false = its template is not known here.
func (a *Agent) serviceOf(key planner.RevisionKey) (planner.Service, bool) {
	s := a.state.followed.Services[key.Service]
	spec, known := a.specOf(s, key.Revision)
	s.ID, s.Template, s.Revision = key.Service, spec, key.Revision
	if spec.Once {
		s.Ports = nil // it takes no connections
	}
	return s, known
}

// prepare starts the preparations that are due.
func (a *Agent) prepare(ctx context.Context) {
	now := a.cfg.Clock().Boot
	all, _ := a.instances()
	for key, p := range a.prepares {
		if p.done || p.active || p.backoff.NotBefore > now || a.noRoom(key) != "" {
			continue
		}
		s, known := a.serviceOf(key)
		if !known {
			continue
		}
		d, refusal := a.admit(s)
		if refusal != "" && refusal != p.refused {
			a.log.Error("service refused by this node", "service", key.Service, "revision", key.Revision.Short(), "reason", refusal)
		}
		// Asked again at every pass: ports are no part of a revision.
		if p.refused = refusal; refusal != "" {
			continue
		}
		if d.info.Name == "" {
			// What the driver can do is not known before it has answered once.
			continue
		}
		var workCtx context.Context
		workCtx, p.cancel = context.WithCancel(ctx)
		p.active = true
		w := workload(a.cfg, s, a.state.docs[key.Service], planner.Lease{Revision: key.Revision}, "")
		pinUnpinned(w, listedDigests(all, key))
		if a.fleet == nil {
			pinUnpinned(w, a.pinsOf(s))
			pinUnpinned(w, a.releasePins(key))
		}
		last := lastPins(a.state.docs[key.Service])
		a.work(func() { a.pull(workCtx, key, p, d, w, last) })
	}
}

// pull runs on a worker. While a registry does not answer, a new revision goes
// on with the images the last one was pinned to, if they are on the node: a
// change of a variable does not wait for a registry it needs nothing from.
func (a *Agent) pull(ctx context.Context, key planner.RevisionKey, p *preparation, d *driverState, w runtime.Workload, last map[string]string) {
	digests, err := a.fetch(ctx, d, w, p.pull.note)
	if errors.Is(err, runtime.ErrUnavailable) && len(last) > 0 {
		pinUnpinned(w, last)
		if again, stillErr := a.fetch(ctx, d, w, p.pull.note); stillErr == nil {
			a.log.Warn("registry does not answer: the images of the last revision serve", "service", key.Service,
				"revision", key.Revision.Short(), "err", err)
			digests, err = again, nil
		}
	}
	a.cfg.Metrics.prepared(err)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	p.cancel()
	a.post(func() { a.prepared(key, p, digests, err) })
}

// fetch makes the images of a workload ready when its turn has come.
func (a *Agent) fetch(ctx context.Context, d *driverState, w runtime.Workload, progress func(runtime.Progress)) (map[string]string, error) {
	leave, err := a.pulls.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return d.driver.Prepare(ctx, w, progress)
}

// prepared takes in the outcome of a preparation.
func (a *Agent) prepared(key planner.RevisionKey, p *preparation, digests map[string]string, err error) {
	p.active = false
	p.pull.forget()
	if a.prepares[key] != p {
		return // cancelled: nobody waits for it any more
	}
	if err != nil {
		p.backoff = p.backoff.Failed(a.cfg.Clock().Boot, err.Error())
		if p.backoff.Failures == 1 {
			p.backoff.NotBefore += time.Second // a registry is not asked again at once
		}
		a.log.Warn("images cannot be prepared: what runs stays", "service", key.Service,
			"revision", key.Revision.Short(), "failures", p.backoff.Failures, "err", err)
		return
	}
	p.done, p.backoff = true, planner.Backoff{}
	if a.fleet != nil {
		return // what the fleet pins is decided for all nodes
	}
	doc := a.state.docs[key.Service]
	doc.Service = key.Service
	before := doc.Images[key.Revision]
	doc = planner.Pin(doc, key.Revision, digests)
	if !maps.Equal(before, doc.Images[key.Revision]) {
		a.state.docs[key.Service] = doc
		a.unsaved = true
	}
}
