package main

import (
	"context"

	"fmt"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

const (
	// againSSH is how long after a stream broke its agent is asked again.
	againSSH = 5 * time.Second
	// newNodes is how often records are read for nodes to listen to as well.
	newNodes = 15 * time.Second
)

// listener follows streams of several agents until it is interrupted. A stream that
// breaks is told and asked for again.
type listener struct {
	*env
	fleet *sshFleet
	// stream follows one agent until its stream ends. again = not for the first time.
	stream func(ctx context.Context, a *nodeAgent, again bool) error
	// missed: what is written while an agent is not reached is not told later.
	missed bool

	mu sync.Mutex // of what is printed
}

// say prints something about the streams beside them.
func (l *listener) say(node planner.NodeName, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.stderr, "%s: %s\n", manifest.Printable(string(node)), manifest.Printable(text))
}

// follow listens to an agent until ctx ends.
func (l *listener) follow(ctx context.Context, node planner.NodeName) {
	begun, told := false, ""
	for ctx.Err() == nil {
		err := l.once(ctx, node, begun, func() {
			if told != "" && l.missed && begun {
				l.say(node, "is reached again; what was written meanwhile is not shown")
			} else if told != "" {
				l.say(node, "is reached again")
			}
			begun, told = true, ""
		})
		if ctx.Err() != nil {
			return
		}
		why := "the stream has ended"
		if err != nil {
			why = nodeAnswer[struct{}]{err: err}.reason()
		}
		if why != told {
			l.say(node, why+"; it is asked again")
		}
		told = why
		select {
		case <-time.After(againSSH):
		case <-ctx.Done():
		}
	}
}

// once reaches an agent, a few at a time, and listens to it.
func (l *listener) once(ctx context.Context, node planner.NodeName, again bool, reached func()) error {
	select {
	case l.fleet.gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	a, _, err := l.fleet.reach(ctx, node)
	<-l.fleet.gate
	if err != nil {
		return err
	}
	defer a.close()
	reached()
	return l.stream(ctx, a, again)
}

// followAll listens to nodes, and to those that more names from time to time, until
// ctx ends.
func (l *listener) followAll(ctx context.Context, nodes []planner.NodeName, more func(context.Context) ([]planner.NodeName, error)) {
	var done sync.WaitGroup
	defer done.Wait()
	listened := map[planner.NodeName]bool{}
	tick := time.NewTicker(newNodes)
	defer tick.Stop()
	for {
		for _, node := range nodes {
			if !listened[node] && len(listened) < maxSSHStreams {
				listened[node] = true
				done.Go(func() { l.follow(ctx, node) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Without an answer those that are known are listened to.
		if now, err := more(ctx); err == nil {
			nodes = now
		}
	}
}

// errTooMany is what to say where more nodes would have to be listened to than can
// be.
func errTooMany(nodes int) error {
	if nodes <= maxSSHStreams {
		return nil
	}
	return fmt.Errorf("that runs on %d nodes, and %d are listened to at once: name a slot, or leave out --follow", nodes, maxSSHStreams)
}

// errIncomplete is what a verb ends with that could not ask all nodes, and has said
// which.
var errIncomplete = &exitError{code: exitFailed}
