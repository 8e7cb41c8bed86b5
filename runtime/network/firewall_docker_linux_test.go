package network

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

func TestBesideDockerWithNFT(t *testing.T)    { testBesideDocker(t, "nft") }
func TestBesideDockerWithLegacy(t *testing.T) { testBesideDocker(t, "legacy") }

// The real Docker with a container that publishes a port, in both orders of
// start, and restarted while ours runs.
func testBesideDocker(t *testing.T, variant string) {
	if !isolatedBeside(t) {
		return
	}
	d := newDocker(t)
	b := newBeside(t, variant)
	// Docker makes chain FORWARD drop where it is the one to switch forwarding on.
	unforwarded := func() { must(t, setSysctl("/proc/sys/net/ipv4/ip_forward", "0")) }

	// Docker is first.
	unforwarded()
	d.start()
	d.publish(dockerPort)
	b.dockerWorks(d, "Docker alone")
	before := filterRules(t, variant)
	if !strings.Contains(before, "-P FORWARD DROP") {
		t.Fatalf("Docker does not drop what is forwarded:\n%s", before)
	}
	n := b.setUp()
	b.bothWork(d, "Docker first")
	b.keepsToItself()
	open, err := dial(t, b.far.ns, "tcp", at(b.here.addr[0], localPort))
	must(t, err)
	defer open.Close()
	expect(t, open, "", "web")
	taken := b.balancing()
	taken.Fronts = append(taken.Fronts, frontsOf(runtime.FrontPublished, dockerPort, to(b.web.Address, 8080))...)
	if err := n.Balance(context.Background(), taken); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("port %d/tcp", dockerPort)) {
		t.Errorf("publish Docker's port: %v, want it reported", err)
	}
	b.bothWork(d, "a port of Docker's asked for")
	must(t, n.Balance(context.Background(), b.balancing()))

	d.stop()
	b.passes("Docker stopped")
	d.start()
	b.becomes(b.hooks(), "Docker restarted")
	b.bothWork(d, "Docker restarted")
	expect(t, open, "still there?\n", "still there?")
	b.tearDown(n)
	if after := filterRules(t, variant); after != before {
		t.Errorf("torn down:\n%s\nbefore:\n%s", after, before)
	}
	b.dockerWorks(d, "torn down")

	// By hand.
	b.cfg.NoForeignRules = true
	n = b.setUp()
	unreachable(t, b.far.ns, at(b.here.addr[0], localPort))
	byHand(t, n)
	if got := b.ours(); got != 0 {
		t.Errorf("foreign rules forbidden: %d rules of ours", got)
	}
	d.stop()
	d.start() // it leaves the chain alone
	b.passes("by hand")
	b.dockerWorks(d, "by hand")
	b.noted(n, "by hand", 0)
	b.tearDown(n)

	// Ours is first, as after a boot.
	b.cfg.NoForeignRules = false
	d.stop()
	d.forget(variant)
	n = b.setUp()
	b.passes("without Docker")
	n.setup.Lock() // Docker drops what is forwarded only where it finds that nothing is
	unforwarded()
	d.start()
	n.setup.Unlock()
	b.becomes(b.hooks(), "Docker second")
	b.bothWork(d, "Docker second")
	b.tearDown(n)
	if after := filterRules(t, variant); after != before {
		t.Errorf("torn down at last:\n%s\nbefore:\n%s", after, before)
	}
	b.dockerWorks(d, "torn down at last")
}

// hooks is how many rules of ours there must be: one for each family whose
// packets Docker drops.
func (b *beside) hooks() int {
	count := 0
	for _, program := range []string{"iptables-", "ip6tables-"} {
		rules := run(b.t, program+b.variant, "-S")
		if strings.Contains(rules, "-N DOCKER-USER") && strings.Contains(rules, "-P FORWARD DROP") {
			count++
		}
	}
	return count
}

func (b *beside) bothWork(d *docker, when string) {
	b.t.Helper()
	if got, want := b.ours(), b.hooks(); got != want || want == 0 {
		b.t.Errorf("%s: %d rules of ours, want %d:\n%s", when, got, want, filterRules(b.t, b.variant))
	}
	b.dockerWorks(d, when) // first: it goes on with its rules until its container runs
	b.passes(when)
	// Docker's container to a published port of ours, and an instance to Docker's.
	b.answers(when, b.far.ns, fmt.Sprintf("/datagrams?n=1&to=%s", at(b.here.addr[0], localPort)), `"web":1`)
	b.answers(when, b.other.NetNS, "/", "docker ")
}

// dockerWorks fails unless the container is reached, and reaches the world.
func (b *beside) dockerWorks(d *docker, when string) {
	b.t.Helper()
	// It is begun again some time after Docker.
	eventually(b.t, when+": Docker's container", func() bool {
		d.alive()
		text, err := page(b.t, "", at(b.here.addr[0], dockerPort), "/")
		return err == nil && strings.HasPrefix(text, "docker ")
	})
	b.answers(when, b.far.ns, "/", "docker ")
	b.answers(when, b.far.ns, "/fetch?url=http://"+at(b.far.addr[0], farHTTPPort), `"last":"far`)
}

