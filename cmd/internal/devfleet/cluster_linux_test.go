package devfleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// patience is how long a test waits for one thing to come true.
const patience = time.Minute

// fleetFiles is a fleet with one service, which each node runs if nodes do not
// coordinate.
func fleetFiles(spec string) map[string]string {
	return map[string]string{
		"fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: test}\nspec: {pollInterval: 1s}\n",
		"web.yaml":   "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec:\n" + spec,
	}
}

func newCluster(t *testing.T, opts ClusterOptions) *Cluster {
	t.Helper()
	if why := Missing(opts.Driver); why != "" {
		t.Skip(why)
	}
	opts.Orpheus, opts.Payload, opts.Coordination = orpheus, payload, CoordinationNone
	c, err := NewCluster(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	noteCgroup(t, c.Dir)
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range c.Nodes {
				t.Logf("last words of %s:\n%s", n.Name, n.AgentLog(20))
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func deploy(t *testing.T, c *Cluster, spec string) {
	t.Helper()
	commit, err := c.Repo.Commit(fleetFiles(spec), "web")
	must(t, err)
	must(t, c.StartAgents())
	for _, n := range c.Nodes {
		settles(t, n, commit)
	}
}

func settles(t *testing.T, n *Node, commit string) {
	t.Helper()
	awaits(t, n, SettledAt(commit))
}

func awaits(t *testing.T, n *Node, what func(*api.Status) string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Await(ctx, what); err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needsRoot skips a test that makes namespaces.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes namespaces")
	}
}

// reaches reports whether a TCP connection from inside a node comes about.
func reaches(n *Node, address string) bool {
	var conn net.Conn
	err := n.Within(func() (err error) {
		conn, err = net.DialTimeout("tcp4", address, 300*time.Millisecond)
		return err
	})
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// TestNodesAreMachines: each node has containers, a network and a power button
// of its own.
func TestNodesAreMachines(t *testing.T) {
	needsRoot(t)
	c := newCluster(t, ClusterOptions{Driver: planner.DriverContainerd, Nodes: 2})
	ref, _, err := c.PushImage("web:1", "1")
	must(t, err)
	deploy(t, c, "  image: "+ref+"\n  ports: [{name: http, containerPort: 8080, publish: 8080}]\n")
	one, two := c.Nodes[0], c.Nodes[1]
	for _, n := range c.Nodes {
		answers(t, n)
	}
	before, other := webPID(t, one), two.Processes()

	began := time.Now()
	must(t, one.Kill())
	t.Logf("killed in %v", time.Since(began))
	if left := one.Processes(); len(left) > 0 || one.AgentPID() != 0 || alive(before) {
		t.Errorf("processes %v of a killed node live, agent %d", left, one.AgentPID())
	}
	for _, pid := range other {
		if !alive(pid) {
			t.Errorf("process %d of the other node died, too", pid)
		}
	}
	must(t, one.Kill()) // again: it is off already
	began = time.Now()
	must(t, one.Start())
	must(t, one.StartAgent())
	awaits(t, one, func(st *api.Status) string {
		if pid := PIDs(st, "web")["0"]; pid == 0 || pid == before {
			return "web does not run anew"
		}
		return Settled(st)
	})
	t.Logf("started in %v", time.Since(began))
	answers(t, one)
	if now := two.Processes(); !slices.Equal(now, other) {
		t.Errorf("processes of the other node: %v became %v", other, now)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func webPID(t *testing.T, n *Node) int {
	t.Helper()
	st, err := n.Status(t.Context())
	must(t, err)
	return PIDs(st, "web")["0"]
}

// answers demands that web answers from outside its node.
func answers(t *testing.T, n *Node) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://%s:8080/healthz", n.Address.Addr()))
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s: web answers %s", n.Name, resp.Status)
	}
}

// TestCut: who reaches whom in each state, also over a power cut.
func TestCut(t *testing.T) {
	needsRoot(t)
	c := newCluster(t, ClusterOptions{Driver: planner.DriverProcess, Nodes: 3})
	var listeners []net.Listener
	for _, n := range c.Nodes {
		must(t, n.Within(func() error {
			l, err := net.Listen("tcp4", n.Address.String())
			listeners = append(listeners, l)
			return err
		}))
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	git := strings.TrimPrefix(c.Git.URL, "http://")
	hub, err := net.Listen("tcp4", net.JoinHostPort(c.net.host(hubHost).String(), "0"))
	must(t, err)
	listeners = append(listeners, hub)
	n, two, three := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	check := func(peers, toGit bool) {
		t.Helper()
		for _, row := range []struct {
			from *Node
			to   string
			want bool
		}{
			{n, two.Address.String(), peers},
			{n, three.Address.String(), peers},
			{two, n.Address.String(), peers},
			{two, three.Address.String(), true}, // not their affair
			{n, git, toGit},
			{two, git, true},
			{n, hub.Addr().String(), true}, // at Git's address, on another port
		} {
			if got := reaches(row.from, row.to); got != row.want {
				t.Errorf("node-1 cut from %q: %s reaches %s: %v", n.CutFrom(), row.from.Name, row.to, got)
			}
		}
	}
	check(true, true)
	for _, row := range []struct {
		from       Side
		peers, git bool
	}{
		{FromPeers, false, true},
		{FromGit, true, false}, // in place of the former cut
		{FromBoth, false, false},
	} {
		must(t, n.Cut(row.from))
		check(row.peers, row.git)
	}
	must(t, n.Kill())
	must(t, n.Start())
	if reaches(n, git) {
		t.Error("a reboot healed the network")
	}
	must(t, n.Heal())
	must(t, n.Heal()) // again
	if !reaches(n, git) || !reaches(n, c.Nodes[1].Address.String()) {
		t.Error("a healed node does not reach others")
	}
	if err := n.Cut("everybody"); err == nil {
		t.Error("a cut from nobody known")
	}
}

// TestGitComesAndGoes: the server is really down, comes back at its address,
// and can be restored from a backup.
func TestGitComesAndGoes(t *testing.T) {
	c := newCluster(t, ClusterOptions{Driver: planner.DriverProcess, Nodes: 1, Loopback: true})
	deploy(t, c, "  driver: process\n  command: ["+payload+", lines]\n")
	n := c.Nodes[0]
	old, err := c.Repo.Tip("main")
	must(t, err)
	backup := filepath.Join(t.TempDir(), "backup")
	must(t, c.BackupGit(backup))
	c.StopGit()
	awaits(t, n, func(st *api.Status) string {
		if !strings.Contains(st.Repository.Error, "refused") {
			return "connections are not refused: " + st.Repository.Error
		}
		return ""
	})
	next, err := c.Repo.Commit(fleetFiles("  driver: process\n  replicas: 2\n  command: ["+payload+", lines]\n"), "two")
	must(t, err)
	must(t, c.StartGit())
	settles(t, n, next)
	must(t, c.RestoreGit(backup))
	if tip, err := c.Repo.Tip("main"); err != nil || tip != old {
		t.Errorf("restored to %s, want %s: %v", tip, old, err)
	}
}

// TestLoopback: nodes without networks of their own, as a user without root
// has them.
func TestLoopback(t *testing.T) {
	before := traces(t)
	t.Run("fleet", func(t *testing.T) {
		c := newCluster(t, ClusterOptions{Driver: planner.DriverProcess, Nodes: 2, Loopback: true})
		deploy(t, c, "  driver: process\n  command: [sleep, \"1000\"]\n")
		one, two := c.Nodes[0], c.Nodes[1]
		if one.Address == two.Address || !one.Address.Addr().IsLoopback() {
			t.Errorf("addresses %v and %v", one.Address, two.Address)
		}
		if err := one.Cut(FromGit); err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("cut: %v", err)
		}
		pid, kept := webPID(t, one), webPID(t, two)
		must(t, one.Kill())
		if alive(pid) || !alive(kept) || two.AgentPID() == 0 {
			t.Error("a kill hit the wrong processes")
		}
		must(t, one.Start())
		must(t, one.StartAgent())
		awaits(t, one, Settled)
	})
	leavesNothing(t, before)
}

// TestDownLeavesNothing: full lists of what is on the machine are the same
// before a fleet and after it, however it ended.
func TestDownLeavesNothing(t *testing.T) {
	needsRoot(t)
	before := traces(t)
	for name, end := range map[string]func(*Cluster) error{
		"closed":            (*Cluster).Close,
		"swept":             func(c *Cluster) error { return c.abandon() },
		"closed, nodes off": func(c *Cluster) error { _ = c.Nodes[0].Kill(); return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, ClusterOptions{Driver: planner.DriverContainerd, Nodes: 2, Outside: hostNetwork(t)})
			ref, _, err := c.PushImage("web:1", "1")
			must(t, err)
			deploy(t, c, "  image: "+ref+"\n  replicas: 2\n  volumes: [{name: tmp, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]\n  volumeMounts: [{name: tmp, mountPath: /tmp}]\n")
			must(t, c.Nodes[1].Cut(FromBoth))
			if now := traces(t); len(now) < len(before)+20 {
				t.Errorf("the lists do not show the fleet: %d lines became %d", len(before), len(now))
			}
			must(t, end(c))
		})
		leavesNothing(t, before)
	}
	// What was never finished leaves nothing either.
	if _, err := NewCluster(t.Context(), ClusterOptions{
		Orpheus: orpheus, Driver: planner.DriverContainerd, Nodes: 1, Payload: "/does/not/exist",
	}); err == nil {
		t.Error("a fleet without its payload was made")
	}
	leavesNothing(t, before)
}

// TestNodesReachTheWorld: from a node to a machine that only knows the one that
// the fleet is on, and from there to a node.
func TestNodesReachTheWorld(t *testing.T) {
	needsRoot(t)
	const here, there = "198.51.100.1", "198.51.100.2"
	outside, world := hostNetwork(t), hostNetwork(t)
	must(t, inNetwork(outside, func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(world.Fd()))}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		return bringUp("wan", here)
	}))
	var listener net.Listener
	must(t, inNetwork(world, func() (err error) {
		if err = bringUp("eth0", there); err == nil {
			listener, err = net.Listen("tcp4", there+":0")
		}
		return err
	}))
	defer listener.Close()

	c := newCluster(t, ClusterOptions{Driver: planner.DriverProcess, Nodes: 1, Outside: outside})
	n := c.Nodes[0]
	callers := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			callers <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
			conn.Close()
		}
	}()
	if !reaches(n, listener.Addr().String()) {
		t.Fatal("a node does not reach the world")
	}
	if caller := <-callers; caller != here {
		t.Errorf("the world sees %s, not the machine", caller)
	}
	must(t, n.Within(func() (err error) {
		listener, err = net.Listen("tcp4", n.Address.String())
		return err
	}))
	defer listener.Close()
	must(t, inNetwork(outside, func() error {
		conn, err := net.DialTimeout("tcp4", n.Address.String(), time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}))
}

func bringUp(link, address string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// abandon forgets a fleet as the death of its program would, and sweeps. What
// only the program's end takes away is closed by hand.
func (c *Cluster) abandon() error {
	c.Hub.close()
	dir := c.Dir
	for _, n := range c.Nodes {
		if n.ns != nil {
			if err := n.ns.close(); err != nil {
				return err
			}
			n.ns = nil
		}
	}
	return Sweep(dir)
}

// hostNetwork is a network namespace outside the fleet's.
func hostNetwork(t *testing.T) *os.File {
	t.Helper()
	ns, err := newNamespaces(func() error { return nil })
	must(t, err)
	t.Cleanup(func() { must(t, ns.close()) })
	return ns.net
}
