package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// offered are the names that a shell is offered.
func offered(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	_, out, _ := orpheus(t, dir, append([]string{"__complete"}, args...)...)
	var names []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, ":") {
			names = append(names, strings.TrimSpace(line))
		}
	}
	return names
}

// Names come from the agent, else from the manifests of the checkout.
func TestCompleteNames(t *testing.T) {
	files := fleetFiles()
	files["web.yaml"] = rolledFile
	files["agent.yaml"] = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: probe, namespace: shop}\nspec: {mode: enforce, replicas: 1, image: registry.example.com/probe:2}\n"
	_, dir := fleetRemote(t, files)
	none := filepath.Join(t.TempDir(), "none.sock")
	all := scenarios()["healthy"]
	all.Fleet = &api.Fleet{Nodes: []api.FleetNode{{Name: "node-7", State: "live"}}, Rollouts: []*api.Rollout{{Service: "elsewhere"}}}
	socket, _ := serveStatus(t, func() *api.Status { return all })
	for _, row := range []struct {
		name string
		args []string
		want []string // among others
		not  string
	}{
		{"services of an agent", []string{"status", "--socket", socket, ""}, []string{"db", "web", "shop/api", "elsewhere"}, "web-0"},
		{"and slots", []string{"logs", "--socket", socket, ""}, []string{"web-2", "shop/api-1"}, ""},
		{"services of the checkout", []string{"status", "--socket", none, ""}, []string{"web", "shop/probe"}, "web-0"},
		{"slots of the checkout", []string{"why", "--socket", none, ""}, []string{"web", "web-0", "web-1"}, "web-2"},
		{"of a checkout that is named", []string{"top", "-C", filepath.Join(dir, "nodes"), "--socket", socket, ""}, []string{"web"}, "db"},
		{"logs are an agent's alone", []string{"logs", "--socket", none, ""}, nil, "web"},
		{"but over ssh all nodes'", []string{"logs", "--via", "ssh", ""}, []string{"web", "web-0", "shop/probe"}, ""},
		{"nodes of manifests and agent", []string{"nodes", "--socket", socket, ""}, []string{"node-2", "node-7"}, ""},
		{"history", []string{"history", ""}, []string{"web"}, ""},
		{"only one name", []string{"status", "--socket", socket, "web", ""}, nil, "web"},
		{"words of a flag", []string{"top", "--sort", ""}, []string{"cpu", "memory", "name"}, ""},
		{"forms", []string{"why", "-o", ""}, []string{"text", "json"}, ""},
	} {
		got := offered(t, dir, row.args...)
		for _, want := range row.want {
			if !slices.Contains(got, want) {
				t.Errorf("%s: no %q in %q", row.name, want, got)
			}
		}
		if row.not != "" && slices.Contains(got, row.not) {
			t.Errorf("%s: %q among %q", row.name, row.not, got)
		}
	}
	if got := offered(t, t.TempDir(), "status", "--socket", none, ""); len(got) > 0 {
		t.Errorf("without anything: %q", got)
	}
}

// A shell does not hang on an agent that takes a connection and never answers.
func TestCompletionIsBounded(t *testing.T) {
	dir, err := os.MkdirTemp("", "orph")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin := time.Now()
	offered(t, t.TempDir(), "status", "--socket", socket, "")
	// The agent would be given ten seconds by any other verb.
	if took := time.Since(begin); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
}

// What shells are given to read is what they can read.
func TestCompletionScripts(t *testing.T) {
	for shell, check := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}} {
		code, script, stderr := orpheus(t, t.TempDir(), "completion", shell)
		if code != 0 || !strings.Contains(script, "orpheus") || !strings.Contains(script, "__complete") {
			t.Errorf("%s: %d %s", shell, code, stderr)
		}
		program, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not here to read its script", shell)
			continue
		}
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), program, append(check, file)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", shell, err, out)
		}
	}
}
