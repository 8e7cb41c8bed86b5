package network

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// beside is a node that has another firewall, the real program, beside our
// network: another node of its fleet, and a host that is no node.
type beside struct {
	t                *testing.T
	variant          string // of iptables: "nft" or "legacy"
	here, there, far *lanHost
	cfg              Config // of here
	theirs           runtime.Attachment

	// What setUp makes and tearDown takes back.
	web, other runtime.Attachment
	stop       []func()
}

// Ports of the node here, and of far.
const (
	localPort   = 80 // leads to the instance web, here
	remotePort  = 82 // leads to the instance theirs, there
	farPort     = 9000
	farHTTPPort = 9001
	nodePort    = 9100 // of the node's own, not meant for others
)

// isolatedBeside is isolated, for tests that mostly wait: they run at the same
// time.
func isolatedBeside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(envIsolated) == "" {
		t.Parallel()
	}
	return isolated(t)
}

func newBeside(t *testing.T, variant string) *beside {
	t.Helper()
	needIPTables(t, variant)
	useIPTables(t, variant)
	l := newLAN(t)
	b := &beside{t: t, variant: variant, here: l.join(""), there: l.node(newHost(t, "there")), far: l.join(newHost(t, "far")), cfg: testConfig(t.TempDir())}
	b.theirs = b.there.attach(t, "web-1")
	echo(t, b.theirs.NetNS, "theirs", 8080)
	b.there.balance(t, runtime.Balancing{
		Fleet:  b.here.addr[:],
		Fronts: frontsOf(runtime.FrontHost, 20001, to(b.theirs.Address, 8080), to(b.theirs.Address6, 8080)),
	})
	echo(t, b.far.ns, "far", farPort)
	serveHTTP(t, b.far.ns, "far", farHTTPPort)
	echo(t, "", "names", 53)
	echo(t, "", "node", nodePort)
	return b
}

// setUp begins our network, and keeps it until tearDown.
func (b *beside) setUp() *Network {
	b.t.Helper()
	n, err := New(b.cfg)
	must(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	b.stop = []func(){func() { cancel(); <-done }}
	b.t.Cleanup(func() {
		if b.stop != nil { // the test ended badly
			b.tearDown(n)
		}
	})
	b.web, b.other = attach(b.t, n, "web-0"), attach(b.t, n, "other-0")
	b.stop = append(b.stop, echo(b.t, b.web.NetNS, "web", 8080))
	must(b.t, n.Balance(context.Background(), b.balancing()))
	return n
}

func (b *beside) balancing() runtime.Balancing {
	targets := []runtime.Target{to(b.web.Address, 8080), to(b.web.Address6, 8080)}
	elsewhere := []runtime.Target{to(b.there.addr[0], 20001), to(b.there.addr[1], 20001)}
	return inServices(frontsOf(runtime.FrontPublished, localPort, targets...), frontsOf(runtime.FrontPublished, remotePort, elsewhere...),
		service(80, targets...), service(82, elsewhere...))
}

// halt ends our process, so to say: the kernel goes on.
func (b *beside) halt() {
	for _, stop := range b.stop {
		stop()
	}
	b.stop = nil
}

func (b *beside) tearDown(n *Network) {
	b.t.Helper()
	b.halt()
	leave(b.t, n)
}

// passes fails unless everything of ours works: by IPv4 and IPv6, tcp and udp.
func (b *beside) passes(when string) {
	b.t.Helper()
	for v := range web {
		for _, network := range []string{"tcp", "udp"} {
			for _, c := range []struct {
				from, address string
				port          int
				name, client  string
			}{
				// The world to an instance here, which sees who asks, and to one there:
				// forwarded to where it came from.
				{b.far.ns, b.here.addr[v], localPort, "web", b.far.addr[v]},
				{b.far.ns, b.here.addr[v], remotePort, "theirs", b.here.addr[v]},
				// An instance to the world, to services, to a published port, to another
				// instance (over the bridge, whose frames iptables may see, too), and to
				// the name server.
				{b.other.NetNS, b.far.addr[v], farPort, "far", b.here.addr[v]},
				{b.other.NetNS, web[v], 80, "web", ""},
				{b.other.NetNS, web[v], 82, "theirs", ""},
				{b.other.NetNS, b.here.addr[v], localPort, "web", ""},
				{b.other.NetNS, address(b.web, v), 8080, "web", address(b.other, v)},
				{b.other.NetNS, []string{b.other.Gateway, b.other.Gateway6}[v], 53, "names", address(b.other, v)},
				// The node itself.
				{"", b.here.addr[v], localPort, "web", ""},
				{"", web[v], 80, "web", ""},
				{"", web[v], 82, "theirs", ""},
			} {
				name, client, err := asks(b.t, c.from, network, at(c.address, c.port))
				if err != nil || name != c.name || c.client != "" && client != c.client {
					b.t.Fatalf("%s, %s %s from %q: %q saw %q (%v), want %q to see %q",
						when, network, at(c.address, c.port), filepath.Base(c.from), name, client, err, c.name, c.client)
				}
			}
		}
	}
	reaches(b.t, "", "tcp", at("127.0.0.1", localPort), "web", "")
}

// ours counts our rules, and fails if one is not what it should be.
func (b *beside) ours() int {
	b.t.Helper()
	rules := filterRules(b.t, b.variant)
	comments := strings.Count(rules, "--comment \"orpheus")
	whole := strings.Count(rules, ` -m mark --mark 0x1000/0x1000 -m comment --comment "orpheus orpheus0" -j ACCEPT`)
	if comments != whole {
		b.t.Errorf("some rules are not as they should be:\n%s", rules)
	}
	return whole
}

// becomes waits until there are so many rules of ours, and tells how long that
// took.
func (b *beside) becomes(want int, when string) {
	b.t.Helper()
	begin := time.Now()
	eventually(b.t, fmt.Sprintf("%s: %d rules of ours", when, want), func() bool { return b.ours() == want })
	b.t.Logf("%s: rules after %v", when, time.Since(begin).Round(time.Millisecond))
}

// byHand does all that is said to be left for people, word for word: runs the
// commands, and writes lines into files where that is said, too.
func byHand(t *testing.T, n *Network) {
	t.Helper()
	info, err := n.Info(context.Background())
	must(t, err)
	if len(info.ForeignRules) > 0 || len(info.Blocking) == 0 {
		t.Fatalf("%+v, want only what to do by hand", info)
	}
	for _, note := range info.Blocking {
		parts := strings.Split(note, `"`) // words, command, words, command or line, words
		if len(parts) < 3 {
			t.Fatalf("note %q: no command in it", note)
		}
		for k := 1; k < len(parts)-1; k += 2 {
			if !strings.HasSuffix(parts[k-1], " by the line ") {
				run(t, "sh", "-c", parts[k])
				continue
			}
			file := parts[k+1][strings.LastIndex(parts[k+1], " ")+1:]
			text, err := os.ReadFile(file)
			must(t, err)
			end := strings.LastIndex(string(text), "COMMIT")
			if end < 0 {
				t.Fatalf("note %q: no COMMIT in %s", note, file)
			}
			must(t, os.WriteFile(file, []byte(string(text[:end])+parts[k]+"\n"+string(text[end:])), 0o640))
		}
	}
}

// noted fails unless people are told of so many firewalls that drop.
func (b *beside) noted(n *Network, when string, want int) {
	b.t.Helper()
	info, err := n.Info(context.Background())
	must(b.t, err)
	if len(info.Blocking) != want {
		b.t.Errorf("%s: %d firewalls are said to drop, want %d: %q", when, len(info.Blocking), want, info.Blocking)
	}
}

// serveHTTP answers every page with a name.
func serveHTTP(t *testing.T, ns, name string, port int) {
	t.Helper()
	var l net.Listener
	within(t, ns, func() {
		var err error
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		must(t, err)
	})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })}
	t.Cleanup(func() { server.Close() })
	go server.Serve(l)
}

