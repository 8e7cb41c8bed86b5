package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/orpheus-cd/orpheus/planner"
)

// oncePath is the file of what was begun that runs once, in the state folder.
const oncePath = "once.json"

const (
	maxOnceFile = 16 << 20
	maxOnce     = 1000 // entries of leases that do not stand any more
	onceFormat  = 1
)

// onceKey names one lease under which something runs once. With the revision:
// where the counter of tokens was lost, a token may be given again.
type onceKey struct {
	Service  planner.ServiceID `json:"service"`
	Token    uint64            `json:"token"`
	Revision planner.Revision  `json:"revision"`
}

// onceRun is what is known of a lease: that something was begun under it, which
// only who began it and knows better takes back, and how it ended; or that this
// node has refused it, after which another may run it, and it never does.
type onceRun struct {
	onceKey
	Refused string `json:"refused,omitempty"` // why; "" = it was begun
	Ended   bool   `json:"ended,omitempty"`
	Failed  string `json:"failed,omitempty"` // why; "" = it succeeded
}

// onceRuns is what the node remembers of what runs once. It is on disk before
// anything acts on it. Its methods may be called from any goroutine.
type onceRuns struct {
	path string
	mu   sync.Mutex
	runs []onceRun // oldest first
}

type onceFile struct {
	Format int       `json:"format"`
	Runs   []onceRun `json:"runs"`
}

// errBegun: it was begun under this lease, and is not begun again. errRefused:
// nor is what this node told others it would not begin.
var (
	errBegun   = errors.New("it was begun before, and runs once")
	errRefused = errors.New("this node has refused it, and another may run it by now")
)

// loadOnce reads what was begun. Where the file cannot be read it is set aside,
// and standing, what the node has leases for, counts as begun: nothing may run
// twice.
func loadOnce(path string, standing []onceKey) (*onceRuns, error) {
	o := &onceRuns{path: path}
	data, err := readBounded(path, maxOnceFile)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	var f onceFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Format != onceFormat {
		err = fmt.Errorf("format %d is not %d", f.Format, onceFormat)
	}
	if err == nil {
		o.runs = f.Runs
		return o, nil
	}
	aside := path + ".unreadable"
	err = fmt.Errorf("which hooks were begun cannot be read, so those that were to run here count as begun (%w): see %s", err, aside)
	for _, key := range standing {
		o.runs = append(o.runs, onceRun{onceKey: key})
	}
	return o, errors.Join(err, os.Rename(path, aside), o.save(o.runs))
}

// save writes runs down and has them count. The lock is held, or not needed yet.
func (o *onceRuns) save(runs []onceRun) error {
	data, err := json.Marshal(onceFile{Format: onceFormat, Runs: runs})
	if err != nil {
		return fmt.Errorf("encode what was begun: %w", err)
	}
	if err := writeDurably(o.path, data); err != nil {
		return fmt.Errorf("write what was begun: %w", err)
	}
	o.runs = runs
	return nil
}

// saveAnew writes the file anew that somebody deleted.
func (o *onceRuns) saveAnew() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.runs) == 0 {
		return nil
	}
	return o.save(o.runs)
}

func (o *onceRuns) index(key onceKey) int {
	return slices.IndexFunc(o.runs, func(r onceRun) bool { return r.onceKey == key })
}

// of is what is known of a lease; begun reports whether something was begun
// under it.
func (o *onceRuns) of(key onceKey) (run onceRun, begun bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.index(key)
	if k < 0 {
		return onceRun{}, false
	}
	return o.runs[k], o.runs[k].Refused == ""
}

// begin notes that something is begun under a lease: the point of no return. It
// is errBegun or errRefused where it may not be.
func (o *onceRuns) begin(key onceKey) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.index(key); k >= 0 && o.runs[k].Refused != "" {
		return errRefused
	} else if k >= 0 {
		return errBegun
	}
	return o.save(append(slices.Clone(o.runs), onceRun{onceKey: key}))
}

// refuse notes that nothing is ever begun under a lease, before anybody is told
// so. It is errBegun where something was.
func (o *onceRuns) refuse(key onceKey, why string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.index(key); k >= 0 && o.runs[k].Refused == "" {
		return errBegun
	} else if k >= 0 {
		return nil
	}
	return o.save(append(slices.Clone(o.runs), onceRun{onceKey: key, Refused: why}))
}

// takeBack notes that nothing was begun after all. It is for who began it and
// knows.
func (o *onceRuns) takeBack(key onceKey) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.index(key)
	if k < 0 {
		return nil
	}
	return o.save(slices.Delete(slices.Clone(o.runs), k, k+1))
}

// end notes how it ended: failed says why it did, "" = it did not. The first
// outcome stands.
func (o *onceRuns) end(key onceKey, failed string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	runs := slices.Clone(o.runs)
	k := o.index(key)
	if k < 0 {
		k, runs = len(runs), append(runs, onceRun{onceKey: key})
	}
	if runs[k].Ended {
		return nil
	}
	runs[k].Refused, runs[k].Ended, runs[k].Failed = "", true, failed
	return o.save(runs)
}

// trim forgets the oldest of those that do not stand any more, where there are
// too many. It is on disk with the next change.
func (o *onceRuns) trim(stands func(onceKey) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.runs) <= maxOnce {
		return
	}
	over := len(o.runs) - maxOnce
	o.runs = slices.DeleteFunc(slices.Clone(o.runs), func(r onceRun) bool {
		if over == 0 || stands(r.onceKey) {
			return false
		}
		over--
		return true
	})
}
