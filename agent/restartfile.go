package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// restartsPath is the file of the restarts that people ordered, in the state
// folder of a node that stands alone.
const restartsPath = "restarts.json"

const (
	maxRestartsFile = 16 << 20
	restartsFormat  = 1
)

type restartsFile struct {
	Format   int       `json:"format"`
	Restarts []restart `json:"restarts"`
}

// restart lays a value of the annotation orpheus/restartedAt over a service, as
// a commit would. It stays until the manifest says something else: its end must
// be no restart either.
type restart struct {
	Service planner.ServiceID `json:"service"`
	// At is the value, Before that of the restart it took the place of, Own what
	// the manifest itself has; "" = none.
	At     string `json:"at"`
	Before string `json:"before,omitempty"`
	Own    string `json:"own,omitempty"`
	// Base is the revision that the manifest itself makes.
	Base planner.Revision `json:"base"`
	// Images are the digests to run, by reference.
	Images map[string]string `json:"images,omitempty"`
}

// lay returns the service as it is with the restart, and whether the restart
// still is of that service: another revision in the manifest replaces what runs
// anyhow.
func (r restart) lay(s planner.Service) (planner.Service, bool) {
	if s.Orphan {
		return s, true // its manifest is not known
	}
	if given := s.Template.RestartedAt; given != r.Own && given != r.Before && given != r.At {
		return s, false
	}
	s.Template.RestartedAt = r.Own
	if planner.RevisionOf(s.Template) != r.Base {
		return revised(s), false
	}
	s.Template.RestartedAt = r.At
	return revised(s), true
}

// revised is a service whose template was changed, with its revision and those
// of its hooks.
func revised(s planner.Service) planner.Service {
	s.Revision = planner.RevisionOf(s.Template)
	s.Hooks = maps.Clone(s.Hooks)
	for kind, h := range s.Hooks {
		h.Template.Of = s.Revision
		h.Revision = planner.RevisionOf(h.Template)
		s.Hooks[kind] = h
	}
	return s
}

// loadRestarts reads the restarts of the last run. A file that cannot be read
// is set aside and told.
func loadRestarts(path string) ([]restart, error) {
	data, err := readBounded(path, maxRestartsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var f restartsFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Format != restartsFormat {
		err = fmt.Errorf("format %d is not %d", f.Format, restartsFormat)
	}
	if err != nil {
		aside := path + ".unreadable"
		return nil, errors.Join(fmt.Errorf("restarts cannot be read, and what was restarted is replaced once more (%w): see %s", err, aside), os.Rename(path, aside))
	}
	return f.Restarts, nil
}

// dropRestarts forgets the restarts of a node that has joined a fleet: when it
// leaves, they would be old.
func dropRestarts(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget restarts: %w", err)
	}
	return nil
}

// saveRestarts writes the restarts down before any of them counts.
func (a *Agent) saveRestarts(restarts []restart) error {
	data, err := json.Marshal(restartsFile{Format: restartsFormat, Restarts: restarts})
	if err != nil {
		return fmt.Errorf("encode restarts: %w", err)
	}
	if err := writeDurably(filepath.Join(a.cfg.StateDir, restartsPath), data); err != nil {
		return fmt.Errorf("write restarts: %w", err)
	}
	a.restarts = restarts
	return nil
}

// layRestarts lays the restarts over what a node alone is about to follow.
func (a *Agent) layRestarts(f planner.Followed) {
	for _, r := range a.restarts {
		if s, there := f.Services[r.Service]; there {
			f.Services[r.Service], _ = r.lay(s)
		}
	}
}

// endRestarts forgets the restarts that the newest commit has overtaken: the
// service is gone, or another revision of it is wanted. Until a file with
// faults is read again nothing is known to be gone.
func (a *Agent) endRestarts() {
	left := slices.DeleteFunc(slices.Clone(a.restarts), func(r restart) bool {
		s, there := a.state.followed.Services[r.Service]
		if !there {
			return a.desired.Complete()
		}
		_, same := r.lay(s)
		return !same
	})
	if len(left) == len(a.restarts) {
		return
	}
	a.problem("restarts", a.saveRestarts(left))
	a.restarts = left // they do not count all the same
}

// pinsOf are digests that a revision has from elsewhere than its own document:
// a restart runs the images that ran before, unless it is to pull.
func (a *Agent) pinsOf(s planner.Service) map[string]string {
	for _, r := range a.restarts {
		if r.Service == s.ID && r.At == s.Template.RestartedAt {
			return r.Images
		}
	}
	return planner.RestartPins(a.state.docs[s.ID], a.state.specs, s.Template)
}
