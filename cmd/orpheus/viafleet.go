package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

const (
	// sshAtOnce is how many agents are asked at once; of a fleet that has no more
	// nodes the connections stay open from one look to the next.
	sshAtOnce = 8
	// maxSSHStreams is how many nodes are listened to at once.
	maxSSHStreams = 64
)

// sshFleet reaches the agents of a fleet's nodes.
type sshFleet struct {
	via  viaOptions
	gate chan struct{} // a place in it is an agent that is being asked

	mu     sync.Mutex
	agents map[planner.NodeName]*nodeAgent
	order  []planner.NodeName // of all that take part, those that are live first
}

// nodeAgent is the agent of one node.
type nodeAgent struct {
	node   planner.NodeName
	host   string
	err    error // why there is no way to it; then client is nil
	client *api.Client

	mu    sync.Mutex
	conns map[*sshConn]bool // that are open
}

func newSSHFleet(via viaOptions) *sshFleet {
	return &sshFleet{via: via, gate: make(chan struct{}, sshAtOnce), agents: map[planner.NodeName]*nodeAgent{}}
}

// know takes the nodes of a fleet from its records: all that have not left it.
func (f *sshFleet) know(b *recordBook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var live, others []planner.NodeName
	for _, name := range slices.Sorted(maps.Keys(b.view.Nodes)) {
		n := b.view.Nodes[name]
		switch {
		case n.Record.Retired:
			continue
		case n.Live():
			live = append(live, name)
		default:
			others = append(others, name)
		}
		host, err := f.via.hostOf(name, n.Record.Address)
		if old := f.agents[name]; old != nil {
			if old.host == host {
				continue
			}
			old.close()
		}
		f.agents[name] = f.agent(name, host, err)
	}
	f.order = append(live, others...)
}

func (f *sshFleet) agent(name planner.NodeName, host string, err error) *nodeAgent {
	a := &nodeAgent{node: name, host: host, err: err, conns: map[*sshConn]bool{}}
	if err == nil {
		a.client = api.NewDialedClient(string(name), func(ctx context.Context) (net.Conn, error) {
			c, err := dialSSH(ctx, f.via, host)
			if err != nil {
				return nil, &notReached{node: name, err: err}
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.conns[c] = true
			c.onEnd = func() { a.forget(c) }
			return c, nil
		})
	}
	return a
}

// notReached is why the agent of a node does not answer.
type notReached struct {
	node planner.NodeName
	err  error
}

func (e *notReached) Error() string { return fmt.Sprintf("%s is not reached: %v", e.node, e.err) }
func (e *notReached) Unwrap() error { return e.err }

// forget lets go of a connection that has ended.
func (a *nodeAgent) forget(c *sshConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
}

// close ends all connections to an agent.
func (a *nodeAgent) close() {
	a.mu.Lock()
	conns := a.conns
	a.conns = map[*sshConn]bool{}
	a.mu.Unlock()
	if a.client != nil {
		a.client.Close()
	}
	for c := range conns {
		_ = c.Close() // it cannot fail
	}
}

// close ends all connections.
func (f *sshFleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var done sync.WaitGroup
	for _, a := range f.agents {
		done.Go(a.close)
	}
	done.Wait()
}

// of is the agent of a node that the records name.
func (f *sshFleet) of(node planner.NodeName) (*nodeAgent, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.agents[node]
	switch {
	case a == nil:
		return nil, &notReached{node, errors.New("no record of it is verified")}
	case a.err != nil:
		return nil, &notReached{node, a.err}
	}
	return a, nil
}

// reach asks an agent for its status, and makes sure that it is the node's: the
// user's ssh may lead anywhere.
func (f *sshFleet) reach(ctx context.Context, node planner.NodeName) (*nodeAgent, *api.Status, error) {
	a, err := f.of(node)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.via.timeout, fmt.Errorf("no answer within %s", f.via.timeout))
	defer cancel()
	st, err := a.client.Status(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, &notReached{node, context.Cause(ctx)}
	case err != nil:
		return nil, nil, asNotReached(node, err)
	case st.Node != node:
		a.close()
		return nil, nil, &notReached{node, fmt.Errorf("the agent at %s is that of node %s: correct --ssh-host or your ssh configuration", a.host, manifest.Printable(string(st.Node)))}
	}
	return a, st, nil
}

