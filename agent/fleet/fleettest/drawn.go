package fleettest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Drawn is a fleet on which people commit what is drawn by chance: a change of one
// thing or of several, of services, of nodes, of what is said of the fleet.
type Drawn struct {
	*Plans
	rng  *rand.Rand
	made int                        // services, versions and files, each another
	asks []string                   // Prune-Approved trailers of the next commit
	idle map[planner.ServiceID]bool // services that are, or were before the last commit, only observed
}

// maxDrawn is how many services a drawn fleet has at most.
const maxDrawn = 9

// NewDrawn begins with up to eight nodes, alike or of different sizes. The seed
// draws both the commits and how quick everything is.
func NewDrawn(seed uint64) (*Drawn, error) {
	d := &Drawn{rng: rand.New(rand.NewPCG(seed, 0x706c616e73))}
	sizes := []int64{[]int64{1000, 2000, 4000}[d.rng.IntN(3)]}
	if d.rng.IntN(2) == 0 {
		sizes = []int64{1000, 2000, 4000, 8000}
	}
	var err error
	d.Plans, err = newPlans(seed, 1+d.rng.IntN(8), func(m *machine) {
		m.cores = sizes[d.rng.IntN(len(sizes))]
		if d.rng.IntN(3) > 0 {
			m.memory = m.cores << 20
		}
	})
	if err != nil {
		return nil, err
	}
	for range 1 + d.rng.IntN(4) {
		addService(d)
	}
	if _, _, err := d.carryOut("the first services", nil); err != nil {
		return nil, err
	}
	return d, nil
}

// DrawnCommit is one commit and what became of it.
type DrawnCommit struct {
	What string
	// Fails: something does not work that was not known to before, which no forecast
	// foresees.
	Fails    bool
	Forecast planner.Forecast
	Outcomes []planner.Outcome
	// Touched are the slots whose instance is another one than before although
	// nothing of theirs was planned, or is the same although it was.
	Touched []string
	// Story has the decisions of the forecast, and the documents as they came.
	Story string
}

// Commit draws a commit and has it carried out.
func (d *Drawn) Commit() (DrawnCommit, error) {
	d.asks, d.idle = nil, map[planner.ServiceID]bool{}
	d.noteIdle()
	n := 1
	switch k := d.rng.IntN(10); {
	case k >= 9:
		n = 4 + d.rng.IntN(4)
	case k >= 6:
		n = 2 + d.rng.IntN(2)
	}
	var what []string
	for tries := 0; len(what) < n && tries < 50; tries++ {
		if said := d.change(); said != "" {
			what = append(what, said)
		}
	}
	out := DrawnCommit{What: strings.Join(what, "; "), Fails: d.fails()}
	d.noteIdle()
	before, from := d.instances(), len(d.c.trace.lines)
	out.Fails = out.Fails || d.avoided()
	var err error
	out.Forecast, out.Outcomes, err = d.carryOut(out.What, d.asks)
	if err != nil {
		return out, fmt.Errorf("%s: %w", out.What, err)
	}
	out.Story = tell(d.c.trace.lines[from:], out.Forecast)
	out.Fails = out.Fails || d.fails() || d.avoided()
	for k := 0; d.avoided() && k < 30; k++ { // nodes on which it failed take new work again
		d.c.Run(d.c.now + time.Minute)
	}
	out.Touched = d.touched(out.Forecast, before)
	return out, nil
}

// fails reports whether a service is wanted that does not work, and that is not
// blocked for it.
func (d *Drawn) fails() bool {
	for _, id := range d.c.services() {
		s, doc := d.wanted().services[id], d.c.witness.docs[id]
		if !sound(s) && !(doc.IsBlocked(s.Revision) && doc.BlockedManifest == s.Fingerprint()) {
			return true
		}
	}
	return false
}

