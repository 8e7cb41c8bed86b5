package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// placedService is a service of a file that has been good so far.
type placedService struct {
	*service
	file int // index in walker.files
}

func (s placedService) origin() origin { return origin{s.file, s.at} }

// placedNode is a Node document of such a file.
type placedNode struct {
	*node
	file int
}

func (n placedNode) origin() origin { return origin{n.file, n.at} }

// assemble gives the documents their paths, reads the files they mount,
// compares them with each other, and keeps those of the files in which nothing
// is wrong.
func (w *walker) assemble(fleet *planner.Fleet) (planner.Desired, error) {
	slices.SortFunc(w.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
	good := make([]placedService, 0, len(w.files))
	ready := make([]planner.Service, 0, len(w.files))
	var nodes []placedNode
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
				return planner.Desired{}, err
			}
			w.faults = append(w.faults, faults...)
			good, ready = append(good, placedService{s, i}), append(ready, full)
		}
		if len(w.faults) > wrong {
			good, ready = good[:before], ready[:before] // all documents of a file, or none
			continue
		}
		for _, n := range f.doc.nodes {
			nodes = append(nodes, placedNode{n, i})
		}
	}
	if len(nodes) > maxNodes {
		return planner.Desired{}, &RefusedError{Reason: fmt.Sprintf("more than %d documents describe nodes", maxNodes), Remedy: "remove those of nodes that are gone"}
	}

	c := &crossCheck{walker: w, held: make([]bool, len(w.files))}
	c.services(good)
	c.nodes(nodes, fleet.Nodes)
	if err := c.ports(good); err != nil {
		return planner.Desired{}, err
	}
	d := planner.Desired{Fleet: *fleet, Services: make(map[planner.ServiceID]planner.Service, len(good))}
	for i, s := range good {
		if !c.held[s.file] {
			ready[i].File = w.files[s.file].path
			d.Services[s.ID] = ready[i]
		}
	}
	for _, n := range nodes {
		if !c.held[n.file] {
			if d.Nodes == nil {
				d.Nodes = map[planner.NodeName]planner.NodeSpec{}
			}
			spec := n.NodeSpec
			spec.File = w.files[n.file].path
			d.Nodes[spec.Name] = spec
		}
	}
	d.Faults = trim(w.faults)
	return d, nil
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
