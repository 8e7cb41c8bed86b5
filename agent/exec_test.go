package agent

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// bareDriver is one without any ability that a driver need not have.
type bareDriver struct{ runtime.Driver }

func TestExec(t *testing.T) {
	inWorld(t, func(w *world) {
		var log bytes.Buffer
		w.crash()
		w.log = slog.NewTextHandler(&log, nil)
		w.more = map[string]runtime.Driver{"bare": bareDriver{runtimetest.NewFake("bare")}}
		w.policy.Drivers = []string{planner.DriverContainerd, "bare"}
		w.start()
		sidecar := func(s *planner.Service) {
			s.Template.Containers = append(s.Template.Containers, planner.Container{Name: "proxy", Image: s.Template.Containers[0].Image})
		}
		onBare := func(s *planner.Service) { s.Template.Driver = "bare" }
		w.commit(service("web", "a", replicas(2)), service("db", "a", sidecar), service("old", "b", onBare))
		w.settle(10 * time.Second)
		type call struct {
			slot, container string
			argv            []string
		}
		var calls []call
		w.driver.OnExec(func(_ context.Context, id, container string, argv []string, _ runtime.Streams) (int, error) {
			calls = append(calls, call{id[:strings.LastIndexByte(id, '-')], container, argv})
			return 7, nil
		})
		exec := func(target, container string, streams runtime.Streams) (int, error) {
			return w.agent.Exec(context.Background(), api.ExecRequest{
				Target: target, Container: container, Argv: []string{"/bin/psql", "--password=hunter2"}, UID: 1000,
			}, streams)
		}
		for _, row := range []struct {
			name, target, container string
			streams                 runtime.Streams
			want                    string // error; "" = it runs
		}{
			{"a slot", "web-1", "", runtime.Streams{}, ""},
			{"a service with one slot", "db", "", runtime.Streams{}, ""},
			{"a container by its name, on a terminal", "db-0", "proxy", runtime.Streams{Terminal: &runtime.Terminal{}}, ""},
			{"a service with its namespace", "default/db", "", runtime.Streams{}, ""},
			{"a slot with its namespace", "default/web-1", "", runtime.Streams{}, ""},
			{"another namespace's", "shop/web", "", runtime.Streams{}, `nothing here is called "shop/web"`},
			{"a service with several slots", "web", "", runtime.Streams{}, "web runs here more than once: name one of web-0, web-1"},
			{"nothing here", "nobody", "", runtime.Streams{}, `nothing here is called "nobody"; this node runs db, old, web`},
			{"no such container", "db", "sidecar", runtime.Streams{}, `db-0 has no container "sidecar"; it has main, proxy`},
			{"a driver that runs none", "old", "", runtime.Streams{}, "old-0 runs on driver bare, which runs no commands in its instances"},
		} {
			code, err := exec(row.target, row.container, row.streams)
			if row.want == "" && (err != nil || code != 7) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%s: %d, %v; want %q", row.name, code, err, row.want)
			}
		}
		if len(calls) != 5 || calls[0].container != "main" || calls[1].container != "main" || calls[2].container != "proxy" ||
			!strings.HasPrefix(calls[0].slot, "web-1") || !slices.Equal(calls[0].argv, []string{"/bin/psql", "--password=hunter2"}) {
			t.Errorf("commands ran: %+v", calls)
		}
		w.order(api.HoldRequest{Target: "db", Stop: true, For: time.Hour})
		w.settle(5 * time.Second)
		if _, err := exec("db", "", runtime.Streams{}); err == nil || !strings.Contains(err.Error(), "db does not run on this node now") {
			t.Errorf("in what is held down: %v", err)
		}
		w.crash()
		if text := log.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "msg=exec node=n1 slot=web-1 container=main command=psql uid=1000") {
			t.Errorf("the log tells too much or too little:\n%s", text)
		}
		w.start()
	})
}