// tell puts what was foreseen beside what came.
func tell(lines []string, f planner.Forecast) string {
	var b strings.Builder
	for _, d := range f.Decisions {
		fmt.Fprintf(&b, "\tturn %d: %s\n", d.Turn, d.Why)
	}
	for _, line := range lines {
		if strings.Contains(line, ": leases/") {
			fmt.Fprintf(&b, "\t%s\n", line)
		}
	}
	return b.String()
}

// avoided reports whether a node gets no new work, for whatever starts on it fails.
func (d *Drawn) avoided() bool {
	for _, status := range d.c.witness.status {
		if status.Failing != "" {
			return true
		}
	}
	return false
}

// noteIdle notes which services are only observed.
func (d *Drawn) noteIdle() {
	for _, services := range []map[planner.ServiceID]planner.Service{d.wanted().services, d.c.machines[0].disk.followed.Services} {
		for id, s := range services {
			d.idle[id] = d.idle[id] || s.Observe
		}
	}
}

// change makes one of the changes, as often as each weighs. "" = it is not possible
// now.
func (d *Drawn) change() string {
	all := 0
	for _, c := range changes {
		all += c.weight
	}
	k := d.rng.IntN(all)
	for _, c := range changes {
		if k -= c.weight; k < 0 {
			return c.make(d)
		}
	}
	return ""
}

// instances are those that run, by slot.
func (d *Drawn) instances() map[planner.SlotID][]*instance {
	out := map[planner.SlotID][]*instance{}
	for _, m := range d.c.machines {
		for _, id := range sortedKeys(m.instances) {
			if i := m.instances[id]; i.Alive() && !i.once {
				out[i.Slot] = append(out[i.Slot], i)
			}
		}
	}
	return out
}

// touched compares what runs with what ran before: an instance is still there if
// the forecast has a lease for it at the end.
func (d *Drawn) touched(f planner.Forecast, before map[planner.SlotID][]*instance) (out []string) {
	twice := map[place]bool{} // leases that were taken, and perhaps given again
	for _, decision := range f.Decisions {
		if decision.Approved {
			return nil // what comes after that does not happen
		}
		for _, l := range decision.Old.Leases {
			if !slices.ContainsFunc(decision.Doc.Leases, func(o planner.Lease) bool { return o.Token == l.Token }) {
				twice[placeOf(decision.Doc.Service, l)] = true
			}
		}
	}
	covered := map[place]bool{}
	for id, dv := range f.View.Docs {
		for _, l := range dv.Doc.Leases {
			covered[placeOf(id, l)] = true
		}
	}
	after := d.instances()
	for slot, was := range before {
		for _, i := range was {
			at := place{slot, i.Node, i.Revision}
			if d.idle[slot.Service] || !works(d.specs[i.Revision]) || covered[at] && twice[at] {
				continue // nobody does anything for it, it exits by itself, or it may go and come again
			}
			if lives := slices.Contains(after[slot], i); lives != covered[at] {
				out = append(out, fmt.Sprintf("%s on %s: it was to stay as it is: %v, and did: %v", slot, i.Node, covered[at], lives))
			}
		}
	}
	slices.Sort(out)
	return out
}

// place is what the leases for an instance have in common.
type place struct {
	slot     planner.SlotID
	node     planner.NodeName
	revision planner.Revision
}

func placeOf(id planner.ServiceID, l planner.Lease) place {
	return place{planner.SlotID{Service: id, Name: l.Slot}, l.Node, l.Revision}
}

func (d *Drawn) wanted() *manifests { return &d.c.wanted }

// one draws one of a list.
func one[T any](d *Drawn, all ...T) T { return all[d.rng.IntN(len(all))] }

// some draws a service; ok is false where there is none.
func (d *Drawn) some() (planner.Service, bool) {
	ids := d.c.services()
	if len(ids) == 0 {
		return planner.Service{}, false
	}
	return d.wanted().services[ids[d.rng.IntN(len(ids))]], true
}

// number is another one each time.
func (d *Drawn) number() int { d.made++; return d.made }
