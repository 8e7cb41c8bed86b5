package compose

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
)

// faults are those of one Compose file and of what it includes and extends.
type faults struct {
	all     []planner.Fault
	dropped int
	broken  bool // one of them is not a warning
}

func (f *faults) add(fault planner.Fault) {
	f.broken = f.broken || !fault.Warning
	for _, other := range f.all {
		if other == fault {
			return // said already: a file that is read twice says it twice
		}
	}
	if len(f.all) >= maxFaults {
		f.dropped++
		return
	}
	f.all = append(f.all, fault)
}

// addUnlessTold adds a fault of a field of which none is told: one leads to others.
func (f *faults) addUnlessTold(fault planner.Fault) {
	if !slices.ContainsFunc(f.all, func(o planner.Fault) bool {
		return !o.Warning && o.File == fault.File && o.Line == fault.Line && o.Field == fault.Field
	}) {
		f.add(fault)
	}
}

// list returns them in order and, if some were dropped, says so.
func (f *faults) list() []planner.Fault {
	slices.SortFunc(f.all, planner.CompareFaults)
	if f.dropped > 0 {
		last := f.all[len(f.all)-1]
		return append(f.all, planner.Fault{File: last.File, Line: last.Line,
			Reason: fmt.Sprintf("%d more faults are not listed", f.dropped), Warning: !f.broken})
	}
	return f.all
}

// quote repeats text of the repository so that it can neither act on a terminal
// nor break out of a line.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}

// plain repeats text, made harmless, without quotes.
func plain(s string) string {
	q := quote(s)
	return q[1 : len(q)-1]
}

// drop forgets faults.
func (f *faults) drop(which func(planner.Fault) bool) {
	f.all = slices.DeleteFunc(f.all, which)
	f.broken = f.dropped > 0 && f.broken || slices.ContainsFunc(f.all, func(one planner.Fault) bool { return !one.Warning })
}
