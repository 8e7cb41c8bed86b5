package devfleet

import (
	"net/netip"
	"os/exec"
	"path/filepath"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
)

// Node is one node: an agent and, with the containerd driver, a containerd.
// Its methods are not for concurrent use, but those of different nodes are,
// and Status and Await always.
type Node struct {
	Name string
	Dir  string // holds all that is the node's
	// Address is where other nodes find this one; zero in a Fleet.
	Address    netip.AddrPort
	Containerd *containerdtest.Server // nil with the process driver

	hub    *Hub
	opts   nodeOptions
	cgroup string // parent of all cgroups of the node's, with a slash at its start
	agent  *program
	env    []string // beside this program's, of the agent

	cluster *Cluster    // nil in a Fleet
	index   int         // of the node in it
	ns      *namespaces // nil = this program's, or off
	off     bool
	cut     Side
}

type nodeOptions struct {
	orpheus      string
	driver       string
	coordination string // as the agent's configuration has it
	cpu, memory  string // capacity; "" = the machine's
	config       string // YAML laid over the configuration
}

// StateDir is the agent's state folder.
func (n *Node) StateDir() string { return filepath.Join(n.Dir, "state") }

// Socket is the path of the agent's socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "run", "orpheus.sock") }

// Cgroup is the parent of the cgroups of the node's containers.
func (n *Node) Cgroup() string { return n.cgroup }

// Configure sets the YAML that is laid over the agent's configuration from its
// next start on, instead of what the options said.
func (n *Node) Configure(config string) { n.opts.config = config }

// Program replaces the binary that the next agent runs, as an upgrade does.
func (n *Node) Program(path string) { n.opts.orpheus = path }

// Environ gives the agent variables (NAME=value) beside this program's, from
// its next start on.
func (n *Node) Environ(variables ...string) { n.env = variables }

// containers reports whether the node runs containers.
func (n *Node) containers() bool { return n.opts.driver == planner.DriverContainerd }

// start runs a command where the node's processes run.
func (n *Node) start(cmd *exec.Cmd) error {
	if n.cluster == nil {
		return cmd.Start()
	}
	cmd.Dir = n.StateDir() // tells whose it is once this program has died
	group, err := openHostGroup(n.cgroup)
	if err != nil {
		return err
	}
	if group != nil {
		defer group.Close()
		enter(cmd, group)
	}
	if n.ns == nil {
		return cmd.Start()
	}
	return n.ns.do(cmd.Start)
}

// Within calls f on a thread inside the node's network and mounts: what it
// opens, dials and starts is the node's. Goroutines that f starts are not
// inside. A node on loopback has none of its own, and f runs where it is.
func (n *Node) Within(f func() error) error {
	if n.ns == nil {
		return f()
	}
	return n.ns.do(f)
}

// startContainerd runs the node's containerd, on what a former one left.
func (n *Node) startContainerd() (err error) {
	if n.Containerd == nil {
		n.Containerd, err = containerdtest.Start(filepath.Join(n.Dir, "c"), containerdtest.Options{Start: n.start})
		return err
	}
	return n.Containerd.Restart()
}
