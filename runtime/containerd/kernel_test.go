//go:build linux

package containerd

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/cap"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// What a container finds of its limits: those of the manifest, as many files as
// there can be where it asks for no limit, and those of ours otherwise. What a
// containerd may not raise is told as what cannot be.
func TestUlimits(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	most, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		t.Fatal(err)
	}
	caps, err := cap.Current()
	if err != nil {
		t.Fatal(err)
	}
	// A Go program, as the payload is one, raises its soft limit of files.
	for _, c := range []struct {
		name    string
		ulimits []planner.Ulimit
		raises  bool
		want    []string
	}{
		{"none", nil, false, []string{fmt.Sprintf("Max open files %[1]d %[1]d", min(1<<20, own.Max))}},
		{"lower ones", []planner.Ulimit{{Name: "nofile", Soft: 1000, Hard: 2000}, {Name: "nproc", Soft: 500, Hard: 600}, {Name: "core"}}, false,
			[]string{" 2000 files", "Max processes 500 600", "Max core file size 0 0"}},
		{"a database's", []planner.Ulimit{{Name: "memlock", Soft: -1, Hard: -1}}, true, []string{"Max locked memory unlimited unlimited"}},
		{"no limit of files", []planner.Ulimit{{Name: "nofile", Soft: 1000, Hard: -1}}, true, []string{"Max open files " + strings.TrimSpace(string(most))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := b.workload(t, "show", "/proc/self/limits")
			w.Containers[0].Ulimits = c.ulimits
			if c.raises && !slices.Contains(caps, "CAP_SYS_RESOURCE") {
				if err := d.Start(t.Context(), w); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "may not raise") {
					t.Errorf("without the right to raise limits: %v; want ErrInvalid", err)
				}
				return
			}
			start(t, d, w)
			got := strings.Join(strings.Fields(logHas(t, w, "end: show")), " ")
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in %s", want, got)
				}
			}
		})
	}
}

// Parameters of the network are set in the instance's, and nowhere else; one
// that the kernel has not is told as what cannot be.
func TestSysctls(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	here, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	w := b.workload(t, "show", "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/fs/mqueue/msg_max")
	w.NetNS = newNetNS(t)
	w.Sysctls = []planner.Sysctl{
		{Name: "fs.mqueue.msg_max", Value: "11"}, {Name: "net.core.somaxconn", Value: "1234"}, {Name: "net.ipv4.ip_local_port_range", Value: "20000 30000"},
	}
	start(t, d, w)
	got := strings.Join(strings.Fields(logHas(t, w, "end: show")), " ")
	for _, want := range []string{"somaxconn: 1234 ", "ip_local_port_range: 20000 30000 ", "msg_max: 11 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if after, _ := os.ReadFile("/proc/sys/net/core/somaxconn"); string(after) != string(here) {
		t.Errorf("the node has %s after %s", after, here)
	}
	for _, s := range []planner.Sysctl{{Name: "net.core.there-is-none", Value: "1"}, {Name: "net.core.somaxconn", Value: "many"}} {
		w := b.workload(t, "show")
		w.NetNS, w.Sysctls = newNetNS(t), []planner.Sysctl{s}
		if err := d.Start(t.Context(), w); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "sys") {
			t.Errorf("%v: %v; want ErrInvalid", s, err)
		}
	}
}

// newNetNS is a network namespace of nobody, for as long as the test runs.
func newNetNS(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/netns"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	made := make(chan error)
	go func() {
		made <- func() error {
			goruntime.LockOSThread() // never unlocked: the thread ends
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}()
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

// Users by name are those of the image, with their groups there; a group that
// is named stands in the place of them.
func TestUserNames(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	ref, digest := push(t, b.registry, "user:2", imagetest.Options{Binary: b.payload, User: "4321"})
	eight := int64(8)
	for _, c := range []struct {
		sec              planner.Security
		uid, gid, groups string
	}{
		{planner.Security{RunAsUserName: "app"}, "1000", "1000", "1000 2000"},
		{planner.Security{RunAsUserName: "app:staff"}, "1000", "2000", "2000"},
		{planner.Security{RunAsUserName: "app", RunAsGroup: &eight}, "1000", "8", "8 2000"},
		{planner.Security{RunAsUserName: "root"}, "0", "0", "0"},
		{planner.Security{RunAsUserName: "app", SupplementalGroups: []int64{7, 2000}}, "1000", "1000", "7 1000 2000"},
		{planner.Security{RunAsUserName: "app"}, "1000", "1000", "1000 2000"}, // what was added for another is not kept
		{planner.Security{SupplementalGroups: []int64{7}}, "4321", "0", "0 7"},
	} {
		w := b.workload(t, "report")
		w.Containers[0].Image, w.Containers[0].Digest = ref, digest
		w.Containers[0].Security = c.sec
		start(t, d, w)
		if o, err := d.Owner(t.Context(), w); err != nil || fmt.Sprint(o.UID, " ", o.GID) != c.uid+" "+c.gid {
			t.Errorf("%+v: volumes are for %+v, %v; want %s and %s", c.sec, o, err, c.uid, c.gid)
		}
		log := logHas(t, w, "end: report")
		for _, want := range []string{"Uid: " + c.uid + "\t", "Gid: " + c.gid + "\t", "Groups: " + c.groups + "\n"} {
			if !strings.Contains(log, want) {
				t.Errorf("%+v: no %q in\n%s", c.sec, want, log)
			}
		}
	}
}
