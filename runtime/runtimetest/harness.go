package runtimetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Harness tells the suite how to use one driver.
type Harness struct {
	// New returns a fresh driver object on the same backend, as an agent that
	// was restarted makes one: what an earlier object started is listed by a
	// later one. t is the test of the case; the object may be closed when that
	// ends, the backend may not. A driver that is an io.Closer is closed by
	// the suite before the next object is made.
	New func(t *testing.T) runtime.Driver

	// Container makes a container named "main" that runs the payload program
	// with these arguments: its image, or its command.
	Container func(t *testing.T, args ...string) runtime.Container

	// Simulated: nothing really runs. Cases about processes, logs and the
	// environment are skipped.
	Simulated bool

	// MissingImage is a reference that the registry answers "not found" for.
	// "" skips the case.
	MissingImage string

	// RestartBackend kills the backend (containerd) and starts it again.
	// nil = there is none.
	RestartBackend func(t *testing.T)

	// Leftovers lists, sorted, what the backend holds beside its listing:
	// processes, cgroups, snapshots, folders, mounts. The suite compares it
	// before and after each case. nil = not compared.
	Leftovers func(t *testing.T) []string
}

var payload struct {
	once sync.Once
	dir  string
	err  error
	out  []byte
}

// BuildPayload compiles the payload program, once for all tests of a process,
// and returns its path: one static file that every user may execute.
func BuildPayload(t testing.TB) string {
	t.Helper()
	payload.once.Do(func() {
		if payload.dir, payload.err = os.MkdirTemp("", "orpheus-payload-"); payload.err != nil {
			return
		}
		if payload.err = os.Chmod(payload.dir, 0o755); payload.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(payload.dir, "payload"),
			"github.com/orpheus-cd/orpheus/runtime/runtimetest/payload")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		payload.out, payload.err = build.CombinedOutput()
	})
	if payload.err != nil {
		t.Fatalf("build payload: %v\n%s", payload.err, payload.out)
	}
	return filepath.Join(payload.dir, "payload")
}

// RemovePayload deletes what BuildPayload built: for TestMain, after Run.
func RemovePayload() error {
	if payload.dir == "" {
		return nil
	}
	return os.RemoveAll(payload.dir)
}
