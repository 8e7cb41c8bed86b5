package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	// collectTimeout bounds one collection; what is left the next one does.
	collectTimeout = 10 * time.Minute
	// collectRetry is when images are looked at again where there was nothing to
	// remove, or something failed.
	collectRetry = 15 * time.Second
	// usageInterval is how often what uses the disks is added up: it takes a walk
	// over all volumes.
	usageInterval = 5 * time.Minute
)

// collector is what the loop knows of the removal of images.
type collector struct {
	active  bool
	retryAt time.Duration // boot time; 0 = at once
	failed  int           // pulls that failed for lack of room, as last counted
	told    string        // what uses the disks, and how full they were; "" = there is room
	tellAt  time.Duration // boot time at which it is added up again
}

// collection is the outcome of one removal of images.
type collection struct {
	removed int
	enough  bool            // there is room now
	store   map[string]bool // digests that are left; nil = not known
	usage   string          // what uses the disk, where that was added up
	err     error
}

// collectIfNeeded removes images that nobody needs, where a file system with
// images is too full, or a pull found no room.
func (a *Agent) collectIfNeeded(ctx context.Context) {
	c := &a.pressure.collector
	failed := a.pullsWithoutRoom()
	c.failed = min(c.failed, failed)
	forced := failed > c.failed
	now := a.cfg.Clock().Boot
	full := slices.ContainsFunc(a.pressure.readings, a.pressure.cfg.Limits.Collects)
	if !full && !forced {
		c.told = ""
		a.problem("images", nil)
	}
	if c.active || !full && !forced || c.retryAt > now && !forced {
		return
	}
	c.failed = failed
	c.retryAt = now + collectRetry
	if _, err := a.need(); err != nil {
		a.problem("images", err)
		return
	}
	c.active = true
	tell := c.told == "" || c.tellAt <= now
	if tell {
		a.swept = 0 // what failed pulls and old slots have left goes, too
	}
	a.work(func() {
		begin := time.Now()
		out := a.collect(ctx, forced)
		if !out.enough && tell {
			out.usage = a.usage(ctx)
		}
		a.post(func() { a.collected(out, time.Since(begin)) })
	})
}

// pullsWithoutRoom counts the failures of pulls for which the disk was full.
func (a *Agent) pullsWithoutRoom() (n int) {
	for _, p := range a.prepares {
		if noSpace(p.backoff.Reason) {
			n += p.backoff.Failures
		}
	}
	for _, t := range a.tracks {
		if t.noRoom {
			n += t.backoff.Failures
		}
	}
	return n
}

// pullError is the failure of a start that had to fetch its images. Where
// anything else of a start finds a disk full, it need not be that of the images.
type pullError struct{ error }

func (e pullError) Unwrap() error { return e.error }

// pullWithoutRoom reports whether a start failed because there was no room for
// its images.
func pullWithoutRoom(err error) bool {
	var pull pullError
	return errors.As(err, &pull) && noSpace(err.Error())
}

// pullAgain lets what found no room for its images try again at once.
func (a *Agent) pullAgain(now time.Duration) {
	for _, p := range a.prepares {
		if noSpace(p.backoff.Reason) {
			p.backoff.NotBefore = min(p.backoff.NotBefore, now)
		}
	}
	for _, t := range a.tracks {
		if t.noRoom {
			t.backoff.NotBefore = min(t.backoff.NotBefore, now)
		}
	}
}

var errNothingKnown = errors.New("nothing is known yet of what this node is to run")

