package agent

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// TestReportIsStill: what a node tells its fleet changes with what happens, not
// with time: of instances that are ready for longer and longer, that are not
// ready for longer and longer, that are given up, and that cannot be pulled.
func TestReportIsStill(t *testing.T) {
	play(t, 1, func(b *band) {
		p := b.nodes[0]
		var checks atomic.Int64
		p.driver.OnExec(func(context.Context, string, string, []string, runtime.Streams) (int, error) {
			return int(1 + checks.Add(1)%100), nil // another text each time
		})
		wedged := func(s *planner.Service) { s.ProgressDeadline = 3 * time.Minute }
		b.commit(service("web", "a", minReady(2*time.Minute)), service("api", "b", wedged, with(planner.ProbeReadiness, every(1))))
		b.settle(20 * time.Second)
		var reports []string
		for range 600 {
			b.settle(time.Second)
			if told := p.report(); len(reports) == 0 || reports[len(reports)-1] != told {
				reports = append(reports, told)
			}
		}
		// As it begins, available, given up.
		if len(reports) != 3 {
			t.Errorf("%d reports in ten minutes, want 3:\n%s", len(reports), strings.Join(reports, "\n\n"))
		}
		before := p.pushes()
		b.settle(time.Hour)
		if after := p.pushes(); after != before {
			t.Errorf("%d pushes in an hour in which nothing happened", after-before)
		}
		page := httptest.NewRecorder()
		p.agent.cfg.Metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{"orpheus_instances_failing 1\n", "orpheus_node_failing 0\n"} {
			if !strings.Contains(page.Body.String(), line) {
				t.Errorf("no metric %q", line)
			}
		}
	})
}

// ask runs f on the loop of the node's agent.
func (p *player) ask(f func(a *Agent)) {
	p.band.t.Helper()
	if err := p.agent.onLoop(context.Background(), func() error { f(p.agent); return nil }); err != nil {
		p.band.t.Fatal(err)
	}
}

// report is what the node would tell its fleet now.
func (p *player) report() string {
	p.band.t.Helper()
	var r fleet.Report
	p.ask(func(a *Agent) {
		all, _ := a.instances()
		r = a.tellFleet(all)
	})
	return planner.NodeStatus{Instances: r.Instances, Failing: r.Failing}.Body()
}

// standing is the status of the node as it stands in the records.
func (p *player) standing() (st planner.NodeStatus) {
	p.band.t.Helper()
	p.ask(func(a *Agent) { st = a.fleet.member.View().Nodes[p.name].Status })
	return st
}

// pushes is how often the node wrote to the records.
func (p *player) pushes() (n uint64) {
	p.band.t.Helper()
	p.ask(func(a *Agent) { n = a.fleet.member.Stats().Pushes })
	return n
}
