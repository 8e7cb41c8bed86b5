package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// outside is a machine beside the node: a network namespace with one cable to
// it.
type outside struct {
	node string // the node's address on the cable
	ns   *os.File
}

// newOutside makes one. The node has the address .1 on the cable, it has .2.
func newOutside(t *testing.T, subnet string) *outside {
	t.Helper()
	o := &outside{node: subnet + ".1"}
	err := onOtherThread(func() error {
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		defer home.Close()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if o.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		peer := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cable"}, PeerName: "out" + strings.ReplaceAll(subnet, ".", "")}
		peer.PeerNamespace = netlink.NsFd(int(home.Fd()))
		if err := netlink.LinkAdd(peer); err != nil {
			return fmt.Errorf("lay a cable: %w", err)
		}
		if err := connect("cable", subnet+".2/24"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(subnet + ".1")})
	})
	if err == nil {
		err = connect("out"+strings.ReplaceAll(subnet, ".", ""), subnet+".1/24")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// With its namespace the cable would go as well, but some time later.
		if l, err := netlink.LinkByName("out" + strings.ReplaceAll(subnet, ".", "")); err == nil {
			if err := netlink.LinkDel(l); err != nil {
				t.Error(err)
			}
		}
		o.ns.Close()
	})
	return o
}

func connect(link, address string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// onOtherThread calls f on a thread that ends with the call, whatever becomes
// of its namespaces.
func onOtherThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		result <- f()
	}()
	return <-result
}

