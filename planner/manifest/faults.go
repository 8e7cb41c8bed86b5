package manifest

import (
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// faultList collects the faults of one file up to a limit.
type faultList struct {
	limit   int
	faults  []planner.Fault // without File, but where a document is put together
	dropped int
	broken  bool // a fault that is not a warning was added
}

func (l *faultList) add(f planner.Fault) {
	l.broken = l.broken || !f.Warning
	if len(l.faults) >= l.limit {
		l.dropped++
		return
	}
	l.faults = append(l.faults, f)
}

// list returns the faults in order and, if some were dropped, says so.
func (l *faultList) list() []planner.Fault {
	slices.SortFunc(l.faults, planner.CompareFaults)
	if l.dropped > 0 {
		l.faults = append(l.faults, planner.Fault{
			File:    l.faults[len(l.faults)-1].File,
			Line:    l.faults[len(l.faults)-1].Line,
			Reason:  fmt.Sprintf("%d more faults are not listed", l.dropped),
			Warning: !l.broken,
		})
	}
	return l.faults
}

// maxFaults is how many faults a commit lists before it lists only the first
// of each file.
const maxFaults = 20_000

// trim sorts the faults of a commit and keeps their number within reason. A
// file with a fault keeps at least one that is not a warning, because that is
// what holds its services back.
func trim(faults []planner.Fault) []planner.Fault {
	slices.SortFunc(faults, planner.CompareFaults)
	if len(faults) <= maxFaults {
		return faults
	}
	kept := faults[:0]
	last, all := "", len(faults)
	for _, f := range faults {
		if !f.Warning && (len(kept) == 0 || f.File != last) {
			kept, last = append(kept, f), f.File
		}
	}
	note := planner.Fault{Reason: fmt.Sprintf("%d faults in all: only the first of each file is listed", all), Warning: true}
	return slices.Insert(kept, 0, note)
}

// RefusedError says that a commit as a whole is refused: nothing of it is
// used and nothing changes. Faults has the places, if there are any.
type RefusedError struct {
	Reason string
	Remedy string
	Faults []planner.Fault
}

func (e *RefusedError) Error() string { return "commit refused: " + e.Why() }

// Why is the reason in one sentence, with the first place and the remedy.
func (e *RefusedError) Why() string {
	s := e.Reason
	for _, f := range e.Faults {
		if !f.Warning {
			s += ": " + f.String()
			break
		}
	}
	if n := len(e.Faults); n > 1 {
		s += fmt.Sprintf(" (and %d more)", n-1)
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Report is what `orpheus validate` prints of a refused commit.
func (e *RefusedError) Report() Report {
	if len(e.Faults) > 0 {
		return Report{Faults: e.Faults}
	}
	return Report{Faults: []planner.Fault{{Reason: e.Reason, Remedy: e.Remedy}}}
}
