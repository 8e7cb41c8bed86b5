package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// ranPath is the file of the revisions that ran here, in the state folder.
const ranPath = "revisions.json"

const (
	maxRanFile     = 64 << 20
	maxRan         = planner.MaxHistory // revisions of a service
	maxRanServices = 10000
	ranFormat      = 1
)

// ranRevisions are the revisions that ran on the node, newest first: what its
// images are kept for.
type ranRevisions struct {
	services map[planner.ServiceID][]planner.RanRevision
	present  map[planner.RevisionKey]bool // listed when it was last looked; nil = not yet
	broken   error                        // why it could not be read: then nothing is collected
	unsaved  bool
}

type ranFile struct {
	Format   int          `json:"format"`
	Services []ranService `json:"services"`
}

type ranService struct {
	Service   planner.ServiceID     `json:"service"`
	Revisions []planner.RanRevision `json:"revisions"`
}

// loadRan reads what ran before. A file that cannot be read stays where it is,
// and no image is removed: it would tell which.
func loadRan(path string) ranRevisions {
	l := ranRevisions{services: map[planner.ServiceID][]planner.RanRevision{}}
	data, err := readBounded(path, maxRanFile)
	if errors.Is(err, fs.ErrNotExist) {
		return l
	}
	var f ranFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Format != ranFormat {
		err = fmt.Errorf("format %d is not %d", f.Format, ranFormat)
	}
	if err != nil {
		l.broken = fmt.Errorf("what ran here cannot be read, so that no image is removed: %w; to begin anew, remove %s and start the agent again", err, path)
		return l
	}
	for _, s := range f.Services {
		l.services[s.Service] = s.Revisions
	}
	return l
}

func (l *ranRevisions) save(path string) error {
	f := ranFile{Format: ranFormat}
	for _, id := range sortedServices(l.services) {
		f.Services = append(f.Services, ranService{id, l.services[id]})
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode what ran here: %w", err)
	}
	if err := writeDurably(path, data); err != nil {
		return fmt.Errorf("write what ran here: %w", err)
	}
	return nil
}

// note takes in what is listed now. A revision that comes, or comes back, is
// the newest of its service.
func (l *ranRevisions) note(all []planner.Instance, pins func(planner.RevisionKey) map[string]string, now time.Time) {
	listed := map[planner.RevisionKey][]planner.Instance{}
	for _, i := range all {
		if i.Slot.Service.Name != "" && i.Revision != "" {
			key := planner.RevisionKey{Service: i.Slot.Service, Revision: i.Revision}
			listed[key] = append(listed[key], i)
		}
	}
	present := make(map[planner.RevisionKey]bool, len(listed))
	keys := slices.SortedFunc(maps.Keys(listed), func(a, b planner.RevisionKey) int {
		if c := a.Service.Compare(b.Service); c != 0 {
			return c
		}
		return strings.Compare(string(a.Revision), string(b.Revision))
	})
	for _, key := range keys {
		present[key] = true
		images := maps.Clone(pins(key))
		if images == nil {
			images = map[string]string{}
		}
		maps.Copy(images, listedDigests(listed[key], key))
		l.see(key, images, l.present != nil && !l.present[key], now)
	}
	for key := range l.present {
		l.unsaved = l.unsaved || !present[key] // when it was last here is worth keeping
	}
	l.present = present
	l.bound()
}

// see notes one revision that is here; anew says that it was not a moment ago.
func (l *ranRevisions) see(key planner.RevisionKey, images map[string]string, anew bool, now time.Time) {
	revisions := l.services[key.Service]
	k := slices.IndexFunc(revisions, func(r planner.RanRevision) bool { return r.Revision == key.Revision })
	if k >= 0 && !anew {
		r := &revisions[k]
		r.Used = now
		if merged := merge(r.Images, images); len(merged) > len(r.Images) {
			r.Images, l.unsaved = merged, true
		}
		return
	}
	r := planner.RanRevision{Revision: key.Revision, Images: images, Used: now}
	if k >= 0 {
		r.Images = merge(revisions[k].Images, images)
		revisions = slices.Delete(revisions, k, k+1)
	}
	revisions = slices.Insert(revisions, 0, r)
	l.services[key.Service] = revisions[:min(len(revisions), maxRan)]
	l.unsaved = true
}

// merge adds what is not known yet; neither map is changed.
func merge(known, more map[string]string) map[string]string {
	all := maps.Clone(more)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, known)
	return all
}

// bound forgets the services that were here the longest time ago.
func (l *ranRevisions) bound() {
	for len(l.services) > maxRanServices {
		var oldest planner.ServiceID
		var at time.Time
		for _, id := range sortedServices(l.services) {
			if r := l.services[id]; at.IsZero() || r[0].Used.Before(at) {
				oldest, at = id, r[0].Used
			}
		}
		delete(l.services, oldest)
		l.unsaved = true
	}
}

// noteRan keeps what ran here up to date and on disk.
func (a *Agent) noteRan() {
	l := &a.pressure.ran
	if l.broken != nil || !a.allListed() {
		return
	}
	all, _ := a.instances()
	// Nobody goes back to a hook: its images are kept for as long as it is here.
	all = slices.DeleteFunc(slices.Clone(all), a.runsOnce)
	l.note(all, func(key planner.RevisionKey) map[string]string {
		return a.state.docs[key.Service].Images[key.Revision]
	}, a.cfg.Clock().Wall)
	if !l.unsaved {
		return
	}
	err := l.save(filepath.Join(a.cfg.StateDir, ranPath))
	l.unsaved = err != nil
	a.problem("revisions", err)
}

// digestsOf are the digests of a revision's images, as far as they are known:
// complete says whether all of them are.
func (a *Agent) digestsOf(key planner.RevisionKey) (digests []string, complete bool) {
	known := maps.Clone(a.state.docs[key.Service].Images[key.Revision])
	for _, r := range a.pressure.ran.services[key.Service] {
		if r.Revision == key.Revision {
			known = merge(known, r.Images)
		}
	}
	for _, o := range a.orders {
		if o.Service == key.Service && o.Revision == key.Revision && o.At != nil {
			known, complete = named(known, o.At.Template)
		}
	}
	if spec, ok := a.state.specs[key.Revision]; ok {
		known, complete = named(known, spec)
	}
	if spec, ok := a.state.followed.Services[key.Service].TemplateOf(key.Revision); ok {
		known, complete = named(known, spec)
	}
	for _, ref := range slices.Sorted(maps.Keys(known)) {
		digests = append(digests, known[ref])
	}
	return digests, complete
}

// named adds the digests that references of a template carry, and says whether
// each of its images has one.
func named(known map[string]string, t planner.Template) (map[string]string, bool) {
	known, complete := merge(nil, known), true
	for _, ref := range t.Images() {
		if _, digest, ok := strings.Cut(ref, "@"); ok {
			known[ref] = digest
		}
		complete = complete && known[ref] != ""
	}
	return known, complete
}
