package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// measuring is an agent that uses more and more.
func measuring() func(context.Context) (*api.Usage, error) {
	var asked atomic.Int64
	return func(context.Context) (*api.Usage, error) {
		n := time.Duration(asked.Add(1))
		at := ago(0).Add(n * time.Second)
		row := func(namespace, name, slot string, millis time.Duration, memory, pids int64, restarts int) api.InstanceUsage {
			return api.InstanceUsage{
				Namespace: namespace, Name: name, Slot: slot, ID: name + "-" + slot, Driver: "containerd", Restarts: restarts,
				CPU: n * millis * time.Millisecond, MemoryBytes: memory << 20, PIDs: pids,
				Asked: planner.ResourceList{CPUMillis: 100, MemoryBytes: 64 << 20}, Limits: planner.ResourceList{MemoryBytes: 128 << 20},
			}
		}
		sick := api.InstanceUsage{Namespace: "default", Name: "old", Slot: "0", ID: "old-0", Driver: "bare", Error: "driver bare does not measure " + hostileText}
		return &api.Usage{Node: "node-1", At: at, Cores: 2, MemoryUsed: 1 << 30, MemoryTotal: 4 << 30, Instances: []api.InstanceUsage{
			row("default", "db", "0", 30, 120, 9, 0), row("default", "web", "0", 250, 20, 3, 2), row("default", "web", "1", 500, 30, 3, 0), sick,
		}}, nil
	}
}

// TestTop: CPU is a rate, services are sums, what is near its limit says so, and
// one that cannot be measured hides no other.
func TestTop(t *testing.T) {
	socket, _ := serveStatus(t, func() *api.Status { return scenarios()["healthy"] }, func(o *api.Options) { o.Usage = measuring() })
	top := func(args ...string) string {
		t.Helper()
		code, out, stderr := orpheus(t, t.TempDir(), append([]string{"top", "--socket", socket}, args...)...)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
		if strings.ContainsAny(out, "\x1b\u202e") {
			t.Errorf("%v: it acts on the terminal", args)
		}
		return out
	}
	for _, row := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"node-1", "1Gi of 4Gi", "web      750m  200m       50Mi    128Mi      256Mi      6     2         2", "uses 93 % of the memory it may use", `driver bare does not measure bad\x1b[2J`}},
		{[]string{"web"}, []string{"INSTANCE", "web-1     500m", "web-0     250m"}},
		{[]string{"--instances"}, []string{"web-1", "db-0", "old-0"}},
		{[]string{"--nodes"}, []string{"300m of 2"}},
	} {
		out := top(row.args...)
		for _, want := range row.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in\n%s", row.args, want, out)
			}
		}
	}
	for key, first := range map[string]string{"cpu": "web", "memory": "db", "restarts": "web", "name": "db", "pids": "db"} {
		out := top("--sort", key)
		_, services, _ := strings.Cut(out, "SERVICE")
		if line := strings.Split(services, "\n")[1]; !strings.HasPrefix(line, first+" ") {
			t.Errorf("by %s: %q comes first", key, line)
		}
	}
	var r topReport
	if err := json.Unmarshal([]byte(top("-o", "json")), &r); err != nil || !r.Measured || len(r.Instances) != 4 || len(r.Services) != 3 || *r.Services[0].CPU != 750 {
		t.Errorf("%+v %v", r, err)
	}
	if code, _, stderr := orpheus(t, t.TempDir(), "top", "wep", "--socket", socket); code != 1 || !strings.Contains(stderr, `nothing of a service "wep" runs here; these do: db, old, web`) {
		t.Errorf("%d %s", code, stderr)
	}
}

// Without an agent records and manifests tell what is asked of each node.
func TestTopFromRecords(t *testing.T) {
	f := newSimFleet(t, newRecordWriter(t, ""), "blocked")
	r := f.book().top(f.recordPlace())
	if r.Measured || len(r.Nodes) != 3 || len(r.Services) != 6 {
		t.Fatalf("%+v", r)
	}
	var cpu, of int64
	for _, n := range r.Nodes {
		cpu += n.Asked.CPUMillis
		if n.CPU != nil || n.Capacity.CPUMillis != 3500 {
			t.Errorf("%+v", n)
		}
	}
	for _, i := range r.Instances {
		of += i.Asked.CPUMillis
	}
	if cpu != of || cpu == 0 {
		t.Errorf("nodes are asked for %d, instances ask for %d", cpu, of)
	}
	_, dir, _ := rolledFleet(t)
	if out := mustRun(t, dir, "top"); !strings.Contains(out, "What is used only agents know") || !strings.Contains(out, "web ") {
		t.Errorf("%s", out)
	}
}
