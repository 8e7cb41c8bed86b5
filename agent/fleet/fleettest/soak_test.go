package fleettest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// soakStep is how many seeds make a line of the table.
const soakStep = 20

// TestSoak runs many seeds (-seeds from-to), a line per range. What was done is
// kept in the file that SOAK names, so that it goes on where it left off; a
// range in which a rule was broken is not kept. make soak runs it.
func TestSoak(t *testing.T) {
	path := os.Getenv("SOAK")
	if path == "" {
		t.Skip("make soak runs it")
	}
	var from, to uint64
	if _, err := fmt.Sscanf(*seeds, "%d-%d", &from, &to); err != nil {
		t.Fatalf("-seeds %q is not from-to", *seeds)
	}
	done, hours, err := soaked(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f fleet-hours were done before", hours)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for ; from <= to; from += soakStep {
		last := min(from+soakStep-1, to)
		name := fmt.Sprintf("%d-%d", from, last)
		if done[name] {
			continue
		}
		failed := t.Failed()
		total := runSeeds(t, from, last)
		hours += total.Hours
		line := fmt.Sprintf("%s\t%.2f\t%s", name, total.Hours, total)
		fmt.Printf("%s · %.0f fleet-hours in all\n", line, hours)
		if t.Failed() && !failed {
			t.Logf("a rule was broken in %s", name)
			continue
		}
		if _, err := fmt.Fprintln(file, line); err != nil {
			t.Fatal(err)
		}
	}
}

// soaked reads what was done before.
func soaked(path string) (done map[string]bool, hours float64, err error) {
	done = map[string]bool{}
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return done, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		var h float64
		if len(fields) < 2 {
			continue
		}
		if _, err := fmt.Sscanf(fields[1], "%g", &h); err != nil {
			continue
		}
		if !done[fields[0]] {
			hours += h
		}
		done[fields[0]] = true
	}
	return done, hours, lines.Err()
}
