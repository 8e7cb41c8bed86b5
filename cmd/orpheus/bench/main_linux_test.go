// Package bench measures a node as its users see it: the agent as a process of
// its own, a private containerd, a repository and a registry on loopback, all
// in namespaces made for it. Each figure stands beside what it is compared
// with, measured in turns in the same run, since the machine's speed changes
// more than they differ. Nothing here passes or fails on seconds: the table at
// the end is for people, and docs/benchmarks.md says how to read it.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
)

// binaryEnv names a binary to measure instead of building one.
const binaryEnv = "ORPHEUS_BENCH_BINARY"

// patience is how long anything that must happen may take.
const patience = time.Minute

var orpheus string // the binary that is measured

func TestMain(m *testing.M) {
	done, code, err := devfleet.Isolate()
	if done {
		os.Exit(code)
	}
	if err == nil {
		code, err = run(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "orpheus-bench-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "orpheus")
	if os.Geteuid() == 0 { // in a mount namespace of our own, see Isolate
		if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return 1, fmt.Errorf("mount tmpfs on /run: %w", err)
		}
	}
	code = m.Run()
	table.print(os.Stdout)
	return code, nil
}

// fleets counts those made so far.
var fleets int

// binary is where the program under test is built.
var binary string

// build makes the binary as "make build" does, once.
func build(b *testing.B) {
	b.Helper()
	if orpheus != "" {
		return
	}
	if given := os.Getenv(binaryEnv); given != "" {
		orpheus = given
		return
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/orpheus-cd/orpheus/cmd/orpheus")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build orpheus: %v\n%s", err, text)
	}
	orpheus = binary
}

// fleet makes a node with containerd and an image behind payload:1. The agent
// is not started.
func fleet(b *testing.B, opts devfleet.Options) (f *devfleet.Fleet, images image) {
	b.Helper()
	if why := containerdtest.Missing(); why != "" {
		b.Skip("not run: " + why)
	}
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("not run: git is not on PATH")
	}
	build(b)
	opts.Orpheus, opts.Driver = orpheus, planner.DriverContainerd
	opts.RunInMemory = true
	fleets++ // each has a network of its own: one after the other, but in one namespace
	opts.Config += fmt.Sprintf("network: {bridge: bench%d, subnet: 10.87.%d.0/24, table: bench%d}\n", fleets, fleets, fleets)
	f, err := devfleet.New(b.Context(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if b.Failed() {
			b.Logf("the agent's last words:\n%s", f.AgentLog(30))
		}
		if err := f.Close(); err != nil {
			b.Errorf("take the fleet away: %v", err)
		}
	})
	tag, digest, err := f.PushImage("payload:1", "1")
	if err != nil {
		b.Fatal(err)
	}
	return f, image{tag: tag, digest: digest}
}

// image is one image by its two names.
type image struct{ tag, digest string }

// pinned is the reference by digest.
func (i image) pinned() string { return i.tag + "@" + i.digest }

// commit publishes a commit and returns its hash and when main moved.
func commit(b *testing.B, f *devfleet.Fleet, files map[string]string) (hash string, at time.Time) {
	b.Helper()
	hash, err := f.Stage(files, "bench")
	if err == nil {
		at, err = f.Publish(hash)
	}
	if err != nil {
		b.Fatal(err)
	}
	return hash, at
}

// settle waits until a commit is in force and everything is as it asks.
func settle(b *testing.B, f *devfleet.Fleet, hash string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	if err := f.Await(ctx, devfleet.SettledAt(hash)); err != nil {
		b.Fatal(err)
	}
}

// fleetYAML is the file that marks the fleet.
const fleetYAML = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: bench}\n"

// service is a manifest of a service that serves HTTP; version ends up in its
// environment and so in its revision.
func service(name, image string, replicas int, version string) string {
	return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: %s}
spec:
  replicas: %d
  image: %s
  env:
  - {name: VERSION, value: %q}
`, name, replicas, image, version)
}
