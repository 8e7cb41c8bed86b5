package api_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/agent/api"
)

const envIsolated = "ORPHEUS_API_TEST_ISOLATED"

// isolated makes the rest of the test run in a network namespace of its own: the
// test binary runs itself again. It returns false in the outer process, where
// the test is done then.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	if os.Getenv(envIsolated) != "" {
		lo, err := netlink.LinkByName("lo")
		must(t, err)
		must(t, netlink.LinkSetUp(lo))
		return true
	}
	goruntime.LockOSThread() // Pdeathsig is bound to the thread
	defer goruntime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=5m", "-test.v="+flag.Lookup("test.v").Value.String())
	cmd.Env = append(os.Environ(), envIsolated+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its own namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeBridge makes a bridge with addresses, which are usable at once.
func makeBridge(t *testing.T, name string, addresses ...string) netlink.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	must(t, netlink.LinkAdd(bridge))
	addAddresses(t, bridge, addresses)
	must(t, netlink.LinkSetUp(bridge))
	return bridge
}

func addAddresses(t *testing.T, link netlink.Link, addresses []string) {
	t.Helper()
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		must(t, err)
		parsed.Flags = unix.IFA_F_NODAD
		must(t, netlink.AddrAdd(link, parsed))
	}
}

// there is a network namespace of its own, joined to this one by a link.
type there struct{ do chan func() }

// join makes a namespace whose link to here is called name, with addresses.
func join(t *testing.T, name string, addresses ...string) *there {
	t.Helper()
	p := &there{do: make(chan func())}
	ready := make(chan error, 1)
	var wait sync.WaitGroup
	wait.Go(func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with its namespace
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range p.do {
			f()
		}
	})
	t.Cleanup(func() { close(p.do); wait.Wait() })
	must(t, <-ready)
	var fd int
	p.run(func() {
		var err error
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
	})
	defer unix.Close(fd)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)}))
	here, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(here))
	p.run(func() {
		eth, err := netlink.LinkByName("eth0")
		must(t, err)
		addAddresses(t, eth, addresses)
		must(t, netlink.LinkSetUp(eth))
	})
	return p
}

// run calls f in the namespace.
func (p *there) run(f func()) {
	done := make(chan struct{})
	p.do <- func() { defer close(done); f() }
	<-done
}

// get asks for a page from the namespace; code 0 = no answer.
func (p *there) get(method, address, path, host string) (code int, body string) {
	p.run(func() {
		conn, err := (&net.Dialer{Timeout: 3 * time.Second}).Dial("tcp", address)
		if err != nil {
			body = err.Error()
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method, path, host)
		text, _ := io.ReadAll(conn)
		_, _ = fmt.Sscanf(string(text), "HTTP/1.1 %d", &code)
		body = string(text)
	})
	return code, body
}

// served starts ServeBridge and ends it with the test.
func served(t *testing.T, bridge string) *syncBuffer {
	log := &syncBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		api.ServeBridge(ctx, api.BridgeOptions{Bridge: bridge, Port: 7717, Endpoints: testEndpoints, Look: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))})
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return log
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// answers waits until an instance is served.
func answers(t *testing.T, p *there, address string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		code, body := p.get("GET", address, "/v1/endpoints", address)
		if code == http.StatusOK {
			return
		}
		last = body
	}
	t.Fatalf("%s does not answer within a minute: %s", address, last)
}

