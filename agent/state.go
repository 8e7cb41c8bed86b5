package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// state is what the node must know again after a restart or a reboot without
// Git: what it follows and the leases it gave itself. Instances are not in
// it: the drivers list them.
type state struct {
	followed planner.Followed
	docs     map[planner.ServiceID]planner.LeaseDoc
	// specs are the templates of every leased revision, of the last good one of
	// each service, to which a bad release goes back, and of what still runs.
	specs map[planner.Revision]planner.Template
}

// stateFile is the JSON form of state: lists, because services are no keys of
// JSON objects, sorted, so that equal states are equal files.
type stateFile struct {
	Format   int                                   `json:"format"`
	Followed planner.Followed                      `json:"followed"`
	Services []planner.Service                     `json:"services"`
	Pending  []pendingDeletion                     `json:"pendingDeletions,omitempty"`
	Gone     []pendingDeletion                     `json:"deleted,omitempty"`
	Leases   []planner.LeaseDoc                    `json:"leases"`
	Specs    map[planner.Revision]planner.Template `json:"specs"`
}

type pendingDeletion struct {
	Service planner.ServiceID `json:"service"`
	Commit  string            `json:"commit"`
}

const stateFormat = 1

func newState() state {
	return state{
		followed: planner.Followed{Services: map[planner.ServiceID]planner.Service{}, Pending: map[planner.ServiceID]string{}, Gone: map[planner.ServiceID]string{}},
		docs:     map[planner.ServiceID]planner.LeaseDoc{},
		specs:    map[planner.Revision]planner.Template{},
	}
}

// loadState reads the state of the last run; a missing file is a first start.
// One that cannot be read is set aside and reported: the node goes on from
// what its drivers list, and nothing is stopped before Git was read.
func loadState(path string) (state, error) {
	data, err := readBounded(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(), nil
	}
	if err != nil {
		return newState(), setAside(path, err)
	}
	var f stateFile
	if err := json.Unmarshal(data, &f); err != nil {
		return newState(), setAside(path, err)
	}
	if f.Format != stateFormat {
		return newState(), setAside(path, fmt.Errorf("format %d is not %d", f.Format, stateFormat))
	}
	s := newState()
	services, pending, gone := s.followed.Services, s.followed.Pending, s.followed.Gone
	s.followed = f.Followed
	s.followed.Services, s.followed.Pending, s.followed.Gone = services, pending, gone
	for _, svc := range f.Services {
		services[svc.ID] = svc
	}
	for _, p := range f.Pending {
		pending[p.Service] = p.Commit
	}
	for _, g := range f.Gone {
		gone[g.Service] = g.Commit
	}
	for _, d := range f.Leases {
		s.docs[d.Service] = d
	}
	maps.Copy(s.specs, f.Specs)
	return s, nil
}

// maxState bounds the state file: some ten thousand services.
const maxState = 256 << 20

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return data, err
}

// claim makes the leases those of a node: a state folder has one node, also
// when the node got another name.
func (s state) claim(node planner.NodeName) {
	for _, doc := range s.docs {
		for k := range doc.Leases {
			doc.Leases[k].Node = node
		}
	}
}

func setAside(path string, cause error) error {
	aside := path + ".unreadable"
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("state %s cannot be read (%w) nor set aside: %w", path, cause, err)
	}
	return fmt.Errorf("state cannot be read (%w): it was set aside as %s, and what runs is adopted", cause, aside)
}

// with is the state with some documents replaced, and the templates of all
// leases, of the last good revisions and of what there is on the node gathered
// anew: how an instance is stopped stands in its template. The receiver is not
// changed.
func (s state) with(docs []planner.LeaseDoc, have []planner.Instance) state {
	next := state{followed: s.followed, docs: maps.Clone(s.docs), specs: map[planner.Revision]planner.Template{}}
	for _, d := range docs {
		next.docs[d.Service] = d
	}
	for id, d := range next.docs {
		svc := s.followed.Services[id]
		for _, rev := range neededRevisions(d) {
			if spec, ok := s.specs[rev]; ok {
				next.specs[rev] = spec
			} else if spec, ok := svc.TemplateOf(rev); ok {
				next.specs[rev] = spec
			}
		}
	}
	for _, i := range have {
		if spec, ok := s.specs[i.Revision]; ok {
			next.specs[i.Revision] = spec
		}
	}
	return next
}

// neededRevisions lists the revisions of a document whose templates its node
// has to know: those of the leases, and the last good one.
func neededRevisions(d planner.LeaseDoc) []planner.Revision {
	var revs []planner.Revision
	for _, l := range d.Leases {
		revs = append(revs, l.Revision)
	}
	if d.LastGood != "" {
		revs = append(revs, d.LastGood)
	}
	return revs
}

// save writes the state durably: after it returns, a crash or power loss
// finds either this state or a later one.
//
// With all it holds every service, which a node needs that decides leases for
// others; without, those that run here.
func (s state) save(path string, all bool) error {
	f := stateFile{Format: stateFormat, Followed: s.followed, Specs: s.specs}
	for _, id := range sortedServices(s.followed.Services) {
		if _, here := s.docs[id]; here || all {
			f.Services = append(f.Services, s.followed.Services[id])
		}
	}
	for _, id := range sortedServices(s.docs) {
		f.Leases = append(f.Leases, s.docs[id])
	}
	for _, id := range sortedServices(s.followed.Gone) {
		f.Gone = append(f.Gone, pendingDeletion{id, s.followed.Gone[id]})
	}
	for _, id := range sortedServices(s.followed.Pending) {
		f.Pending = append(f.Pending, pendingDeletion{id, s.followed.Pending[id]})
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if err := writeDurably(path, data); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func sortedServices[V any](m map[planner.ServiceID]V) []planner.ServiceID {
	return slices.SortedFunc(maps.Keys(m), planner.ServiceID.Compare)
}

// writeDurably replaces a file atomically and waits until it is on disk. Its
// folder is made again if it is gone.
func writeDurably(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), stateMode); err != nil {
		return err
	}
	// One name is enough: the folder's lock lets in one agent, and a file left
	// by a crash is written over.
	tmp, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
