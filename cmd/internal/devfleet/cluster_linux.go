package devfleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// ClusterOptions say what a Cluster is made of.
type ClusterOptions struct {
	Orpheus string // the binary whose agents run
	Driver  string // planner.DriverContainerd or planner.DriverProcess
	Nodes   int    // node-1 to node-N
	// Dir is where everything is kept; it is made, and removed by Close. "" = a
	// folder for temporary files.
	Dir string
	// Loopback has the nodes share this program's network, which needs no root
	// and runs processes only. Their networks cannot be cut, and two of them
	// cannot publish the same port.
	Loopback bool
	// LocalPath has agents follow the repository by its path instead of http.
	LocalPath bool
	// Payload is a program for PushImage; "" = none.
	Payload string
	// Git says whom the Git server lets in, Registry what the image registry
	// demands; where they listen is for the Cluster to say.
	Git      gitsynctest.Options
	Registry imagetest.RegistryOptions
	// Coordination of the agents; "" = CoordinationLeases.
	Coordination string
	// CPU and Memory are what each node says it has; "" = all of the machine's.
	CPU, Memory string
	// Config is YAML laid over each agent's configuration, field by field.
	Config string
	// Subnet of the nodes' network, a /24; zero = a free one.
	Subnet netip.Prefix
	// Outside is the network namespace that leads to the world and from which
	// people reach the fleet; nil = the nodes see nothing but each other.
	Outside *os.File
	// Progress is told what is being done; nil = nobody.
	Progress func(string)
}

// Cluster is many nodes and what they share.
type Cluster struct {
	*Hub
	Dir   string
	Nodes []*Node

	opts    ClusterOptions
	remains remains
	net     *network // nil on loopback
	gitPort int
}

// bootsAtOnce is how many nodes boot at the same time: more are no faster on
// small machines, and each takes long then.
const bootsAtOnce = 3

// NewCluster makes a fleet whose nodes are on and whose agents do not run yet.
// Close takes all of it away again.
func NewCluster(ctx context.Context, opts ClusterOptions) (_ *Cluster, err error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, Hub: &Hub{}}
	if c.Dir, err = opts.makeDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	id := make([]byte, 3)
	_, _ = rand.Read(id) // it never fails
	name := "odev" + hex.EncodeToString(id)
	c.remains = remains{Dir: c.Dir, Cgroup: "/" + name, Bridge: name, Programs: programs(opts.Orpheus)}
	if err := c.remains.write(); err != nil {
		return nil, err
	}
	if err := c.makeNetwork(); err != nil {
		return nil, err
	}
	c.progress("Starting the Git server" + orNot(c.containers(), " and the registry"))
	if err := c.makeHub(); err != nil {
		return nil, err
	}
	if err := c.makeNodes(); err != nil {
		return nil, err
	}
	return c, c.boot(ctx)
}

func orNot(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

func (o *ClusterOptions) complete() (err error) {
	if o.Coordination == "" {
		o.Coordination = CoordinationLeases
	}
	switch {
	case o.Nodes < 1 || o.Nodes > MaxNodes:
		return fmt.Errorf("make a fleet of %d nodes: it can have 1 to %d", o.Nodes, MaxNodes)
	case o.Driver != planner.DriverContainerd && o.Driver != planner.DriverProcess:
		return fmt.Errorf("make a fleet: there is no driver %q", o.Driver)
	case o.Loopback && o.Driver != planner.DriverProcess:
		return errors.New("make a fleet: containers need nodes with networks of their own")
	case !o.Loopback && os.Geteuid() != 0:
		return errors.New("make a fleet: nodes with networks of their own need root")
	}
	// Programs are found again by the path that the kernel tells.
	if o.Orpheus, err = filepath.Abs(o.Orpheus); err == nil {
		o.Orpheus, err = filepath.EvalSymlinks(o.Orpheus)
	}
	return err
}

// makeDir makes the folder of the fleet, which nobody may have used.
func (o *ClusterOptions) makeDir() (dir string, err error) {
	if o.Dir == "" {
		dir, err = os.MkdirTemp("", "orpheus-")
	} else if dir, err = filepath.Abs(o.Dir); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make the folder of the fleet: %w", err)
	}
	if real, err := filepath.EvalSymlinks(dir); err != nil {
		return "", err
	} else if dir = real; strings.HasPrefix(dir, "/run/") && !o.Loopback {
		return "", fmt.Errorf("make the folder of the fleet: %s is below /run, of which each node has its own", dir)
	}
	if _, err := os.Lstat(filepath.Join(dir, remainsFile)); err == nil {
		return "", fmt.Errorf("make the folder of the fleet: %s holds another one", dir)
	}
	return dir, nil
}

