//go:build linux

package plugin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
	"github.com/orpheus-cd/orpheus/runtime/process"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// The test binary is every program that the tests need: a plugin, an agent, a
// shim of the process driver. roleVariable says which.
const (
	roleVariable = "ORPHEUS_TEST_ROLE"
	dirVariable  = "ORPHEUS_TEST_DIR"
	patience     = 60 * time.Second
	// noImage is what the registry of the fake driver does not have.
	noImage = "localhost/no/such:1"
)

func TestMain(m *testing.M) {
	process.MaybeShim()
	switch role := os.Getenv(roleVariable); role {
	case "":
	case "fake":
		plugin.Serve(newFake())
		os.Exit(0)
	case "process":
		d, err := process.New(process.Config{StateDir: os.Getenv(dirVariable), NoCgroups: true})
		if err != nil {
			panic(err)
		}
		plugin.Serve(d)
		os.Exit(0)
	case "bare": // no ability beside what every driver has
		plugin.Serve(struct{ runtime.Driver }{newFake()})
		os.Exit(0)
	case "odd":
		plugin.Serve(newOdd())
		os.Exit(0)
	case "agent":
		agentMain()
	default:
		notAPlugin(role)
	}
	code := m.Run()
	if err := runtimetest.RemovePayload(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// newFake is a fake whose registry lacks noImage.
func newFake() runtime.Driver {
	fake := runtimetest.NewFake("fake")
	fake.Behave(runtimetest.PayloadBehaviour)
	fake.DeleteImage(noImage)
	return fake
}

// self is the path and checksum of this program.
func self(t testing.TB) (path, sum string) {
	t.Helper()
	path = must(os.Executable())
	return path, sumOf(t, path)
}

func sumOf(t testing.TB, path string) string {
	t.Helper()
	f := must(os.Open(path))
	defer f.Close()
	h := sha256.New()
	must(io.Copy(h, f))
	return hex.EncodeToString(h.Sum(nil))
}

// config is that of a plugin in folders of its own, which is ended with the
// test. Paths of sockets are short, so the folders are not those of t.
func config(t testing.TB, role string, env ...string) plugin.Config {
	t.Helper()
	dir := must(os.MkdirTemp("", "op"))
	path, sum := self(t)
	c := plugin.Config{
		Name: "example", Path: path, SHA256: sum, Env: append([]string{roleVariable + "=" + role}, env...),
		StateDir: filepath.Join(dir, "s"), RunDir: filepath.Join(dir, "r"),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(c.StateDir, "stderr.log"))
			t.Logf("stderr of the plugin: %s", text)
			removeAll(c)
		}
		if err := plugin.End(context.Background(), c.StateDir); err != nil {
			t.Errorf("end the plugin: %v", err)
		}
		os.RemoveAll(dir)
	})
	return c
}

// removeAll takes away what a failed test left running.
func removeAll(c plugin.Config) {
	c.Log = nil
	d, err := plugin.New(c)
	if err != nil {
		return
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	have, _ := d.List(ctx)
	for _, i := range have {
		d.Remove(ctx, i.ID)
	}
}

// open makes a driver, which is closed with the test.
func open(t testing.TB, c plugin.Config) *plugin.Driver {
	t.Helper()
	d, err := plugin.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// record is what the tests read of plugin.json.
type record struct {
	Process struct {
		PID   int    `json:"pid"`
		Start uint64 `json:"start"`
		Boot  string `json:"boot"`
	} `json:"process"`
	Socket string `json:"socket"`
}

func readRecord(t testing.TB, c plugin.Config) record {
	t.Helper()
	var r record
	check(t, json.Unmarshal(must(os.ReadFile(filepath.Join(c.StateDir, "plugin.json"))), &r))
	return r
}

// pid is the process of the plugin, which must answer. A call right after one
// was killed may still go to it.
func pid(t testing.TB, d *plugin.Driver, c plugin.Config) int {
	t.Helper()
	var err error
	if !soon(func() bool { _, err = d.Info(t.Context()); return err == nil }) {
		t.Fatalf("Info: %v", err)
	}
	return readRecord(t, c).Process.PID
}

// kill is kill -9, and waits until the process is gone.
func kill(t testing.TB, pid int) {
	t.Helper()
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	if !soon(func() bool { return !running(pid) }) {
		t.Fatalf("process %d survives kill -9", pid)
	}
}

// running reports whether a process is there and no zombie.
func running(pid int) bool { return !strings.Contains("ZX", state(pid)) }

// state is that of a process, a letter; "" = there is none.
func state(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))[0]
}

func workload(t testing.TB, id string, args ...string) runtime.Workload {
	return runtime.Workload{
		ID:   id,
		Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Name: "0"},
		Containers: []runtime.Container{{
			Name: "main", Command: []string{runtimetest.BuildPayload(t)}, Args: args, LogPath: filepath.Join(t.TempDir(), "log"),
		}},
	}
}

func soon(condition func() bool) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
