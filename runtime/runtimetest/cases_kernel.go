package runtimetest

import (
	"errors"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// kernelCases are about what the kernel keeps of a process beside its program.
var kernelCases = []testCase{
	{name: "Ulimits", needs: all(real, needs("Ulimits", func(c runtime.Capabilities) bool { return c.Ulimits })), run: func(s *scene) {
		// A Go program raises its own soft limit of files to the hard one.
		ulimits := []planner.Ulimit{{Name: "nofile", Soft: 200, Hard: 200}, {Name: "core"}, {Name: "msgqueue", Soft: 1000, Hard: 2000}}
		limited := func(from, text string) {
			for _, want := range []string{"Max open files 200 200 files", "Max core file size 0 0 bytes", "Max msgqueue size 1000 2000 bytes"} {
				if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
					s.Errorf("%s: no %q in\n%s", from, want, text)
				}
			}
		}
		w := s.workload("show", "/proc/self/limits")
		w.Containers[0].Ulimits = ulimits
		s.begin(w)
		if e := s.wait(w.ID); e.Code != 0 {
			s.Fatalf("exit is %+v: %s", e, s.log(w))
		}
		s.awaitLog(w, "Max realtime timeout")
		limited("the program", s.log(w))

		w = s.workload("sleep")
		w.Containers[0].Ulimits = ulimits
		s.beginReady(w)
		var out strings.Builder
		if code, err := s.exec(s.Context(), w, &out, "show", "/proc/self/limits"); err == nil && code == 0 {
			limited("a command beside it", out.String())
		} else if !errors.Is(err, errors.ErrUnsupported) {
			s.Errorf("Exec: code %d, %v", code, err)
		}
	}},

	{name: "Ulimits/Impossible", needs: all(real, needs("Ulimits", func(c runtime.Capabilities) bool { return c.Ulimits })), run: func(s *scene) {
		for _, u := range []planner.Ulimit{
			{Name: "nofile", Soft: 1 << 40, Hard: 1 << 40}, // more than the kernel allows
			{Name: "core", Soft: 2, Hard: 1},
			{Name: "files", Soft: 1, Hard: 1},
		} {
			w := s.workload("sleep")
			w.Containers[0].Ulimits = []planner.Ulimit{u}
			s.refused(w, "ulimit")
		}
	}},

	{name: "Sysctls", needs: all(real, needs("Sysctls", func(c runtime.Capabilities) bool { return c.Sysctls })), run: func(s *scene) {
		w := s.workload("show", "/proc/sys/kernel/shmmni")
		w.Sysctls = []planner.Sysctl{{Name: "kernel.shmmni", Value: "1234"}}
		s.begin(w)
		s.wait(w.ID)
		s.awaitLog(w, "1234\n")

		for _, name := range []string{"kernel.panic", "net.core.somaxconn", "net/../kernel/panic"} { // without a network of its own
			w := s.workload("sleep")
			w.Sysctls = []planner.Sysctl{{Name: name, Value: "1"}}
			s.refused(w, name)
		}
	}},

	{name: "SupplementalGroups", needs: all(real, needs("UserNames", func(c runtime.Capabilities) bool { return c.UserNames })), run: func(s *scene) {
		uid := int64(12345)
		w := s.workload("id")
		w.Containers[0].Security = planner.Security{RunAsUser: &uid, RunAsGroup: &uid, SupplementalGroups: []int64{2345, 3456}}
		s.begin(w)
		s.wait(w.ID)
		s.awaitLog(w, "uid 12345 gid 12345 groups [")
		if text := s.log(w); !strings.Contains(text, "[2345 3456") { // then its own, with some drivers
			s.Errorf("%q: want the groups 2345 and 3456", text)
		}
	}},

	{name: "UserNames", needs: all(real, needs("UserNames", func(c runtime.Capabilities) bool { return c.UserNames })), run: func(s *scene) {
		w := s.workload("id")
		w.Containers[0].Security.RunAsUserName = "root" // every system has that one
		s.begin(w)
		s.wait(w.ID)
		s.awaitLog(w, "uid 0 gid 0 groups [")

		w = s.workload("id")
		w.Containers[0].Security.RunAsUserName = "nobody-knows"
		s.refused(w, "nobody-knows")
	}},
}

// refused starts what no driver can start as it is: the error says so and names
// what is wrong.
func (s *scene) refused(w runtime.Workload, names string) {
	s.Helper()
	if _, err := s.driver.Prepare(s.Context(), w, nil); err != nil {
		s.Fatal(err)
	}
	if err := s.driver.Start(s.Context(), w); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), names) {
		s.Errorf("Start: %v; want ErrInvalid naming %q", err, names)
	}
}
