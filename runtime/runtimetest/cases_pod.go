package runtimetest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var (
	pods   = needs("Init", func(c runtime.Capabilities) bool { return c.Init })
	mounts = needs("Mounts", func(c runtime.Capabilities) bool { return c.Mounts })
)

var podCases = []testCase{
	{name: "Init/Order", needs: all(real, pods, mounts), run: func(s *scene) {
		dir := s.TempDir()
		w := s.workload("append", "/data/order", "main")
		w.Init = []runtime.Container{
			s.container("first", "append", "/data/order", "first "),
			s.container("second", "append", "/data/order", "second "),
		}
		for _, cs := range [][]runtime.Container{w.Init, w.Containers} {
			for k := range cs {
				cs[k].Mounts = []runtime.Mount{{Volume: "data", Source: dir, Target: "/data"}}
			}
		}
		s.begin(w)
		if e := s.wait(w.ID); e.Code != 0 || e.Container != "main" {
			s.Fatalf("exit is %+v; want main with code 0", e)
		}
		order, err := os.ReadFile(filepath.Join(dir, "order"))
		if err != nil || string(order) != "first second main" {
			s.Errorf("order is %q, %v", order, err)
		}
	}},

	{name: "Init/FailureLeavesNothing", needs: pods, run: func(s *scene) {
		w := s.workload("sleep")
		w.Init = []runtime.Container{s.container("ok", "exit", "0"), s.container("setup", "exit", "7")}
		s.prepare(w)
		err := s.driver.Start(s.Context(), w)
		if err == nil || !strings.Contains(err.Error(), "setup") || !strings.Contains(err.Error(), "7") {
			s.Errorf("Start: %v; want an error naming the init container and its code", err)
		}
		if i := s.find(w.ID); i != nil {
			s.Errorf("listed after a failed start: %+v", *i)
		}
	}},

	{name: "Pod/OneContainerEnds", needs: pods, run: func(s *scene) {
		w := s.workload("exit", "5")
		w.Containers = append(w.Containers, s.container("sidecar", "ignore"))
		s.begin(w)
		if e := s.wait(w.ID); e.Container != "main" || e.Code != 5 {
			s.Errorf("exit is %+v; want main with code 5", e)
		}
		i := s.must(w.ID, planner.StateExited)
		states := map[string]planner.InstanceState{}
		for _, c := range i.Containers {
			states[c.Name] = c.State
		}
		if states["main"] != planner.StateExited || states["sidecar"] != planner.StateRunning {
			s.Errorf("containers are %+v; want main exited and sidecar running", i.Containers)
		}
		s.stop(w.ID, 0)
		for _, c := range s.must(w.ID, planner.StateExited).Containers {
			if c.State != planner.StateExited {
				s.Errorf("after Stop %s is %s", c.Name, c.State)
			}
		}
	}},

	{name: "Mounts/ReadAndWrite", needs: all(real, mounts), run: func(s *scene) {
		dir := s.TempDir()
		w := s.workload("write", "/some/where/file", "hello")
		w.Containers[0].Mounts = []runtime.Mount{{Volume: "v", Source: dir, Target: "/some/where"}}
		s.begin(w)
		if e := s.wait(w.ID); e.Code != 0 {
			s.Fatalf("exit is %+v; log %q", e, s.log(w))
		}
		if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "hello" {
			s.Errorf("the volume holds %q, %v; want hello", text, err)
		}
	}},

	{name: "Mounts/ReadOnly", needs: all(real, mounts), run: func(s *scene) {
		dir := s.TempDir()
		w := s.workload("write", "/data/file", "hello")
		w.Containers[0].Mounts = []runtime.Mount{{Volume: "v", Source: dir, Target: "/data", ReadOnly: true}}
		s.begin(w)
		if e := s.wait(w.ID); e.Code != 1 {
			s.Errorf("exit is %+v; want code 1: the volume is read-only", e)
		}
		if _, err := os.Stat(filepath.Join(dir, "file")); err == nil {
			s.Error("a file was written through a read-only mount")
		}
	}},
}

// container is a further container of a workload, with its own log.
func (s *scene) container(name string, args ...string) runtime.Container {
	s.Helper()
	c := s.h.Container(s.T, args...)
	c.Name = name
	c.LogPath = filepath.Join(s.logs, id(name)+".log")
	return c
}
