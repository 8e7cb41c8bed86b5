package main

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxFine is up to how many things a table lists those too that are fine; of
	// more they are counted.
	maxFine = 20
	// maxAmiss is how many a table lists that are not.
	maxAmiss = 40
)

// remainder is what a table leaves out.
type remainder struct{ fine, amiss int }

// worthListing leaves of many things those that are not fine, in their order, and
// says how many are left out. Nothing is of few, or where all were asked for.
func worthListing[T any](s *screen, all []T, fine func(T) bool) (listed []T, rest remainder) {
	if s.all || len(all) <= maxFine {
		return all, remainder{}
	}
	for _, one := range all {
		switch {
		case fine(one):
			rest.fine++
		case len(listed) < maxAmiss:
			listed = append(listed, one)
		default:
			rest.amiss++
		}
	}
	return listed, rest
}

// draw says what is left out.
func (r remainder) draw(s *screen, what, well string) {
	var parts []string
	if r.amiss > 0 {
		parts = append(parts, fmt.Sprintf("%s more that %s not", count(r.amiss, what), is(r.amiss)))
	}
	if r.fine > 0 {
		parts = append(parts, fmt.Sprintf("%s %s %s", count(r.fine, what), is(r.fine), well))
	}
	if len(parts) > 0 {
		s.prose("", plain, dim, "… "+strings.Join(parts, ", and ")+": --all lists all")
	}
}

func is(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// nodesOrCount names nodes, or says how many there are.
func nodesOrCount(nodes []planner.NodeName) string {
	const few = 6
	if len(nodes) > few {
		return count(len(nodes), "node")
	}
	names := make([]string, len(nodes))
	for k, n := range nodes {
		names[k] = string(n)
	}
	return strings.Join(names, ", ")
}
