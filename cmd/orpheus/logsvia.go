package main

import (
	"context"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// nodeLogLine is a line and the node it was written on, for programs.
type nodeLogLine struct {
	Node planner.NodeName `json:"node"`
	api.LogLine
}

// logsVia prints what a service or slot wrote, on all nodes that the records name:
// one node after the other, or, following, as it comes.
func (e *env) logsVia(ctx context.Context, o remoteOptions, name string, req api.LogRequest, asJSON bool) error {
	fleet := newSSHFleet(o.viaOptions)
	defer fleet.close()
	c, err := e.findCalled(ctx, fleet, o.recordOptions, name)
	if err != nil {
		return err
	}
	if err := errTooMany(len(c.nodes)); err != nil && req.Follow {
		return err
	}
	answers := ask(ctx, fleet, c.nodes, sameStatus)
	if ctx.Err() != nil {
		return nil
	}
	silent := unreachedOf(answers)
	if len(silent) == len(c.nodes) {
		return errNobody(silent)
	}
	req.Service, req.Slot = c.service.id, c.slot
	l := &listener{env: e, fleet: fleet, missed: true}
	emit := e.nodeLogPrinter(l, c.asService(answers), req, asJSON)
	if !req.Follow {
		e.warnUnreached(silent)
		return e.logsInTurn(ctx, l, answers, req, emit)
	}
	l.stream = func(ctx context.Context, a *nodeAgent, again bool) error {
		asked := req
		if again {
			asked.Tail = 0
		}
		return a.client.Logs(ctx, asked, func(line api.LogLine) error { return emit(a.node, line) })
	}
	l.followAll(ctx, c.nodes, func(ctx context.Context) ([]planner.NodeName, error) {
		now, err := e.findCalled(ctx, fleet, o.recordOptions, name)
		return now.nodes, err
	})
	return nil
}

// logsInTurn prints what there is, one node after the other. What one cannot tell is
// said, and the others follow.
func (e *env) logsInTurn(ctx context.Context, l *listener, answers []nodeAnswer[*api.Status], req api.LogRequest, emit func(planner.NodeName, api.LogLine) error) error {
	failed := false
	for _, answer := range answers {
		if answer.err != nil {
			failed = true
			continue
		}
		a, err := l.fleet.of(answer.node)
		if err == nil {
			var stop error
			err = a.client.Logs(ctx, req, func(line api.LogLine) error {
				stop = emit(a.node, line)
				return stop
			})
			if stop != nil {
				return stop
			}
			if len(answers) > sshAtOnce {
				a.close()
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			failed = true
			l.say(answer.node, nodeAnswer[struct{}]{err: err}.reason())
		}
	}
	if failed {
		return errIncomplete
	}
	return nil
}

// asService is a service as all nodes together have it.
func (c fleetTarget) asService(answers []nodeAnswer[*api.Status]) api.Service {
	out := api.Service{Namespace: c.service.id.Namespace, Name: c.service.id.Name, Replicas: c.service.Replicas}
	for _, l := range c.service.Slots {
		out.Instances = append(out.Instances, api.Instance{Slot: l.Slot})
	}
	for _, a := range answers {
		if a.err != nil {
			continue
		}
		if k := slices.IndexFunc(a.value.Services, func(s api.Service) bool { return s.ID() == c.service.id }); k >= 0 {
			out.Instances = append(out.Instances, a.value.Services[k].Instances...)
		}
	}
	return out
}

// nodeLogPrinter prints one line at a time.
func (e *env) nodeLogPrinter(l *listener, service api.Service, req api.LogRequest, asJSON bool) func(planner.NodeName, api.LogLine) error {
	p := newLogPrinter(e.stdout, service, req)
	return func(node planner.NodeName, line api.LogLine) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if asJSON {
			return writeJSON(e.stdout, nodeLogLine{node, line}, true)
		}
		return p.print(line)
	}
}
