package manifest

import (
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// crossCheck compares the documents of different files. Whatever it finds holds
// back both files: nobody can say which of the two was meant.
type crossCheck struct {
	*walker
	held     map[string]bool // by path
	compared int
}

// holds reports whether a document is held back with one of its files.
func (c *crossCheck) holds(file string, made []string) bool {
	if len(c.held) == 0 {
		return false
	}
	return c.held[file] || slices.ContainsFunc(made, func(name string) bool { return c.held[name] })
}

// origin is where a document stands.
type origin struct {
	file string
	at   position
}

// in is the file of a position in a document that stands in file.
func (p position) in(file string) string {
	if p.from != nil {
		return p.from.file
	}
	return file
}

// fault names, at p in a document's file, another document that it does not
// agree with.
func (c *crossCheck) fault(at origin, field string, p position, reason string, other origin, remedy string) {
	file, others := p.in(at.file), other.at.in(other.file)
	c.held[file] = true
	where := fmt.Sprintf("on line %d", other.at.line)
	if others != file {
		where = fmt.Sprintf("in %s line %d", Printable(others), other.at.line)
	}
	c.faults = append(c.faults, planner.Fault{File: file, Line: p.line, Column: p.column,
		Field: field, Reason: reason + " " + where, Remedy: remedy})
}

// names tells the documents for one name apart.
type names[K comparable] struct {
	first map[K]origin
	told  map[K]bool // the first was
}

func newNames[K comparable]() names[K] { return names[K]{map[K]origin{}, map[K]bool{}} }

// duplicate refuses a second document of a name, and the first with it.
func duplicate[K comparable](c *crossCheck, n names[K], name K, at origin, what, remedy string) {
	other, ok := n.first[name]
	if !ok {
		n.first[name] = at
		return
	}
	c.fault(at, "metadata.name", at.at, what+" is described also", other, remedy)
	if !n.told[name] {
		n.told[name] = true
		c.fault(other, "metadata.name", other.at, what+" is described also", at, remedy)
	}
}

// services refuses two documents for one service.
func (c *crossCheck) services(services []placedService) {
	seen := newNames[planner.ServiceID]()
	for _, s := range services {
		duplicate(c, seen, s.ID, s.origin(), "service "+s.ID.String(), "keep one of them, or choose another name or namespace")
	}
}

// nodes refuses two documents for one node, and warns of those that fleet.yaml
// does not list: a misspelt name would drain nothing.
func (c *crossCheck) nodes(nodes []placedNode, listed []planner.NodeName) {
	seen := newNames[planner.NodeName]()
	known := make(map[planner.NodeName]bool, len(listed))
	var words []string
	for _, name := range listed {
		known[name] = true
		words = append(words, string(name))
	}
	for _, n := range nodes {
		duplicate(c, seen, n.Name, n.origin(), "node "+string(n.Name), "keep one of them")
		if len(listed) == 0 || known[n.Name] {
			continue
		}
		remedy := suggest(string(n.Name), words)
		if remedy == "" {
			remedy = "add it there, or remove this document"
		}
		c.faults = append(c.faults, planner.Fault{File: n.at.in(n.file), Line: n.at.line, Column: n.at.column, Field: "metadata.name",
			Reason: "node " + quote(string(n.Name)) + " is not listed in spec.nodes of fleet.yaml", Remedy: remedy, Warning: true})
	}
}

// claimed is a claim and the service that makes it.
type claimed struct {
	claim
	by placedService
}

// maxComparisons bounds the work of comparing claims of the same port. Fleets
// that tell their services apart by one label never come near it.
const maxComparisons = 2_000_000

// ports refuses two services that want the same port of a node.
func (c *crossCheck) ports(services []placedService) error {
	type portKey struct {
		protocol string
		port     int
	}
	count := make(map[portKey]int, len(services))
	for _, s := range services {
		for _, cl := range s.claims {
			count[portKey{cl.protocol, cl.port}]++
		}
	}
	var keys []portKey // wanted more than once, in order of first use
	claims := map[portKey][]claimed{}
	for _, s := range services {
		for _, cl := range s.claims {
			k := portKey{cl.protocol, cl.port}
			if count[k] < 2 {
				continue
			}
			if claims[k] == nil {
				keys = append(keys, k)
			}
			claims[k] = append(claims[k], claimed{cl, s})
		}
	}
	for _, k := range keys {
		c.everywhere(claims[k])
		for _, group := range apart(claims[k]) {
			if !c.clashes(group) {
				return &RefusedError{
					Reason: fmt.Sprintf("too many services want port %d to tell whether they clash", k.port),
					Remedy: "give their nodeSelectors one label in common",
				}
			}
		}
	}
	return nil
}

// apart splits claims by the value of a label that all of them select nodes
// by: claims in different groups never meet.
func apart(claims []claimed) [][]claimed {
	if len(claims) < 64 {
		return [][]claimed{claims}
	}
	count := map[string]int{}
	common := ""
	for _, cl := range claims {
		for k := range cl.by.NodeSelector {
			if count[k]++; count[k] == len(claims) && (common == "" || k < common) {
				common = k
			}
		}
	}
	if common == "" {
		return [][]claimed{claims}
	}
	var groups [][]claimed
	index := map[string]int{}
	for _, cl := range claims {
		v := cl.by.NodeSelector[common]
		i, ok := index[v]
		if !ok {
			i = len(groups)
			index[v], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], cl)
	}
	return groups
}

