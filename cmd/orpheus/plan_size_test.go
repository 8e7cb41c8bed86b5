package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// manyServices is a repository of so many services in folders of fifty.
func manyServices(n int) map[string]string {
	files := map[string]string{"fleet.yaml": planFleetYAML}
	for i := range n {
		files[fmt.Sprintf("team-%d/s%d.yaml", i/50, i)] = planService(fmt.Sprintf("s%d", i), fmt.Sprintf(`replicas: 2
image: registry.example.com/s%d:1.0
ports:
- {name: http, containerPort: 8080, port: 80}
env:
- {name: LOG_LEVEL, value: info}
resources: {requests: {cpu: 1m, memory: 1Mi}}`, i))
	}
	return files
}

// TestPlanOfThousandServices: a plan of a commit that changes 30 of 1,000 services
// takes at most 2 s on a machine at rest (0.9 s on two cores). The bound here leaves
// room for one that is not.
func TestPlanOfThousandServices(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes the records of 1,000 services")
	}
	const services, changed, bound = 1000, 30, 30 * time.Second
	f := newPlannedFleet(t, manyServices(services))
	files := map[string]string{}
	for i := range changed {
		files[fmt.Sprintf("team-%d/s%d.yaml", i/50, i)] = planService(fmt.Sprintf("s%d", i), "replicas: 2\nimage: registry.example.com/new:2.0")
	}
	f.change(files)
	for _, args := range [][]string{{"plan", "HEAD^..HEAD"}, {"plan", "-o", "markdown"}, {"plan", "--offline"}} {
		begin := time.Now()
		code, out, errs := orpheus(t, f.dir, args...)
		took := time.Since(begin)
		t.Logf("%v: %s, %d bytes", args, took.Round(time.Millisecond), len(out))
		if code != 0 || took > bound || !strings.Contains(out, "30 services change") {
			t.Errorf("%v: exit code %d after %s\n%.2000s%s", args, code, took, out, errs)
		}
	}
}

// BenchmarkPlan1000 is what a person waits for the plan of a commit that changes so
// many of 1,000 services, from the start of the program to its end, with the records
// of so many nodes fetched from a repository beside: at most 2 s are promised.
func BenchmarkPlan1000(b *testing.B) {
	for _, nodes := range []int{3, 50} {
		f := newPlannedFleetOn(b, nodes, manyServices(1000))
		for _, changed := range []int{1, 30, 1000} {
			files := map[string]string{}
			for i := range changed {
				files[fmt.Sprintf("team-%d/s%d.yaml", i/50, i)] = planService(fmt.Sprintf("s%d", i), fmt.Sprintf("replicas: 2\nimage: registry.example.com/new:%d", changed))
			}
			gitAs(b, f.dir, "reset", "-q", "--hard", "origin/main")
			f.change(files)
			b.Run(fmt.Sprintf("nodes=%d/changed=%d", nodes, changed), func(b *testing.B) {
				for b.Loop() {
					code, out, errs := orpheus(b, f.dir, "plan", "HEAD^..HEAD")
					if code != 0 || !strings.Contains(out, fmt.Sprintf("%d service", changed)) {
						b.Fatalf("exit code %d\n%.2000s%s", code, out, errs)
					}
				}
			})
		}
	}
}