// page asks for a page from a namespace.
func page(t *testing.T, ns, address, path string) (string, error) {
	t.Helper()
	c, err := dialWithin(t, patience, ns, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, address); err != nil {
		return "", err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return string(body), err
}

// useIPTables makes "iptables" the wanted one, for this mount namespace.
func useIPTables(t *testing.T, variant string) {
	t.Helper()
	if path, err := findProgram("iptables"); err == nil && ofVariant(path, variant == "legacy") {
		return
	}
	const folder = "/etc/alternatives"
	links := privately(t, folder)
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			path, err := findProgram(family + "-" + variant + verb)
			if err != nil {
				t.Skipf("needs %s-%s%s: %v", family, variant, verb, err)
			}
			link := filepath.Join(links, family+verb)
			if err := os.Remove(link); err != nil {
				t.Skipf("needs a machine that chooses its iptables in %s: %v", folder, err)
			}
			must(t, os.Symlink(path, link))
		}
	}
}

// privately puts a copy of a file or folder in its place, for this mount
// namespace, and returns where the copy lies.
func privately(t *testing.T, path string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), filepath.Base(path))
	if out, err := exec.Command("cp", "-a", path, copied).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", path, err, out)
	}
	must(t, unix.Mount(copied, path, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(path, unix.MNT_DETACH)) })
	return copied
}

// privateRun hides what the machine's services keep in /run: sockets, locks.
func privateRun(t *testing.T) {
	t.Helper()
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { must(t, unix.Unmount("/run", unix.MNT_DETACH)) })
}

// daemon is a program that runs beside, in a process namespace that ends with
// it, and a mount namespace.
type daemon struct {
	t       *testing.T
	log     string
	process *os.Process
	ended   chan struct{}
}

// startDaemon runs a script that becomes, or waits for, the program.
func startDaemon(t *testing.T, log, script string, args ...string) *daemon {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", "mount -t proc proc /proc && " + script, "sh"}, args...)...)
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		goruntime.LockOSThread() // Pdeathsig is bound to the thread
		defer goruntime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	must(t, <-started)
	d := &daemon{t: t, log: log, process: cmd.Process, ended: ended}
	t.Cleanup(d.stop)
	return d
}

// alive fails if it has ended.
func (d *daemon) alive() {
	d.t.Helper()
	select {
	case <-d.ended:
		log, _ := os.ReadFile(d.log)
		d.t.Fatalf("%s ended:\n%s", filepath.Base(d.log), log[max(0, len(log)-4000):])
	default:
	}
}

func (d *daemon) stop() {
	d.t.Helper()
	d.process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		d.t.Errorf("%s does not end when it is told to", filepath.Base(d.log))
		d.process.Kill()
		<-d.ended
	}
}
