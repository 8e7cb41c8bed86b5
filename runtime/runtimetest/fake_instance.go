package runtimetest

import (
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// fakeInstance is one instance of a Fake; the Fake's lock guards it.
type fakeInstance struct {
	listed   planner.Instance
	workload runtime.Workload
	behave   map[string]Behaviour // by container
	timers   []*time.Timer
	begun    bool // a container has run before its start was complete
}

func newFakeInstance(driver string, w runtime.Workload) *fakeInstance {
	return &fakeInstance{
		workload: w,
		behave:   map[string]Behaviour{},
		listed: planner.Instance{
			ID: w.ID, Driver: driver, Slot: w.Slot, Node: w.Node, Epoch: w.Epoch, Token: w.Token,
			Revision: w.Revision, State: planner.StatePartial, GracePeriod: w.Grace,
		},
	}
}

// end marks a container as ended: the one that exit names, else the first.
// It reports whether that ran.
func (f *Fake) end(i *fakeInstance, exit planner.Exit) bool {
	for k := range i.listed.Containers {
		c := &i.listed.Containers[k]
		if exit.Container != "" && exit.Container != c.Name {
			continue
		}
		if c.State != planner.StateRunning {
			return false
		}
		exit.Container = c.Name
		if exit.At.IsZero() {
			exit.At = time.Now()
		}
		c.State, c.Exit, c.PID = planner.StateExited, &exit, 0
		if i.listed.State == planner.StateRunning {
			i.listed.State, i.listed.Exit = planner.StateExited, &exit
		}
		f.record(i, false)
		return true
	}
	return false
}

// endLater ends a container after the time, if the instance is still the same.
func (f *Fake) endLater(i *fakeInstance, after time.Duration, exit planner.Exit) {
	i.timers = append(i.timers, time.AfterFunc(after, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.instances[i.listed.ID] == i {
			f.end(i, exit)
		}
	}))
}

// drop takes an instance out of the listing.
func (f *Fake) drop(i *fakeInstance) {
	for _, t := range i.timers {
		t.Stop()
	}
	delete(f.instances, i.listed.ID)
	f.record(i, true)
}

// record adds to the history and wakes those who wait.
func (f *Fake) record(i *fakeInstance, removed bool) {
	f.history = append(f.history, Event{At: time.Now(), Instance: copyInstance(i.listed), Removed: removed})
	f.notify()
}

func (i *fakeInstance) running() bool {
	return slices.ContainsFunc(i.listed.Containers, func(c planner.ContainerState) bool {
		return c.State == planner.StateRunning
	})
}

// copyInstance shares nothing that can change with the original.
func copyInstance(i planner.Instance) planner.Instance {
	i.Containers = slices.Clone(i.Containers)
	return i
}