// dial opens a connection from outside.
func (o *outside) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = onOtherThread(func() error {
		if err := unix.Setns(int(o.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// ask gets a page over a connection of its own.
func ask(dial func(context.Context, string, string) (net.Conn, error), url string) (string, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	return strings.TrimSpace(string(body)), err
}

func fromNode(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
}

// web is a service with a published port.
func (n *node) web(replicas int, version string) string {
	return n.manifest(spec{
		name: "web", args: []string{"serve"}, replicas: replicas, env: map[string]string{"VERSION": version},
		more: fmt.Sprintf("  ports: [{name: http, containerPort: 8080, publish: %d}]\n", n.port),
	})
}

// TestPublishedPorts asks a published port from the node and from outside, and
// goes on asking while what answers is replaced ten times.
func TestPublishedPorts(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	n.apply("two of them", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": n.web(2, "0")})
	world := newOutside(t, "192.168.77")
	loopback, address := fmt.Sprintf("http://127.0.0.1:%d/", n.port), fmt.Sprintf("http://%s:%d/", world.node, n.port)

	answers := map[string]int{}
	for range 40 {
		for _, way := range []struct {
			dial func(context.Context, string, string) (net.Conn, error)
			url  string
		}{{fromNode, loopback}, {fromNode, address}, {world.dial, address}} {
			body, err := ask(way.dial, way.url)
			if err != nil {
				t.Fatal(err)
			}
			answers[strings.Fields(body)[0]]++
		}
	}
	if len(answers) != 2 || answers["web-0"] < 20 || answers["web-1"] < 20 {
		t.Errorf("two replicas do not share 120 connections evenly: %v", answers)
	}
	if published := service(n.status(), "web").Published; len(published) != 1 || !strings.Contains(published[0], strconv.Itoa(n.port)) {
		t.Errorf("status says published: %q", published)
	}

	c := startClients(map[string]func() (string, error){
		"loopback": func() (string, error) { return ask(fromNode, loopback) },
		"outside":  func() (string, error) { return ask(world.dial, address) },
	})
	for k := 1; k <= 10; k++ {
		n.apply(fmt.Sprintf("version %d", k), map[string]string{"web.yaml": n.web(2, fmt.Sprint(k))})
	}
	n.restart() // the kernel goes on without the agent
	asked, failed := c.stop()
	if len(failed) > 0 {
		t.Errorf("of %d connections %d failed during ten updates; the first and the last:\n%v\n%v", asked, len(failed), failed[0], failed[len(failed)-1])
	}
	t.Logf("%d connections during ten updates", asked)

	hash := n.commit("nothing is published", map[string]string{"web.yaml": strings.Split(n.web(2, "10"), "  ports:")[0] + "  ports: [{name: http, containerPort: 8080}]\n"})
	before := n.lives()
	n.await("nothing is published", devfleet.SettledAt(hash))
	n.eventually("the port is closed", func() string {
		if body, err := ask(fromNode, loopback); err == nil {
			return "it answers " + body
		}
		return ""
	})
	n.untouched("only publishing changed", before)
}

// clients ask without a pause until they are stopped.
type clients struct {
	done   context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	asked  int
	failed []error
}

func startClients(ways map[string]func() (string, error)) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{done: cancel}
	for name, ask := range ways {
		c.wg.Go(func() {
			for ctx.Err() == nil {
				_, err := ask()
				c.mu.Lock()
				c.asked++
				if err != nil {
					c.failed = append(c.failed, fmt.Errorf("%s, %s: %w", name, time.Now().Format("15:04:05.000"), err))
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

func (c *clients) stop() (asked int, failed []error) {
	c.done()
	c.wg.Wait()
	return c.asked, c.failed
}

// TestAttack24PortOfAnother commits two services, in two files, for one port.
func TestAttack24PortOfAnother(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	n.apply("one of them", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": n.web(1, "1")})
	before := n.lives()
	hash := n.commit("a thief", map[string]string{
		"thief.yaml": strings.Replace(n.web(1, "thief"), "name: web", "name: thief", 1),
	})
	st := n.await("the clash is noticed", func(st *api.Status) string {
		if st.Repository.Seen.Hash != hash || len(st.Faults) == 0 {
			return "no fault"
		}
		return devfleet.SettledAt(hash)(st)
	})
	for _, f := range st.Faults {
		contains(t, "fault", f.String(), strconv.Itoa(n.port), ".yaml")
	}
	if service(st, "thief").Name != "" {
		t.Error("the thief runs")
	}
	n.untouched("another wants its port", before)
	body, err := ask(fromNode, fmt.Sprintf("http://127.0.0.1:%d/", n.port))
	if err != nil || !strings.HasPrefix(body, "web-0 1 ") {
		t.Errorf("the port is answered by %q, %v", body, err)
	}
}

// TestAttack41StatusIsLocal asks for the status as others would.
func TestAttack41StatusIsLocal(t *testing.T) {
	t.Parallel()
	onDrivers(t, devfleet.Options{LocalPath: true, Config: "api: {address: '127.0.0.1:0'}\n"}, func(n *node) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			n.t.Fatal(err)
		}
		address := l.Addr().String()
		if err := l.Close(); err != nil {
			n.t.Fatal(err)
		}
		n.configure(fmt.Sprintf("api: {address: %q}\n", address))
		n.agent()
		for path, mode := range map[string]os.FileMode{n.Socket(): 0o600, n.StateDir(): 0o711} {
			info, err := os.Stat(path)
			if err != nil {
				n.t.Fatal(err)
			}
			if info.Mode().Perm()&^mode != 0 {
				n.t.Errorf("%s has mode %v: others than its user may reach it", path, info.Mode())
			}
		}
		for _, c := range []struct {
			host, method, path string
			want               int
		}{
			{"", "GET", "/v1/status", http.StatusOK},
			{"", "GET", "/healthz", http.StatusOK},
			{"", "GET", "/metrics", http.StatusOK},
			{"evil.example.com", "GET", "/v1/status", http.StatusMisdirectedRequest}, // a web page whose name points here
			{"", "GET", "/v1/logs?service=web", http.StatusForbidden},                // may hold secrets: the socket only
			{"", "POST", "/v1/sync", http.StatusForbidden},
		} {
			req, err := http.NewRequest(c.method, "http://"+address+c.path, nil)
			if err != nil {
				n.t.Fatal(err)
			}
			req.Host = c.host
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				n.t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != c.want {
				n.t.Errorf("%s %s as %q: %s, want %d", c.method, c.path, c.host, res.Status, c.want)
			}
		}
		n.configure("api: {address: '0.0.0.0:7717'}\n")
		if err := n.EndAgent(unix.SIGTERM); err != nil {
			n.t.Fatal(err)
		}
		if err := n.StartAgent(); err != nil {
			n.t.Fatal(err)
		}
		n.eventually("an address for all is refused", func() string {
			if strings.Contains(n.AgentLog(3), "loopback") && errors.Is(unix.Kill(n.AgentPID(), 0), nil) {
				return ""
			}
			return n.AgentLog(3)
		})
	})
}
