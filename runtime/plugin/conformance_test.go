//go:build linux

package plugin_test

import (
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// Every call and every image case, through a real process and socket.
func TestConformanceOfTheFake(t *testing.T) {
	c := config(t, "fake")
	runtimetest.Conformance(t, runtimetest.Harness{
		New: func(t *testing.T) runtime.Driver { return open(t, c) },
		Container: func(_ *testing.T, args ...string) runtime.Container {
			return runtime.Container{Name: "main", Image: "localhost/payload:1", Args: args}
		},
		Simulated:    true,
		MissingImage: noImage,
	})
}

// What really runs, by a driver that was not written for it; the plugin is its
// backend, which may be killed.
func TestConformanceOfProcesses(t *testing.T) {
	program := runtimetest.BuildPayload(t)
	c := config(t, "process", dirVariable+"="+t.TempDir())
	runtimetest.Conformance(t, runtimetest.Harness{
		New: func(t *testing.T) runtime.Driver { return open(t, c) },
		Container: func(_ *testing.T, args ...string) runtime.Container {
			return runtime.Container{Name: "main", Command: []string{program}, Args: args}
		},
		RestartBackend: func(t *testing.T) { kill(t, readRecord(t, c).Process.PID) },
	})
}

var _ runtime.Driver = (*plugin.Driver)(nil)
