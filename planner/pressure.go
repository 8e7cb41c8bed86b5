package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Resource is what a node can run short of.
type Resource string

// The resources, in the order in which they are told.
const (
	ResourceDisk   Resource = "disk"
	ResourceInodes Resource = "inodes"
	ResourceMemory Resource = "memory"
	ResourcePIDs   Resource = "pids"
)

// Reading is how much of a resource there is at one place.
type Reading struct {
	Resource Resource
	// Place is a folder of the file system, or a cgroup; "" = the machine.
	Place string
	// Free and Total are bytes or pieces that can be used. Total 0 = it could not
	// be read: what was known before stands.
	Free, Total uint64
	// Images is set where a driver keeps its images: collecting them makes room.
	Images bool
}

// Used is how many percent are used, rounded up: 100 only if nothing is left.
func (r Reading) Used() int {
	if r.Total == 0 || r.Free >= r.Total {
		return 0
	}
	used := 100 - int(float64(r.Free)/float64(r.Total)*100)
	if used == 100 && r.Free > 0 {
		return 99
	}
	return used
}

// Mark is a level of a resource: a share that is used, or an amount that is
// left. The zero value is never reached.
type Mark struct {
	Used int    // percent, 1 to 100; 0 = Free counts
	Free uint64 // bytes or pieces
}

// reached reports whether a reading is at the mark or beyond.
func (m Mark) reached(r Reading) bool {
	switch {
	case r.Total == 0 || m == Mark{}:
		return false
	case m.Used > 0:
		return r.Used() >= m.Used
	}
	return r.Free < m.Free
}

// left reports whether a reading is so far on the good side of the mark that it
// will not be back at once: two percent of all, or a quarter of what must be
// left.
func (m Mark) left(r Reading) bool {
	if m.Used > 0 {
		return r.Used() < max(m.Used-2, 1)
	}
	return r.Free >= m.Free+m.Free/4
}

// Marks say what a node does about one resource.
type Marks struct {
	// RefuseAt is where it takes no new work.
	RefuseAt Mark
	// CollectAt is where it begins to remove images nobody needs, CollectTo where
	// it stops: for disk and inodes.
	CollectAt, CollectTo Mark
}

// PressureLimits are the marks of a node, by resource.
type PressureLimits map[Resource]Marks

// DefaultPressureLimits are close to kubelet's: imageGCHighThresholdPercent and
// imageGCLowThresholdPercent (85, 80), evictionHard memory.available<100Mi and
// nodefs.inodesFree<5%. Work is refused with less than 5 % of the disk left,
// where kubelet begins to evict at 10 %: we evict nothing, so that less is to be
// kept in hand. Of process ids kubelet has no mark by default.
func DefaultPressureLimits() PressureLimits {
	return PressureLimits{
		ResourceDisk:   {CollectAt: Mark{Used: 85}, CollectTo: Mark{Used: 80}, RefuseAt: Mark{Used: 95}},
		ResourceInodes: {CollectAt: Mark{Used: 90}, CollectTo: Mark{Used: 85}, RefuseAt: Mark{Used: 95}},
		ResourceMemory: {RefuseAt: Mark{Free: 100 << 20}},
		ResourcePIDs:   {RefuseAt: Mark{Used: 95}},
	}
}

// Collects reports whether images are to be removed for a reading.
func (p PressureLimits) Collects(r Reading) bool {
	return r.Images && p[r.Resource].CollectAt.reached(r)
}

// Collected reports whether so many are removed that it is enough.
func (p PressureLimits) Collected(r Reading) bool {
	m := p[r.Resource]
	return r.Total == 0 || !m.CollectTo.reached(r) && !m.CollectAt.reached(r)
}

// Shortage is a resource that a node is short of: it takes no new work.
type Shortage struct {
	Reading Reading // the newest
	// Since is the boot time at which it began, Better that since when the
	// readings are good again; 0 = they are not.
	Since, Better time.Duration
}

// String says it in the user's words.
func (s Shortage) String() string {
	r := s.Reading
	switch r.Resource {
	case ResourceDisk:
		return fmt.Sprintf("disk of this node is %d %% full (%s, %s free)", r.Used(), r.Place, Size(r.Free))
	case ResourceInodes:
		return fmt.Sprintf("%d %% of the inodes of this node are used (%s, %d free)", r.Used(), r.Place, r.Free)
	case ResourceMemory:
		return fmt.Sprintf("this node has %s of memory left%s", Size(r.Free), inPlace(r.Place))
	}
	return fmt.Sprintf("%d %% of the process ids of this node are used (%d left%s)", r.Used(), r.Free, inPlace(r.Place))
}

// Lacks names what is short, and where, without amounts: it is the same for as
// long as the shortage lasts.
func (s Shortage) Lacks() string {
	what := string(s.Reading.Resource)
	if s.Reading.Resource == ResourcePIDs {
		what = "process ids"
	}
	return what + inPlace(s.Reading.Place)
}

func inPlace(place string) string {
	if place == "" {
		return ""
	}
	return " in " + place
}

// Size writes bytes for people.
func Size(bytes uint64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

// calm is how long memory and process ids must have been good before they count
// as such: they come and go faster than what a disk holds.
const calm = time.Minute

// Assess lays new readings over what a node was short of. A shortage begins
// with the first reading that reaches its mark, and ends when the readings have
// left it behind. Where a place could not be read, what was so stands; one that
// is read no more is no shortage. The result is ordered by resource and place.
func Assess(before []Shortage, readings []Reading, limits PressureLimits, now time.Duration) []Shortage {
	var out []Shortage
	for _, r := range readings {
		k := slices.IndexFunc(before, func(s Shortage) bool { return s.Reading.Resource == r.Resource && s.Reading.Place == r.Place })
		mark := limits[r.Resource].RefuseAt
		switch {
		case k < 0 && mark.reached(r):
			out = append(out, Shortage{Reading: r, Since: now})
		case k < 0:
		case r.Total == 0:
			out = append(out, before[k])
		case !mark.left(r):
			out = append(out, Shortage{Reading: r, Since: before[k].Since})
		default:
			s := Shortage{Reading: r, Since: before[k].Since, Better: cmp.Or(before[k].Better, max(now, 1))}
			if lasting(r.Resource) && now-s.Better < calm {
				out = append(out, s)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Shortage) int {
		return cmp.Or(cmp.Compare(rankOf(a.Reading.Resource), rankOf(b.Reading.Resource)), cmp.Compare(a.Reading.Place, b.Reading.Place))
	})
	return out
}

// lasting reports whether a good reading has to last.
func lasting(r Resource) bool { return r == ResourceMemory || r == ResourcePIDs }

func rankOf(r Resource) int {
	return slices.Index([]Resource{ResourceDisk, ResourceInodes, ResourceMemory, ResourcePIDs}, r)
}
