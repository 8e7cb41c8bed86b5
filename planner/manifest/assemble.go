package manifest

import (
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// placedService is a service of a file that has been good so far.
type placedService struct {
	*service
	file int // index in walker.files
}

// assemble gives the documents their paths, reads the files they mount,
// compares them with each other, and keeps the services of the files in which
// nothing is wrong.
func (w *walker) assemble() (map[planner.ServiceID]planner.Service, []planner.Fault, error) {
	slices.SortFunc(w.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
	good := make([]placedService, 0, len(w.files))
	ready := make([]planner.Service, 0, len(w.files))
	reader := &fileReader{walker: w, known: map[string]fileResult{}, sums: map[string]bool{}}
	for i, f := range w.files {
		w.faults = append(w.faults, withFile(f.doc.faults, f.path)...)
		if f.doc.broken {
			continue
		}
		before, wrong := len(good), len(w.faults)
		for _, s := range f.doc.services {
			full, faults, err := reader.fill(s, f.path)
			if err != nil {
				return nil, nil, err
			}
			w.faults = append(w.faults, faults...)
			good, ready = append(good, placedService{s, i}), append(ready, full)
		}
		if len(w.faults) > wrong {
			good, ready = good[:before], ready[:before] // all services of a file, or none
		}
	}

	c := &crossCheck{walker: w, held: make([]bool, len(w.files))}
	c.duplicates(good)
	if err := c.ports(good); err != nil {
		return nil, nil, err
	}
	services := make(map[planner.ServiceID]planner.Service, len(good))
	for i, s := range good {
		if !c.held[s.file] {
			ready[i].File = w.files[s.file].path
			services[s.ID] = ready[i]
		}
	}
	return services, trim(w.faults), nil
}

// withFile copies faults of a blob for the path it lies at.
func withFile(faults []planner.Fault, name string) []planner.Fault {
	if len(faults) == 0 {
		return nil
	}
	placed := slices.Clone(faults)
	for i := range placed {
		placed[i].File = name
	}
	return placed
}
