package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/probe"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// probesPath is the folder of what probes have found, in the state folder.
const probesPath = "probes"

// newProbes makes the engine of probes, also beside an error. What it has to
// say reaches the loop as messages.
func (a *Agent) newProbes(dir string) (*probe.Engine, error) {
	made := os.MkdirAll(filepath.Dir(dir), stateMode)
	e, err := probe.New(probe.Config{
		Dir:   dir,
		Clock: func() time.Duration { return a.cfg.Clock().Boot },
		Log:   a.log,
		Changed: func() {
			select {
			case a.probeNews <- struct{}{}:
			default:
			}
		},
		Trouble: func(err error) { a.post(func() { a.problem("probes", err) }) },
	})
	return e, errors.Join(made, err)
}

// watchProbes has probes made, and a pass after each that had news.
func (a *Agent) watchProbes(ctx context.Context) {
	a.work(func() { _ = a.probes.Run(ctx) }) // ends with ctx only
	a.work(func() {
		for {
			select {
			case <-a.probeNews:
				a.post(func() {})
			case <-ctx.Done():
				return
			}
		}
	})
}

// followProbes has exactly the containers probed that run.
func (a *Agent) followProbes() {
	all, _ := a.instances()
	var targets []probe.Target
	for _, i := range all {
		t := a.tracks[i.ID]
		if i.State != planner.StateRunning || t == nil || !t.running {
			continue
		}
		for _, c := range a.state.specs[i.Revision].Containers {
			if !c.Probed() {
				continue
			}
			place, known := a.placeOf(i)
			targets = append(targets, probe.Target{
				Instance: i.ID, Container: c, Run: runOf(i, c.Name), Started: t.since, Place: place, Idle: !known || a.leaving(i.ID),
			})
		}
	}
	a.probes.Follow(targets)
}

// placeOf says where an instance is reached; false = it is not known yet.
func (a *Agent) placeOf(i planner.Instance) (probe.Place, bool) {
	d := a.drivers[i.Driver]
	if d == nil || d.info.Name == "" {
		return probe.Place{}, false
	}
	place := probe.Place{Address: "127.0.0.1"}
	place.Exec, _ = d.driver.(runtime.Execer)
	if !d.info.Capabilities.NetNS || a.state.specs[i.Revision].HostNetwork {
		return place, true
	}
	at := a.attached[i.ID]
	place.NetNS, place.Address = at.NetNS, at.Address
	return place, at.NetNS != ""
}

// runOf tells one run of a container from any other of its instance.
func runOf(i planner.Instance, container string) string {
	pid := 0
	for _, c := range i.Containers {
		if c.Name == container {
			pid = c.PID
		}
	}
	return strconv.Itoa(pid) + "@" + strconv.FormatInt(i.StartedAt.UnixNano(), 10)
}

// leaving reports whether an instance is being stopped.
func (a *Agent) leaving(id string) bool {
	f := a.flights[id]
	return f != nil && (f.action.Kind == planner.ActionStop || f.action.Kind == planner.ActionKill || f.action.Kind == planner.ActionRemove)
}

// ready reports whether an instance counts as ready: its startup and readiness
// probes say so, or, without any, it has been running for long enough.
func (a *Agent) ready(i planner.Instance, now planner.Time) bool {
	t := a.tracks[i.ID]
	if i.State != planner.StateRunning || t == nil || !t.running || a.runsOnce(i) {
		return false
	}
	spec := a.state.specs[i.Revision]
	if !spec.Gated() {
		return now.Boot-t.since >= readyAfter
	}
	return a.unready(i, spec) == ""
}

// unready names the first container that is not ready by its probes, and the
// kind of probe; "" = all are.
func (a *Agent) unready(i planner.Instance, spec planner.Template) (container string) {
	for _, c := range spec.Containers {
		if c.Gated() && !a.probes.Found(i.ID, c.Name, runOf(i, c.Name)).Ready(c) {
			return c.Name
		}
	}
	return ""
}

// doomed lists the instances that their probes want restarted, and those that
// were stopped for it.
func (a *Agent) doomed(all []planner.Instance) map[string]planner.Doom {
	out := map[string]planner.Doom{}
	for _, i := range all {
		t := a.tracks[i.ID]
		switch {
		case t == nil:
		case i.State == planner.StateRunning && t.running:
			if doom, is := a.doomOf(i); is {
				out[i.ID] = doom
			}
		case i.State == planner.StateExited && t.doom != "":
			out[i.ID] = planner.Doom{Reason: t.doom}
		}
	}
	return out
}

