package fleettest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	seed  = flag.Uint64("seed", 0, "run this seed only, and show the end of its trace")
	seeds = flag.String("seeds", "", "run these seeds, from-to; default: as many as CI runs")
	stop  = flag.Bool("stop", false, "stop at the first seed that fails")
	tail  = flag.Int("tail", 200, "lines of trace to show of a seed that fails")
)

// chaosLength is how long faults strike in each run.
const chaosLength = 225 * time.Minute

// TestChaos lets people commit and faults strike in many small fleets, and
// holds them to the rules of leases at every step; then faults are over, and
// each fleet has to come to rest. It prints how often which fault met which
// action, and fails if one never did.
//
// Again: go test ./agent/fleet/fleettest -run TestChaos -seed N
func TestChaos(t *testing.T) {
	if *seed != 0 {
		again(t, *seed)
		return
	}
	from, to := uint64(1), uint64(50)
	if *seeds != "" {
		if _, err := fmt.Sscanf(*seeds, "%d-%d", &from, &to); err != nil {
			t.Fatalf("-seeds %q is not from-to", *seeds)
		}
	}
	total := runSeeds(t, from, to)
	t.Logf("\n%s", total.table())
	if *seeds == "" || to-from >= 49 {
		for _, missing := range total.empty() {
			t.Errorf("no seed has %q while %q is in progress", missing.Fault, missing.Action)
		}
	}
	t.Log(total)
}

// again replays a seed with its trace.
func again(t *testing.T, seed uint64) {
	r, err := Chaos(Options{Seed: seed, Dir: t.TempDir(), Traced: true}, chaosLength)
	for _, line := range r.Trace[max(0, len(r.Trace)-*tail):] {
		t.Log(line)
	}
	t.Log(r)
	if err != nil {
		t.Error(err)
	}
}

// sum is what many seeds came to.
type sum struct {
	Result
	seeds int
	took  time.Duration
}

// runSeeds runs seeds on all processors.
func runSeeds(t *testing.T, from, to uint64) *sum {
	total := &sum{Result: Result{Table: map[Cell]int{}}}
	begin := time.Now()
	dir := t.TempDir()
	next := make(chan uint64)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for s := range next {
				own := filepath.Join(dir, fmt.Sprint(s))
				if err := os.Mkdir(own, 0o700); err != nil {
					t.Error(err)
					return
				}
				r, err := Chaos(Options{Seed: s, Dir: own}, chaosLength)
				mu.Lock()
				total.add(r)
				if err != nil {
					t.Errorf("seed %d: %v (%s)\nagain: go test ./agent/fleet/fleettest -run TestChaos -seed %d", s, err, r, s)
				}
				mu.Unlock()
			}
		})
	}
	for s := from; s <= to && !(*stop && t.Failed()); s++ {
		next <- s
	}
	close(next)
	wg.Wait()
	total.took = time.Since(begin)
	return total
}

func (s *sum) add(r Result) {
	s.seeds++
	s.Hours += r.Hours
	s.Nodes += r.Nodes
	s.Events += r.Events
	s.Faults += r.Faults
	s.Pushes += r.Pushes
	s.Changes += r.Changes
	s.Lost += r.Lost
	s.Fences += r.Fences
	s.Restores += r.Restores
	for cell, n := range r.Table {
		s.Table[cell] += n
	}
}

func (s *sum) String() string {
	return fmt.Sprintf("%d fleets of %.1f nodes, %.1f fleet-hours in %v (%.2f an hour of wall time and second), %d events, %d faults (%.2f a minute), %d pushes, %d of %d changes lost, %d fences, %d backups restored",
		s.seeds, float64(s.Nodes)/float64(s.seeds), s.Hours, s.took.Round(time.Second), s.Hours/s.took.Seconds(), s.Events, s.Faults,
		float64(s.Faults)/s.Hours/60, s.Pushes, s.Lost, s.Changes, s.Fences, s.Restores)
}

// table shows how often which fault met which action.
func (s *sum) table() string {
	var b tableText
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "fault\t")
	for _, a := range actions {
		fmt.Fprintf(w, "%s\t", a)
	}
	fmt.Fprintln(w)
	for _, f := range faults {
		fmt.Fprintf(w, "%s\t", f.name)
		for _, a := range actions {
			fmt.Fprintf(w, "%d\t", s.Table[Cell{f.name, string(a)}])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return string(b)
}

type tableText []byte

func (b *tableText) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

// empty lists what never happened.
func (s *sum) empty() []Cell {
	var out []Cell
	for _, f := range faults {
		for _, a := range actions {
			if c := (Cell{f.name, string(a)}); s.Table[c] == 0 {
				out = append(out, c)
			}
		}
	}
	return out
}

// TestReplay holds that a seed says everything: two runs have the same trace.
func TestReplay(t *testing.T) {
	for _, s := range []uint64{3, 8, 15} {
		a, _ := Chaos(Options{Seed: s, Dir: t.TempDir(), Traced: true}, 20*time.Minute)
		b, _ := Chaos(Options{Seed: s, Dir: t.TempDir(), Traced: true}, 20*time.Minute)
		if len(a.Trace) < 100 {
			t.Fatalf("seed %d: only %d lines of trace", s, len(a.Trace))
		}
		for k := range min(len(a.Trace), len(b.Trace)) {
			if a.Trace[k] != b.Trace[k] {
				t.Fatalf("seed %d: line %d differs\n%s\n%s", s, k, a.Trace[k], b.Trace[k])
			}
		}
		quiet, _ := Chaos(Options{Seed: s, Dir: t.TempDir()}, 20*time.Minute)
		if quiet.Events != a.Events || len(a.Trace) != len(b.Trace) || !maps.Equal(quiet.Table, a.Table) {
			t.Fatalf("seed %d: with and without a trace it goes another way", s)
		}
	}
}
