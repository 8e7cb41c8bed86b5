package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// resolveTime bounds how long the tags of a service are asked for.
const resolveTime = time.Minute

// Restart replaces what runs of a service here, slot by slot, by the rules of
// an update. It is on disk when Restart returns. Only a node that stands alone
// does that; in a fleet a commit does. It may be called from any goroutine.
func (a *Agent) Restart(ctx context.Context, req api.RestartRequest) (api.Restart, error) {
	if err := req.Check(); err != nil {
		return api.Restart{}, err
	}
	var o restartOrder
	err := a.onLoop(ctx, func() (err error) {
		o, err = a.restartable(req)
		return err
	})
	if err != nil {
		return api.Restart{}, err
	}
	if req.Pull {
		if err := o.resolve(ctx); err != nil {
			return api.Restart{}, err
		}
	}
	err = a.onLoop(ctx, func() error {
		if _, err := a.restartable(req); err != nil {
			return err // a hold, a commit that suspends it: they came while the tags were asked for
		}
		return a.restart(&o, req)
	})
	return o.done, err
}

// restartOrder is a restart that is being worked out.
type restartOrder struct {
	service planner.Service
	driver  *driverState
	images  map[string]string // digests by reference, as they run now
	done    api.Restart
}

// restartable finds what is to be restarted, or says why it cannot be.
func (a *Agent) restartable(req api.RestartRequest) (restartOrder, error) {
	var o restartOrder
	if a.fleet != nil {
		return o, fmt.Errorf("this node is one of a fleet, where a commit restarts a service: orpheus restart %s in a checkout of its repository", req.Service)
	}
	id, slot, err := a.find(req.Service)
	if err != nil {
		return o, err
	}
	s, followed := a.state.followed.Services[id]
	slots := planner.Slots(a.cfg.Node, a.state.followed.Fleet, s)
	now := a.cfg.Clock()
	hold, held := planner.HoldOf(a.holds(), planner.SlotID{Service: id}, now)
	switch {
	case slot != "":
		return o, fmt.Errorf("%s is a slot: a restart is of a whole service, slot by slot: orpheus restart %s", req.Service, id)
	case !followed || s.Orphan:
		return o, fmt.Errorf("no manifest of %s is known here yet", id)
	case len(slots) == 0:
		return o, fmt.Errorf("nothing of %s runs on this node by its manifest", id)
	case held:
		return o, fmt.Errorf("%s is %s; release it first", id, hold)
	case s.Suspended(now):
		return o, fmt.Errorf("%s is %s: nothing of it would be restarted", id, s.Suspend)
	case s.Observe:
		return o, fmt.Errorf("%s has mode: observe: nothing of it is restarted", id)
	}
	if reasons := planner.Admit(a.cfg.Policy, s); len(reasons) > 0 {
		return o, fmt.Errorf("%s is refused by this node: %s", id, reasons[0])
	}
	o.service, o.driver = s, a.drivers[s.Template.DriverName()]
	o.images = maps.Clone(a.state.docs[id].Images[s.Revision])
	if o.images == nil {
		o.images = maps.Clone(a.pinsOf(s))
	}
	o.done = api.Restart{Service: id.String(), Slots: len(slots)}
	return o, nil
}

// resolve asks for what the tags stand for now. It does not run on the loop.
func (o *restartOrder) resolve(ctx context.Context) error {
	before := o.images
	o.images = nil
	if o.driver == nil {
		return fmt.Errorf("this node has no driver %s", o.service.Template.DriverName())
	}
	resolver, can := o.driver.driver.(runtime.Resolver)
	if !can {
		return nil // they are resolved when the images are made ready
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	o.images = map[string]string{}
	var errs []error
	for _, ref := range o.service.Template.Images() {
		if strings.Contains(ref, "@sha256:") {
			continue
		}
		digest, err := resolver.Resolve(ctx, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		o.images[ref] = digest
		o.done.Images = append(o.done.Images, api.RestartImage{Image: ref, Before: before[ref], After: digest})
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("nothing is restarted: %w", err)
	}
	return nil
}

// restart has an order count.
func (a *Agent) restart(o *restartOrder, req api.RestartRequest) error {
	id := o.service.ID
	s := a.state.followed.Services[id]
	if s.Revision != o.service.Revision {
		return fmt.Errorf("the manifest of %s has changed just now: look, and try again", id)
	}
	r := restart{Service: id, Own: s.Template.RestartedAt, Base: s.Revision}
	at := slices.IndexFunc(a.restarts, func(x restart) bool { return x.Service == id })
	if at >= 0 && a.restarts[at].At == s.Template.RestartedAt {
		r.Own, r.Before, r.Base = a.restarts[at].Own, a.restarts[at].At, a.restarts[at].Base
	}
	r.At, r.Images = a.cfg.Clock().Wall.UTC().Format(time.RFC3339Nano), o.images
	if r.At == s.Template.RestartedAt {
		return fmt.Errorf("%s was restarted at this very instant", id)
	}
	if req.Pull {
		r.At += planner.RestartPull
	}
	next := slices.DeleteFunc(slices.Clone(a.restarts), func(x restart) bool { return x.Service == id })
	if err := a.saveRestarts(append(next, r)); err != nil {
		return err
	}
	a.layRestarts(a.state.followed)
	a.unsaved = true
	o.done.Revision = a.state.followed.Services[id].Revision
	a.log.Warn("restart ordered by a person", "service", id, "revision", o.done.Revision.Short(), "by", planner.OneLine(req.By, 64), "pull", req.Pull)
	return nil
}