func (a *Agent) doomOf(i planner.Instance) (planner.Doom, bool) {
	spec := a.state.specs[i.Revision]
	for _, c := range spec.Containers {
		if !c.Probed() {
			continue
		}
		found := a.probes.Found(i.ID, c.Name, runOf(i, c.Name))
		if kind := found.Doomed(c); kind != "" {
			p := c.Probe(kind)
			reason := fmt.Sprintf("%s probe failed%s", kind, describeProbe(c, a.asked(i, c, p), found.Said[kind], found.Of(kind)))
			return planner.Doom{Reason: reason, Grace: p.Grace(spec.Grace())}, true
		}
	}
	return planner.Doom{}, false
}

// asked is a probe as it is carried out: with the address and the number of the
// port that it asks.
func (a *Agent) asked(i planner.Instance, c planner.Container, p *planner.Probe) *planner.Probe {
	place, _ := a.placeOf(i)
	port := func(name string) string {
		if n := c.PortNumber(name); n != 0 {
			return strconv.Itoa(n)
		}
		return name
	}
	out := *p
	switch {
	case p.HTTPGet != nil:
		get := *p.HTTPGet
		get.Host, get.Port = cmp.Or(get.Host, place.Address), port(get.Port)
		out.HTTPGet = &get
	case p.TCPSocket != nil:
		socket := *p.TCPSocket
		socket.Host, socket.Port = cmp.Or(socket.Host, place.Address), port(socket.Port)
		out.TCPSocket = &socket
	case p.GRPC != nil:
		call := *p.GRPC
		call.Port = port(call.Port)
		out.GRPC = &call
	}
	return &out
}

// describeProbe is what a probe does, and what it found last.
func describeProbe(c planner.Container, p *planner.Probe, said string, checks planner.Checks) string {
	text := ": " + p.String()
	if c.Name != planner.MainContainer {
		text = " in container " + c.Name + text
	}
	if said != "" {
		text += ": " + said
	}
	if far := checks.Describe(*p); far != "" {
		text += " " + far
	}
	return text
}

// phaseOf is where a listed instance is in its life, and why it is not ready.
func (a *Agent) phaseOf(i planner.Instance) (planner.Phase, string) {
	switch {
	case a.runsOnce(i):
		return oncePhase(i)
	case i.State == planner.StateExited:
		return planner.PhaseFailed, planner.DescribeExit(i.Exit)
	case a.ready(i, a.cfg.Clock()):
		return planner.PhaseReady, ""
	case i.State != planner.StateRunning:
		return planner.PhaseStarting, ""
	}
	spec := a.state.specs[i.Revision]
	for _, c := range spec.Containers {
		if !c.Gated() {
			continue
		}
		found := a.probes.Found(i.ID, c.Name, runOf(i, c.Name))
		if found.Ready(c) {
			continue
		}
		kind := planner.ProbeReadiness
		if !found.Started(c) {
			kind = planner.ProbeStartup
		}
		phase, what := planner.PhaseStarting, "not ready yet"
		if found.Of(kind).Verdict == planner.CheckFailure {
			phase, what = planner.PhaseUnhealthy, "not ready"
		}
		return phase, what + describeProbe(c, a.asked(i, c, c.Probe(kind)), found.Said[kind], found.Of(kind))
	}
	return planner.PhaseStarting, ""
}

// toldPhase is phaseOf for other nodes: its reason changes with the phase
// alone, not with every check, and holds nothing that a check brought back.
func (a *Agent) toldPhase(i planner.Instance) (planner.Phase, string) {
	phase, _ := a.phaseOf(i)
	if phase == planner.PhaseUnhealthy {
		return phase, "not ready: its probe fails in container " + a.unready(i, a.state.specs[i.Revision])
	}
	return phase, ""
}

// reportProbes lists what the probes of an instance have found.
func (a *Agent) reportProbes(i planner.Instance) []api.Probe {
	if i.State != planner.StateRunning {
		return nil
	}
	var out []api.Probe
	for _, c := range a.state.specs[i.Revision].Containers {
		if !c.Probed() {
			continue
		}
		found := a.probes.Found(i.ID, c.Name, runOf(i, c.Name))
		for _, kind := range planner.ProbeKinds {
			p := c.Probe(kind)
			if p == nil {
				continue
			}
			checks := found.Of(kind)
			told := api.Probe{
				Container: c.Name, Kind: kind, Check: a.asked(i, c, p).String(), Result: checks.Verdict, FailureThreshold: p.Failures(),
				Message: found.Said[kind], Output: found.Wrote[kind],
			}
			if checks.Last == planner.CheckFailure {
				told.Failures = checks.InARow
			}
			out = append(out, told)
		}
	}
	return out
}
