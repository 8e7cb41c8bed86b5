package manifest

import (
	"fmt"
	"strings"
	"testing"
)

// manyServices is a repository of n manifests in folders of 100.
func manyServices(n int) *tree {
	files := make(map[string]string, n)
	files["fleet.yaml"] = goodFleet
	for i := range n {
		files[fmt.Sprintf("team%03d/svc%05d.yaml", i/100, i)] = benchManifest(i, 0)
	}
	return newTree(files)
}

func benchManifest(i, version int) string {
	return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata:
  name: svc%05d
  labels: {team: t%d}
spec:
  replicas: 2
  image: registry.example.com/team/web:1.%d
  ports:
  - {name: http, containerPort: 8080, publish: %d}
  env:
  - {name: LOG_LEVEL, value: info}
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
`, i, i/100, version, 1024+i)
}

// BenchmarkOneFileCommit10000 is a commit that changes one of 10,000
// manifests: the whole of Load, budget 40 ms.
func BenchmarkOneFileCommit10000(b *testing.B) {
	root := manyServices(10_000)
	l := NewLoader(Limits{})
	if d := loadWith(b, l, root, "."); len(d.Services) != 10_000 {
		b.Fatalf("%d services: %s", len(d.Services), lines(d.Faults[:min(len(d.Faults), 5)]))
	}
	before := l.Stats()
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		root.put("team050/svc05000.yaml", benchManifest(5000, i+1))
		root.objectID()
		b.StartTimer()
		loadWith(b, l, root, ".")
	}
	b.StopTimer()
	if got := l.Stats().Parsed - before.Parsed; got != uint64(b.N) {
		b.Errorf("parsed %d blobs in %d commits", got, b.N)
	}
}

// BenchmarkFirstLoad1000 is what a start from nothing costs.
func BenchmarkFirstLoad1000(b *testing.B) {
	root := manyServices(1000)
	for b.Loop() {
		loadWith(b, NewLoader(Limits{}), root, ".")
	}
}

// BenchmarkOneFileOverlay10000 is the same for an environment that is made
// from 10,000 manifests of a base, with a variable in each and an overlay of
// every tenth.
func BenchmarkOneFileOverlay10000(b *testing.B) {
	files := map[string]string{"base/fleet.yaml": goodFleet, "prod/fleet.yaml": fleetWith("base: ../base", "variables: {level: info}")}
	for i := range 10_000 {
		files[fmt.Sprintf("base/team%03d/svc%05d.yaml", i/100, i)] = strings.Replace(benchManifest(i, 0), "value: info", `value: "${level}"`, 1)
		if i%10 == 0 {
			files[fmt.Sprintf("prod/svc%05d.yaml", i)] = patchOf(fmt.Sprintf("svc%05d", i), "{replicas: 5}")
		}
	}
	root := newTree(files)
	l := NewLoader(Limits{})
	if d := loadWith(b, l, root, "prod"); len(d.Services) != 10_000 {
		b.Fatalf("%d services: %s", len(d.Services), lines(d.Faults[:min(len(d.Faults), 5)]))
	}
	before := l.Stats()
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		root.put("base/team050/svc05000.yaml", strings.Replace(benchManifest(5000, i+1), "value: info", `value: "${level}"`, 1))
		root.objectID()
		b.StartTimer()
		loadWith(b, l, root, "prod")
	}
	b.StopTimer()
	if got := l.Stats().Composed - before.Composed; got != uint64(b.N) {
		b.Errorf("composed %d documents in %d commits", got, b.N)
	}
}
