//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// slots of each service in the story.
var slots = map[string]int{"web": 6, "worker": 3}

// place is where an instance runs.
type place struct {
	service, slot string
	node          string
	id            string
	pid           int
	ready         bool
	current       bool   // it has the revision that its node is to run
	image         string // digest; "" for a process
	revision      planner.Revision
}

// placesOf lists what agents say that runs; nil = no answer.
func placesOf(all []*api.Status) (places []place) {
	for _, st := range all {
		if st == nil {
			continue
		}
		for _, s := range st.Services {
			for _, i := range s.Instances {
				if len(i.Containers) == 0 || i.Containers[0].State != string(planner.StateRunning) {
					continue
				}
				p := place{service: s.Name, slot: i.Slot, node: string(st.Node), id: i.ID, pid: i.Containers[0].PID,
					ready: i.Phase == planner.PhaseReady, current: i.Revision == s.Revision, revision: i.Revision}
				for _, digest := range i.Images {
					p.image = digest
				}
				places = append(places, p)
			}
		}
	}
	return places
}

// serving counts the slots of web with an instance that is ready.
func serving(places []place) int {
	ready := map[string]bool{}
	for _, p := range places {
		if p.service == "web" && p.ready {
			ready[p.slot] = true
		}
	}
	return len(ready)
}

// once says what keeps each slot from running once, as its manifest asks.
func once(places []place) (missing string) {
	runs := map[string][]place{}
	for _, p := range places {
		slot := p.service + "/" + p.slot
		runs[slot] = append(runs[slot], p)
	}
	wanted := 0
	for _, service := range slices.Sorted(maps.Keys(slots)) {
		for k := range slots[service] {
			slot := fmt.Sprintf("%s/%d", service, k)
			switch at := runs[slot]; {
			case len(at) != 1:
				return fmt.Sprintf("%s runs %d times", slot, len(at))
			case !at[0].ready:
				return fmt.Sprintf("%s on %s is not ready", slot, at[0].node)
			case !at[0].current:
				return fmt.Sprintf("%s on %s is not updated", slot, at[0].node)
			}
			wanted++
		}
	}
	if len(runs) != wanted {
		return fmt.Sprintf("%d slots run instead of %d", len(runs), wanted)
	}
	return ""
}

// settles waits until all nodes that are on follow a commit, and each slot
// runs once; more, if not nil, says what else is missing. It returns the fewest
// slots of web that were ready at any look.
func (s *story) settles(ctx context.Context, commit string, more func([]place) string) (fewest int, err error) {
	fewest = slots["web"]
	err = s.Await(ctx, func(all []*api.Status) string {
		places := placesOf(all)
		fewest = min(fewest, serving(places))
		if missing := s.follow(all, commit); missing != "" {
			return missing
		}
		if missing := once(places); missing != "" || more == nil {
			return missing
		}
		return more(places)
	})
	return fewest, err
}

// follow says which node that is on does not follow a commit yet.
func (s *story) follow(all []*api.Status, commit string) (missing string) {
	for k, st := range all {
		switch n := s.Nodes[k]; {
		case !n.On():
		case st == nil:
			return n.Name + " does not answer"
		case st.Repository.Applied.Hash != commit:
			return fmt.Sprintf("%s follows %.8s, not %.8s", n.Name, st.Repository.Applied.Hash, commit)
		}
	}
	return ""
}

// web lists the instances of web, by slot.
func (s *story) web(ctx context.Context) []place {
	places := slices.DeleteFunc(placesOf(s.Statuses(ctx)), func(p place) bool { return p.service != "web" })
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.slot+a.node, b.slot+b.node) })
	return places
}

// where says which slots of web run on which node.
func (s *story) where(ctx context.Context) {
	places := s.web(ctx)
	var words []string
	for _, n := range s.Nodes {
		var here []string
		for _, p := range places {
			if p.node == n.Name {
				here = append(here, "web-"+p.slot)
			}
		}
		if len(here) > 0 {
			words = append(words, n.Name+": "+strings.Join(here, " "))
		}
	}
	say("%s", strings.Join(words, " | "))
}

// knowAs says which of the nodes that are on does not yet know of a node that
// it is in a state, such as live.
func (s *story) knowAs(all []*api.Status, node *devfleet.Node, state string) (missing string) {
	for k, st := range all {
		if !s.Nodes[k].On() {
			continue
		}
		if st == nil || st.Fleet == nil {
			return s.Nodes[k].Name + " does not answer"
		}
		is := slices.IndexFunc(st.Fleet.Nodes, func(n api.FleetNode) bool { return string(n.Name) == node.Name })
		if is < 0 || st.Fleet.Nodes[is].State != state || string(st.Node) == node.Name && !st.Fleet.Registered {
			return fmt.Sprintf("%s is not %s for %s", node.Name, state, st.Node)
		}
	}
	return ""
}

// nodes shows the fleet's nodes, once their records tell of all leases that they
// are ready: those come a moment after the fact.
func (s *story) nodes(ctx context.Context) error {
	for {
		out, err := s.quiet(ctx, s.orpheus, "nodes", "-o", "json")
		if err != nil {
			return err
		}
		var report struct {
			Nodes []struct{ Leases, Ready int }
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			return fmt.Errorf("read what orpheus nodes says: %w", err)
		}
		waits := slices.ContainsFunc(report.Nodes, func(n struct{ Leases, Ready int }) bool { return n.Ready != n.Leases })
		if !waits {
			return s.cmd(ctx, s.orpheus, "nodes")
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: orpheus nodes says %s", out)
		}
	}
}

// answers asks web on each node that runs some of it.
func (s *story) answers(ctx context.Context) error {
	if !s.published() {
		return nil
	}
	places := s.web(ctx)
	fmt.Println()
	for _, n := range s.Nodes {
		if !slices.ContainsFunc(places, func(p place) bool { return p.node == n.Name }) {
			continue
		}
		url := fmt.Sprintf("http://%s:%d/", n.Address.Addr(), port)
		body, err := get(ctx, url)
		if err != nil {
			return err
		}
		// "web-0 2 17": host, version, process.
		words := strings.Fields(body)
		if len(words) != 3 {
			return fmt.Errorf("%s answers %q", url, body)
		}
		say("  $ curl %s\n  I am %s, version %s.", url, words[0], words[1])
	}
	return nil
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// A connection of its own: each may meet another instance.
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return string(body), err
}
