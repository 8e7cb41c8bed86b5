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

// endsPath is the file of how runs ended, in the state folder. It outlives the
// agent: a new one neither forgets how often something was restarted nor begins
// its back-off anew, which would have everything that crashes start at once.
const endsPath = "ends.json"

const (
	maxEndsFile = 16 << 20
	maxEnds     = 1000 // instances
	maxRetry    = 5 * time.Minute
	endsFormat  = 1
)

// ends is what the file holds, and whether it is being written.
type ends struct {
	saved   []ending
	writing bool
}

type endsFile struct {
	Format    int      `json:"format"`
	Instances []ending `json:"instances"`
}

// ending is what is known of an instance of which a run has ended.
type ending struct {
	ID       string    `json:"id"`
	Restarts int       `json:"restarts,omitempty"`
	Failures int       `json:"failures,omitempty"` // in its back-off
	Retry    time.Time `json:"retry,omitzero"`     // it is not tried again before
	Failure  string    `json:"failure,omitempty"`
	Counted  bool      `json:"counted,omitempty"` // it has not been started since
	LastExit string    `json:"lastExit,omitempty"`
	LastLog  []string  `json:"lastLog,omitempty"`
}

// same compares all but the instant of the next try, which goes with the
// failures: it is told by another clock each time.
func (e ending) same(other ending) bool {
	return e.ID == other.ID && e.Restarts == other.Restarts && e.Failures == other.Failures && e.Failure == other.Failure &&
		e.Counted == other.Counted && e.LastExit == other.LastExit && slices.Equal(e.LastLog, other.LastLog)
}

// loadEnds reads the file into tracks. Without one, and after an error, every
// back-off begins anew.
func (a *Agent) loadEnds() error {
	path := filepath.Join(a.cfg.StateDir, endsPath)
	data, err := readBounded(path, maxEndsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f endsFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Format != endsFormat {
		err = fmt.Errorf("format %d is not %d", f.Format, endsFormat)
	}
	if err != nil {
		return fmt.Errorf("how runs ended cannot be read, so restarts are counted anew (%w); see %s", err, path)
	}
	now := a.cfg.Clock()
	for _, e := range f.Instances[:min(len(f.Instances), maxEnds)] {
		t := a.track(e.ID)
		t.restarts, t.exitSeen, t.lastExit, t.lastLog = max(0, e.Restarts), e.Counted, e.LastExit, e.LastLog
		// The wall clock may have been set meanwhile.
		wait := min(max(0, e.Retry.Sub(now.Wall)), maxRetry)
		t.backoff = planner.Backoff{Failures: max(0, e.Failures), NotBefore: now.Boot + wait, Reason: e.Failure}
	}
	return nil
}

// keepEnds writes the file if there is news, beside the loop. It is not worth
// waiting for the disk: what the machine's end takes of it is one more start.
func (a *Agent) keepEnds() {
	if a.ends.writing {
		return // its end is news to the loop
	}
	now := a.listEnds()
	if slices.EqualFunc(now, a.ends.saved, ending.same) {
		return
	}
	a.ends.saved, a.ends.writing = now, true
	path := filepath.Join(a.cfg.StateDir, endsPath)
	a.work(func() {
		err := writeEnds(path, now)
		a.post(func() {
			a.ends.writing = false
			a.problem("ends", err) // tried again with the next that ends
		})
	})
}

// listEnds is what the tracks say now, by instance.
func (a *Agent) listEnds() []ending {
	var all []ending
	now := a.cfg.Clock()
	for id, t := range a.tracks {
		if t.restarts == 0 && t.backoff.Failures == 0 && t.lastExit == "" {
			continue
		}
		e := ending{ID: id, Restarts: t.restarts, Failures: t.backoff.Failures, Failure: t.backoff.Reason,
			Counted: t.exitSeen, LastExit: t.lastExit, LastLog: t.lastLog}
		if left := t.backoff.NotBefore - now.Boot; left > 0 {
			e.Retry = now.Wall.Add(left)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b ending) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(len(all), maxEnds)]
}

func writeEnds(path string, all []ending) error {
	data, err := json.Marshal(endsFile{Format: endsFormat, Instances: all})
	if err != nil {
		return fmt.Errorf("encode how runs ended: %w", err)
	}
	// The folder is the agent's alone, and one writes at a time.
	if err = os.WriteFile(path+".new", data, 0o600); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write how runs ended: %w", err)
	}
	return nil
}
