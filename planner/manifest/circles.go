package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// unseen are the services that a commit may have beside those that are compared
// with each other: of files in which something is wrong.
type unseen struct {
	services map[planner.ServiceID]bool
	any      bool // a file does not say what it is about
	// faulty are those of services that could be read nevertheless.
	faulty []placedService
}

// add takes the services of a file in which something is wrong.
func (u *unseen) add(services []*service, file string) {
	for _, s := range services {
		u.name(s.ID)
		u.faulty = append(u.faulty, placedService{s, file, nil})
	}
}

func (u *unseen) subject(s subject) {
	if s.kind == "Service" {
		u.name(planner.ServiceID{Namespace: s.namespace, Name: s.name})
	}
}

func (u *unseen) name(id planner.ServiceID) {
	if u.services == nil {
		u.services = map[planner.ServiceID]bool{}
	}
	u.services[id] = true
}

// Bounds of what a commit may have us look at, and say.
const (
	maxSearched  = 2_000_000 // dependencies followed to tell circles apart
	maxSuggested = 200_000   // names compared with those that nobody has
	maxCircle    = 20        // services of a circle that a fault names
)

// dependencies are the services of a commit and what they depend on.
type dependencies struct {
	*crossCheck
	services []placedService
	byID     map[planner.ServiceID]int
	searched int
	compared int // names
}

// dependencies refuses dependencies on services that there are not, and those
// that wait for each other in a circle: none of them would ever start.
func (c *crossCheck) dependencies(services []placedService, u unseen) {
	all := slices.Concat(services, u.faulty)
	if !slices.ContainsFunc(all, func(s placedService) bool { return len(s.DependsOn) > 0 }) {
		return
	}
	x := &dependencies{crossCheck: c, services: services, byID: make(map[planner.ServiceID]int, len(services))}
	for i, s := range services {
		x.byID[s.ID] = i
	}
	for _, s := range all {
		for i, dep := range s.DependsOn {
			if _, known := x.byID[dep.Service]; !known && !u.services[dep.Service] && !u.any {
				x.tell(s, i, "there is no service "+dep.Service.String(), x.meant(dep.Service, s.ID.Namespace))
			}
		}
	}
	for _, knot := range x.knots() {
		x.circles(knot)
	}
}

// tell reports what is wrong with a dependency. Of very many faults it keeps
// one of each file, which is what holds its services back.
func (x *dependencies) tell(s placedService, dep int, reason, remedy string) {
	p := s.depends[dep]
	file := p.at.in(s.file)
	if len(x.faults) >= maxFaults && x.held[file] {
		return
	}
	x.held[file] = true
	x.faults = append(x.faults, planner.Fault{File: file, Line: p.at.line, Column: p.at.column, Field: p.field, Reason: reason, Remedy: remedy})
}

// meant is the remedy for a service that there is not, named in a namespace.
func (x *dependencies) meant(id planner.ServiceID, namespace string) string {
	const remedy = "name one of this fleet's, as NAME or NAMESPACE/NAME, or remove it"
	if x.compared += len(x.services); x.compared > maxSuggested {
		return remedy
	}
	var names []string
	for _, s := range x.services {
		if s.ID.Name == id.Name {
			return didYouMean(s.ID.Namespace + "/" + s.ID.Name)
		}
		if s.ID.Namespace == id.Namespace {
			names = append(names, s.ID.Name)
		}
	}
	near := nearest(id.Name, names)
	switch {
	case near == "":
		return remedy
	case id.Namespace == namespace:
		return didYouMean(near)
	}
	return didYouMean(id.Namespace + "/" + near)
}

// edge is a dependency of one service on another, both by index; dep is that of
// DependsOn.
type edge struct{ from, dep, to int }

func (x *dependencies) edges(from int) []edge {
	var list []edge
	for i, dep := range x.services[from].DependsOn {
		if to, ok := x.byID[dep.Service]; ok {
			list = append(list, edge{from, i, to})
		}
	}
	return list
}

