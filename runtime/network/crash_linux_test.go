package network

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/runtime"
)

// steps are the points at which an agent can die and leave something behind.
var steps = []string{"address", "names", "namespace", "link", "address set", "alias", "link removed", "namespace removed", "connections forgotten"}

// victim is the agent that dies. spec is its folder and the step at which it
// kills itself, or "" to attach and detach until somebody else does.
func victim(spec string) {
	dir, last, _ := strings.Cut(spec, "|")
	n, err := New(testConfig(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if address, ok := strings.CutPrefix(last, "publish "); ok {
		to := runtime.Target{Address: address, Port: 8080}
		if err := n.Balance(context.Background(), runtime.Balancing{Fronts: []runtime.Front{port("tcp", 80, to)}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("published")
		select {}
	}
	if churning, ok := strings.CutPrefix(last, "churn "); ok {
		churn(n, churning)
		return
	}
	n.crash = func(step string) {
		fmt.Println(step)
		if step == last {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	for i := range 100_000 {
		id := fmt.Sprintf("victim-%d", i%5)
		if _, err := n.Attach(context.Background(), id, testNames); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := n.Detach(context.Background(), id); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func startVictim(t *testing.T, n *Network, step string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envVictim+"="+filepath.Dir(n.cfg.StateDir)+"|"+step)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

func died(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Fatalf("victim ended by itself: %v", cmd.ProcessState)
	}
}

func TestKilledAgentLeavesNothing(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	n := testNetwork(t)
	keeper := attach(t, n, "keeper")
	serve(t, keeper.NetNS, "keeper", ":8080")
	publish(t, n, port("tcp", 80, target(keeper)))
	before := leftovers(t, n)
	check := func(when string) {
		t.Helper()
		must(t, newNetwork(t, n.cfg).Sweep(context.Background(), map[string]bool{"keeper": true}))
		if after := leftovers(t, n); after != before {
			t.Errorf("killed %s, then swept:\n%s\nbefore:\n%s", when, after, before)
		}
		if name, _ := ask(t, "", "127.0.0.1:80"); name != "keeper" {
			t.Errorf("killed %s: published port answered by %s", when, name)
		}
	}
	for _, step := range steps {
		cmd, out := startVictim(t, n, step)
		for out.Scan() {
		}
		died(t, cmd)
		check("at " + step)

		// The same again, and the next agent goes on where it stopped.
		cmd, out = startVictim(t, n, step)
		for out.Scan() {
		}
		died(t, cmd)
		next := newNetwork(t, n.cfg)
		a := attach(t, next, "victim-0")
		serve(t, a.NetNS, "victim", ":8080")
		if name, _ := ask(t, keeper.NetNS, a.Address+":8080"); name != "victim" {
			t.Errorf("killed at %s, attached again: answered by %s", step, name)
		}
		check("at " + step + " and taken over")
	}
	for i := range 10 {
		cmd, out := startVictim(t, n, "")
		for range 3 + 7*i {
			out.Scan()
		}
		must(t, cmd.Process.Kill())
		died(t, cmd)
		check("at any moment")
	}
}

// The kernel alone carries connections, old and new, when the agent is dead.
func TestPortsOutliveTheAgent(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	cmd, out := startVictim(t, n, "publish "+web.Address)
	if !out.Scan() {
		t.Fatal("victim did not publish")
	}
	c, err := dial(t, far, "tcp4", nodeAddress+":80")
	must(t, err)
	defer c.Close()
	expect(t, c, "", "web")
	must(t, cmd.Process.Kill())
	died(t, cmd)
	expect(t, c, "still there?\n", "still there?")
	for _, from := range []string{far, ""} {
		if name, _ := ask(t, from, nodeAddress+":80"); name != "web" {
			t.Errorf("from %q answered by %s", from, name)
		}
	}
}

// leftovers lists all that an attachment could leave: links, rules, and the
// mounts and files below the network's folders. Mounts elsewhere are copies of
// the host's and go when their folders go there.
func leftovers(t testing.TB, n *Network) string {
	t.Helper()
	var all []string
	links, err := dump(netlink.LinkList)
	must(t, err)
	for _, l := range links {
		all = append(all, fmt.Sprintf("link %s %s %q", l.Attrs().Name, l.Type(), l.Attrs().Alias))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	root := filepath.Dir(n.cfg.StateDir)
	for line := range strings.Lines(string(mounts)) {
		if point := strings.Fields(line)[4]; strings.HasPrefix(point, root) {
			all = append(all, "mount "+point)
		}
	}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		all = append(all, "file "+path)
		return err
	}))
	all = append(all, run(t, "nft", "list", "ruleset"))
	slices.Sort(all)
	return strings.Join(all, "\n")
}