// clashes reports, for each claim, the first other one it cannot live with. It
// returns false when there was too much to compare.
func (c *crossCheck) clashes(group []claimed) bool {
	for i, a := range group {
		for j, b := range group {
			if c.compared++; c.compared > maxComparisons {
				return false
			}
			if i != j && a.overlap(b.claim) && canMeet(a.by, b.by) {
				c.fault(a.by.origin(), a.field, a.at, fmt.Sprintf("port %d/%s of the node is wanted also by service %s", a.port, a.protocol, b.by.ID), origin{b.by.file, b.at},
					"choose another port, or nodeSelectors that exclude each other")
				break
			}
		}
	}
	return true
}

// everywhere warns of claims that never meet where their services run, but one
// of them is for every node: only where nodes share no leases are both served.
func (c *crossCheck) everywhere(claims []claimed) {
	// By address ("*" = any) the first two claims of different services, of all
	// and of those for every node: enough to find one that is another's.
	first := map[bool]map[string][]claimed{true: {}, false: {}}
	note := func(kind bool, address string, cl claimed) {
		if had := first[kind][address]; len(had) == 0 || len(had) == 1 && had[0].by.ID != cl.by.ID {
			first[kind][address] = append(had, cl)
		}
	}
	for _, cl := range claims {
		for _, address := range []string{"*", cl.address} {
			note(false, address, cl)
			if cl.fleet {
				note(true, address, cl)
			}
		}
	}
	for _, cl := range claims {
		others := first[!cl.fleet]["*"]
		if cl.address != "" {
			others = slices.Concat(first[!cl.fleet][cl.address], first[!cl.fleet][""])
		}
		i := slices.IndexFunc(others, func(o claimed) bool { return o.by.ID != cl.by.ID })
		if i < 0 || canMeet(cl.by, others[i].by) {
			continue
		}
		o := others[i]
		where := fmt.Sprintf("in %s line %d", Printable(o.at.in(o.by.file)), o.at.line)
		c.faults = append(c.faults, planner.Fault{File: cl.at.in(cl.by.file), Line: cl.at.line, Column: cl.at.column, Field: cl.field, Warning: true,
			Reason: fmt.Sprintf("mode: fleet opens port %d/%s on every node, and service %s %s wants it as well: only one of them gets it where nodes share leases", cl.port, cl.protocol, o.by.ID, where),
			Remedy: fmt.Sprintf("write publish: {port: %d, mode: node} in both, or choose another port", cl.port)})
	}
}

// canMeet reports whether a node could run both services.
func canMeet(a, b placedService) bool {
	for k, v := range a.NodeSelector {
		if other, ok := b.NodeSelector[k]; ok && other != v {
			return false
		}
	}
	return true
}