// answers asks the container for a page, by the port that Docker publishes.
func (b *beside) answers(when, from, path, want string) {
	b.t.Helper()
	if text, err := page(b.t, from, at(b.here.addr[0], dockerPort), path); err != nil || !strings.Contains(text, want) {
		b.t.Errorf("%s: %s of Docker's container, asked from %q: %q (%v), want %s", when, path, filepath.Base(from), text, err, want)
	}
}

// keepsToItself fails if Docker's container reaches what is not published, or if
// the rule for people who want the same the other way round does not hold.
func (b *beside) keepsToItself() {
	b.t.Helper()
	b.answers("not published", b.far.ns, "/datagrams?n=1&to="+at(b.web.Address, 8080), `"lost":1`)
	rule := strings.Fields("DOCKER-USER -i orpheus0 -o docker0 -m conntrack ! --ctstate DNAT,RELATED,ESTABLISHED -j DROP")
	run(b.t, "iptables-"+b.variant, append([]string{"-I"}, rule...)...)
	c, err := dial(b.t, b.other.NetNS, "udp", at(dockerContainer, 8080)) // published is 8080/tcp
	must(b.t, err)
	defer c.Close()
	_, err = c.Write([]byte("?"))
	must(b.t, err)
	c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		b.t.Errorf("an instance asks Docker's container at a port that is not published: %v, want no answer", err)
	}
	b.answers("with a rule of people", b.other.NetNS, "/", "docker ")
	run(b.t, "iptables-"+b.variant, append([]string{"-D"}, rule...)...)
}

const (
	dockerBridge    = "172.17.0.1/16"
	dockerContainer = "172.17.0.2" // the first
	dockerPort      = 81
)

// docker is a Docker of the test's own: its folders, its containerd, its
// namespaces. What it starts is in a process namespace that ends with it.
type docker struct {
	*daemon // as started last

	t      *testing.T
	dir    string
	cgroup string
	api    *http.Client
}

func newDocker(t *testing.T) *docker {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, name := range []string{"dockerd", "containerd", "runc"} {
		if _, err := findProgram(name); err != nil {
			t.Skipf("needs Docker, %s: %v", name, err)
		}
	}
	privateRun(t)
	d := &docker{t: t, dir: t.TempDir(), cgroup: fmt.Sprintf("orpheus-docker-test-%d", os.Getpid())}
	d.api = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.socket())
		}}}
	t.Cleanup(d.removeCgroups)
	return d
}

func (d *docker) socket() string { return filepath.Join(d.dir, "socket") }

// start begins it and waits until it answers.
func (d *docker) start() {
	d.t.Helper()
	must(d.t, os.RemoveAll(filepath.Join(d.dir, "pid")))
	d.daemon = startDaemon(d.t, filepath.Join(d.dir, "Docker"), `exec dockerd "$@"`,
		"--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"), "--pidfile", filepath.Join(d.dir, "pid"),
		"--host", "unix://"+d.socket(), "--bip", dockerBridge, "--storage-driver", "vfs",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+d.cgroup)
	eventually(d.t, "answer of Docker", func() bool {
		d.alive()
		return d.ask("GET", "/_ping", "", nil) == nil
	})
}

func (d *docker) ask(method, path, kind string, body []byte) error {
	request, err := http.NewRequest(method, "http://docker"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	answer, err := d.api.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return err
}

// publish begins a container of our test program that Docker begins again
// whenever it starts.
func (d *docker) publish(port int) {
	d.t.Helper()
	program, err := imagetest.BuildPayload(d.t.Context(), d.dir)
	must(d.t, err)
	body, err := os.ReadFile(program)
	must(d.t, err)
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	must(d.t, w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(imagetest.Program, "/"), Mode: 0o755, Size: int64(len(body))}))
	_, err = w.Write(body)
	must(d.t, errors.Join(err, w.Close()))
	must(d.t, d.ask("POST", "/images/create?fromSrc=-&repo=program", "application/x-tar", image.Bytes()))
	type object map[string]any
	container, err := json.Marshal(object{
		"Image": "program", "Entrypoint": []string{imagetest.Program, "serve"}, "Hostname": "docker",
		"ExposedPorts": object{"8080/tcp": object{}},
		"HostConfig": object{
			"PortBindings":  object{"8080/tcp": []object{{"HostPort": fmt.Sprint(port)}}},
			"RestartPolicy": object{"Name": "always"},
		},
	})
	must(d.t, err)
	must(d.t, d.ask("POST", "/containers/create?name=web", "application/json", container))
	must(d.t, d.ask("POST", "/containers/web/start", "", nil))
}

// forget removes what Docker left in the kernel, as a boot does.
func (d *docker) forget(variant string) {
	d.t.Helper()
	restore(d.t, variant, nil, `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
`)
	must(d.t, netlink.LinkDel(link(d.t, "docker0")))
}

// removeCgroups removes those that Docker made, which are empty by now.
func (d *docker) removeCgroups() {
	d.t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/" + d.cgroup, "/sys/fs/cgroup/*/" + d.cgroup} {
		found, err := filepath.Glob(pattern)
		must(d.t, err)
		for _, parent := range found {
			eventually(d.t, "end of cgroup "+parent, func() bool {
				children, _ := filepath.Glob(parent + "/*/cgroup.procs")
				for _, c := range children {
					os.Remove(filepath.Dir(c))
				}
				err := os.Remove(parent)
				return err == nil || errors.Is(err, os.ErrNotExist)
			})
		}
	}
}