// knots returns the groups of several services that all lead to each other, by
// Tarjan's algorithm. It does not recurse: a chain can be as long as a commit.
func (x *dependencies) knots() [][]int {
	type frame struct {
		service int
		edges   []edge // still to be followed
	}
	number, low := make([]int, len(x.services)), make([]int, len(x.services)) // from 1; 0 = not visited
	waiting := make([]bool, len(x.services))                                  // on the stack
	visited := 0
	var stack []int
	var path []frame
	enter := func(i int) {
		visited++
		number[i], low[i], waiting[i] = visited, visited, true
		stack, path = append(stack, i), append(path, frame{i, x.edges(i)})
	}
	var knots [][]int
	for root := range x.services {
		if number[root] == 0 {
			enter(root)
		}
		for len(path) > 0 {
			f := &path[len(path)-1]
			if len(f.edges) > 0 {
				to := f.edges[0].to
				f.edges = f.edges[1:]
				if number[to] == 0 {
					enter(to)
				} else if waiting[to] {
					low[f.service] = min(low[f.service], number[to])
				}
				continue
			}
			i := f.service
			if path = path[:len(path)-1]; len(path) > 0 {
				above := path[len(path)-1].service
				low[above] = min(low[above], low[i])
			}
			if low[i] != number[i] {
				continue
			}
			first := len(stack) - 1
			for stack[first] != i {
				first--
			}
			knot := slices.Clone(stack[first:])
			stack = stack[:first]
			for _, member := range knot {
				waiting[member] = false
			}
			if len(knot) > 1 {
				knots = append(knots, knot)
			}
		}
	}
	return knots
}

// circles names for each service of a knot a circle that it is in, at the
// dependency that closes it.
func (x *dependencies) circles(knot []int) {
	slices.SortFunc(knot, func(a, b int) int { return x.services[a].ID.Compare(x.services[b].ID) })
	inside, told := make(map[int]bool, len(knot)), map[int]bool{}
	for _, i := range knot {
		inside[i] = true
	}
	const remedy = "remove one of the dependencies"
	for _, i := range knot {
		if told[i] {
			continue
		}
		circle := x.shortest(i, inside)
		if circle == nil {
			first := slices.IndexFunc(x.edges(i), func(e edge) bool { return inside[e.to] })
			x.tell(x.services[i], x.edges(i)[first].dep, fmt.Sprintf("closes a circle: %d services wait for each other, and none would ever start", len(knot)), remedy)
			continue
		}
		for k, e := range circle {
			if !told[e.from] {
				told[e.from] = true
				x.tell(x.services[e.from], e.dep, "closes a circle: "+x.describe(circle, k)+", and none would ever start", remedy)
			}
		}
	}
}

// shortest returns the shortest circle through a service of a knot, nil if too
// much has been searched.
func (x *dependencies) shortest(start int, inside map[int]bool) []edge {
	reached := map[int]edge{} // by the service it leads to
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		for _, e := range x.edges(queue[0]) {
			if x.searched++; x.searched > maxSearched {
				return nil
			}
			if _, known := reached[e.to]; known || !inside[e.to] {
				continue
			}
			reached[e.to] = e
			if e.to != start {
				queue = append(queue, e.to)
				continue
			}
			circle := []edge{e}
			for e.from != start {
				e = reached[e.from]
				circle = append(circle, e)
			}
			slices.Reverse(circle)
			return circle
		}
	}
	return nil
}

// describe tells of a circle, from the service of its k-th edge.
func (x *dependencies) describe(circle []edge, k int) string {
	var b strings.Builder
	for i := range circle {
		if i == maxCircle {
			fmt.Fprintf(&b, "%d others, back to ", len(circle)-i)
			break
		}
		e := circle[(k+i)%len(circle)]
		fmt.Fprintf(&b, "%s waits for ", x.services[e.from].ID)
	}
	return b.String() + x.services[circle[k].from].ID.String()
}