// makeNetwork makes the bridge and the way out.
func (c *Cluster) makeNetwork() (err error) {
	if c.opts.Loopback {
		return nil
	}
	mtu := 0
	if c.opts.Outside != nil {
		if mtu, err = outsideMTU(c.opts.Outside); err != nil {
			return err
		}
	}
	if c.net, err = newNetwork(c.remains.Bridge, c.opts.Subnet, mtu); err != nil || c.opts.Outside == nil {
		return err
	}
	c.net.uplink = true
	return c.openUplink()
}

// makeHub starts the servers where all nodes reach them.
func (c *Cluster) makeHub() (err error) {
	opts := hubOptions{localPath: c.opts.LocalPath, git: c.opts.Git, payload: c.opts.Payload}
	if c.containers() {
		opts.registry = &c.opts.Registry
		opts.registry.Dir = filepath.Join(c.Dir, "layers")
	}
	if c.net != nil {
		any := netip.AddrPortFrom(c.net.host(hubHost), 0).String()
		opts.git.Address = any
		if opts.registry != nil {
			opts.registry.Address = any
		}
	}
	if c.Hub, err = openHub(c.Dir, opts); err != nil {
		return err
	}
	c.gitPort, err = c.Hub.gitPort()
	return err
}

func (c *Cluster) containers() bool { return c.opts.Driver == planner.DriverContainerd }

// makeNodes makes the nodes, which are off.
func (c *Cluster) makeNodes() error {
	ports := []int{}
	if c.net == nil {
		var err error
		if ports, err = freePorts(c.opts.Nodes); err != nil {
			return err
		}
	}
	for i := range c.opts.Nodes {
		name := fmt.Sprintf("node-%d", i+1)
		n := &Node{
			Name: name, Dir: filepath.Join(c.Dir, name), hub: c.Hub, cluster: c, index: i, off: true,
			cgroup: c.remains.Cgroup + "/" + name,
			opts: nodeOptions{
				orpheus: c.opts.Orpheus, driver: c.opts.Driver, coordination: c.opts.Coordination,
				cpu: c.opts.CPU, memory: c.opts.Memory, config: c.opts.Config,
			},
		}
		if c.net == nil {
			n.Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(ports[i]))
		} else {
			n.Address = netip.AddrPortFrom(c.net.node(i), PeerPort)
		}
		if err := os.MkdirAll(n.Dir, 0o700); err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, n)
	}
	return nil
}

// boot switches all nodes on.
func (c *Cluster) boot(ctx context.Context) error {
	return c.each(func(n *Node) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.progress("Booting " + n.Name)
		return n.Start()
	})
}

// each does something with all nodes, a few at a time.
func (c *Cluster) each(do func(*Node) error) error {
	errs := make([]error, len(c.Nodes))
	turns := make(chan struct{}, bootsAtOnce)
	var all sync.WaitGroup
	for i, n := range c.Nodes {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if err := do(n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) progress(text string) {
	if c.opts.Progress != nil {
		c.opts.Progress(text)
	}
}

// StartAgents starts the agent of every node.
func (c *Cluster) StartAgents() error { return c.each((*Node).StartAgent) }

// Statuses asks all agents, in the order of the nodes; nil = no answer.
func (c *Cluster) Statuses(ctx context.Context) []*api.Status {
	all := make([]*api.Status, len(c.Nodes))
	var asking sync.WaitGroup
	for i, n := range c.Nodes {
		asking.Go(func() {
			if st, err := n.Status(ctx); err == nil {
				all[i] = st
			}
		})
	}
	asking.Wait()
	return all
}

// Await asks all agents until what says "" or ctx ends; then the error holds
// what was still missing. what is given what Statuses returns.
func (c *Cluster) Await(ctx context.Context, what func([]*api.Status) (missing string)) error {
	return await(ctx, func() string { return what(c.Statuses(ctx)) })
}

// Close switches everything off and removes it, also what a half-made Cluster
// has.
func (c *Cluster) Close() error {
	errs := []error{c.each(func(n *Node) error { return n.powerOff() })}
	c.Hub.close()
	if c.net != nil {
		errs = append(errs, c.closeUplink())
	}
	return errors.Join(append(errs, c.remains.sweep())...)
}

// Node finds a node by name.
func (c *Cluster) Node(name string) (*Node, error) {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no node %q; the nodes are node-1 to node-%d", name, len(c.Nodes))
	}
	return c.Nodes[i], nil
}
