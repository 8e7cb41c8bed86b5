package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// forge is a Git server with sshd, which is told of keys as a forge's page is.
type forge struct {
	*gitsynctest.SSHD
	t    *testing.T
	root string
}

// newForge listens on port 22 of this test's network, with an empty repository
// team/fleet.git.
func newForge(t *testing.T, w *world) *forge {
	t.Helper()
	f := &forge{t: t, root: w.folder(t, "forge/repositories")}
	server, err := gitsynctest.StartSSHD(gitsynctest.SSHDOptions{Root: f.root, Dir: w.folder(t, "forge/sshd")})
	if errors.Is(err, gitsynctest.ErrNoSSHD) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	f.SSHD = server
	t.Cleanup(server.Close)
	if _, err := gitsynctest.NewRepo(filepath.Join(f.root, "team", "fleet.git")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", ":22")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go passOn(conn, server.Address)
		}
	}()
	return f
}

// passOn leads a connection on.
func passOn(from net.Conn, address string) {
	defer from.Close()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(to, from); done <- struct{}{} }()
	go func() { _, _ = io.Copy(from, to); done <- struct{}{} }()
	<-done
}

// takeKey lets the key in that a command has printed: what a person does on the
// forge's page.
func (f *forge) takeKey(_ *site, out string) {
	f.t.Helper()
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "ssh-ed25519 ") {
			continue
		}
		known, err := os.ReadFile(f.AuthorizedKeys())
		if err != nil {
			f.t.Fatal(err)
		}
		options, _, _ := strings.Cut(string(known), " ssh-ed25519 ")
		if err := os.WriteFile(f.AuthorizedKeys(), fmt.Appendf(known, "%s %s", options, line), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

// server is a machine with systemd and containerd, on which nothing of Orpheus
// is or was.
type server struct {
	*site
	*devfleet.Node
	machine *machine
	files   string // in memory: what its own folders have beyond the test machine's
}

// Folders that a server has to itself: what is written there is seen there only.
var ownFolders = []string{"/etc", "/usr/local/bin", "/var/lib", "/root"}

func newServerOf(f *fleet, n *devfleet.Node, w *world, hosts string) *server {
	f.t.Helper()
	s := &server{Node: n, files: w.folder(f.t, "servers/"+n.Name)}
	s.machine = machineAt(&node{Fleet: &devfleet.Fleet{Node: n, Dir: n.Dir}, t: f.t}, s.start)
	f.must(n.Within(func() error { return s.settle(hosts) }))
	s.machine.environ = []string{"SSL_CERT_FILE=" + w.caFile}
	s.site = &site{name: n.Name, dir: "/root", start: s.start, env: append(w.environment(f.t, "/root"),
		"PATH="+s.machine.tools()+":/usr/local/bin:"+pathWithGo(f.t), systemctlSocket+"="+s.machine.client.Addr().String())}
	return s
}

// settle makes the mounts, within the node.
func (s *server) settle(hosts string) error {
	if err := unix.Mount("tmpfs", s.files, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("memory for files: %w", err)
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	for _, folder := range ownFolders {
		upper, work := filepath.Join(s.files, folder, "upper"), filepath.Join(s.files, folder, "work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		options := "lowerdir=" + folder + ",upperdir=" + upper + ",workdir=" + work
		if err := unix.Mount("overlay", folder, "overlay", 0, options); err != nil {
			return fmt.Errorf("lay a folder over %s: %w", folder, err)
		}
	}
	names, err := os.ReadFile(hosts)
	if err != nil {
		return err
	}
	return errors.Join(
		os.RemoveAll("/etc/orpheus"), os.RemoveAll("/var/lib/orpheus"), os.RemoveAll("/etc/resolv.conf"),
		os.WriteFile("/etc/resolv.conf", resolv, 0o644), os.WriteFile("/etc/hosts", names, 0o644),
		os.MkdirAll("/run/systemd/system", 0o755), os.MkdirAll(unitFolder, 0o755), unix.Mount(s.machine.units(), unitFolder, "", unix.MS_BIND, ""),
		os.MkdirAll("/run/containerd", 0o755),
		os.Symlink(s.Containerd.Address, "/run/containerd/containerd.sock"))
}

// start runs a command on the server, which has a name of its own.
func (s *server) start(cmd *exec.Cmd) error {
	return s.Within(func() error {
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Sethostname([]byte(s.Node.Name)); err != nil {
			return fmt.Errorf("name the server: %w", err)
		}
		return cmd.Start()
	})
}

// newServers are three of them, on one network with this test.
func newServers(t *testing.T, w *world) (servers []*server, hosts string) {
	t.Helper()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	address, err := url.Parse(f.Git.URL)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"git.example.com": address.Hostname(), dockerHub: address.Hostname()}
	for _, n := range f.Nodes {
		names[n.Name] = n.Address.Addr().String()
	}
	hosts = w.hosts(t, names)
	for _, n := range f.Nodes {
		servers = append(servers, newServerOf(f, n, w, hosts))
	}
	return servers, hosts
}
