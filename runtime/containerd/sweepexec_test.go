//go:build linux

package containerd

import (
	"context"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

// TestSweepCommands: a command whose agent was killed is killed by the next
// one; those of its own callers and the instance run on.
func TestSweepCommands(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	start(t, d, w)
	pid := find(t, d, w.ID).Containers[0].PID
	kill, _ := b.child(t, "exec", w)
	eventually(t, "the other agent's command runs", func() bool { return runningBeside(pid, "cat") == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = d.Exec(ctx, w.ID, "", []string{"/payload", "deaf"}, runtime.Streams{}) // killed below
	}()
	eventually(t, "ours runs", func() bool { return runningBeside(pid, "deaf") == 1 })
	kill()
	if err := d.Sweep(t.Context(), map[string]bool{w.ID: true}); err != nil {
		t.Errorf("Sweep: %v", err)
	}
	eventually(t, "the dead agent's command is gone", func() bool { return runningBeside(pid, "cat") == 0 })
	if runningBeside(pid, "deaf") != 1 {
		t.Error("a command of the living agent is gone")
	}
	if i := find(t, d, w.ID); i == nil || i.Exit != nil || i.Containers[0].PID != pid {
		t.Errorf("the instance was touched: %+v", i)
	}
	cancel()
	<-ended
}
