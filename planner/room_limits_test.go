package planner

import "testing"

// What the containers of an instance may use together.
func TestTemplateLimits(t *testing.T) {
	limited := func(cpu, memory, pids int64) Container {
		return Container{Resources: Resources{Limits: ResourceList{CPUMillis: cpu, MemoryBytes: memory, PIDs: pids}}}
	}
	for _, row := range []struct {
		name       string
		containers []Container
		want       ResourceList
	}{
		{"of one it is its own", []Container{limited(500, 64, 10)}, ResourceList{500, 64, 10}},
		{"of two it is the sum", []Container{limited(500, 64, 10), limited(250, 36, 5)}, ResourceList{750, 100, 15}},
		{"where one has none there is none", []Container{limited(500, 64, 0), limited(0, 36, 5), limited(1, 1, 1)}, ResourceList{0, 101, 0}},
		{"no container", nil, ResourceList{}},
		{"absurd ones do not run over", []Container{limited(1<<62, 1, 1), limited(1<<62, 1, 1)}, ResourceList{1<<62 - 1, 2, 2}},
	} {
		if got := (Template{Containers: row.containers}).Limits(); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
}
