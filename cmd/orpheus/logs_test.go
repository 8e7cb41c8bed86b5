package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
)

func TestLogsVerb(t *testing.T) {
	st := testStatus(testService("web", "1", 2), testService("shop/api", "2", 1), testService("one", "3", 1))
	pod := &st.Services[1]
	pod.Instances[0].Containers = []api.Container{{Name: "main"}, {Name: "proxy"}}
	socket, root := serveStatus(t, func() *api.Status { return st })
	writeFiles(t, root, map[string]string{
		"default/web/0/main.log": "a\nb\n", "default/web/1/main.log": "c\n",
		"shop/api/0/main.log": "m\n", "shop/api/0/proxy.log": "p\n",
		"default/one/0/main.log": "\x1b[31mraw\x1b[0m\n",
	})
	for args, want := range map[string]string{
		"web":                         "web-0 | a\nweb-0 | b\nweb-1 | c\n",
		"default/web --tail 1":        "web-0 | b\nweb-1 | c\n",
		"web-0":                       "a\nb\n",
		"shop/api":                    "main  | m\nproxy | p\n",
		"shop/api -c proxy":           "p\n",
		"shop/api-0 --container main": "m\n",
		"one":                         "\x1b[31mraw\x1b[0m\n", // a pipe gets it as it is
		"one -n 0":                    "",
	} {
		code, stdout, stderr := orpheus(t, ".", append(append([]string{"logs"}, strings.Fields(args)...), "--socket", socket)...)
		if code != 0 || stdout != want {
			t.Errorf("logs %s: %d %q %s", args, code, stdout, stderr)
		}
	}
	for args, want := range map[string]string{
		"nothing":     `there is no service "nothing" on node node-1; it has web, shop/api, one`,
		"web-7":       `there is no service "web-7"`,
		"../etc":      `there is no service "../etc"`,
		"web -c moon": "service web has no container moon; it has main",
	} {
		code, _, stderr := orpheus(t, ".", append(append([]string{"logs"}, strings.Fields(args)...), "--socket", socket)...)
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("logs %s: %d %s", args, code, stderr)
		}
	}
}

// TestResolveSlot: services win over slots of the same name.
func TestResolveSlot(t *testing.T) {
	st := testStatus(testService("web", "1", 2), testService("web-1", "2", 1), testService("shop/api", "3", 1))
	st.Services[2].Instances[0].Slot = "node-1" // runs on every node
	for name, want := range map[string]string{
		"web": "web/", "web-0": "web/0", "web-1": "web-1/", "web-1-0": "web-1/0", "shop/api-node-1": "shop/api/node-1", "default/web-0": "web/0",
	} {
		s, slot, err := resolveSlot(st, name)
		if got := s.ID().String() + "/" + slot; err != nil || got != want {
			t.Errorf("%s is %s, want %s (%v)", name, got, want, err)
		}
	}
}

func TestAttack23LogsCannotActOnTerminal(t *testing.T) {
	var b bytes.Buffer
	p := &logPrinter{w: &b, colours: map[string]colour{}}
	for in, want := range map[string]string{
		"plain\ttabs":                           "plain\ttabs",
		"\x1b[31mred\x1b[0m ":                   "\x1b[31mred\x1b[0m \x1b[0m", // colours end with the line
		"clear \x1b[2J":                         `clear \x1b[2J`,
		"title \x1b]0;x\x07":                    `title \x1b]0;x\a`,
		"back\b\b\rover":                        `back\b\b\rover`,
		"\x9b2J \u202e":                         `\x9b2J \u202e`,
		"\x1b[38;2;1;2;3mrgb":                   "\x1b[38;2;1;2;3mrgb\x1b[0m",
		"\x1b[" + strings.Repeat("1", 40) + "m": `\x1b[` + strings.Repeat("1", 40) + "m",
	} {
		b.Reset()
		if err := p.print(api.LogLine{Line: in}); err != nil || b.String() != want+"\n" {
			t.Errorf("%q becomes %q, %v", in, b.String(), err)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, key := range []string{"XDG_STATE_HOME", "XDG_RUNTIME_DIR", "ORPHEUS_SOCKET"} {
		t.Setenv(key, "")
	}
	if socket := defaultSocket(); filepath.Base(socket) != "orpheus.sock" || filepath.Dir(socket) != defaultRunDir() {
		t.Error(socket)
	}
	t.Setenv("ORPHEUS_SOCKET", "/elsewhere.sock")
	if socket := defaultSocket(); socket != "/elsewhere.sock" {
		t.Error(socket)
	}
}
