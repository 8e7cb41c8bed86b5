//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

func TestSplitWords(t *testing.T) {
	for _, row := range []struct {
		text, want string // words between |; "" = refused
	}{
		{"ssh", "ssh"},
		{"  ssh\t-l admin ", "ssh|-l|admin"},
		// Quotes keep blanks, and nothing else is read.
		{`ssh -F "/a b/c" -o 'ProxyCommand=nc $x "y"'`, `ssh|-F|/a b/c|-o|ProxyCommand=nc $x "y"`},
		{`C:\ssh.exe -l ''`, `C:\ssh.exe|-l|`},
		{"", ""},
		{"''", ""},
		{`ssh "-l`, ""},
	} {
		words, err := splitWords(row.text)
		if got := strings.Join(words, "|"); got != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%q: %q, %v; want %q", row.text, got, err, row.want)
		}
	}
}

// TestAttack05HostsFromRecords: what a repository names becomes no option of ssh's,
// no user and no text of a shell.
func TestAttack05HostsFromRecords(t *testing.T) {
	for _, row := range []struct{ pattern, node, address, want string }{
		{"{name}", "node-1", "", "node-1"},
		{"admin@{name}.example.com", "node-1", "", "admin@node-1.example.com"},
		{"{address}", "node-1", "10.0.0.1:7718", "10.0.0.1"},
		{"root@{address}", "node-1", "[fd00::1]:7718", "root@fd00::1"},
		{"{address}", "node-1", "db.example.com:7718", "db.example.com"},
		{"{address}", "node-1", "", ""},
		{"{address}", "node-1", "-oProxyCommand=id:7718", ""},
		{"{address}", "node-1", "root@elsewhere:7718", ""},
		{"{address}", "node-1", "a b:7718", ""},
		{"{address}", "node-1", "$(id):7718", ""},
		{"{address}", "node-1", "[fe80::1%-x]:7718", ""},
		{"{name}", "-oProxyCommand=id", "", ""},
		{"{name}", "a b", "", ""},
		{"{name}", "a;id", "", ""},
		{"{name}", "root@b", "", ""},
		{"{name}", "a\n-oX", "", ""},
		{"{name}", "", "", ""},
		{"{name}", strings.Repeat("a", 300), "", ""},
	} {
		o := viaOptions{host: row.pattern}
		got, err := o.hostOf(planner.NodeName(row.node), row.address)
		if got != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%s of %q at %q: %q, %v", row.pattern, row.node, row.address, got, err)
		}
	}
}

