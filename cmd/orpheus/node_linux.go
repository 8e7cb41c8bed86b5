package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/containerd/containerd/v2/defaults"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd"
	"github.com/orpheus-cd/orpheus/runtime/network"
	"github.com/orpheus-cd/orpheus/runtime/process"
	"github.com/orpheus-cd/orpheus/runtime/volume"
)

// node is everything one agent is wired from.
type node struct {
	config  config
	log     *slog.Logger
	source  *gitSource
	drivers map[string]runtime.Driver
	network runtime.Network // nil without containers of their own network
	names   *nameServer     // nil without network
	relay   *relayed        // leads connections where there is no network
	volumes runtime.Volumes
	hint    chan struct{} // look at the repository now
	closers []func() error
	// notifier tells others how commits fare; nil = nobody is told.
	notifier *notify.Notifier
}

// newNode wires a node from its configuration. It touches neither the
// network, nor Git, nor a driver's backend.
func newNode(c config, log *slog.Logger) (_ *node, err error) {
	n := &node{config: c, log: log, hint: make(chan struct{}, 1), drivers: map[string]runtime.Driver{}, relay: newRelayed(c, log)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	repo, err := gitsync.Open(c.git(log))
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, repo.Close)
	n.source = &gitSource{
		repo: repo, loader: manifest.NewLoader(manifest.Limits{}), config: c.Repository,
		shown: repo.URL(), hints: n.hint,
	}
	if err := n.addDrivers(); err != nil {
		return nil, err
	}
	if err := n.addPlugins(); err != nil {
		return nil, err
	}
	if err := n.addNetwork(); err != nil {
		return nil, err
	}
	n.volumes, err = volume.New(volume.Config{StateDir: c.StateDir, Log: log})
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	return n, nil
}

// addDrivers makes the built-in drivers that the configuration names; their
// folders are made at once.
func (n *node) addDrivers() error {
	c := n.config
	proc, err := process.New(process.Config{
		StateDir: filepath.Join(c.StateDir, "processes"), CgroupParent: c.Process.Cgroup, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("driver process: %w", err)
	}
	n.drivers[planner.DriverProcess] = proc
	if c.Containerd.Disabled {
		return nil
	}
	registries, err := c.registries()
	if err != nil {
		return err
	}
	ctrd, err := containerd.New(containerd.Config{
		Address: c.containerdAddress(), Namespace: c.Containerd.Namespace, Snapshotter: c.Containerd.Snapshotter,
		Cgroup: c.Containerd.Cgroup, StateDir: filepath.Join(c.RunDir, "containerd"), DataDir: filepath.Join(c.StateDir, "containerd"), Registries: registries,
		Credentials: c.registryLogin, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("driver containerd: %w", err)
	}
	n.drivers[planner.DriverContainerd] = ctrd
	n.closers = append(n.closers, ctrd.Close)
	return nil
}

// addNetwork makes the node's network, where containers are to have one, or
// what a plugin runs may, and this user can.
func (n *node) addNetwork() error {
	c := n.config
	if c.Containerd.Disabled && len(c.Plugins) == 0 || os.Geteuid() != 0 {
		return nil
	}
	net, err := network.New(c.network(n.log))
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	n.network, n.names = net, newNameServer(c, net, n.log)
	return nil
}

// hostPorts are the ports of this node by which others reach instances: none of
// a node alone.
func (n *node) hostPorts() [2]int {
	if n.config.Coordination == coordinationNone {
		return [2]int{}
	}
	if ports, err := n.config.Network.hostPorts(); err == nil && ports != [2]int{} {
		return ports
	}
	return network.DefaultHostPorts
}

func (c *config) containerdAddress() string {
	if c.Containerd.Address != "" {
		return c.Containerd.Address
	}
	return defaults.DefaultAddress
}

// agent makes the node's agent.
func (n *node) agent() (*agent.Agent, *agent.Metrics, error) {
	c := n.config
	maxSize := resource.MustParse(c.Logs.MaxSize) // validated
	metrics := agent.NewMetrics()
	metrics.Register(n.source.collectors()...)
	part, err := n.fleet()
	if err != nil {
		return nil, nil, err
	}
	settings := agent.Config{
		Fleet: part, Relate: n.source.relate(n.log),
		Floor: agent.FloorConfig{Pin: strings.ToLower(c.Repository.Floor), Copy: filepath.Join(c.RunDir, "floor.json")},
		Node: planner.Node{
			Name: planner.NodeName(c.Node.Name), Labels: c.Node.Labels, OS: goruntime.GOOS, Arch: goruntime.GOARCH,
		},
		Version: programVersion(), StateDir: c.StateDir, Source: n.source,
		Drivers: n.drivers, Volumes: n.volumes, Policy: c.policy(), Log: n.log, Metrics: metrics,
		LogMaxBytes: maxSize.Value(), LogFiles: c.Logs.Files, Pressure: c.pressure(),
	}
	if net, ok := n.network.(*network.Network); ok {
		settings.Network, settings.Balancer, settings.HostPorts, settings.Names = net, net, net, n.names
		settings.Policy.HostPorts = n.hostPorts()
	} else {
		settings.Balancer, settings.Names = n.relay, n.relay
	}
	if n.notifier, err = c.newNotifier(n.log); err != nil {
		return nil, nil, fmt.Errorf("notify: %w", err)
	}
	if n.notifier != nil {
		settings.Notify = n.notifier.Tell
		metrics.Register(n.notifier.Collector())
	}
	a, err := agent.New(settings)
	return a, metrics, err
}

// keepNetwork restores what other programs take away of the node's network.
func (n *node) keepNetwork(ctx context.Context) {
	if net, ok := n.network.(*network.Network); ok {
		net.Run(ctx)
	}
}

// hintNow asks for a look at the repository; a hint that is waiting serves
// for this one too.
func (n *node) hintNow() {
	select {
	case n.hint <- struct{}{}:
	default:
	}
}

// watch turns changes of a repository on this machine into hints. Where it
// cannot, the timer is enough.
func (n *node) watch(ctx context.Context) {
	path, local := n.source.repo.LocalPath()
	if !local {
		return
	}
	changes, err := gitsync.WatchLocal(ctx, path)
	if err != nil {
		n.log.Warn("repository is polled only: its folder cannot be watched", "err", err)
		return
	}
	for range changes {
		n.hintNow()
	}
}

func (n *node) close() error {
	var errs []error
	for _, c := range n.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
