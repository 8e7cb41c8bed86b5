package gitsync

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Limits bound what a remote may cost this node. Zero means the default.
type Limits struct {
	Advertisement int64 // bytes of the list of references; default 16 MiB
	Refs          int   // references in it; default 100,000
	Pack          int64 // bytes of one pack on the wire; default 256 MiB
	Objects       int   // objects in one pack; default 1,000,000
	Object        int64 // bytes of one object, inflated; default 32 MiB
	// Inflated is the sum of all inflated bytes in one pack; default 1 GiB.
	// Deltas count as what they inflate to, not as what they resolve to: the
	// work of resolving is bounded by Time.
	Inflated int64
	Time     time.Duration // one whole Fetch; default 5 min
	Idle     time.Duration // without a single byte from the remote; default 30 s

	Blob        int64 // bytes of one file read through FS; default 1 MiB
	TreeEntries int   // entries of one folder; default 100,000
	Depth       int   // folders above a file; default 64
	// Related is how many commits are looked at to tell how two stand to each
	// other, where neither is an ancestor of the other; default 20,000.
	Related int
}

const (
	kibi = 1 << 10
	mebi = 1 << 20
	gibi = 1 << 30

	// maxDeltaDepth is how many deltas may stand on each other: git writes 50,
	// old "gc --aggressive" 250.
	maxDeltaDepth = 250
	// maxDeltaMemory bounds the bases held at once while deltas are resolved,
	// and the deltas of one chain, which go-git holds at once to read its end.
	maxDeltaMemory = 128 * mebi
)

func (l Limits) withDefaults() Limits {
	return Limits{
		Advertisement: cmp.Or(l.Advertisement, 16*mebi),
		Refs:          cmp.Or(l.Refs, 100_000),
		Pack:          cmp.Or(l.Pack, 256*mebi),
		Objects:       cmp.Or(l.Objects, 1_000_000),
		Object:        cmp.Or(l.Object, 32*mebi),
		Inflated:      cmp.Or(l.Inflated, 1*gibi),
		Time:          cmp.Or(l.Time, 5*time.Minute),
		Idle:          cmp.Or(l.Idle, 30*time.Second),
		Blob:          cmp.Or(l.Blob, 1*mebi),
		TreeEntries:   cmp.Or(l.TreeEntries, 100_000),
		Depth:         cmp.Or(l.Depth, 64),
		Related:       cmp.Or(l.Related, 20_000),
	}
}

func (l Limits) validate() error {
	var faults []error
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"Advertisement", l.Advertisement}, {"Refs", int64(l.Refs)}, {"Pack", l.Pack},
		{"Objects", int64(l.Objects)}, {"Object", l.Object}, {"Inflated", l.Inflated},
		{"Time", int64(l.Time)}, {"Idle", int64(l.Idle)}, {"Blob", l.Blob},
		{"TreeEntries", int64(l.TreeEntries)}, {"Depth", int64(l.Depth)}, {"Related", int64(l.Related)},
	} {
		if n.value < 0 {
			faults = append(faults, fmt.Errorf("limit %s is negative; leave it out for the default", n.name))
		}
	}
	return errors.Join(faults...)
}

// LimitError says that something is larger than this node accepts. Trying
// again changes nothing until the commit or the limit changes.
type LimitError struct {
	Limit string // the name of the field in Limits, or of a fixed limit
	What  string // what is too large, for people
	Max   int64
	Value int64 // 0 = unknown: reading stopped at Max
	Bytes bool  // Max and Value count bytes
}

func (e *LimitError) Error() string {
	show := func(n int64) string {
		if e.Bytes {
			return byteSize(n)
		}
		return fmt.Sprint(n)
	}
	over := "more than " + show(e.Max)
	if e.Value > 0 {
		over = fmt.Sprintf("%s, more than %s", show(e.Value), show(e.Max))
	}
	return fmt.Sprintf("%s: %s (limit %s); make it smaller or raise the limit", e.What, over, e.Limit)
}

// byteSize writes n in the largest binary unit that divides it well enough
// for people.
func byteSize(n int64) string {
	switch {
	case n >= gibi:
		return fmt.Sprintf("%.4g GiB", float64(n)/gibi)
	case n >= mebi:
		return fmt.Sprintf("%.4g MiB", float64(n)/mebi)
	case n >= kibi:
		return fmt.Sprintf("%.4g KiB", float64(n)/kibi)
	}
	return fmt.Sprintf("%d B", n)
}
