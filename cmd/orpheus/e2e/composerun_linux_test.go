package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestComposeCorpusRuns has a fleet of three nodes run every file of the corpus
// that loads, many at once, each in a namespace of its own, and asks the
// instances for what the file is about. Files that publish the same port, as
// people's do, come one after the other.
func TestComposeCorpusRuns(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3, CPU: "32", Memory: "64Gi"})
	for _, n := range f.Nodes {
		n.Configure(composeConfig(f.Registry.Host))
		f.must(n.Within(pretendDocker))
	}
	var all []composeRun
	var services []planner.Service
	for _, c := range composeCases(t) {
		if c.loads() {
			run := composeRun{composeCase: c, services: loadCompose(t, c).Services}
			all = append(all, run)
			services = slices.AppendSeq(services, maps.Values(run.services))
		}
	}
	f.pushComposeImages(t, services)
	started := false
	var before []composeRun
	for _, batch := range batches(all) {
		f.changeRuns(before, batch)
		if !started {
			f.must(f.StartAgents())
			started = true
		}
		f.runsAll(batch)
		f.checkRuns(batch)
		before = batch
	}
}

// pretendDocker puts a file where Docker has its socket, for this node alone.
func pretendDocker() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount on /run: %w", err)
	}
	return os.WriteFile("/run/docker.sock", []byte("no docker\n"), 0o600)
}

// composeRun is a case with what becomes of it.
type composeRun struct {
	composeCase
	services map[planner.ServiceID]planner.Service
}

// opens are the ports of nodes that it takes.
func (r composeRun) opens() []string {
	var ports []string
	for _, s := range r.services {
		for _, p := range s.Ports {
			if p.Publish != nil {
				ports = append(ports, fmt.Sprint(p.Protocol, p.Publish.Port))
			}
		}
	}
	return ports
}

// batches are runs that can be there at the same time.
func batches(all []composeRun) [][]composeRun {
	var out [][]composeRun
	var taken []map[string]bool
next:
	for _, r := range all {
		for k := range out {
			if !slices.ContainsFunc(r.opens(), func(p string) bool { return taken[k][p] }) {
				out[k] = append(out[k], r)
				for _, p := range r.opens() {
					taken[k][p] = true
				}
				continue next
			}
		}
		out, taken = append(out, []composeRun{r}), append(taken, map[string]bool{})
		for _, p := range r.opens() {
			taken[len(taken)-1][p] = true
		}
	}
	return out
}

// changeRuns commits some runs in the place of others, whose end it approves.
func (f *fleet) changeRuns(before, after []composeRun) {
	f.t.Helper()
	files := map[string]string{}
	for _, r := range before {
		for name := range repositoryWith(f.t, "", r.composeCase) {
			files[name] = gitsynctest.Delete
		}
	}
	var cases []composeCase
	for _, r := range after {
		cases = append(cases, r.composeCase)
	}
	maps.Copy(files, repositoryWith(f.t, strings.Replace(threeQuick, "spec: {nodes: [node-1, node-2, node-3], pollInterval: 1s}", "spec:\n  nodes: [node-1, node-2, node-3]\n  pollInterval: 1s", 1), cases...))
	hash := f.commit("other projects", files)
	if len(before) == 0 {
		return
	}
	f.await("the deletion waits for a word", 2*patience, func(all []*api.Status) string {
		for _, st := range all {
			if st == nil || !slices.ContainsFunc(st.Services, func(s api.Service) bool { return s.Approve != "" }) {
				return "a node has not asked"
			}
		}
		return ""
	})
	f.commit("approve\n\nPrune-Approved: "+hash, map[string]string{"README.md": "others\n"})
}

// runsAll waits until all services of some runs are wholly ready, and nothing
// else runs.
func (f *fleet) runsAll(runs []composeRun) {
	f.t.Helper()
	want := map[string]int{}
	for _, r := range runs {
		for id, s := range r.services {
			switch {
			case slices.Contains(r.held, id.Name):
				want[id.String()] = 0
			case s.EveryNode:
				want[id.String()] = len(f.Nodes)
			default:
				want[id.String()] = int(s.Replicas)
			}
		}
	}
	took := f.await("all projects are ready", 4*patience, func(all []*api.Status) string {
		ready, messages := map[string]int{}, map[string]string{}
		for _, st := range all {
			if st == nil {
				return "a node does not answer"
			}
			for _, s := range st.Services {
				id := planner.ServiceID{Namespace: s.Namespace, Name: s.Name}.String()
				if s.Message != "" {
					messages[id] = s.Message
				}
				for _, i := range s.Instances {
					if i.Phase == planner.PhaseReady {
						ready[id]++
					}
				}
			}
		}
		var missing []string
		for _, id := range slices.Sorted(maps.Keys(want)) {
			if ready[id] != want[id] {
				missing = append(missing, fmt.Sprintf("%s: %d of %d ready: %s", id, ready[id], want[id], messages[id]))
			} else if want[id] == 0 && !strings.Contains(messages[id], "is refused by this node") {
				missing = append(missing, id+" does not say why it is held: "+messages[id])
			}
		}
		for id := range ready {
			if _, asked := want[id]; !asked && ready[id] > 0 {
				missing = append(missing, id+" runs")
			}
		}
		return strings.Join(missing, "\n")
	})
	f.t.Logf("%d projects with %d services were ready after %.1f s", len(runs), len(want), took.Seconds())
}

// composeCheck asks an instance of a service (see the payload's ask.go), or of
// what stands in asks' place:
//
//	tcp PORT, udp PORT   every node, from outside
//	closed PORT          no node, from outside
//	end                  has its program end, and waits until it is back
//	after SERVICE        it began after that
//	logs SLOT            what a slot wrote
type composeCheck struct{ service, ask, want string }

// checkRuns asks a few projects at a time.
func (f *fleet) checkRuns(runs []composeRun) {
	f.t.Helper()
	var wait sync.WaitGroup
	places := make(chan struct{}, 4)
	for _, r := range runs {
		checks := composeChecks[r.folder]
		if len(checks) == 0 {
			f.t.Errorf("nothing is asked of %s", r.folder)
		}
		wait.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			for _, c := range checks {
				f.eventuallySays(r, c)
			}
		})
	}
	wait.Wait()
}

// eventuallySays waits for the answer that a check wants.
func (f *fleet) eventuallySays(r composeRun, c composeCheck) {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	got := ""
	for {
		if now := f.says(ctx, r, c); ctx.Err() == nil {
			got = now
		}
		if c.want == "" || c.want[0] != '=' && strings.Contains(got, c.want) || c.want[0] == '=' && got == c.want[1:] {
			return
		}
		select {
		case <-ctx.Done():
			f.t.Errorf("%s: %s: %s: says %q, want %q", r.folder, c.service, c.ask, got, c.want)
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}
