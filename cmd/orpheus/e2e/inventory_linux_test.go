package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// containerdNamespace is where the agent keeps its containers.
const containerdNamespace = "orpheus"

// inventory is everything a node has, by kind: full lists, sorted. What names
// an instance names its slot instead, so that two nodes at rest with the same
// manifests have equal inventories, whatever happened to them before.
type inventory map[string][]string

// inventory takes one. It must only be asked of a node at rest.
func (n *node) inventory() inventory {
	n.t.Helper()
	inv := inventory{}
	names := n.instanceNames()
	add := func(kind, format string, args ...any) {
		inv[kind] = append(inv[kind], names.Replace(fmt.Sprintf(format, args...)))
	}
	n.listFiles(add)
	n.listMounts(add)
	n.listCgroups(add)
	n.listProcesses(add)
	n.listDescriptors(add)
	if n.Containerd != nil {
		n.listLinks(add)
		n.listRules(add)
		if err := n.listContainerd(add); err != nil {
			inv["containerd does not answer"] = []string{err.Error()}
		}
	}
	for _, list := range inv {
		slices.Sort(list)
	}
	return inv
}

// atRest takes the inventory that others are compared with. An agent that has
// just started still opens connections, and reads its own program, after its
// instances are settled: it is taken once nothing has changed for a second.
func (n *node) atRest() inventory {
	n.t.Helper()
	inv, since := n.inventory(), time.Now()
	n.eventually("nothing changes any more", func() string {
		now := n.inventory()
		if change := inv.difference(now); change != "" {
			inv, since = now, time.Now()
			return change
		}
		if time.Since(since) < time.Second {
			return "not yet for a second"
		}
		return ""
	})
	return inv
}

type lister func(kind, format string, args ...any)

// instanceNames replaces ids and addresses of the instances that status knows
// by their slots. Any other id is a leftover and shows.
func (n *node) instanceNames() *strings.Replacer {
	var pairs []string
	for _, s := range n.status().Services {
		for _, i := range s.Instances {
			pairs = append(pairs, i.ID, "<"+s.Name+"/"+i.Slot+">")
			if i.Address != "" {
				pairs = append(pairs, i.Address+" ", "<address> ", i.Address+"\n", "<address>\n")
			}
		}
	}
	return strings.NewReplacer(append(pairs, n.Dir, "")...)
}

// listFiles lists the agent's own folders but for the clone, which is git's.
func (n *node) listFiles(add lister) {
	for _, root := range []string{n.StateDir(), filepath.Dir(n.Socket())} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil: // it has just gone
			case path == filepath.Join(n.StateDir(), "git"):
				return filepath.SkipDir
			case path == filepath.Join(n.StateDir(), "ends.json"): // it remembers on purpose
			case strings.Contains(path, "/logs/"):
				add("log files", "%s", path)
			default:
				add("files", "%s %s", d.Type(), path)
			}
			return nil
		})
	}
}

func (n *node) listMounts(add lister) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], n.Dir+"/") {
			_, kind, _ := strings.Cut(line, " - ")
			add("mounts", "%s on %s", strings.Fields(kind)[0], fields[4])
		}
	}
}

func (n *node) listCgroups(add lister) {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + n.Cgroup())
	for _, root := range append(roots, "/sys/fs/cgroup"+n.Cgroup()) {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				add("cgroups", "%s", path)
			}
			return nil
		})
	}
}

// listProcesses lists shims and what runs below them: every process that was
// started with, or works in, the fleet's folder.
func (n *node) listProcesses(add lister) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		args, _ := os.ReadFile(file)
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		exe, _ := os.Readlink(filepath.Join(filepath.Dir(file), "exe"))
		if strings.Contains(string(args), n.Dir) || strings.HasPrefix(cwd, n.Dir) {
			add("processes", "%s in %s", filepath.Base(exe), cwd)
		}
	}
}

var socketNumber = regexp.MustCompile(`:\[\d+\]`)

