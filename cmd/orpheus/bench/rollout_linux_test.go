package bench

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

const (
	rolledReplicas = 10
	rollouts       = 3 // of each kind, after one to warm up
	crashes        = 5
)

// look is how often both sides are asked how far they are.
const look = 20 * time.Millisecond

// BenchmarkRolloutBesideSwarm rolls a new version of a service of ten replicas
// out, start-first, one at a time and five at a time, in turns with Docker
// Swarm: on one node, as Swarm, and on three. An update of ours has ended when
// each new instance has said that it is ready and nothing is left of the old
// ones; Swarm is asked for its own word, which knows of no readiness here. Then
// a process is killed on both sides.
func BenchmarkRolloutBesideSwarm(b *testing.B) {
	program, err := imagetest.BuildPayload(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	ours := []*rolled{newRolled(b, 1, program), newRolled(b, 3, program)}
	theirs := newSwarm(b, program) // nil where there is no Docker
	for _, parallel := range []int{1, 5} {
		took := map[string]*turn{}
		note := func(who string, count bool, d turn) {
			if took[who] == nil {
				took[who] = &turn{}
			}
			if count {
				took[who].add(d)
			}
		}
		if theirs != nil {
			theirs.begin(parallel)
		}
		for n := range rollouts + 1 {
			for _, f := range ours {
				note(f.name, n > 0, f.update(b, parallel))
			}
			if theirs != nil {
				note("swarm", n > 0, theirs.update())
			}
		}
		if theirs != nil {
			theirs.end()
		}
		for _, f := range ours {
			what := fmt.Sprintf("%d replicas, %d at a time, %s", rolledReplicas, parallel, f.name)
			beside := map[string]string{}
			if s := took["swarm"]; s != nil {
				beside["last"], beside["done"] = "Swarm "+spread(s.last), "Swarm "+spread(s.done)
			}
			table.add(what+": commit → last new one runs", spread(took[f.name].last), beside["last"], "")
			table.add(what+": commit → completed", spread(took[f.name].done), beside["done"], "faster than Swarm")
			b.ReportMetric(ms(median(took[f.name].done)), fmt.Sprintf("%s-by-%d-ms", f.metric, parallel))
		}
		if s := took["swarm"]; s != nil {
			b.ReportMetric(ms(median(s.done)), fmt.Sprintf("swarm-by-%d-ms", parallel))
		}
	}
	crash(b, ours[0], theirs)
	b.ReportMetric(0, "ns/op")
}

// turn holds how long updates took until the last new instance ran, and until
// all was done.
type turn struct{ last, done []time.Duration }

func (t *turn) add(u turn) { t.last, t.done = append(t.last, u.last...), append(t.done, u.done...) }

// rolled is a fleet of ours with the one service.
type rolled struct {
	*devfleet.Cluster
	name, metric string
	image        string
	version      int
}

func newRolled(b *testing.B, nodes int, program string) *rolled {
	b.Helper()
	if why := devfleet.Missing(planner.DriverContainerd); why != "" {
		b.Skip("not run: " + why)
	}
	build(b)
	c, err := devfleet.NewCluster(b.Context(), devfleet.ClusterOptions{
		Orpheus: orpheus, Payload: program, Driver: planner.DriverContainerd, Nodes: nodes, LocalPath: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	f := &rolled{Cluster: c, name: fmt.Sprintf("%d nodes", nodes), metric: fmt.Sprintf("nodes%d", nodes)}
	if nodes == 1 {
		f.name = "1 node"
	}
	b.Cleanup(func() {
		if b.Failed() {
			for _, n := range c.Nodes {
				b.Logf("last words of %s:\n%s", n.Name, n.AgentLog(30))
			}
		}
		if err := c.Close(); err != nil {
			b.Errorf("take the fleet away: %v", err)
		}
	})
	if f.image, _, err = c.PushImage("payload:1", "1"); err != nil {
		b.Fatal(err)
	}
	if err := c.StartAgents(); err != nil {
		b.Fatal(err)
	}
	f.update(b, 1)
	return f
}

// manifest is the service at its version.
func (f *rolled) manifest(parallel int) string {
	text := service("web", f.image, rolledReplicas, strconv.Itoa(f.version)) +
		"  ports: [{name: http, containerPort: 8080, port: 80}]\n" +
		"  readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}\n"
	if parallel > 1 {
		text += fmt.Sprintf("  update: {maxSurge: %d}\n", parallel)
	}
	return text
}

// update commits a new version and waits until it is rolled out.
func (f *rolled) update(b *testing.B, parallel int) turn {
	b.Helper()
	f.version++
	commit, err := f.Stage(map[string]string{"fleet.yaml": fleetYAML, "web.yaml": f.manifest(parallel)}, "bench")
	if err != nil {
		b.Fatal(err)
	}
	at, err := f.Publish(commit)
	if err != nil {
		b.Fatal(err)
	}
	var last time.Duration
	f.await(b, func(all []*api.Status) string {
		ready, runs := 0, 0
		for k, st := range all {
			if st == nil || st.Repository.Applied.Hash != commit {
				return f.Nodes[k].Name + " has not seen the commit"
			}
			for _, s := range st.Services {
				for _, i := range s.Instances {
					if i.Revision == s.Revision && i.Phase == planner.PhaseReady {
						ready++
					}
					runs++
				}
			}
		}
		if ready == rolledReplicas && last == 0 {
			last = time.Since(at)
		}
		if ready != rolledReplicas || runs != rolledReplicas {
			return fmt.Sprintf("%d new ones are ready of %d that run", ready, runs)
		}
		return ""
	})
	return turn{last: []time.Duration{last}, done: []time.Duration{time.Since(at)}}
}

func (f *rolled) await(b *testing.B, missing func([]*api.Status) string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*patience)
	defer cancel()
	if err := f.Await(ctx, missing); err != nil {
		b.Fatal(err)
	}
}

// crash kills a process on both sides, and waits until another runs in its
// place.
func crash(b *testing.B, ours *rolled, theirs *swarm) {
	var mine, others []time.Duration
	if theirs != nil {
		theirs.begin(1)
		defer theirs.end()
	}
	for n := range crashes {
		st, err := ours.Nodes[0].Status(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		slot := strconv.Itoa(n)
		pid := devfleet.PIDs(st, "web")[slot]
		if pid <= 0 {
			b.Fatalf("web-%s has no process", slot)
		}
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatalf("kill the process of web-%s: %v", slot, err)
		}
		ours.await(b, func(all []*api.Status) string {
			if now := devfleet.PIDs(all[0], "web")[slot]; now == 0 || now == pid {
				return "it does not run again"
			}
			return ""
		})
		mine = append(mine, time.Since(began))
		if theirs != nil {
			others = append(others, theirs.crash(n))
		}
	}
	beside := ""
	if theirs != nil {
		beside = "Swarm, delay 0, " + spread(others)
	}
	table.add("a process is killed → another runs", spread(mine), beside, "")
	b.ReportMetric(ms(median(mine)), "crash-ms")
}