// need is what images are kept for. Where it cannot be known nothing is
// removed.
func (a *Agent) need() (planner.Need, error) {
	need := planner.Need{Now: map[string]bool{}, Here: map[planner.ServiceID][]planner.RanRevision{}, Gone: map[planner.ServiceID][]planner.RanRevision{}}
	all, unlisted := a.instances()
	switch {
	case a.pressure.ran.broken != nil:
		return need, a.pressure.ran.broken
	case len(unlisted) > 0:
		return need, fmt.Errorf("driver %s does not answer: no image is removed", slices.Sorted(maps.Keys(unlisted))[0])
	case a.state.followed.Commit.Hash == "", a.fleet != nil && !a.fleet.member.Whole():
		return need, errNothingKnown
	}
	for _, key := range a.revisionsInForce(all) {
		digests, _ := a.digestsOf(key)
		for _, digest := range digests {
			need.Now[digest] = true
		}
	}
	here := map[planner.ServiceID]bool{}
	for _, i := range all {
		here[i.Slot.Service] = true
		for _, c := range i.Containers {
			need.Now[c.Digest] = true
		}
	}
	for _, id := range a.here {
		here[id] = true
	}
	for id, doc := range a.state.docs {
		here[id] = here[id] || len(doc.Leases) > 0
	}
	for id, revisions := range a.pressure.ran.services {
		into := need.Gone
		if here[id] {
			into = need.Here
		}
		into[id] = withHistory(revisions, a.state.docs[id])
	}
	for id, doc := range a.state.docs {
		if _, ran := a.pressure.ran.services[id]; !ran && here[id] {
			need.Here[id] = withHistory(nil, doc)
		}
	}
	return need, nil
}

// withHistory adds the revisions that a lease document remembers and that ran
// before the node took note of it.
func withHistory(ran []planner.RanRevision, doc planner.LeaseDoc) []planner.RanRevision {
	ran = slices.Clone(ran)
	for _, h := range doc.History {
		known := slices.ContainsFunc(ran, func(r planner.RanRevision) bool { return r.Revision == h.Revision })
		if !known && len(doc.Images[h.Revision]) > 0 {
			ran = append(ran, planner.RanRevision{Revision: h.Revision, Images: doc.Images[h.Revision]})
		}
	}
	return ran
}

// revisionsInForce lists the revisions that run, are leased, wanted, made ready,
// about to start, or ordered by people.
func (a *Agent) revisionsInForce(all []planner.Instance) []planner.RevisionKey {
	var keys []planner.RevisionKey
	add := func(id planner.ServiceID, rev planner.Revision) {
		keys = append(keys, planner.RevisionKey{Service: id, Revision: rev})
	}
	for _, i := range all {
		add(i.Slot.Service, i.Revision)
	}
	for id, doc := range a.state.docs {
		for _, l := range doc.Leases {
			add(id, l.Revision)
		}
	}
	for _, id := range a.here {
		add(id, a.state.followed.Services[id].Revision)
	}
	for key := range a.prepares {
		keys = append(keys, key)
	}
	for _, f := range a.flights {
		add(f.action.Slot.Service, f.action.Lease.Revision)
	}
	for _, o := range a.orders {
		if o.Revision != "" {
			add(o.Service, o.Revision)
		}
	}
	return keys
}

// collect removes images, driver by driver, until there is room; forced, all
// that nobody needs. It runs on a worker. A driver that fails ends its part.
func (a *Agent) collect(ctx context.Context, forced bool) collection {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	out := collection{enough: true}
	store, whole := map[string]bool{}, true
	for _, name := range slices.Sorted(maps.Keys(a.drivers)) {
		keeper, ok := a.drivers[name].driver.(runtime.ImageKeeper)
		storer, places := a.drivers[name].driver.(runtime.Storer)
		if !ok || !places {
			continue
		}
		left, err := a.collectFrom(ctx, name, keeper, storer, forced, &out)
		if err != nil {
			out.err = errors.Join(out.err, fmt.Errorf("remove images of driver %s: %w", name, err))
		}
		whole = whole && left != nil
		maps.Copy(store, left)
	}
	if whole {
		out.store = store
	}
	return out
}

// collectFrom removes images of one driver and returns the digests it still
// has; nil where that is not known.
func (a *Agent) collectFrom(ctx context.Context, name string, keeper runtime.ImageKeeper, storer runtime.Storer, forced bool, out *collection) (map[string]bool, error) {
	folders, err := storer.Stores(ctx)
	if err != nil {
		return nil, err
	}
	limits, read := a.pressure.cfg.Limits, func() []planner.Reading { return a.pressure.cfg.Read(imageFolders(folders)) }
	why, full := fullest(read(), limits.Collects)
	if !full && !forced {
		return nil, nil
	}
	images, err := keeper.Images(ctx)
	if err != nil {
		return nil, err
	}
	stored, left := make([]planner.StoredImage, len(images)), map[string]bool{}
	for k, i := range images {
		stored[k] = planner.StoredImage{Name: i.Name, Digest: i.Digest, Used: i.Fetched, InUse: i.InUse}
		left[i.Digest] = true
	}
	candidates, err := a.collectable(ctx, stored)
	if err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if !forced && !slices.ContainsFunc(read(), func(r planner.Reading) bool { return !limits.Collected(r) }) {
			break
		}
		removed, err := a.removeImage(ctx, keeper, c)
		if err != nil {
			return nil, err
		}
		if removed {
			delete(left, c.Digest)
			out.removed++
			a.cfg.Metrics.imageRemoved(name)
			a.log.Info("image removed: no service needs it", "driver", name, "image", c.Name, "used", c.Used.UTC().Format(time.RFC3339), "reason", why)
		}
	}
	if _, still := fullest(read(), limits.Collects); still {
		out.enough = false
	}
	return left, nil
}