// listDescriptors lists what the agent holds open, by kind. The packs of the
// clone are left out: commits bring them, and gitsync bounds and merges them.
func (n *node) listDescriptors(add lister) {
	for _, target := range devfleet.Open(n.AgentPID()) {
		if strings.HasPrefix(target, filepath.Join(n.StateDir(), "git", "clone")) {
			continue
		}
		add("the agent's file descriptors", "%s", socketNumber.ReplaceAllString(target, ""))
	}
}

func (n *node) listLinks(add lister) {
	links, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // something changed meanwhile
		links, err = netlink.LinkList()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	bridge := -1
	for _, l := range links {
		if l.Attrs().Name == n.bridge {
			bridge = l.Attrs().Index
		}
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge {
			add("links", "%s on %s", l.Type(), n.bridge)
		}
	}
}

// anyAddress is an address of an instance in one of the tests' subnets.
var anyAddress = regexp.MustCompile(`10\.1\d\d\.\d+\.\d+`)

func (n *node) listRules(add lister) {
	out, err := exec.Command("nft", "list", "table", "ip", n.bridge).CombinedOutput()
	if err != nil {
		add("rules", "%v", err)
	}
	text := anyAddress.ReplaceAllString(string(out), "<address>")
	for line := range strings.Lines(strings.ReplaceAll(text, ", ", "\n")) {
		add("rules", "%s", strings.Join(strings.Fields(line), " "))
	}
}

func (n *node) listContainerd(add lister) error {
	c, err := n.containerd()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := namespaces.WithNamespace(context.Background(), containerdNamespace)
	containers, err := c.ContainerService().List(ctx)
	if err != nil {
		return err
	}
	for _, x := range containers {
		add("containers", "%s of %s", x.ID, x.Labels["orpheus/revision"])
	}
	running, err := c.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return err
	}
	for _, x := range running.Tasks {
		add("tasks", "%s %s", x.ID, x.Status)
	}
	for range n.Containerd.Shims() {
		add("shims", "a shim")
	}
	images, err := c.ImageService().List(ctx)
	if err != nil {
		return err
	}
	for _, x := range images {
		add("images", "%s", x.Name)
	}
	held, err := c.LeasesService().List(ctx)
	if err != nil {
		return err
	}
	for _, x := range held {
		add("leases", "%s", x.ID)
	}
	return n.listStores(ctx, c, add)
}

func (n *node) listStores(ctx context.Context, c *client.Client, add lister) error {
	err := c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		add("snapshots", "%s %s", info.Kind, info.Name)
		return nil
	})
	if err != nil {
		return err
	}
	err = c.ContentStore().Walk(ctx, func(info content.Info) error {
		add("content", "%s", info.Digest)
		return nil
	})
	if err != nil {
		return err
	}
	partial, err := c.ContentStore().ListStatuses(ctx)
	for _, s := range partial {
		add("partial downloads", "%s", s.Ref)
	}
	return err
}

// containerd connects to the fleet's, past the agent.
func (n *node) containerd() (*client.Client, error) {
	return client.New(n.Containerd.Address, client.WithDefaultNamespace(containerdNamespace))
}

// leftNothing demands that the node has what it had, nothing more and nothing
// less. What goes away in its own time (a closed connection) is waited for.
func (n *node) leftNothing(after string, before inventory) {
	n.t.Helper()
	n.eventually("nothing is left "+after, func() string { return before.difference(n.inventory()) })
}

// difference lists what came and went between two inventories.
func (inv inventory) difference(now inventory) string {
	var b strings.Builder
	kinds := slices.Collect(maps.Keys(inv))
	for kind := range now {
		if _, ok := inv[kind]; !ok {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		gone, came := subtract(inv[kind], now[kind]), subtract(now[kind], inv[kind])
		for _, x := range gone {
			fmt.Fprintf(&b, "\n- %s: %s", kind, x)
		}
		for _, x := range came {
			fmt.Fprintf(&b, "\n+ %s: %s", kind, x)
		}
	}
	return b.String()
}

// subtract takes a list from another, each item as often as it is there.
func subtract(from, what []string) []string {
	count := map[string]int{}
	for _, x := range what {
		count[x]++
	}
	var left []string
	for _, x := range from {
		if count[x]--; count[x] < 0 {
			left = append(left, x)
		}
	}
	return left
}
