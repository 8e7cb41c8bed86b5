package devfleet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
)

// Start switches a node of a Cluster on: its network and mounts, as after a
// reboot, and its containerd. What is on its disk is as it was. The agent is
// for StartAgent to start.
func (n *Node) Start() (err error) {
	if !n.off {
		return nil
	}
	n.off = false
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start %s: %w", n.Name, err), n.powerOff())
		}
	}()
	if err := os.RemoveAll(filepath.Dir(n.Socket())); err != nil {
		return err
	}
	if err := os.MkdirAll(n.StateDir(), 0o700); err != nil {
		return err
	}
	if n.cluster.net != nil {
		if n.ns, err = newNamespaces(n.mount); err != nil {
			return err
		}
		if err := n.cluster.net.plugIn(n.ns.net, firstNode+n.index, "eth0"); err != nil {
			return err
		}
		if err := n.applyCut(); err != nil {
			return err
		}
	}
	if n.containers() {
		return n.startContainerd()
	}
	return nil
}

// Kill is a power cut of a node of a Cluster: agent, containerd, shims and
// containers end at the same moment, and its network, mounts and cgroups are
// gone. What is on its disk stays.
func (n *Node) Kill() error {
	if n.cluster == nil {
		return fmt.Errorf("kill %s: the node of a Fleet cannot be switched off", n.Name)
	}
	if err := n.powerOff(); err != nil {
		return fmt.Errorf("kill %s: %w", n.Name, err)
	}
	return nil
}

// On reports whether the node is switched on.
func (n *Node) On() bool { return !n.off }

// Processes lists the ids of all processes of a node of a Cluster.
func (n *Node) Processes() []int { return n.processes().list() }

func (n *Node) processes() processes {
	return processes{dir: n.Dir, programs: n.cluster.remains.Programs, cgroup: n.cgroup}
}

func (n *Node) powerOff() error {
	errs := []error{n.processes().kill(), n.EndAgent(unix.SIGKILL)}
	if n.Containerd != nil {
		errs = append(errs, n.Containerd.Kill())
	}
	if n.ns != nil {
		errs = append(errs, n.cluster.net.unplug(firstNode+n.index), n.ns.close())
		n.ns = nil
	}
	n.off = true
	return errors.Join(append(errs, removeCgroups(n.cgroup))...)
}

// mount makes the mounts of a node that boots: folders in memory that a reboot
// empties, one of them shared by all containerds of a machine.
func (n *Node) mount() error {
	resolv, err := hostResolvConf()
	if err != nil {
		return err
	}
	for _, dir := range []string{"/run", filepath.Join(n.Dir, "c", "state")} {
		if err := mountTmpfs(dir); err != nil {
			return err
		}
	}
	return resolv.settle()
}

// resolvConf tells the node's programs which name servers there are.
type resolvConf struct {
	path string // without symbolic links; "" = there is none
	text []byte
}

// hostResolvConf is the machine's, by way of a resolver that also answers
// those who do not share its loopback.
func hostResolvConf() (r resolvConf, err error) {
	if r.path, err = filepath.EvalSymlinks("/etc/resolv.conf"); err != nil {
		return resolvConf{}, nil
	}
	if r.text, err = os.ReadFile(r.path); err != nil {
		return resolvConf{}, err
	}
	if onlyLoopback(string(r.text)) {
		if upstream, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			r.text = upstream
		}
	}
	return r, nil
}

func onlyLoopback(text string) bool {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" && !net.ParseIP(fields[1]).IsLoopback() {
			return false
		}
	}
	return true
}

// settle puts the file where it belongs, once /run is the node's.
func (r resolvConf) settle() error {
	if r.path == "" {
		return nil
	}
	if strings.HasPrefix(r.path, "/run/") {
		if err := os.MkdirAll(filepath.Dir(r.path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(r.path, r.text, 0o644)
	}
	const own = "/run/resolv.conf"
	if err := os.WriteFile(own, r.text, 0o644); err != nil {
		return err
	}
	if err := unix.Mount(own, r.path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", r.path, err)
	}
	return nil
}

// freePorts finds ports of loopback that nobody listens on.
func freePorts(count int) (ports []int, err error) {
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find free ports: %w", err)
		}
		defer l.Close() // at the end: no port is found twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Missing says why no Cluster with a driver can be made here; "" if it can.
func Missing(driver string) string {
	if _, err := exec.LookPath("git"); err != nil {
		return "git is not on PATH: install it"
	}
	if driver == planner.DriverContainerd {
		return containerdtest.Missing()
	}
	return ""
}
