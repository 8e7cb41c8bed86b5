package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// Where the programs under test lie; set for the run without privileges, which
// cannot build.
const (
	orpheusVariable = "ORPHEUS_E2E_BINARY"
	payloadVariable = "ORPHEUS_E2E_PAYLOAD"
)

// The programs under test, made once.
var orpheus, payload string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "systemctl" {
		os.Exit(askMachine(os.Args[1:]))
	}
	done, code, err := devfleet.Isolate()
	if err == nil && !done {
		code, err = run(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	orpheus, payload = os.Getenv(orpheusVariable), os.Getenv(payloadVariable)
	if orpheus != "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "orpheus-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // also for the user nobody
		return 1, err
	}
	orpheus = filepath.Join(dir, "orpheus")
	build := exec.Command("go", "build", "-o", orpheus, "github.com/orpheus-cd/orpheus/cmd/orpheus")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build orpheus: %w\n%s", err, out)
	}
	if payload, err = imagetest.BuildPayload(context.Background(), dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
