package fleettest

import (
	"fmt"
	"maps"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// machine is one computer of the fleet.
type machine struct {
	w       *World
	node    planner.NodeName
	called  planner.NodeName // in traces: tells a clone from the original
	life    planner.Life
	boots   int
	key     signer
	address string // "" = peers cannot reach it
	cores   int64  // thousandths
	memory  int64  // bytes; 0 = nobody knows
	other   bool   // its planner is of a version that comes to other decisions

	clock   clock
	disk    disk
	up      bool
	paused  bool
	waiting []func() // what comes in while it is paused
	proc    *process // nil = no agent runs
	crash   crash    // armed

	cutGit, cutPeers bool
	side             int           // of a split network
	slow             time.Duration // added to every way to the server
	lose             lossKind      // befalls the next push

	instances  map[string]*instance
	images     map[string]bool
	startFails bool // starts fail
	silent     bool // the driver cannot be listed
}

// disk is what a machine keeps when its agent or its power goes.
type disk struct {
	memory   fleet.Memory
	followed planner.Followed
	specs    map[planner.Revision]planner.Template
	tips     []*commit // what the clone holds, with all that is below
	begun    map[onceKey]bool
}

// onceKey is a lease whose instance runs once.
type onceKey struct {
	service  planner.ServiceID
	token    uint64
	revision planner.Revision
}

// crash says at which step the agent is to die.
type crash int

const (
	crashNever      crash = iota
	crashBeforeSave       // the memory of what it just read is lost
	crashAfterSave        // it is on disk, but the push that follows is not sent
)

// lossKind is what befalls one push.
type lossKind int

const (
	loseNothing lossKind = iota
	loseReply            // carried out, the answer is lost
	loseRequest          // never arrives
	loseLate             // carried out after the agent gave up
)

// add makes a machine, which is off.
func (w *World) add(name planner.NodeName) *machine {
	m := &machine{
		w: w, node: name, called: name, key: w.newKey(), cores: 4000,
		life:      planner.Life{Machine: fmt.Sprintf("machine-%d", len(w.machines)), State: fmt.Sprintf("state-%d", len(w.machines))},
		address:   fmt.Sprintf("10.0.%d.%d:7000", len(w.machines)/250, len(w.machines)%250+1),
		instances: map[string]*instance{}, images: map[string]bool{},
	}
	m.disk.followed.Services = map[planner.ServiceID]planner.Service{}
	m.disk.specs = map[planner.Revision]planner.Template{}
	m.disk.begun = map[onceKey]bool{}
	w.machines = append(w.machines, m)
	return m
}

// clone copies a machine with its disk: both have the same name, key and state
// folder.
func (w *World) clone(of *machine) *machine {
	m := w.add(of.node)
	m.called = of.called + "-clone"
	m.key, m.life, m.boots = of.key, of.life, of.boots+1000
	m.disk, m.cores, m.memory, m.other = of.disk, of.cores, of.memory, of.other
	m.disk.memory, m.disk.begun = of.disk.memory, maps.Clone(of.disk.begun)
	return m
}

// on boots the machine: what ran is gone, the agent starts.
func (m *machine) on() {
	m.boots++
	m.up = true
	m.life.Boot = fmt.Sprintf("boot-%d-%d", len(m.called), m.boots)
	m.clock = clock{since: m.w.now, boot: time.Duration(m.w.rng.IntN(60)+1) * time.Second, drift: m.clock.drift, skew: m.clock.skew}
	m.silent, m.startFails, m.paused, m.waiting = false, false, false, nil
	m.instances = m.afterReboot()
	m.w.say(m.called, "machine boots")
	m.startAgent()
}

// off cuts the power.
func (m *machine) off() {
	if !m.up {
		return
	}
	m.w.say(m.called, "machine goes off")
	m.killAgent()
	m.up, m.paused, m.waiting = false, false, nil
	m.w.witness.losesAll(m)
	for _, i := range m.instances {
		i.State = planner.StateExited
		i.Exit = &planner.Exit{Unknown: true}
	}
	m.w.linksMoved()
}

// killAgent is kill -9.
func (m *machine) killAgent() {
	p := m.proc
	if p == nil {
		return
	}
	m.w.say(m.called, "agent is killed")
	p.alive = false
	m.proc = nil
	m.crash = crashNever
	p.cutOff()
	m.w.linksMoved()
}

// pause stops everything on the machine, as a hypervisor does. Its boot clock
// stands still or goes on.
func (m *machine) pause(still bool) {
	if !m.up || m.paused {
		return
	}
	m.w.say(m.called, "machine is paused")
	m.clock.set(m.w.now)
	m.paused, m.clock.still = true, still
	m.w.linksMoved()
}

func (m *machine) resume() {
	if !m.paused {
		return
	}
	m.w.say(m.called, "machine goes on")
	m.paused = false
	if m.clock.still {
		m.clock.still, m.clock.since = false, m.w.now
	}
	waiting := m.waiting
	m.waiting = nil
	for _, do := range waiting {
		do()
	}
	m.w.linksMoved()
}

// works reports whether an agent runs and is not paused.
func (m *machine) works() bool { return m.proc != nil && !m.paused }
