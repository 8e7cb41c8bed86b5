package network

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Each test runs in a process of its own with network and mount namespaces of
// its own: the test binary runs itself again. So every thread is in the right
// namespace, as in the agent, and the host sees nothing of it.
const (
	envIsolated = "ORPHEUS_NETWORK_TEST_ISOLATED"
	envVictim   = "ORPHEUS_NETWORK_TEST_VICTIM"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if spec := os.Getenv(envVictim); spec != "" {
		victim(spec)
	}
	if bench := flag.Lookup("test.bench").Value.String(); bench != "" && os.Getenv(envIsolated) == "" && os.Geteuid() == 0 {
		cmd := isolate(os.Args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Those that run beside each other wait for others, not for a processor.
	if err := flag.Set("test.parallel", fmt.Sprint(max(4, goruntime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func isolate(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envIsolated+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// isolated makes the rest of the test run in fresh namespaces. It returns
// false in the outer process, where the test is done then.
func isolated(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	if os.Getenv(envIsolated) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		must(t, netlink.LinkSetUp(link(t, "lo")))
		return true
	}
	goruntime.LockOSThread() // Pdeathsig is bound to the thread
	defer goruntime.UnlockOSThread()
	cmd := isolate("-test.run=^"+t.Name()+"$", "-test.v="+fmt.Sprint(testing.Verbose()), "-test.timeout=3m")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its own namespaces: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip(string(out))
	}
	t.Logf("%s", out)
	return false
}

// testNetwork returns a network with folders of its own.
func testNetwork(t testing.TB) *Network {
	t.Helper()
	return newNetwork(t, testConfig(t.TempDir()))
}

func newNetwork(t testing.TB, cfg Config) *Network {
	t.Helper()
	n, err := New(cfg)
	must(t, err)
	if tb, ok := t.(*testing.T); ok {
		tb.Cleanup(func() { must(t, n.Sweep(context.Background(), nil)) }) // temp dirs hold mounts
	}
	return n
}

func testConfig(dir string) Config {
	return Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run")}
}

var testNames = runtime.Names{Hostname: "host", Namespace: "shop"}

func attach(t testing.TB, n *Network, id string) runtime.Attachment {
	t.Helper()
	a, err := n.Attach(context.Background(), id, testNames)
	must(t, err)
	return a
}

func publish(t testing.TB, n *Network, ports ...runtime.Front) {
	t.Helper()
	must(t, n.Balance(context.Background(), runtime.Balancing{Fronts: ports}))
}

func port(protocol string, number int, targets ...runtime.Target) runtime.Front {
	return runtime.Front{Port: number, Protocol: protocol, Targets: targets}
}

func target(a runtime.Attachment) runtime.Target {
	return runtime.Target{Address: a.Address, Port: 8080}
}

// outside is another host: a namespace joined to ours by a link, with a route
// to the node only.
const (
	nodeAddress    = "198.51.100.1"
	outsideAddress = "198.51.100.2"
)

func outside(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outside")
	must(t, inNewNamespace(func() error { return pinNamespace(path) }))
	if tb, ok := t.(*testing.T); ok {
		tb.Cleanup(func() { must(t, unpinNamespace(path)) })
	}
	ns, err := os.Open(path)
	must(t, err)
	defer ns.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink", MTU: 1400}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	must(t, netlink.LinkAdd(veth))
	addr := func(name, ip string) {
		l := link(t, name)
		must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(ip + "/24"))}))
		must(t, netlink.LinkSetUp(l))
	}
	addr("uplink", nodeAddress)
	within(t, path, func() {
		must(t, netlink.LinkSetUp(link(t, "lo")))
		addr("eth0", outsideAddress)
	})
	return path
}

// within runs f on a thread inside the namespace. Sockets that f makes stay
// there. f must not call t.Fatal but through must, which ends the test badly.
func within(t testing.TB, namespace string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // never unlocked: the thread ends here
		if unix.Gettid() == unix.Getpid() {
			within(t, namespace, f)
			goruntime.UnlockOSThread()
			return
		}
		ns, err := os.Open(namespace)
		must(t, err)
		defer ns.Close()
		must(t, unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
		f()
	}()
	<-done
}

// serve answers every connection with name and the address it sees, then what
// it is sent.
func serve(t testing.TB, namespace, name, address string) {
	t.Helper()
	serveOn(t, namespace, "tcp4", name, address)
}

func serve6(t testing.TB, namespace, name, address string) {
	t.Helper()
	serveOn(t, namespace, "tcp6", name, address)
}

func serveOn(t testing.TB, namespace, network, name, address string) {
	t.Helper()
	var l net.Listener
	listen := func() {
		var err error
		l, err = net.Listen(network, address)
		must(t, err)
	}
	if namespace == "" {
		listen()
	} else {
		within(t, namespace, listen)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				fmt.Fprintf(c, "%s %s\n", name, host)
				io.Copy(c, c)
			}()
		}
	}()
}

// serveUDP answers every packet with name, until stop is called or the test
// ends.
func serveUDP(t testing.TB, namespace, name, address string) (stop func() error) {
	t.Helper()
	var c net.PacketConn
	within(t, namespace, func() {
		var err error
		c, err = net.ListenPacket("udp4", address)
		must(t, err)
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte(name), from)
		}
	}()
	return c.Close
}

// dial connects from the namespace, "" = ours.
func dial(t testing.TB, namespace, network, address string) (c net.Conn, err error) {
	t.Helper()
	return dialWithin(t, time.Minute, namespace, network, address)
}

func dialWithin(t testing.TB, patience time.Duration, namespace, network, address string) (c net.Conn, err error) {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	if namespace == "" {
		return d.Dial(network, address)
	}
	within(t, namespace, func() { c, err = d.Dial(network, address) })
	return c, err
}

// ask connects and returns who answers, and whom it sees.
func ask(t testing.TB, namespace, address string) (name, client string) {
	t.Helper()
	return askOn(t, namespace, "tcp4", address)
}

func ask6(t testing.TB, namespace, address string) (name, client string) {
	t.Helper()
	return askOn(t, namespace, "tcp6", address)
}

func askOn(t testing.TB, namespace, network, address string) (name, client string) {
	t.Helper()
	c, err := dial(t, namespace, network, address)
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	_, err = fmt.Fscanln(c, &name, &client)
	must(t, err)
	return name, client
}

// refused fails unless the connection is refused, at once.
func refused(t testing.TB, namespace, address string) {
	t.Helper()
	start := time.Now()
	c, err := dial(t, namespace, "tcp4", address)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial %s from %q: %v, want connection refused", address, filepath.Base(namespace), err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("dial %s from %q: refused after %v, want at once", address, filepath.Base(namespace), took)
	}
}

// unreachable fails if a connection comes about.
func unreachable(t testing.TB, namespace, address string) {
	t.Helper()
	c, err := dialWithin(t, 300*time.Millisecond, namespace, "tcp4", address)
	if err == nil {
		c.Close()
		t.Errorf("dial %s from %q: connected, want nothing there", address, filepath.Base(namespace))
	}
}

func link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
