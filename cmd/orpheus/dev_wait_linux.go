package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// devLook is how often the agents of a fleet are asked while somebody waits.
const devLook = time.Second

// awaitServices waits until all that is committed runs, and every node knows so.
func (d *dev) awaitServices(ctx context.Context, st *devState, o waitOptions, began time.Time) error {
	head, err := (&checkout{top: st.Repository}).git(ctx, "rev-parse", "--verify", "refs/heads/main^{commit}")
	if err != nil {
		return fmt.Errorf("the fleet is up; wait for its services: %w", err)
	}
	fmt.Fprintln(d.stdout, "\nWaiting until its services run")
	var last *verdict
	before := false
	found, err := await(ctx, d.stdout, o, devLook, func(ctx context.Context) (awaited, error) {
		out, v := standingOfNodes(st.Nodes, askAgents(ctx, st.Nodes), strings.TrimSpace(head), d.now())
		last = v
		if out.ready {
			if why := unknownTo(ctx, st.Nodes, v); why != "" {
				out.ready, out.says = false, why
			}
		}
		// A service for every node has no slots before its leases are written.
		out.ready, before = out.ready && before, out.ready
		return out, nil
	})
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; the fleet is up and goes on")
	case err != nil:
		return err
	case !found.ready:
		fmt.Fprintf(d.stdout, "\nThe fleet is up, but not all of its services:\n")
		s := d.newScreen()
		last.draw(s)
		s.prose("", plain, plain, "To ask a node: orpheus status --socket "+st.Nodes[0].Socket)
		return errors.Join(s.writeTo(d.stdout), &exitError{code: exitNotReady})
	}
	_, err = fmt.Fprintf(d.stdout, "All is up, %.1f s after the beginning: %s.\n", d.now().Sub(began).Seconds(), last.sentence())
	return err
}

// standingOfNodes is how the services of a fleet stand, as all of its agents
// together tell.
func standingOfNodes(nodes []devNode, agents map[string]*api.Status, commit string, now time.Time) (awaited, *verdict) {
	worst := map[string]standing{}
	note := func(t standing) {
		if known, is := worst[t.service]; !is || slices.Index(grades, t.grade) < slices.Index(grades, known.grade) {
			worst[t.service] = t
		}
	}
	v := &verdict{none: "nothing is to run"}
	var silent, behind, alone, pulls []string
	ready := true
	for _, n := range nodes {
		st := agents[n.Name]
		if st == nil {
			silent = append(silent, n.Name)
			continue
		}
		if st.Repository.Applied.Hash != commit && st.Repository.Refused == "" {
			behind = append(behind, n.Name)
		}
		if st.Fleet != nil && countLive(st.Fleet) < len(nodes) {
			alone = append(alone, n.Name)
		}
		ready = ready && asAsked(st)
		own := verdictOf(st, now)
		for _, t := range slices.Concat(own.standings, own.elsewhere) {
			note(t)
		}
		v.bad, v.todo, v.passes = joined(v.bad, own.bad), joined(v.todo, own.todo), v.passes || own.passes
		for _, s := range st.Services {
			for _, p := range s.Pulls {
				pulls = append(pulls, n.Name+" pulls "+p.Image)
			}
		}
	}
	for _, say := range []struct {
		nodes []string
		what  string
	}{{silent, "no answer from "}, {behind, "the commit is not followed yet by "}, {alone, "not all nodes are known yet to "}} {
		if len(say.nodes) > 0 {
			v.busy = append(v.busy, say.what+someOf(say.nodes))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(worst)) {
		v.standings = append(v.standings, worst[name])
	}
	ready = ready && len(v.busy) == 0
	says := v.sentence()
	if len(pulls) > 0 {
		says += "; " + someOf(pulls)
	}
	return awaited{ready: ready, rests: !ready && v.rests(), says: says}, v
}

// joined adds to a list what it does not have.
func joined(all, more []string) []string {
	for _, text := range more {
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

func countLive(f *api.Fleet) int {
	n := 0
	for _, node := range f.Nodes {
		if node.State == nodeLive {
			n++
		}
	}
	return n
}

// unknownTo asks every node about every service: only a node that knows of an
// instance leads connections to it. It tells the first that does not; "" = all do.
func unknownTo(ctx context.Context, nodes []devNode, v *verdict) string {
	for _, n := range nodes {
		client, err := api.NewClient(n.Socket)
		if err != nil {
			return n.Name + ": " + err.Error()
		}
		defer client.Close()
		for _, t := range v.standings {
			r, err := client.Rollout(ctx, planner.ParseServiceID(t.service))
			switch {
			case err != nil:
				return n.Name + ": " + err.Error()
			case r != nil && !r.Steady():
				return n.Name + " does not know yet that " + t.service + " is ready"
			}
		}
	}
	return ""
}