// fakeSSH is a program that takes ssh's arguments: hosts called node-N lead to the
// agent at their socket, others do what their name says.
func fakeSSH(t *testing.T, sockets string) viaOptions {
	t.Helper()
	script := filepath.Join(t.TempDir(), "ssh")
	text := `#!/bin/sh
while [ "$1" != -- ]; do shift; done
[ "$#" = 3 ] && [ "$3" = "orpheus dial-stdio" ] || { echo "strange arguments: $*" >&2; exit 9; }
case "$2" in
node-*) echo "Welcome to $2"; export ` + asMain + `=1; exec '` + os.Args[0] + `' --socket '` + sockets + `/'"$2" dial-stdio ;;
silent*) exec sleep 1000 ;;
chatty*) exec yes ;;
liar*) export ` + asMain + `=1; exec '` + os.Args[0] + `' --socket '` + sockets + `/node-1' dial-stdio ;;
unknown*) printf 'Host key verification failed.\r\n' >&2; exit 255 ;;
denied*) printf 'x@y: Permission denied (publickey).\r\n' >&2; exit 255 ;;
hostile*) printf '\033[2J\033]0;owned\007boo\n' >&2; exit 255 ;;
missing*) echo 'sh: orpheus: not found' >&2; exit 127 ;;
old*) echo 'Error: there is no verb "dial-stdio"; see "orpheus --help"' >&2; exit 2 ;;
root*) echo 'Error: permission denied on socket /run/orpheus/orpheus.sock' >&2; exit 4 ;;
*) exit 255 ;;
esac
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return viaOptions{via: "ssh", host: "{name}", command: "orpheus", timeout: time.Minute, ssh: []string{script, "-l", "me"}}
}

// fleetOf knows nodes by their names.
func fleetOf(via viaOptions, names ...string) *sshFleet {
	f := newSSHFleet(via)
	b := &recordBook{view: planner.View{Nodes: map[planner.NodeName]planner.NodeView{}}}
	for _, name := range names {
		b.view.Nodes[planner.NodeName(name)] = planner.NodeView{Record: planner.NodeRecord{Node: planner.NodeName(name)}}
	}
	f.know(b)
	return f
}

// agentsOf serves the agents of nodes, and returns the folder of their sockets.
func agentsOf(t *testing.T, names ...string) (sockets string) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "orph") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	for _, name := range names {
		server, err := api.Listen(api.Options{Socket: filepath.Join(sockets, name), Status: func() *api.Status { return &api.Status{Node: planner.NodeName(name)} }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- server.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return sockets
}

// TestViaSays: why a node is not reached, in words that help and act on no terminal.
func TestViaSays(t *testing.T) {
	names := []string{"node-1", "chatty", "liar", "unknown", "denied", "hostile", "missing", "old", "root", "nothing", "node-2"}
	f := fleetOf(fakeSSH(t, agentsOf(t, "node-1")), names...)
	defer f.close()
	want := map[string]string{
		"node-1": "", "chatty": "prints more than 65536 bytes", "liar": "is that of node node-1: correct --ssh-host",
		"unknown": "Host key verification failed.; log in once by hand", "denied": "no key of yours is let in",
		"hostile": "boo", "missing": "name it with --ssh-command", "old": "update it", "root": `--ssh-command "sudo -n orpheus"`,
		"nothing": "ended with code 255 and said nothing", "node-2": "there is no socket",
	}
	for _, a := range ask(t.Context(), f, f.order, sameStatus) {
		said := ""
		if a.err != nil {
			said = a.reason()
		}
		if text := want[string(a.node)]; !strings.Contains(said, text) || (text == "") != (said == "") {
			t.Errorf("%s: %q, want %q", a.node, said, text)
		}
		if strings.ContainsAny(said, "\x1b\x07\r\n") {
			t.Errorf("%s: %q acts on a terminal", a.node, said)
		}
	}
	if _, err := f.of("node-9"); err == nil {
		t.Error("a node that no record names is asked")
	}
}

// TestViaManyNodes: a few are asked at once, all are, and those that do not answer
// cost the others nothing but their turn.
func TestViaManyNodes(t *testing.T) {
	var live, names []string
	for k := range 24 {
		live = append(live, fmt.Sprintf("node-%02d", k))
	}
	names = append(slices.Clone(live), "silent-1", "silent-2", "silent-3")
	via := fakeSSH(t, agentsOf(t, live...))
	f := fleetOf(via, names...)
	defer f.close()
	// Once all that answer have, the silent ones are not waited for.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var now, most, told atomic.Int64
	answers := ask(ctx, f, f.order, func(_ context.Context, _ *api.Client, st *api.Status) (planner.NodeName, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		if told.Add(1) == int64(len(live)) {
			cancel() // all that answer have
		}
		return st.Node, nil
	})
	if most.Load() > sshAtOnce {
		t.Errorf("%d were asked at once", most.Load())
	}
	for k, a := range answers {
		if silent := k >= len(live); a.node != planner.NodeName(names[k]) || (a.err != nil) != silent || !silent && a.value != a.node {
			t.Errorf("%s: %s, %v", names[k], a.value, a.err)
		}
	}
	for _, a := range f.agents {
		if len(a.conns) > 0 {
			t.Errorf("a connection to %s stays open", a.node)
		}
	}
}

// TestViaTime: a node that does not answer is given up.
func TestViaTime(t *testing.T) {
	via := fakeSSH(t, t.TempDir())
	via.timeout = 50 * time.Millisecond
	f := fleetOf(via, "silent")
	defer f.close()
	answers := ask(t.Context(), f, f.order, sameStatus)
	if len(unreachedOf(answers)) != 1 || !strings.Contains(answers[0].reason(), "no answer within 50ms") {
		t.Errorf("%+v", answers)
	}
}

// TestViaFlags: what makes no sense is wrong usage, before anything is read.
func TestViaFlags(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"status --via docker", "write ssh"},
		{"status --via ssh --ssh-host web.example.com", "the same for all nodes"},
		{"status --via ssh --ssh-host -oX={name}", "no name of a host"},
		{"status --via ssh --network", "remove it, or --plan and --network"},
		{"status --ssh-host {name}.x", "add --via ssh"},
		{"logs web --via ssh --socket /x", "--socket names the agent of this machine"},
		{"exec web --records x -- true", "add --via ssh"},
		{"top --via ssh --ssh-timeout 0s", "above zero"},
		{"events --via ssh --ssh-command ", "how orpheus is called"},
	} {
		args := strings.Split(row.args, " ")
		if code, _, errs := orpheus(t, t.TempDir(), args...); code != exitUsage || !strings.Contains(errs, row.want) {
			t.Errorf("%s: code %d, %s", row.args, code, errs)
		}
	}
}
