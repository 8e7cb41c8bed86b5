package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// holdsPath is the file of the orders of people, in the state folder.
const holdsPath = "holds.json"

const (
	maxHolds       = 1000
	maxHoldsFile   = 64 << 20
	maxHoldsReason = 300
	maxTargetsTold = 20
)

// order is a hold as it is kept: with the service at the revision that a slot
// is to run, so that it needs no Git.
type order struct {
	planner.Hold
	At *planner.Service `json:"at,omitempty"`
}

// about names what is held, for the log.
func (o order) about() slog.Attr {
	switch {
	case o.Slot != "":
		return slog.Any("slot", planner.SlotID{Service: o.Service, Name: o.Slot})
	case o.Service != planner.ServiceID{}:
		return slog.Any("service", o.Service)
	}
	return slog.String("held", "node")
}

// loadHolds reads the orders of the last run. A file that cannot be read is set
// aside and told: who held something has to do it again.
func loadHolds(path string) ([]order, error) {
	data, err := readBounded(path, maxHoldsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var orders []order
	if err == nil {
		err = json.Unmarshal(data, &orders)
	}
	if err != nil {
		aside := path + ".unreadable"
		return nil, errors.Join(fmt.Errorf("holds cannot be read, what was held is not held any more (%w): see %s", err, aside), os.Rename(path, aside))
	}
	return orders, nil
}

// saveHolds writes the orders down before any of them counts.
func (a *Agent) saveHolds(orders []order) error {
	data, err := json.Marshal(orders)
	if err != nil {
		return fmt.Errorf("encode holds: %w", err)
	}
	if err := writeDurably(filepath.Join(a.cfg.StateDir, holdsPath), data); err != nil {
		return fmt.Errorf("write holds: %w", err)
	}
	a.orders = orders
	return nil
}

// holds are the orders that count.
func (a *Agent) holds() []planner.Hold {
	now := a.cfg.Clock()
	var out []planner.Hold
	for _, o := range a.orders {
		if o.Active(now) {
			out = append(out, o.Hold)
		}
	}
	return out
}

// endHolds forgets the orders that are over.
func (a *Agent) endHolds() {
	now := a.cfg.Clock()
	var over []order
	left := slices.DeleteFunc(slices.Clone(a.orders), func(o order) bool {
		if !o.Active(now) {
			over = append(over, o)
		}
		return !o.Active(now)
	})
	if len(over) == 0 {
		return
	}
	if err := a.saveHolds(left); err != nil {
		a.problem("holds", err) // they do not count all the same
		return
	}
	a.problem("holds", nil)
	for _, o := range over {
		a.log.Info("hold is over", o.about(), slog.String("reason", o.Reason))
	}
}

// keepHeld has the templates of revisions that people ordered at hand.
func (a *Agent) keepHeld() {
	copied := false
	for _, o := range a.orders {
		if o.At == nil {
			continue
		}
		if _, known := a.state.specs[o.Revision]; !known {
			if !copied {
				a.state.specs, copied = maps.Clone(a.state.specs), true
			}
			a.state.specs[o.Revision] = o.At.Template
		}
	}
}

// heldAt is a lease as people have it run.
func (a *Agent) heldAt(slot planner.SlotID, l planner.Lease) planner.Lease {
	if h, ok := planner.HoldOf(a.holds(), slot, a.cfg.Clock()); ok && h.Revision != "" {
		l.Revision = h.Revision
	}
	return l
}

// filesOf is the content of the file volumes of a revision of a service.
func (a *Agent) filesOf(id planner.ServiceID, rev planner.Revision) []planner.File {
	for _, o := range a.orders {
		if o.Service == id && o.Revision == rev && o.At != nil {
			return o.At.Files
		}
	}
	return a.state.followed.Services[id].Files
}

// Hold carries out an order of a person: it is on disk when Hold returns. It
// may be called from any goroutine.
func (a *Agent) Hold(ctx context.Context, req api.HoldRequest) (api.Hold, error) {
	if err := req.Check(); err != nil {
		return api.Hold{}, err
	}
	var o order
	var from []string // commits that may tell of the revision
	err := a.onLoop(ctx, func() (err error) {
		o, from, err = a.ordered(req)
		return err
	})
	if err != nil {
		return api.Hold{}, err
	}
	if req.Revision != "" {
		if o.At, err = a.serviceAt(ctx, o, from); err != nil {
			return api.Hold{}, err
		}
	}
	err = a.onLoop(ctx, func() error { return a.take(o) })
	return describeHold(o.Hold), err
}

// ordered works out what a request means here.
func (a *Agent) ordered(req api.HoldRequest) (o order, from []string, err error) {
	now := a.cfg.Clock().Wall
	o = order{Hold: planner.Hold{
		Stop: req.Stop, Until: now.Add(req.For), Since: now, By: planner.OneLine(req.By, 64), Reason: planner.OneLine(req.Reason, maxHoldsReason),
	}}
	if req.Target != "" {
		if o.Service, o.Slot, err = a.find(req.Target); err != nil {
			return o, nil, err
		}
	}
	if req.Revision == "" {
		return o, nil, nil
	}
	if o.Slot == "" {
		return o, nil, fmt.Errorf("%s is a service: a revision is ordered for one slot, such as %s-0", req.Target, req.Target)
	}
	if isHookSlot(o.Slot) && !a.state.followed.Services[o.Service].EveryNode {
		return o, nil, fmt.Errorf("%s is a hook: it runs what the revision that is rolled out asks for", req.Target)
	}
	o.Revision, from, err = a.revision(o.Service, req.Revision)
	return o, from, err
}

// find is the service or slot that people call target.
func (a *Agent) find(target string) (planner.ServiceID, string, error) {
	asked := target
	target = asCalled(target)
	services, slots := map[planner.ServiceID]bool{}, map[planner.SlotID]bool{}
	all, _ := a.instances()
	for _, id := range a.reported(all) {
		services[id] = true
		for _, l := range a.state.docs[id].Leases {
			slots[planner.SlotID{Service: id, Name: l.Slot}] = true
		}
	}
	for _, i := range all {
		slots[i.Slot] = true
	}
	for id := range services {
		if id.String() == target {
			return id, "", nil
		}
	}
	for slot := range slots {
		if slot.String() == target {
			return slot.Service, slot.Name, nil
		}
	}
	var here []string
	for _, id := range sortedServices(services) {
		here = append(here, id.String())
	}
	if len(here) == 0 {
		return planner.ServiceID{}, "", fmt.Errorf("nothing here is called %q: this node runs no service yet", asked)
	}
	if len(slots) == 0 {
		return planner.ServiceID{}, "", fmt.Errorf("nothing here is called %q; this node is to run %s, of which no slot is here", asked, someOf(here))
	}
	return planner.ServiceID{}, "", fmt.Errorf("nothing here is called %q; this node runs %s, whose slots are called %s", asked, someOf(here), someOf(slotNames(slots)))
}

// asCalled is a name as services and slots are called here: without the
// namespace if that is the default one.
func asCalled(target string) string {
	if target == "" {
		return ""
	}
	return planner.ParseServiceID(target).String()
}

func slotNames(slots map[planner.SlotID]bool) []string {
	var names []string
	for _, slot := range slices.SortedFunc(maps.Keys(slots), planner.SlotID.Compare) {
		names = append(names, slot.String())
	}
	return names
}

// someOf lists names for people, not too many.
func someOf(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	text := strings.Join(names[:min(len(names), maxTargetsTold)], ", ")
	if n := len(names) - maxTargetsTold; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// revision is the revision of a service that a prefix names, and the commits it
// was decided on, newest first.
func (a *Agent) revision(id planner.ServiceID, prefix string) (planner.Revision, []string, error) {
	from := map[planner.Revision][]string{}
	doc := a.state.docs[id]
	for _, h := range doc.History {
		from[h.Revision] = append(from[h.Revision], h.Commit)
	}
	for _, l := range doc.Leases {
		if !a.isOnce(l) { // no slot runs what a hook does
			from[l.Revision] = append(from[l.Revision], doc.Commit)
		}
	}
	if s, ok := a.state.followed.Services[id]; ok && !s.Orphan {
		from[s.Revision] = append(from[s.Revision], a.state.followed.Commit.Hash)
	}
	var found []planner.Revision
	var known []string
	for _, rev := range slices.Sorted(maps.Keys(from)) {
		known = append(known, rev.Short())
		if strings.HasPrefix(string(rev), prefix) || strings.HasPrefix(strings.TrimPrefix(string(rev), "r1-"), prefix) {
			found = append(found, rev)
		}
	}
	if len(found) != 1 {
		these := "no revision of %s begins"
		if len(found) > 1 {
			these = "several revisions of %s begin"
		}
		more := ""
		if a.fleet != nil {
			more = fmt.Sprintf(" (orpheus history %s tells of more)", id)
		}
		return "", nil, fmt.Errorf(these+" with %q; known here: %s%s", id, prefix, someOf(known), more)
	}
	return found[0], from[found[0]], nil
}

// serviceAt reads a service at a revision: from the commits it was decided on,
// else from what the node has on disk.
func (a *Agent) serviceAt(ctx context.Context, o order, from []string) (*planner.Service, error) {
	var errs []error
	for _, commit := range slices.Compact(from) {
		loaded, err := a.cfg.Source.Load(ctx, planner.Commit{Hash: commit}, "")
		if err != nil {
			errs = append(errs, fmt.Errorf("read commit %s: %w", planner.Commit{Hash: commit}.Short(), err))
			continue
		}
		if s, ok := loaded.Desired.Services[o.Service]; ok && s.Revision == o.Revision {
			return &s, nil
		}
	}
	var at *planner.Service
	err := a.onLoop(ctx, func() error {
		spec, known := a.state.specs[o.Revision]
		for _, v := range spec.Volumes {
			known = known && v.File == nil
		}
		if !known {
			return fmt.Errorf("revision %s of %s is not known on this node: %w", o.Revision.Short(), o.Service, errors.Join(errs...))
		}
		at = &planner.Service{ID: o.Service, Template: spec, Revision: o.Revision}
		return nil
	})
	return at, err
}

// take has an order count, in place of an earlier one for the same.
func (a *Agent) take(o order) error {
	orders := slices.DeleteFunc(slices.Clone(a.orders), func(x order) bool { return x.Service == o.Service && x.Slot == o.Slot })
	if len(orders) >= maxHolds {
		return fmt.Errorf("there are %d holds already: release some", len(orders))
	}
	if err := a.saveHolds(append(orders, o)); err != nil {
		return err
	}
	a.log.Warn("a person's order counts now", o.about(), slog.String("reason", o.String()))
	return nil
}

// Release ends the hold of a target, "" = that of the node. It may be called
// from any goroutine.
func (a *Agent) Release(ctx context.Context, target string) (api.Hold, error) {
	var ended api.Hold
	err := a.onLoop(ctx, func() error {
		var held []string
		for k, o := range a.orders {
			called := o.Target()
			if o.Service == (planner.ServiceID{}) {
				called = ""
			}
			if called == asCalled(target) {
				ended = describeHold(o.Hold)
				if err := a.saveHolds(slices.Delete(slices.Clone(a.orders), k, k+1)); err != nil {
					return err
				}
				a.log.Warn("a person's order was taken back", o.about())
				return nil
			}
			held = append(held, o.Target())
		}
		if target == "" {
			target = "the node"
		}
		if len(held) == 0 {
			return fmt.Errorf("%s is not held, and nothing else is", target)
		}
		return fmt.Errorf("%s is not held; held are: %s", target, someOf(held))
	})
	return ended, err
}

// reportHolds lists the orders that count, those first that end first.
func (a *Agent) reportHolds() []api.Hold {
	var out []api.Hold
	for _, h := range a.holds() {
		out = append(out, describeHold(h))
	}
	slices.SortStableFunc(out, func(x, y api.Hold) int { return x.Until.Compare(y.Until) })
	return out
}

func describeHold(h planner.Hold) api.Hold {
	return api.Hold{Target: h.Target(), Stop: h.Stop, Revision: h.Revision, Since: h.Since, Until: h.Until, By: h.By, Reason: h.Reason, Text: h.String()}
}
