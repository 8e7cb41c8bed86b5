package fleettest

import (
	"flag"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0, "run this seed only, with its trace")

func TestChaos(t *testing.T) {
	if *seed != 0 {
		r, err := Chaos(Options{Seed: *seed, Dir: t.TempDir(), Traced: true}, 2*time.Hour)
		for _, line := range r.Trace[max(0, len(r.Trace)-400):] {
			t.Log(line)
		}
		t.Log(r)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	begin := time.Now()
	hours := 0.0
	for s := uint64(1); s <= 40; s++ {
		r, err := Chaos(Options{Seed: s, Dir: t.TempDir()}, 2*time.Hour)
		hours += r.Hours
		if err != nil {
			t.Errorf("seed %d: %v (%s)", s, err, r)
		}
	}
	t.Logf("%.0f fleet-hours in %v", hours, time.Since(begin))
}