// asNotReached says of an error whose node it is.
func asNotReached(node planner.NodeName, err error) error {
	var known *notReached
	if errors.As(err, &known) {
		return known
	}
	return &notReached{node, err}
}

// nodeAnswer is what the agent of a node told; err = it was not reached, or did not
// tell.
type nodeAnswer[T any] struct {
	node  planner.NodeName
	host  string
	value T
	err   error
}

// reason is why there is no answer, on one line without the node's name.
func (a nodeAnswer[T]) reason() string {
	err := a.err
	var known *notReached
	if errors.As(err, &known) {
		err = known.err
	}
	return planner.OneLine(err.Error(), maxShownReason)
}

// ask asks the agents of nodes, a few at once, and returns what they told in the
// order of nodes. One that does not answer holds up nobody else for longer than the
// time it has.
func ask[T any](ctx context.Context, f *sshFleet, nodes []planner.NodeName, question func(context.Context, *api.Client, *api.Status) (T, error)) []nodeAnswer[T] {
	out := make([]nodeAnswer[T], len(nodes))
	var done sync.WaitGroup
	for k, node := range nodes {
		select {
		case f.gate <- struct{}{}:
		case <-ctx.Done():
			out[k] = nodeAnswer[T]{node: node, err: ctx.Err()}
			continue
		}
		done.Go(func() {
			defer func() { <-f.gate }()
			out[k] = askOne(ctx, f, node, len(nodes) <= sshAtOnce, question)
		})
	}
	done.Wait()
	return out
}

func askOne[T any](ctx context.Context, f *sshFleet, node planner.NodeName, keep bool, question func(context.Context, *api.Client, *api.Status) (T, error)) nodeAnswer[T] {
	out := nodeAnswer[T]{node: node}
	a, st, err := f.reach(ctx, node)
	if err != nil {
		out.err = err
		return out
	}
	out.host = a.host
	ctx, cancel := context.WithTimeout(ctx, f.via.timeout)
	defer cancel()
	if out.value, err = question(ctx, a.client, st); err != nil {
		out.err = asNotReached(node, err)
	}
	if !keep || err != nil {
		a.close()
	}
	return out
}

// unreachedNode is a node whose agent told nothing.
type unreachedNode struct {
	Node planner.NodeName `json:"node"`
	Why  string           `json:"why"`
}

// unreachedOf lists those.
func unreachedOf[T any](answers []nodeAnswer[T]) []unreachedNode {
	var out []unreachedNode
	for _, a := range answers {
		if a.err != nil {
			out = append(out, unreachedNode{a.node, a.reason()})
		}
	}
	return out
}

// maxNamedUnreached is how many of them a screen names.
const maxNamedUnreached = 12

// drawUnreached says which agents told nothing.
func drawUnreached(s *screen, nodes []unreachedNode) {
	if len(nodes) == 0 {
		return
	}
	s.blank()
	s.line(s.paint(bold, "NOT REACHED"))
	shown := nodes
	if len(nodes) > maxNamedUnreached && !s.all {
		shown = nodes[:maxNamedUnreached]
	}
	for _, n := range shown {
		s.prose(manifest.Printable(string(n.Node))+"  ", plain, yellow, n.Why)
	}
	if n := len(nodes) - len(shown); n > 0 {
		s.prose("", plain, yellow, fmt.Sprintf("and %s more", count(n, "node")))
	}
}

// warnUnreached says the same beside what goes elsewhere.
func (e *env) warnUnreached(nodes []unreachedNode) {
	for _, n := range nodes {
		fmt.Fprintf(e.stderr, "%s is not reached: %s\n", manifest.Printable(string(n.Node)), manifest.Printable(n.Why))
	}
}

// errNobody is what to say where not one agent was reached.
func errNobody(nodes []unreachedNode) error {
	var said []string
	for _, n := range nodes[:min(len(nodes), maxNamedUnreached)] {
		said = append(said, fmt.Sprintf("%s is not reached: %s", n.Node, n.Why))
	}
	if n := len(nodes) - len(said); n > 0 {
		said = append(said, fmt.Sprintf("and %s more", count(n, "node")))
	}
	return errors.New(strings.Join(said, "\n"))
}
