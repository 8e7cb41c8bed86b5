//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

const patience = 60 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if err := runtimetest.RemovePayload(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// bench is the built plugin, and the agent's half of it.
type bench struct {
	plugin.Config
	state string // of the plugin
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not run: sandboxes need root")
	}
	if err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").Run(); err != nil {
		t.Skipf("not run: no namespaces can be made here: %v", err)
	}
	dir, err := os.MkdirTemp("", "osb")
	check(t, err)
	binary := filepath.Join(dir, "driver-sandbox")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	program, err := os.ReadFile(binary)
	check(t, err)
	sum := sha256.Sum256(program)
	b := &bench{state: filepath.Join(dir, "i")}
	b.Config = plugin.Config{
		Name: "sandbox", Path: binary, SHA256: hex.EncodeToString(sum[:]),
		Args:     []string{"--state", b.state, "--show", strings.Join(append(hostPaths, filepath.Dir(runtimetest.BuildPayload(t))), ",")},
		StateDir: filepath.Join(dir, "s"), RunDir: filepath.Join(dir, "r"), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(b.StateDir, "stderr.log")); err == nil && t.Failed() {
			t.Logf("stderr of the plugin: %s", text)
		}
		if err := plugin.End(context.Background(), b.StateDir); err != nil {
			t.Errorf("end the plugin: %v", err)
		}
		os.RemoveAll(dir)
	})
	return b
}

func (b *bench) open(t *testing.T) *plugin.Driver {
	t.Helper()
	d, err := plugin.New(b.Config)
	check(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// killPlugin is kill -9 for the plugin's process.
func (b *bench) killPlugin(t *testing.T) {
	t.Helper()
	var record struct{ Process struct{ PID int } }
	data, err := os.ReadFile(filepath.Join(b.StateDir, "plugin.json"))
	check(t, err)
	check(t, json.Unmarshal(data, &record))
	check(t, syscall.Kill(record.Process.PID, syscall.SIGKILL))
}

// leftovers lists folders of instances and processes of the payload.
func (b *bench) leftovers(t *testing.T) []string {
	t.Helper()
	found := []string{}
	entries, _ := os.ReadDir(b.state)
	for _, e := range entries {
		if e.Name() != hintFile {
			found = append(found, e.Name())
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, link := range links {
		line, _ := os.ReadFile(link)
		if first, _, _ := strings.Cut(string(line), "\x00"); first == runtimetest.BuildPayload(t) {
			found = append(found, string(line))
		}
	}
	return found
}

func TestConformance(t *testing.T) {
	b := newBench(t)
	program := runtimetest.BuildPayload(t)
	runtimetest.Conformance(t, runtimetest.Harness{
		New: func(t *testing.T) runtime.Driver { return b.open(t) },
		Container: func(_ *testing.T, args ...string) runtime.Container {
			return runtime.Container{Name: "main", Command: []string{program}, Args: args}
		},
		RestartBackend: b.killPlugin,
		Leftovers:      b.leftovers,
	})
}

// run runs a shell command in a sandbox and returns what it says.
func run(t *testing.T, d runtime.Driver, script string, edit func(*runtime.Workload)) string {
	t.Helper()
	w := runtime.Workload{
		ID: "a", Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "a"}, Name: "0"},
		Containers: []runtime.Container{{
			Name: "main", Command: []string{"/bin/sh", "-c", script}, LogPath: filepath.Join(t.TempDir(), "log"),
		}},
	}
	if edit != nil {
		edit(&w)
	}
	check(t, d.Start(t.Context(), w))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := d.Wait(ctx, w.ID)
	check(t, err)
	check(t, d.Remove(t.Context(), w.ID))
	said, err := os.ReadFile(w.Containers[0].LogPath)
	check(t, err)
	return strings.TrimSpace(string(said))
}

// What a program sees of the host, and what it cannot do to it.
func TestWalls(t *testing.T) {
	b := newBench(t)
	d := b.open(t)
	uid := int64(12345)
	asUser := func(w *runtime.Workload) { w.Containers[0].Security.RunAsUser = &uid }
	secret := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(secret, []byte("x"), 0o644))
	tests := []struct {
		name, script, want string
		edit               func(*runtime.Workload)
	}{
		// The processes of the host are not there: the shim, the shell and ls are.
		{"processes", `set -- /proc/[0-9]*; [ $# -le 4 ] && echo few`, "few", nil},
		// The shim is the first process, and deaf.
		{"first process", `kill -9 1; kill -TERM 1; kill -STOP 1; kill -0 1 && echo alive`, "alive", nil},
		// Files that are not shown.
		{"files", `cat ` + secret + ` /etc/shadow 2>/dev/null || echo none`, "none", nil},
		// The host's programs cannot be changed, even by root.
		{"programs", `touch /usr/x 2>/dev/null || echo no`, "no", nil},
		{"mounts", `mount -o remount,rw /usr 2>/dev/null || umount /usr 2>/dev/null || echo no`, "no", nil},
		// The kernel's switches cannot be reached, even by root.
		{"kernel", `(echo 1 >/proc/sys/vm/drop_caches) 2>/dev/null || (echo h >/proc/sysrq-trigger) 2>/dev/null || echo no`, "no", nil},
		// A private /tmp and working directory, also for a user.
		{"tmp", `cd && pwd && touch here /tmp/x && ls /tmp | grep -v payload`, "/work\nx", asUser},
		// The host name is its own.
		{"host name", `cat /proc/sys/kernel/hostname`, "inside", func(w *runtime.Workload) { w.Hostname = "inside" }},
		// Docker's capabilities, none for a user.
		{"capabilities", `grep CapEff /proc/self/status`, "CapEff:\t00000000a80425fb", nil},
		{"no capabilities", `grep CapEff /proc/self/status`, "CapEff:\t0000000000000000", asUser},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := run(t, d, test.script, test.edit); got != test.want {
				t.Errorf("says %q; want %q", got, test.want)
			}
		})
	}
}

// The network namespace that the agent made is joined.
func TestNetworkNamespace(t *testing.T) {
	b := newBench(t)
	name := fmt.Sprintf("osb-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf("not run: ip netns add: %v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "delete", name).Run()
	var there unix.Stat_t
	check(t, unix.Stat("/run/netns/"+name, &there))
	got := run(t, b.open(t), "readlink /proc/self/ns/net", func(w *runtime.Workload) { w.NetNS = "/run/netns/" + name })
	if want := fmt.Sprintf("net:[%d]", there.Ino); got != want {
		t.Errorf("runs in %s; want %s", got, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
