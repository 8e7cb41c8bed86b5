package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// What CPU an instance used comes of two answers about one run of it.
func TestMillicores(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	usage := func(second int, id string, cpu time.Duration, problem string) *api.Usage {
		return &api.Usage{At: at.Add(time.Duration(second) * time.Second), Instances: []api.InstanceUsage{{ID: id, CPU: cpu, Error: problem}}}
	}
	for _, row := range []struct {
		name        string
		before, now *api.Usage
		want        int64
		known       bool
	}{
		{"half a core", usage(0, "a", time.Second, ""), usage(2, "a", 2*time.Second, ""), 500, true},
		{"nothing", usage(0, "a", time.Second, ""), usage(2, "a", time.Second, ""), 0, true},
		{"no answer before", nil, usage(2, "a", time.Second, ""), 0, false},
		{"another instance", usage(0, "b", 0, ""), usage(2, "a", time.Second, ""), 0, false},
		{"started again meanwhile", usage(0, "a", time.Hour, ""), usage(2, "a", time.Second, ""), 0, false},
		{"the node's clock was put back", usage(2, "a", 0, ""), usage(0, "a", time.Second, ""), 0, false},
		{"not measured before", usage(0, "a", 0, "x"), usage(2, "a", time.Second, ""), 0, false},
		{"not measured now", usage(0, "a", 0, ""), usage(2, "a", time.Second, "x"), 0, false},
	} {
		if got, known := row.now.Millicores(row.before, 0); got != row.want || known != row.known {
			t.Errorf("%s: %d %v, want %d %v", row.name, got, known, row.want, row.known)
		}
	}
}

func TestUsageServed(t *testing.T) {
	var fails error
	w := serve(t, func(o *api.Options) {
		o.Usage = func(context.Context) (*api.Usage, error) {
			return &api.Usage{Node: "n", Instances: []api.InstanceUsage{{Name: "web", MemoryBytes: 5}}}, fails
		}
	})
	u, err := w.client.Usage(t.Context())
	if err != nil || u.Node != "n" || u.Instances[0].MemoryBytes != 5 {
		t.Fatalf("%+v %v", u, err)
	}
	fails = errors.New("the agent's loop does not answer")
	if _, err := w.client.Usage(t.Context()); err == nil || !strings.Contains(err.Error(), "loop does not answer") {
		t.Error(err)
	}
	// It costs something to find out: not for who reaches loopback alone.
	res, err := http.Get("http://" + w.addr + "/v1/usage")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("on loopback: %s", res.Status)
	}
	if _, err := serve(t, nil).client.Usage(t.Context()); err == nil || !strings.Contains(err.Error(), "does not measure") {
		t.Error(err)
	}
}
