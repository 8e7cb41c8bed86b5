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
	file string
	made []string // files it is put together from; nil = only file
}

func (s placedService) origin() origin { return origin{s.file, s.at} }

// placedNode is a Node document of such a file.
type placedNode struct {
	*node
	file string
	made []string
}

func (n placedNode) origin() origin { return origin{n.file, n.at} }

// gathered is what is good of a commit before its documents are compared with
// each other.
type gathered struct {
	services []placedService
	ready    []*planner.Service // the same, with their files read; shared, and without File
	nodes    []placedNode
	unseen   unseen
}

// assemble gives the documents their paths, reads the files they mount,
// compares them with each other, and keeps those of the files in which nothing
// is wrong.
func (w *walker) assemble(fleet *planner.Fleet) (planner.Desired, error) {
	slices.SortFunc(w.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
	g := &gathered{services: make([]placedService, 0, len(w.files)), ready: make([]*planner.Service, 0, len(w.files))}
	g.unseen.any = w.passedBy
	reader := newFileReader(w)
	for _, f := range w.files {
		w.faults = append(w.faults, withFile(f.doc.faults, f.path)...)
		if f.doc.broken {
			g.unseen.any = g.unseen.any || f.doc.unsure
			g.unseen.add(f.doc.services, f.path)
			continue
		}
		before, wrong := len(g.services), len(w.faults)
		for _, s := range f.doc.services {
			full, faults, err := reader.fill(s, f.path)
			if err != nil {
				return planner.Desired{}, err
			}
			w.faults = append(w.faults, faults...)
			g.services, g.ready = append(g.services, placedService{s, f.path, nil}), append(g.ready, full)
		}
		if len(w.faults) > wrong {
			g.services, g.ready = g.services[:before], g.ready[:before] // all documents of a file, or none
			g.unseen.add(f.doc.services, f.path)
			continue
		}
		for _, n := range f.doc.nodes {
			g.nodes = append(g.nodes, placedNode{n, f.path, nil})
		}
	}
	return w.desired(fleet, g)
}

// desired compares the documents with each other and keeps what agrees.
func (w *walker) desired(fleet *planner.Fleet, g *gathered) (planner.Desired, error) {
	if len(g.nodes) > maxNodes {
		return planner.Desired{}, &RefusedError{Reason: fmt.Sprintf("more than %d documents describe nodes", maxNodes), Remedy: "remove those of nodes that are gone"}
	}
	c := &crossCheck{walker: w, held: map[string]bool{}}
	c.services(g.services)
	c.aliases(g.services)
	c.nodes(g.nodes, fleet.Nodes)
	if err := c.ports(g.services); err != nil {
		return planner.Desired{}, err
	}
	c.dependencies(g.services, g.unseen)
	d := planner.Desired{Fleet: *fleet, Services: make(map[planner.ServiceID]planner.Service, len(g.services))}
	for i, s := range g.services {
		if !c.holds(s.file, s.made) {
			ready := *g.ready[i]
			ready.File = s.file
			d.Services[s.ID] = ready
		}
	}
	for _, n := range g.nodes {
		if !c.holds(n.file, n.made) {
			if d.Nodes == nil {
				d.Nodes = map[planner.NodeName]planner.NodeSpec{}
			}
			spec := n.NodeSpec
			spec.File = n.file
			d.Nodes[spec.Name] = spec
		}
	}
	d.Faults = trim(w.faults)
	return d, nil
}

// withFile copies faults of a blob for the path it lies at, but for those that
// say where they are.
func withFile(faults []planner.Fault, name string) []planner.Fault {
	if len(faults) == 0 {
		return nil
	}
	placed := slices.Clone(faults)
	for i := range placed {
		if placed[i].File == "" {
			placed[i].File = name
		}
	}
	return placed
}
