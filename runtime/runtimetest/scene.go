package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// patience is how long the suite waits for something that must happen.
const patience = 60 * time.Second

// scene is one case under way: a driver, and what the case needs to use it.
type scene struct {
	*testing.T
	h      Harness
	info   runtime.Info
	driver runtime.Driver
	logs   string // folder of the logs
}

func newScene(t *testing.T, h Harness, info runtime.Info) *scene {
	s := &scene{T: t, h: h, info: info, logs: t.TempDir()}
	var before []string
	if h.Leftovers != nil {
		before = h.Leftovers(t)
	}
	t.Cleanup(func() {
		if h.Leftovers == nil || t.Failed() {
			return
		}
		var after []string
		// Kernel and backend let go of some things only a moment later.
		if !within(patience, func() bool { after = h.Leftovers(t); return slices.Equal(before, after) }) {
			t.Errorf("something was left behind:\nbefore %q\nafter  %q", before, after)
		}
	})
	s.driver = h.New(t)
	if have := s.list(); len(have) > 0 {
		t.Fatalf("the backend is not empty at the start of the case: %+v", have)
	}
	t.Cleanup(s.clean)
	return s
}

// clean takes away what the case left, through a new driver object: the last
// one may be in any state.
func (s *scene) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.close()
	d := s.h.New(s.T)
	defer closeDriver(d)
	have, err := d.List(ctx)
	if err != nil {
		s.Errorf("clean up: List: %v", err)
	}
	for _, i := range have {
		if err := d.Stop(ctx, i.ID, 0); err != nil {
			s.Errorf("clean up: Stop %s: %v", i.ID, err)
		}
		if err := d.Remove(ctx, i.ID); err != nil {
			s.Errorf("clean up: Remove %s: %v", i.ID, err)
		}
	}
	if have, err := d.List(ctx); err != nil || len(have) > 0 {
		s.Errorf("after removing everything List returns %+v, %v; want nothing", have, err)
	}
}

// restartAgent replaces the driver object by a new one.
func (s *scene) restartAgent() {
	s.close()
	s.driver = s.h.New(s.T)
}

func (s *scene) close() {
	closeDriver(s.driver)
	s.driver = nil
}

func closeDriver(d runtime.Driver) {
	if c, ok := d.(io.Closer); ok {
		c.Close()
	}
}

var serial atomic.Int64

// id is a new instance id that starts with the name.
func id(name string) string {
	return fmt.Sprintf("%s-%x-%d", name, os.Getpid(), serial.Add(1))
}

// workload is one instance that runs the payload with these arguments.
func (s *scene) workload(args ...string) runtime.Workload {
	s.Helper()
	i := id("conf")
	c := s.h.Container(s.T, args...)
	c.LogPath = filepath.Join(s.logs, i+".log")
	return runtime.Workload{
		ID:         i,
		Slot:       planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "conf"}, Name: "0"},
		Node:       "node-1",
		Epoch:      1,
		Token:      1,
		Revision:   "r1-0000",
		Containers: []runtime.Container{c},
		Grace:      5 * time.Second,
	}
}

// begin prepares and starts the workload, and waits until the payload's
// signal handlers stand when it says so.
func (s *scene) begin(w runtime.Workload) runtime.Workload {
	s.Helper()
	s.prepare(w)
	if err := s.driver.Start(s.Context(), w); err != nil {
		s.Fatalf("Start %s: %v", w.ID, err)
	}
	return w
}

// beginReady is begin, and waits until the payload has printed "ready".
func (s *scene) beginReady(w runtime.Workload) runtime.Workload {
	s.Helper()
	s.begin(w)
	if !s.h.Simulated {
		s.awaitLog(w, "ready\n")
	}
	return w
}

func (s *scene) prepare(w runtime.Workload) {
	s.Helper()
	if _, err := s.driver.Prepare(s.Context(), w, nil); err != nil {
		s.Fatalf("Prepare %s: %v", w.ID, err)
	}
}

func (s *scene) list() []planner.Instance {
	s.Helper()
	have, err := s.driver.List(s.Context())
	if err != nil {
		s.Fatalf("List: %v", err)
	}
	return have
}

// find returns the instance of the listing; nil = not listed.
func (s *scene) find(id string) *planner.Instance {
	s.Helper()
	for _, i := range s.list() {
		if i.ID == id {
			return &i
		}
	}
	return nil
}

// must returns the instance of the listing, in the state.
func (s *scene) must(id string, state planner.InstanceState) planner.Instance {
	s.Helper()
	i := s.find(id)
	if i == nil {
		s.Fatalf("%s is not listed; want it %s", id, state)
	}
	if i.State != state {
		s.Fatalf("%s is %s; want it %s: %+v", id, i.State, state, *i)
	}
	return *i
}

func (s *scene) stop(id string, grace time.Duration) {
	s.Helper()
	if err := s.driver.Stop(s.Context(), id, grace); err != nil {
		s.Fatalf("Stop %s: %v", id, err)
	}
}

func (s *scene) remove(id string) {
	s.Helper()
	if err := s.driver.Remove(s.Context(), id); err != nil {
		s.Fatalf("Remove %s: %v", id, err)
	}
}

// wait returns the exit of the instance, which must come.
func (s *scene) wait(id string) planner.Exit {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	e, err := s.driver.Wait(ctx, id)
	if err != nil {
		s.Fatalf("Wait %s: %v", id, err)
	}
	return e
}

// pid is the process id of the first container of a running instance.
func (s *scene) pid(id string) int {
	s.Helper()
	i := s.must(id, planner.StateRunning)
	if len(i.Containers) == 0 || i.Containers[0].PID <= 0 {
		s.Fatalf("%s has no process id in the listing: %+v", id, i)
	}
	return i.Containers[0].PID
}

// kill is kill -9 from outside.
func (s *scene) kill(pid int) {
	s.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		s.Fatalf("kill %d: %v", pid, err)
	}
}

func (s *scene) log(w runtime.Workload) string {
	s.Helper()
	text, err := os.ReadFile(w.Containers[0].LogPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Fatalf("read log: %v", err)
	}
	return string(text)
}

// awaitLog waits until the log holds the text.
func (s *scene) awaitLog(w runtime.Workload, text string) {
	s.Helper()
	if !within(patience, func() bool { return strings.Contains(s.log(w), text) }) {
		s.Fatalf("the log of %s has no %q: %q", w.ID, text, s.log(w))
	}
}

// within polls until the condition holds; false = it did not in time.
func within(d time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// carriers lists the processes of this machine with the token among their
// arguments. A zombie has no arguments: it does not count.
func carriers(t *testing.T, token string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatalf("list processes: %v", err)
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && slices.ContainsFunc(bytes.Split(line, []byte{0}), func(a []byte) bool { return string(a) == token }) {
			found = append(found, pid)
		}
	}
	return found
}