// collectable asks the loop which images may go as things are now.
func (a *Agent) collectable(ctx context.Context, stored []planner.StoredImage) (out []planner.StoredImage, err error) {
	err = a.onLoop(ctx, func() error {
		need, err := a.need()
		if err == nil {
			out = planner.Collectable(stored, need)
		}
		return err
	})
	return out, err
}

// removeImage removes one image, if it still may go: a commit may have come
// meanwhile that wants it back.
func (a *Agent) removeImage(ctx context.Context, keeper runtime.ImageKeeper, i planner.StoredImage) (bool, error) {
	still, err := a.collectable(ctx, []planner.StoredImage{i})
	if err != nil || len(still) == 0 {
		return false, err
	}
	err = keeper.RemoveImage(ctx, i.Name)
	if errors.Is(err, runtime.ErrInUse) {
		return false, nil
	}
	return err == nil, err
}

func imageFolders(paths []string) []Folder {
	folders := make([]Folder, len(paths))
	for k, path := range paths {
		folders[k] = Folder{Path: path, Images: true}
	}
	return folders
}

// fullest is the first reading that meets a condition, in words.
func fullest(readings []planner.Reading, is func(planner.Reading) bool) (string, bool) {
	for _, r := range readings {
		if is(r) {
			return planner.Shortage{Reading: r}.String(), true
		}
	}
	return "room was needed for an image", false
}

// collected takes in the outcome of a collection.
func (a *Agent) collected(out collection, took time.Duration) {
	c := &a.pressure.collector
	c.active = false
	now := a.cfg.Clock().Boot
	if why, full := fullest(a.pressure.readings, a.pressure.cfg.Limits.Collects); out.usage != "" && full {
		c.told, c.tellAt = fmt.Sprintf("%s, and no more images can be removed: %s. Free some of it, or enlarge the disk", why, out.usage), now+usageInterval
	}
	switch {
	case out.err != nil:
		a.problem("images", out.err)
	case out.enough:
		c.told = ""
		a.problem("images", nil)
	case c.told != "":
		a.problem("images", errors.New(c.told))
	}
	if out.removed > 0 {
		a.log.Info("images removed", "images", out.removed, "took", took.Round(time.Millisecond).String())
		a.pullAgain(now)
	}
	a.forgetRan(out.store)
	a.pressure.look()
}

// forgetRan drops services that are gone and of whose images none is left.
func (a *Agent) forgetRan(store map[string]bool) {
	need, err := a.need()
	if err != nil || store == nil {
		return
	}
	l := &a.pressure.ran
	for id, revisions := range need.Gone {
		left := slices.ContainsFunc(revisions, func(r planner.RanRevision) bool {
			for _, digest := range r.Images {
				if store[digest] {
					return true
				}
			}
			return false
		})
		if !left {
			delete(l.services, id)
			l.unsaved = true
		}
	}
}

// usage says what the node's disks are used for.
func (a *Agent) usage(ctx context.Context) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(a.drivers)) {
		if keeper, ok := a.drivers[name].driver.(runtime.ImageKeeper); ok {
			if bytes, err := keeper.ImageBytes(ctx); err == nil {
				text += "images that are needed use " + planner.Size(uint64(max(bytes, 0))) + ", "
			}
		}
	}
	return text + "volumes " + sizeOf(filepath.Join(a.cfg.StateDir, "volumes")) + ", logs " + sizeOf(LogRoot(a.cfg.StateDir))
}
