//go:build linux

package containerd

import (
	"errors"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// What a process inside sees of its rights, by what the manifest says.
func TestSecurity(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	yes, uid, gid := true, int64(10001), int64(10002)
	denied := map[string]string{
		"mount": "operation not permitted", "unshare-user": "operation not permitted",
		"sysctl": "read-only", "cgroup": "read-only", "oom_score_adj": "0",
	}
	for _, c := range []struct {
		name string
		sec  planner.Security
		want map[string]string // substring per line of the report
	}{
		// Docker's capabilities, seccomp, no way to more privileges.
		{"default", planner.Security{}, map[string]string{
			"CapEff": "00000000a80425fb", "NoNewPrivs": "1", "Seccomp": "2", "Uid": "0", "write-root": "works", "write-tmp": "works",
		}},
		// Nothing at all; a user without a name has no groups but its own.
		{"hardened", planner.Security{RunAsUser: &uid, RunAsGroup: &gid, ReadOnlyRootFilesystem: true, DropCapabilities: []string{"ALL"}}, map[string]string{
			"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
			"Uid": "10001", "Gid": "10002", "write-root": "read-only", "write-tmp": "read-only",
		}},
		// Drop comes before add: exactly one is left.
		{"one capability", planner.Security{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}, map[string]string{
			"CapEff": "0000000000000400", "NoNewPrivs": "1",
		}},
		{"one less", planner.Security{DropCapabilities: []string{"NET_RAW"}}, map[string]string{"CapEff": "00000000a80405fb"}},
		{"escalation", planner.Security{AllowPrivilegeEscalation: &yes}, map[string]string{"NoNewPrivs": "0", "Seccomp": "2", "CapEff": "00000000a80425fb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := reportOf(t, b, d, c.sec)
			for _, wants := range []map[string]string{denied, c.want} {
				for name, want := range wants {
					if got := report[name]; !strings.Contains(got, want) {
						t.Errorf("%s is %q; want %q in it", name, got, want)
					}
				}
			}
		})
	}
	t.Run("privileged", func(t *testing.T) {
		report := reportOf(t, b, d, planner.Security{Privileged: true})
		for name, want := range map[string]string{"NoNewPrivs": "0", "Seccomp": "0", "mount": "works"} {
			if got := report[name]; !strings.Contains(got, want) {
				t.Errorf("%s is %q; want %q in it", name, got, want)
			}
		}
		if len(report["CapEff"]) == 0 || report["CapEff"] == "00000000a80425fb" {
			t.Errorf("CapEff is %q; want more than by default", report["CapEff"])
		}
	})
}

// reportOf runs the payload's report and reads it.
func reportOf(t *testing.T, b *bench, d *Driver, sec planner.Security) map[string]string {
	t.Helper()
	w := b.workload(t, "report")
	w.Containers[0].Security = sec
	start(t, d, w)
	report := map[string]string{}
	for line := range strings.Lines(logHas(t, w, "end: report")) {
		name, value, _ := strings.Cut(line, ": ")
		report[name] = strings.TrimSpace(value)
	}
	return report
}

// The image's USER is looked up in the image's own files; the manifest's ids
// come first.
func TestUserOfTheImage(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	id := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		image            string
		sec              planner.Security
		uid, gid, groups string
	}{
		{"", planner.Security{}, "0", "0", "0"},
		{"app", planner.Security{}, "1000", "1000", "1000 2000"},
		{"1000", planner.Security{}, "1000", "1000", "1000 2000"},
		{"app:staff", planner.Security{}, "1000", "2000", "2000"},
		{"4321", planner.Security{}, "4321", "0", "0"},
		{"app", planner.Security{RunAsUser: id(7)}, "7", "0", "0"},
		{"app", planner.Security{RunAsGroup: id(8)}, "1000", "8", "8 2000"},
		{"app", planner.Security{RunAsUser: id(0)}, "0", "0", "0"},
	} {
		ref, digest := push(t, b.registry, "user:1", imagetest.Options{Binary: b.payload, User: c.image})
		w := b.workload(t, "report")
		w.Containers[0].Image, w.Containers[0].Digest = ref, digest
		w.Containers[0].Security = c.sec
		start(t, d, w)
		log := logHas(t, w, "end: report")
		for name, want := range map[string]string{"Uid": c.uid, "Gid": c.gid} {
			if !strings.Contains(log, name+": "+want+"\t") {
				t.Errorf("USER %q, %+v: %s is not %s:\n%s", c.image, c.sec, name, want, log)
			}
		}
		if !strings.Contains(log, "Groups: "+c.groups+"\n") {
			t.Errorf("USER %q, %+v: groups are not %s:\n%s", c.image, c.sec, c.groups, log)
		}
	}
	ref, digest := push(t, b.registry, "user:1", imagetest.Options{Binary: b.payload, User: "nobody-knows"})
	w := b.workload(t, "report")
	w.Containers[0].Image, w.Containers[0].Digest = ref, digest
	if _, err := d.Prepare(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), w); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "nobody-knows") {
		t.Errorf("Start as an unknown user: %v; want ErrInvalid naming it", err)
	}
}

// What a workload may not ask for is refused before anything is made.
func TestStartRefuses(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	for name, change := range map[string]func(*runtime.Workload){
		"mount over the root":     func(w *runtime.Workload) { w.Containers[0].Mounts = []runtime.Mount{{Source: "/tmp", Target: "/"}} },
		"mount of a relative":     func(w *runtime.Workload) { w.Containers[0].Mounts = []runtime.Mount{{Source: "tmp", Target: "/x"}} },
		"device outside /dev":     func(w *runtime.Workload) { w.Containers[0].Devices = []string{"/etc/passwd"} },
		"device with dots":        func(w *runtime.Workload) { w.Containers[0].Devices = []string{"/dev/../etc/passwd"} },
		"device that is none":     func(w *runtime.Workload) { w.Containers[0].Devices = []string{"/dev/there-is-none"} },
		"unknown capability":      func(w *runtime.Workload) { w.Containers[0].Security.AddCapabilities = []string{"FLY"} },
		"id with a slash":         func(w *runtime.Workload) { w.ID = "../x" },
		"no containers":           func(w *runtime.Workload) { w.Containers = nil },
		"label that does not fit": func(w *runtime.Workload) { w.Revision = planner.Revision(strings.Repeat("r", 5000)) },
		"folder for a program":    func(w *runtime.Workload) { w.Containers[0].Command = []string{"/etc"} },
	} {
		w := b.workload(t, "lines")
		if _, err := d.Prepare(t.Context(), w, nil); err != nil {
			t.Fatal(err)
		}
		change(&w)
		if err := d.Start(t.Context(), w); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
	}
}
