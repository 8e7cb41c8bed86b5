package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// progressPath is the file of what is counted of instances and leases, in the
// state folder. It counts as long as the machine is not started anew: then
// nothing of it runs any more.
const progressPath = "progress.json"

const (
	maxProgressFile = 64 << 20
	progressFormat  = 1
	// progressEvery is how often it is written while something is counted that is
	// not decided yet: as much is lost when the agent is killed.
	progressEvery = 10 * time.Second
)

type progressFile struct {
	Format    int                `json:"format"`
	Boot      string             `json:"boot"`
	Instances []progressInstance `json:"instances,omitempty"`
	Leases    []progressLease    `json:"leases,omitempty"`
	Starts    []startFailure     `json:"starts,omitempty"`
	Failing   string             `json:"failing,omitempty"` // the node
	Until     time.Duration      `json:"until,omitempty"`   // boot time
	Strikes   int                `json:"strikes,omitempty"`
	Steps     []progressStep     `json:"steps,omitempty"`
}

type progressInstance struct {
	ID        string          `json:"id"`
	Run       time.Time       `json:"run,omitzero"`
	Ready     bool            `json:"ready,omitempty"`
	Lasted    time.Duration   `json:"lasted,omitempty"`
	Available bool            `json:"available,omitempty"`
	Failures  []time.Duration `json:"failures,omitempty"` // boot times
	Failure   string          `json:"failure,omitempty"`
}

type progressLease struct {
	Service   planner.ServiceID `json:"service"`
	Slot      string            `json:"slot"`
	Token     uint64            `json:"token"`
	Revision  planner.Revision  `json:"revision"`
	Spent     time.Duration     `json:"spent,omitempty"`
	Hook      time.Duration     `json:"hook,omitempty"`
	Met       bool              `json:"met,omitempty"`
	Available bool              `json:"available,omitempty"`
	Overdue   string            `json:"overdue,omitempty"`
	Failed    string            `json:"failed,omitempty"`
	Lapsed    string            `json:"lapsed,omitempty"`
}

type progressStep struct {
	Service  planner.ServiceID  `json:"service"`
	Revision planner.Revision   `json:"revision,omitempty"`
	Step     int                `json:"step,omitempty"`
	Blocked  []planner.Revision `json:"blocked,omitempty"`
	Since    time.Duration      `json:"since"` // boot time
}

// loadProgress reads what the last process counted. Without the file, and after
// an error, all is counted anew.
func (a *Agent) loadProgress() error {
	a.progress = newProgress()
	path := filepath.Join(a.cfg.StateDir, progressPath)
	data, err := readBounded(path, maxProgressFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f progressFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Format != progressFormat {
		err = fmt.Errorf("format %d is not %d", f.Format, progressFormat)
	}
	if err != nil {
		return fmt.Errorf("since when instances are ready cannot be read, so it is counted anew (%w); see %s", err, path)
	}
	if f.Boot == "" || f.Boot != a.cfg.Boot {
		return nil
	}
	a.adoptProgress(f)
	return nil
}

func (a *Agent) adoptProgress(f progressFile) {
	p, now := &a.progress, a.cfg.Clock().Boot
	for _, i := range f.Instances {
		if i.Ready {
			p.ready[i.ID] = &readiness{run: i.Run, lasted: max(0, i.Lasted), available: i.Available}
		}
		if len(i.Failures) > 0 {
			t := a.track(i.ID)
			t.failures, t.failure = i.Failures[max(0, len(i.Failures)-maxFailures):], i.Failure
		}
	}
	for _, l := range f.Leases {
		t := a.term(planner.LeaseKey{Service: l.Service, Token: l.Token}, planner.Lease{Slot: l.Slot, Revision: l.Revision})
		t.spent, t.hook, t.met, t.available = max(0, l.Spent), max(0, l.Hook), l.Met, l.Available
		t.overdue, t.failed, t.lapsed = l.Overdue, l.Failed, l.Lapsed
	}
	p.node = nodeStarts{failures: f.Starts, reason: f.Failing, until: min(f.Until, now+nodeTrialMax), strikes: max(0, f.Strikes)}
	for _, s := range f.Steps {
		doc := planner.LeaseDoc{Step: s.Step, Blocked: s.Blocked}
		if s.Revision != "" {
			doc.History = []planner.Applied{{Revision: s.Revision}}
		}
		p.steps[s.Service] = step{doc, min(s.Since, now)}
	}
	p.news = false
}

// keepProgress writes the file if there is news, or if it is time. A kill of the
// agent finds it whole; after a power loss nothing it is about runs any more, so
// nobody waits for the disk.
func (a *Agent) keepProgress(now time.Duration) {
	p := &a.progress
	if a.cfg.Boot == "" || !p.news && (!p.undecided() || now < p.written+progressEvery) {
		return
	}
	err := a.writeProgress()
	a.problem("progress", err)
	p.news, p.written = err != nil, now
}

// undecided reports whether time changes what is counted.
func (p *progress) undecided() bool {
	for _, r := range p.ready {
		if !r.available {
			return true
		}
	}
	for _, t := range p.terms {
		if t.counts() || t.failed != "" {
			return true
		}
	}
	return false
}

func (a *Agent) writeProgress() error {
	data, err := json.Marshal(a.listProgress())
	if err != nil {
		return fmt.Errorf("encode since when instances are ready: %w", err)
	}
	path := filepath.Join(a.cfg.StateDir, progressPath)
	if err = os.MkdirAll(a.cfg.StateDir, stateMode); err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write since when instances are ready: %w", err)
	}
	return nil
}

// listProgress is the file as it should be now.
func (a *Agent) listProgress() progressFile {
	p := &a.progress
	f := progressFile{
		Format: progressFormat, Boot: a.cfg.Boot,
		Starts: p.node.failures, Failing: p.node.reason, Until: p.node.until, Strikes: p.node.strikes,
	}
	instances := map[string]progressInstance{}
	for id, r := range p.ready {
		instances[id] = progressInstance{ID: id, Run: r.run, Ready: true, Lasted: r.lasted, Available: r.available}
	}
	for id, t := range a.tracks {
		if len(t.failures) > 0 {
			i := instances[id]
			i.ID, i.Failures, i.Failure = id, t.failures, t.failure
			instances[id] = i
		}
	}
	for _, i := range instances {
		f.Instances = append(f.Instances, i)
	}
	slices.SortFunc(f.Instances, func(x, y progressInstance) int { return cmp.Compare(x.ID, y.ID) })
	for key, t := range p.terms {
		f.Leases = append(f.Leases, progressLease{
			Service: key.Service, Slot: t.slot.Name, Token: key.Token, Revision: t.revision,
			Spent: t.spent, Hook: t.hook, Met: t.met, Available: t.available, Overdue: t.overdue, Failed: t.failed, Lapsed: t.lapsed,
		})
	}
	slices.SortFunc(f.Leases, func(x, y progressLease) int {
		return cmp.Or(x.Service.Compare(y.Service), cmp.Compare(x.Token, y.Token))
	})
	for _, id := range sortedServices(p.steps) {
		s := p.steps[id]
		kept := progressStep{Service: id, Step: s.doc.Step, Blocked: s.doc.Blocked, Since: s.since}
		if len(s.doc.History) > 0 {
			kept.Revision = s.doc.History[0].Revision
		}
		f.Steps = append(f.Steps, kept)
	}
	return f
}