func TestBridgeServesInstances(t *testing.T) {
	if !isolated(t) {
		return
	}
	log := served(t, "br-test") // before there is a bridge
	addresses, own := []string{"10.231.0.1/20"}, []string{"10.231.0.5/20"}
	if off, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6"); err == nil && string(off) == "0\n" {
		addresses, own = append(addresses, "fd00:231::1/64"), append(own, "fd00:231::5/64")
	}
	makeBridge(t, "br-test", addresses...)
	instance := join(t, "inst0", own...)
	plug := func() {
		bridge, err := netlink.LinkByName("br-test")
		must(t, err)
		link, err := netlink.LinkByName("inst0")
		must(t, err)
		must(t, netlink.LinkSetMaster(link, bridge))
	}
	plug()
	answers(t, instance, "10.231.0.1:7717")
	if len(addresses) > 1 {
		answers(t, instance, "[fd00:231::1]:7717")
	}
	for _, c := range []struct {
		method, path, host string
		code               int
		text               string
	}{
		{"GET", "/v1/http_sd?service=web&port=metrics", "10.231.0.1:7717", 200, "10.231.0.5:9100"},
		{"HEAD", "/v1/endpoints", "10.231.0.1", 200, ""},
		{"GET", "/v1/http_sd?svc=web", "10.231.0.1:7717", 400, "there is no filter"},
		// What else the agent has is for the node's own users.
		{"GET", "/v1/status", "10.231.0.1:7717", 404, ""},
		{"GET", "/v1/network", "10.231.0.1:7717", 404, ""},
		{"GET", "/metrics", "10.231.0.1:7717", 404, ""},
		{"POST", "/v1/sync", "10.231.0.1:7717", 404, ""},
		{"POST", "/v1/endpoints", "10.231.0.1:7717", 405, ""},
		// A web page's own name for this address.
		{"GET", "/v1/endpoints", "evil.example.com", 421, ""},
		{"GET", "/v1/endpoints", "localhost:7717", 421, ""},
	} {
		code, body := instance.get(c.method, "10.231.0.1:7717", c.path, c.host)
		if code != c.code || !strings.Contains(body, c.text) {
			t.Errorf("%s %s of %s: %d, want %d with %q\n%s", c.method, c.path, c.host, code, c.code, c.text, body)
		}
	}

	// Another bridge of the name: an agent or a person made it anew.
	bridge, err := netlink.LinkByName("br-test")
	must(t, err)
	must(t, netlink.LinkDel(bridge))
	makeBridge(t, "br-test", "10.231.0.1/20")
	plug()
	answers(t, instance, "10.231.0.1:7717")
	if n := strings.Count(log.String(), "level=WARN"); n > 2 {
		t.Errorf("%d warnings:\n%s", n, log)
	}
}

// TestAttack41BridgeAnswersOnlyInstances: neither the machine's other users nor
// anyone beyond it, whatever source address they write on their packets.
func TestAttack41BridgeAnswersOnlyInstances(t *testing.T) {
	if !isolated(t) {
		return
	}
	served(t, "br-test")
	bridge := makeBridge(t, "br-test", "10.231.0.1/20")
	instance := join(t, "inst0", "10.231.0.5/20", "192.0.2.77/32")
	link, err := netlink.LinkByName("inst0")
	must(t, err)
	must(t, netlink.LinkSetMaster(link, bridge))
	answers(t, instance, "10.231.0.1:7717")

	// A machine beside the node that claims to be an instance.
	stranger := join(t, "uplink", "10.231.0.9/20")
	uplink, err := netlink.LinkByName("uplink")
	must(t, err)
	addAddresses(t, uplink, []string{"198.51.100.1/24"})
	if code, body := stranger.get("GET", "10.231.0.1:7717", "/v1/endpoints", "10.231.0.1:7717"); code != 0 {
		t.Errorf("a machine beside the node is answered: %s", body)
	}
	// A program of the machine, which the kernel lets connect.
	res, err := http.Get("http://10.231.0.1:7717/v1/endpoints")
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a program of the machine is answered: %s", res.Status)
	}
	// An instance with an address that is not one of the subnet.
	instance.run(func() {
		conn, err := (&net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 77)}}).Dial("tcp", "10.231.0.1:7717")
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprint(conn, "GET /v1/endpoints HTTP/1.1\r\nHost: 10.231.0.1\r\n\r\n")
			text := make([]byte, 64)
			n, _ := conn.Read(text)
			if strings.HasPrefix(string(text[:n]), "HTTP/1.1 200") {
				t.Error("an address that is no instance's is answered")
			}
		}
	})
	// One that asks without end is told so, and served again later.
	const many = 500
	refused := 0
	instance.run(func() {
		conn, err := net.Dial("tcp", "10.231.0.1:7717")
		must(t, err)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		go io.WriteString(conn, strings.Repeat("GET /v1/http_sd HTTP/1.1\r\nHost: 10.231.0.1\r\n\r\n", many))
		for answers := bufio.NewReader(conn); ; {
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			if res.StatusCode == http.StatusTooManyRequests {
				refused++
				return
			}
		}
	})
	if refused == 0 {
		t.Errorf("%d requests at once are all answered", many)
	}
	answers(t, instance, "10.231.0.1:7717")
}
