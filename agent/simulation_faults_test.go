package agent

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// simFault is a thing that may happen in a simulation. do reports whether it
// happened.
type simFault struct {
	name string
	do   func(s *simulation) bool
}

var faults = append(rolloutFaults, []simFault{
	{"commit: change of a service", func(s *simulation) bool { s.edit(s.rng.IntN(7)); s.commitWanted(); return true }},
	{"commit: several services", func(s *simulation) bool {
		for range 3 {
			s.edit(s.rng.IntN(7))
		}
		s.commitWanted()
		return true
	}},
	{"commit: delete a service", func(s *simulation) bool {
		if len(s.wanted) < 3 {
			return false
		}
		delete(s.wanted, s.anyWanted())
		s.commitWanted()
		return true
	}},
	{"commit: move files", func(s *simulation) bool {
		for id, svc := range s.wanted {
			svc.File = "moved/" + svc.File
			s.wanted[id] = svc
		}
		s.commitWanted()
		return true
	}},
	{"commit: unrelated", func(s *simulation) bool { s.commitWanted(); return true }},
	{"commit: approve deletions", func(s *simulation) bool { s.approveAll(); return true }},
	{"commit: file with faults", func(s *simulation) bool {
		svc := s.wanted[s.anyWanted()]
		s.commitAs(simCommit{kept: true}, nil, planner.Fault{File: svc.File, Line: 3, Reason: "broken"})
		return true
	}},
	{"commit: refused", func(s *simulation) bool {
		s.witness.committed(simCommit{kept: true})
		s.commits[len(s.commits)-1].hash = s.repo.refuse("fleet.yaml is missing").Hash
		return true
	}},
	{"registry: image missing", func(s *simulation) bool {
		ref := s.image()
		s.driver.DeleteImage(ref)
		return s.until("missing "+ref, 3*time.Minute, func() { s.driver.PushImage(ref) })
	}},
	{"registry: tag pushed again", func(s *simulation) bool { s.driver.PushImage(s.image()); return true }},
	{"registry: down", func(s *simulation) bool {
		s.driver.SetRegistry(runtimetest.ErrRegistryDown)
		return s.until("registry", 3*time.Minute, func() { s.driver.SetRegistry(nil) })
	}},
	{"images removed from the node", func(s *simulation) bool { s.driver.ForgetImages(); return true }},
	{"agent: cancelled and started", func(s *simulation) bool { s.crash(); s.begin(); return true }},
	{"agent: kill -9 and started", func(s *simulation) bool { s.kill9(); s.begin(); return true }},
	{"agent: killed twice in a row", func(s *simulation) bool {
		s.kill9()
		s.begin()
		s.pass(time.Duration(s.rng.IntN(1500)) * time.Millisecond)
		s.kill9()
		s.begin()
		return true
	}},
	{"agent: state folder lost", func(s *simulation) bool {
		s.kill9()
		s.state = s.freshDir()
		s.witness.stateLost()
		s.begin()
		return true
	}},
	{"agent: state file garbled", func(s *simulation) bool {
		s.kill9()
		if err := os.WriteFile(filepath.Join(s.state, statePath), []byte(`{"format":1,"followed":`), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.witness.stateLost()
		s.begin()
		return true
	}},
	{"agent: state cannot be written", func(s *simulation) bool {
		// A folder where the new file is to be: no write succeeds, as on a full disk.
		blocker := filepath.Join(s.state, statePath+".new")
		if !s.until("full disk", time.Minute, func() { _ = os.RemoveAll(blocker) }) {
			return false
		}
		_ = os.Remove(blocker)
		return os.MkdirAll(blocker, 0o700) == nil
	}},
	{"node: reboot", func(s *simulation) bool {
		s.kill9()
		s.driver.Reboot()
		s.procs.Reboot()
		_ = s.network.Sweep(context.Background(), nil)
		s.booted = time.Now()
		s.begin()
		return true
	}},
	{"containerd: down", func(s *simulation) bool {
		s.driver.SetUnavailable(true)
		return s.until("containerd", 90*time.Second, func() { s.driver.SetUnavailable(false) })
	}},
	{"containerd: listings hang", func(s *simulation) bool {
		s.hang.Store(true)
		return s.until("hang", time.Minute, func() { s.hang.Store(false) })
	}},
	{"process driver: down", func(s *simulation) bool {
		s.procs.SetUnavailable(true)
		return s.until("process", 90*time.Second, func() { s.procs.SetUnavailable(false) })
	}},
	{"instance: exits", func(s *simulation) bool {
		d, id := s.anyInstance()
		return id != "" && d.Exit(id, planner.Exit{Code: 1})
	}},
	{"instance: killed for memory", func(s *simulation) bool {
		d, id := s.anyInstance()
		return id != "" && d.Exit(id, planner.Exit{Code: 137, OOM: true})
	}},
	{"instance: removed by hand", func(s *simulation) bool {
		d, id := s.anyInstance()
		s.witness.byHand[id] = true
		return id != "" && d.Vanish(id)
	}},
	{"instance: starts fail", func(s *simulation) bool {
		name := s.anyWanted().Name
		s.misbehave(name, runtimetest.Behaviour{StartDelay: time.Second, StartError: errors.New("cannot start")})
		return s.until("behaviour", 3*time.Minute, s.behaveWell)
	}},
	{"instance: starts hang", func(s *simulation) bool {
		name := s.anyWanted().Name
		s.misbehave(name, runtimetest.Behaviour{StartDelay: 2 * time.Minute})
		return s.until("behaviour", 3*time.Minute, s.behaveWell)
	}},
	{"instance: crash loop", func(s *simulation) bool {
		name := s.anyWanted().Name
		s.misbehave(name, runtimetest.Behaviour{RunFor: 700 * time.Millisecond, Exit: &planner.Exit{Code: 2}})
		return s.until("behaviour", 3*time.Minute, s.behaveWell)
	}},
	{"network: fails", func(s *simulation) bool {
		s.net.Store(true)
		return s.until("network", time.Minute, func() { s.net.Store(false) })
	}},
	{"volumes: fail", func(s *simulation) bool {
		s.vol.Store(true)
		return s.until("volumes", time.Minute, func() { s.vol.Store(false) })
	}},
	{"git: down", func(s *simulation) bool {
		if !s.until("git", 3*time.Minute, func() { s.gitDown = time.Time{}; s.repo.fail(nil) }) {
			return false
		}
		s.gitDown = time.Now()
		s.repo.fail(errors.New("connection refused"))
		return true
	}},
}...)

func (s *simulation) kill9() {
	s.procs.LeavePartial(true)
	s.killHard()
	s.procs.LeavePartial(false)
	s.witness.look()
}

// misbehave says what the containers of a service do from now on.
func (s *simulation) misbehave(name string, b runtimetest.Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow[name] = b
}

func (s *simulation) behaveWell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.slow)
}

// begin starts a new agent.
func (s *simulation) begin() {
	s.start()
	s.witness.begun = time.Now()
}

func (s *simulation) anyWanted() planner.ServiceID {
	ids := slices.SortedFunc(maps.Keys(s.wanted), planner.ServiceID.Compare)
	return ids[s.rng.IntN(len(ids))]
}

func (s *simulation) image() string {
	return "registry.example.com/" + []string{"a", "b", "c"}[s.rng.IntN(3)]
}

// anyInstance is one of those the drivers have, "" if there is none.
func (s *simulation) anyInstance() (*runtimetest.Fake, string) {
	have := append(s.driver.Listing(), s.procs.Listing()...)
	if len(have) == 0 {
		return s.driver, ""
	}
	i := have[s.rng.IntN(len(have))]
	if i.Driver == planner.DriverProcess {
		return s.procs, i.ID
	}
	return s.driver, i.ID
}
