//go:build linux

package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// The test binary is its own shim, and with roleVariable set one of its own
// helpers.
const (
	roleVariable    = "ORPHEUS_TEST_ROLE"
	payloadVariable = "ORPHEUS_TEST_PAYLOAD"
	cgroupParent    = "orpheus-test"
)

func TestMain(m *testing.M) {
	MaybeShim()
	switch os.Getenv(roleVariable) {
	case "starter": // it takes no flags
		starter()
	case "nobody":
		os.Exit(m.Run())
	}
	code := m.Run()
	if err := removeCgroups(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := runtimetest.RemovePayload(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// removeCgroups takes away what the drivers of the tests made for themselves.
func removeCgroups() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	unified, v1 := mountsOf(string(mountinfo))
	var errs []error
	for _, root := range append(slices.Collect(maps.Values(v1)), unified) {
		if root != "" {
			errs = append(errs, removeGroup(filepath.Join(root, cgroupParent)))
		}
	}
	return errors.Join(errs...)
}

// payload is the path of the payload program.
func payload(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(payloadVariable); path != "" {
		return path
	}
	return runtimetest.BuildPayload(t)
}

// open makes a driver on the folder, with its own space among the cgroups.
func open(t *testing.T, c Config) *Driver {
	t.Helper()
	c.CgroupParent = cgroupParent
	if testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.cgroups.removeEmpty)
	return d
}

func conformance(t *testing.T, c Config) {
	c.StateDir = t.TempDir()
	program := payload(t)
	runtimetest.Conformance(t, runtimetest.Harness{
		New: func(t *testing.T) runtime.Driver { return open(t, c) },
		Container: func(_ *testing.T, args ...string) runtime.Container {
			return runtime.Container{Name: "main", Command: []string{program}, Args: args}
		},
		Leftovers: func(t *testing.T) []string { return leftovers(t, c.StateDir) },
	})
}

func TestConformance(t *testing.T) { conformance(t, Config{}) }

func TestConformanceWithoutCgroups(t *testing.T) { conformance(t, Config{NoCgroups: true}) }

// TestConformanceUnprivileged runs the suite as the user nobody.
func TestConformanceUnprivileged(t *testing.T) {
	if os.Getenv(roleVariable) == "nobody" || os.Geteuid() != 0 {
		conformance(t, Config{})
		return
	}
	dir, err := os.MkdirTemp("", "orpheus-process-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(copySelf(t, dir), "-test.run=^TestConformanceUnprivileged$", "-test.v="+strconv.FormatBool(testing.Verbose()))
	child.Dir = dir
	child.Env = []string{roleVariable + "=nobody", payloadVariable + "=" + payload(t), "TMPDIR=" + dir, "HOME=" + dir, "PATH=/usr/bin:/bin"}
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := child.CombinedOutput()
	t.Logf("as nobody:\n%s", out)
	if err != nil {
		t.Error(err)
	}
}

// copySelf copies the test binary to where every user may execute it.
func copySelf(t *testing.T, dir string) string {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "process.test")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// leftovers lists everything that a driver on the folder may leave behind:
// files, cgroups, shims and processes.
func leftovers(t *testing.T, stateDir string) []string {
	t.Helper()
	// Not open: that would take away the cgroups of the driver under test.
	d, err := New(Config{StateDir: stateDir, CgroupParent: cgroupParent})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	filepath.WalkDir(stateDir, func(path string, e os.DirEntry, err error) error {
		if err == nil && path != stateDir && e.Name() != hintFile {
			found = append(found, path)
		}
		return nil
	})
	ids, err := d.cgroups.ids()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		found = append(found, "cgroup "+id)
	}
	for _, pid := range append(strays(t, d), shims(t, stateDir)...) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		found = append(found, fmt.Sprintf("process %d %q", pid, line))
	}
	slices.Sort(found)
	return found
}

// strays lists the processes that carry a marker of the driver.
func strays(t *testing.T, d *Driver) []int {
	t.Helper()
	var found []int
	err := marked(func(value string) bool { return strings.HasPrefix(value, d.space+"/") },
		func(pid int) { found = append(found, pid) })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// shims lists the living shims on the folder.
func shims(t *testing.T, stateDir string) []int {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(pid int) bool {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		return !strings.Contains(string(line), "\x00"+shimVerb+"\x00") || !strings.HasPrefix(cwd, stateDir)
	})
}
