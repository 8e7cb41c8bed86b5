package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest/load"
)

// The published ports of the services of these tests.
const (
	webPort    = 18080 // web, on every node
	clientPort = 18090 // client, an instance that asks others for us
	nodePort   = 18091 // local, where its instance runs
	echoPort   = 18092 // web, datagrams
)

// networkFleet is three nodes with web on each, and a client on one of them.
// The host that asks them is the hub, which is no node.
func networkFleet(t *testing.T, more func(*fleet) (files map[string]string, slots map[string]int)) *fleet {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	slots := map[string]int{"web": 3, "client": 1}
	files := map[string]string{
		"fleet.yaml": threeQuick,
		"web.yaml": f.manifest(spec{name: "web", replicas: 3, args: []string{"serve"}, more: fmt.Sprintf(
			"  ports:\n  - {name: http, containerPort: 8080, port: 80, publish: %d}\n"+
				"  - {name: echo, containerPort: 8080, protocol: UDP, port: 7, publish: %d}\n", webPort, echoPort)}),
		"client.yaml": f.manifest(spec{name: "client", args: []string{"serve"},
			more: fmt.Sprintf("  ports: [{name: http, containerPort: 8080, publish: %d}]\n", clientPort)}),
	}
	if more != nil {
		moreFiles, moreSlots := more(f)
		maps.Copy(files, moreFiles)
		maps.Copy(slots, moreSlots)
	}
	f.begin(files, slots)
	if on := f.places().perNode("web"); len(on) != 3 {
		t.Fatalf("web's three replicas are not on three nodes: %v", on)
	}
	f.await("the client reaches web by name", patience, func([]*api.Status) string {
		got := f.fetch("http://web/", 30)
		if len(got.Errors) > 0 || len(got.Hosts) != 3 {
			return fmt.Sprintf("asked 30 times: answers by %v, errors %v", got.Hosts, got.Errors)
		}
		return ""
	})
	f.await("all nodes know web's instances, and keep it on disk", patience, func([]*api.Status) string {
		for _, n := range f.Nodes {
			if known := instancesKept(n.StateDir(), "web"); known != 3 {
				return fmt.Sprintf("%s keeps %d", n.Name, known)
			}
		}
		return ""
	})
	return f
}

// instancesKept counts the instances of a service that the agent with a state
// folder would lead connections to if it started again now. It is at rest when
// that is all of them: an agent writes it down beside the loop, a moment later.
func instancesKept(stateDir, service string) int {
	var kept struct {
		Elsewhere []struct {
			Instances []planner.ServingInstance `json:"instances"`
		} `json:"elsewhere"`
		Told []planner.ServingInstance `json:"told"`
	}
	data, err := os.ReadFile(filepath.Join(stateDir, "network.json"))
	if err != nil || json.Unmarshal(data, &kept) != nil {
		return 0
	}
	all := kept.Told
	for _, node := range kept.Elsewhere {
		all = append(all, node.Instances...)
	}
	return len(slices.DeleteFunc(all, func(i planner.ServingInstance) bool { return i.Slot.Service.Name != service }))
}

// at is the address of a port of the k-th node, for who is no node.
func (f *fleet) at(k, port int) string {
	return net.JoinHostPort(f.Nodes[k].Address.Addr().String(), fmt.Sprint(port))
}

// page asks a page of the client's instance, through any node that answers.
func (f *fleet) page(into any, path string, values url.Values) error {
	var last error
	for k, n := range f.Nodes {
		if !n.On() {
			continue
		}
		c := http.Client{Timeout: 2 * patience, Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext}}
		answer, err := c.Get("http://" + f.at(k, clientPort) + path + "?" + values.Encode())
		if err != nil {
			last = err
			continue
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: status %d", path, answer.StatusCode)
		}
		if into == nil {
			return nil
		}
		return json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(into)
	}
	return last
}

type fetched struct {
	Hosts, Errors map[string]int
	Bytes         int64
	Last          string
}

// fetch has the client ask n times, each time on a connection of its own.
func (f *fleet) fetch(url string, n int) (out fetched) {
	if err := f.page(&out, "/fetch", values("url", url, "n", n)); err != nil {
		out.Errors = map[string]int{"the client cannot be asked: " + err.Error(): n}
	}
	return out
}

// resolve has the client look up a name.
func (f *fleet) resolve(name string) (addresses []string, err error) {
	var out struct {
		Addresses []string
		Error     string
	}
	if err := f.page(&out, "/resolve", values("name", name)); err != nil {
		return nil, err
	}
	if out.Error != "" {
		return nil, fmt.Errorf("%s", out.Error)
	}
	return out.Addresses, nil
}

func values(pairs ...any) url.Values {
	v := url.Values{}
	for k := 0; k+1 < len(pairs); k += 2 {
		v.Set(fmt.Sprint(pairs[k]), fmt.Sprint(pairs[k+1]))
	}
	return v
}

// uneven is the chi-square statistic of counts that should be equal, and the
// bound that equal chances exceed once in a million times.
func uneven(counts map[string]int, over int) (statistic, bound float64) {
	total := 0
	for _, n := range counts {
		total += n
	}
	expected := float64(total) / float64(over)
	for _, n := range counts {
		statistic += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	statistic += expected * float64(over-len(counts))
	return statistic, map[int]float64{2: 24.0, 3: 27.7, 4: 30.7, 6: 35.9}[over]
}

// TestNetwork: names, addresses and ports lead to instances wherever they run,
// and nothing but what was published is open.
func TestNetwork(t *testing.T) {
	f := networkFleet(t, func(f *fleet) (files map[string]string, slots map[string]int) {
		serve := func(name string, replicas int, more string) string {
			return f.manifest(spec{name: name, replicas: replicas, args: []string{"serve"}, more: more})
		}
		return map[string]string{
			"local.yaml":  serve("local", 1, fmt.Sprintf("  ports: [{name: http, containerPort: 8080, publish: {port: %d, mode: node}}]\n", nodePort)),
			"heads.yaml":  serve("heads", 3, "  endpointMode: dnsrr\n  ports: [{name: http, containerPort: 8080, port: 8080}]\n"),
			"sticky.yaml": serve("sticky", 3, "  sessionAffinity: ClientIP\n  ports: [{name: http, containerPort: 8080, port: 80}]\n"),
		}, map[string]int{"local": 1, "heads": 3, "sticky": 3}
	})
	hosts := f.hostnames("web")

	t.Run("requests are shared evenly", func(t *testing.T) {
		outside := fetched{Hosts: map[string]int{}, Errors: map[string]int{}}
		for range 1000 {
			host, err := ask((&net.Dialer{}).DialContext, "http://"+f.at(1, webPort)+"/")
			if err != nil {
				outside.Errors[err.Error()]++
				continue
			}
			outside.Hosts[strings.Fields(host)[0]]++
		}
		for what, got := range map[string]fetched{"by name from a container": f.fetch("http://web/", 1000), "published, from outside": outside} {
			statistic, bound := uneven(got.Hosts, 3)
			t.Logf("%s: 1000 requests answered by %v, chi-square %.1f", what, got.Hosts, statistic)
			if len(got.Errors) > 0 || statistic > bound {
				t.Errorf("%s: errors %v, chi-square over %.1f", what, got.Errors, bound)
			}
		}
	})

	t.Run("names", func(t *testing.T) {
		first, err := f.resolve("web")
		if err != nil || len(first) == 0 {
			t.Fatalf("web: %v, %v", first, err)
		}
		for _, name := range []string{"web.default", "web.default.orpheus.internal", "WEB", "web.default.orpheus.internal."} {
			if got, err := f.resolve(name); err != nil || !slices.Equal(got, first) {
				t.Errorf("%s is %v (%v), web is %v", name, got, err, first)
			}
		}
		for slot, host := range hosts {
			got := f.fetch("http://"+slot+".web.default.orpheus.internal:8080/", 20)
			if got.Hosts[host] != 20 {
				t.Errorf("slot %s of web: answers by %v, errors %v, want %s alone", slot, got.Hosts, got.Errors, host)
			}
		}
		heads, err := f.resolve("heads")
		if err != nil || len(heads) != 3 {
			t.Errorf("heads, which is headless: %v, %v; want the addresses of its three slots", heads, err)
		}
		seen := map[string]bool{}
		for _, address := range heads {
			for host := range f.fetch("http://"+net.JoinHostPort(address, "8080")+"/", 5).Hosts {
				seen[host] = true
			}
		}
		if len(seen) != 3 {
			t.Errorf("the addresses of heads lead to %v", seen)
		}
		var srv struct{ Services []string }
		f.must(f.page(&srv, "/resolve", values("name", "web.default.orpheus.internal", "service", "http", "proto", "tcp")))
		if !slices.Equal(srv.Services, []string{"web.default.orpheus.internal.:80"}) {
			t.Errorf("SRV of web's port http: %v", srv.Services)
		}
		if got, err := f.resolve("nobody"); err == nil {
			t.Errorf("nobody is %v", got)
		}
	})

	t.Run("affinity", func(t *testing.T) {
		if got := f.fetch("http://sticky/", 50); len(got.Hosts) != 1 || len(got.Errors) > 0 {
			t.Errorf("one client of a service with sessionAffinity is answered by %v, errors %v", got.Hosts, got.Errors)
		}
	})

	t.Run("datagrams", func(t *testing.T) {
		for _, size := range []int{64, 1472, 9000, 40000} {
			var got struct {
				Hosts map[string]int
				Lost  int
				Error string
			}
			f.must(f.page(&got, "/datagrams", values("to", "web:7", "n", 20, "size", size)))
			if got.Lost > 0 || got.Error != "" || len(got.Hosts) != 1 {
				t.Errorf("20 datagrams of %d bytes to web: %+v, want one instance to answer all", size, got)
			}
		}
		c, err := net.Dial("udp", f.at(2, echoPort))
		f.must(err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		buf := make([]byte, 100)
		if _, err = c.Write([]byte("here")); err == nil {
			_, err = c.Read(buf)
		}
		if err != nil || !strings.Contains(string(buf), " here") {
			t.Errorf("a datagram to the published port is answered by %q, %v", buf, err)
		}
	})

	t.Run("large answers", func(t *testing.T) {
		const size = 20 << 20
		if got := f.fetch(fmt.Sprintf("http://web/blob?size=%d", size), 3); got.Bytes != 3*size {
			t.Errorf("%d bytes of %d, errors %v", got.Bytes, 3*size, got.Errors)
		}
	})

	t.Run("5000 connections at once", func(t *testing.T) {
		const many = 5000
		var all sync.WaitGroup
		opened, failures := make(chan struct{}, many), make(chan error, many)
		release := make(chan struct{})
		for range many {
			all.Go(func() {
				c, err := net.DialTimeout("tcp", f.at(0, webPort), 2*patience)
				opened <- struct{}{}
				if err != nil {
					failures <- err
					return
				}
				defer c.Close()
				<-release
				c.SetDeadline(time.Now().Add(2 * patience))
				fmt.Fprintf(c, "GET /healthz HTTP/1.0\r\n\r\n")
				if text, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(text), "ok\n") {
					failures <- fmt.Errorf("answer %q: %w", text, err)
				}
			})
		}
		for range many {
			<-opened
		}
		close(release)
		all.Wait()
		close(failures)
		if err := <-failures; err != nil {
			t.Errorf("%d of %d connections failed, one with: %v", len(failures)+1, many, err)
		}
	})

	t.Run("the client's address", func(t *testing.T) {
		on := slices.IndexFunc(f.Nodes, func(n *devfleet.Node) bool { return n.Name == f.places()["local/0"][0].node })
		from, err := ask((&net.Dialer{}).DialContext, "http://"+f.at(on, nodePort)+"/from")
		f.must(err)
		host, _, _ := net.SplitHostPort(strings.TrimSpace(from))
		c, err := net.Dial("udp", f.at(on, nodePort)) // what we look like from there
		f.must(err)
		defer c.Close()
		if own, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != own {
			t.Errorf("an instance behind a port with mode node saw %s ask, want %s", host, own)
		}
	})

	t.Run("open ports", func(t *testing.T) {
		local := f.places()["local/0"][0].node
		for k, n := range f.Nodes {
			want := []int{devfleet.PeerPort, webPort, clientPort}
			if n.Name == local {
				want = append(want, nodePort)
			}
			slices.Sort(want)
			if got := openPorts(t, f.Nodes[k].Address.Addr()); !slices.Equal(got, want) {
				t.Errorf("%s: ports %v are open to a host that is no node, want %v", n.Name, got, want)
			}
		}
	})
}

// hostnames asks each slot of a service for its instance's host name.
func (f *fleet) hostnames(service string) map[string]string {
	f.t.Helper()
	hosts := map[string]string{}
	for slot := range f.places() {
		name, number, _ := strings.Cut(slot, "/")
		if name != service {
			continue
		}
		got := f.fetch("http://"+number+"."+service+".default.orpheus.internal:8080/", 1)
		for host := range got.Hosts {
			hosts[number] = host
		}
		if len(got.Errors) > 0 {
			f.t.Errorf("slot %s of %s: %v", number, service, got.Errors)
		}
	}
	return hosts
}

// TestNodeOfEndpointDies: requests stop failing within a second of the death of
// a replica's node, long before the records say so.
func TestNodeOfEndpointDies(t *testing.T) {
	f := networkFleet(t, nil)
	now := f.places()
	k := slices.IndexFunc(f.Nodes, func(n *devfleet.Node) bool { return n.Name != now["client/0"][0].node })
	victim, through := f.Nodes[k], 3-k-slices.IndexFunc(f.Nodes, func(n *devfleet.Node) bool { return n.Name == now["client/0"][0].node })
	outside := load.Start(load.Options{URL: "http://" + f.at(through, webPort) + "/", Rate: 200})
	f.must(f.page(nil, "/load/web", values("url", "http://web/", "rate", 200)))
	f.await("load", patience, func([]*api.Status) string {
		if outside.SoFar().Asked < 400 {
			return "too few requests"
		}
		return ""
	})
	died := time.Now()
	f.must(victim.Kill())
	f.await("five seconds under load", patience, func([]*api.Status) string {
		if time.Since(died) < 5*time.Second {
			return "not over"
		}
		return ""
	})
	inside := load.Result{}
	f.must(f.page(&inside, "/loaded/web", nil))
	for what, got := range map[string]load.Result{"outside, published port": outside.Stop(), "container, service address": inside} {
		late := 0
		for _, at := range got.FailedAt {
			if at.Sub(died) > time.Second {
				late++
			}
		}
		t.Logf("%s: %s", what, got)
		if late > 0 {
			t.Errorf("%s: %d requests failed that began more than a second after the node's death", what, late)
		}
	}
	for _, st := range f.Statuses(t.Context()) {
		if st != nil && nodeOf(st, victim.Name).State == "fenced" {
			t.Logf("%s has seen the fence already", st.Node)
		}
	}
}

// TestNetworkWithoutAgents: names, addresses and published ports go on while
// the Git server is stopped and every agent is killed, and nothing of it is
// touched when they come back without Git.
func TestNetworkWithoutAgents(t *testing.T) {
	f := networkFleet(t, nil)
	before := f.places()
	f.StopGit()
	for _, n := range f.Nodes {
		f.must(n.EndAgent(syscall.SIGKILL))
	}
	goesOn := func(when string) {
		t.Helper()
		got := f.fetch("http://web.default.orpheus.internal/", 200)
		if len(got.Errors) > 0 || len(got.Hosts) != 3 {
			t.Errorf("%s: of 200 requests to the service's name, answers by %v, errors %v", when, got.Hosts, got.Errors)
		}
		outside := load.Start(load.Options{URL: "http://" + f.at(0, webPort) + "/", Rate: 200})
		f.await(when, patience, func([]*api.Status) string {
			if outside.SoFar().Asked < 200 {
				return "too few requests"
			}
			return ""
		})
		if r := outside.Stop(); r.Failed > 0 || len(r.Hosts) != 3 {
			t.Errorf("%s, published port: answers by %v: %s", when, r.Hosts, r)
		}
	}
	goesOn("Git stopped, agents killed")
	f.must(f.StartAgents())
	f.await("agents answer", patience, func(all []*api.Status) string {
		if slices.Contains(all, nil) {
			return "one does not"
		}
		return ""
	})
	goesOn("Git stopped, agents started again")
	f.must(f.StartGit())
	f.await("all is told again", patience, func(all []*api.Status) string {
		return placesOf(all).exactly(map[string]int{"web": 3, "client": 1})
	})
	f.untouched("agents killed", before)
}

// TestNoConnectionFails: agents are killed and replaced by another version
// while clients notice everything: from the host outside through a published
// port, from a container through the service's name.
func TestNoConnectionFails(t *testing.T) {
	f := networkFleet(t, nil)
	before := f.places()
	outside := load.Start(load.Options{URL: "http://" + f.at(0, webPort) + "/", Rate: 200, Kept: 3, Stream: true})
	f.must(f.page(nil, "/load/web", values("url", "http://web/", "rate", 200, "kept", 3, "stream", 1)))
	later := buildVersion(t, f.Dir, "v9.9.9")
	for round := range 23 {
		n := f.Nodes[round%3]
		what := fmt.Sprintf("kill %d", round)
		if round%7 == 6 { // three times: by another version
			what = fmt.Sprintf("upgrade %d", round)
			n.Program(later)
			f.must(n.EndAgent(syscall.SIGTERM))
		} else {
			f.must(n.EndAgent(syscall.SIGKILL))
		}
		f.must(n.StartAgent())
		f.await(what, patience, func(all []*api.Status) string {
			if slices.Contains(all, nil) {
				return "an agent does not answer"
			}
			return ""
		})
	}
	f.await("all is told again", patience, func(all []*api.Status) string {
		return placesOf(all).exactly(map[string]int{"web": 3, "client": 1})
	})
	f.untouched("kills and upgrades", before)
	inside := load.Result{}
	f.must(f.page(&inside, "/loaded/web", nil))
	for what, got := range map[string]load.Result{"outside, published port": outside.Stop(), "container, service address": inside} {
		t.Logf("%s: %s", what, got)
		if got.Longest > 3*time.Second {
			t.Errorf("%s: an answer took %s", what, got.Longest)
		}
		if got.Asked < 200 || got.Kept < 60 || got.Lines < 20 {
			t.Errorf("%s: too little was asked for", what)
		}
		if got.Failed+got.KeptFailed > 0 || got.StreamBroken != "" {
			t.Errorf("%s: something failed", what)
		}
	}
}

// openPorts connects to every TCP port of an address, and returns those that
// answer. What does not refuse within 3 s is taken for closed.
func openPorts(t *testing.T, address netip.Addr) (open []int) {
	t.Helper()
	const atOnce = 512
	for first := 1; first < 1<<16; first += atOnce {
		var waits []unix.PollFd
		ports := map[int32]int{}
		for port := first; port < min(first+atOnce, 1<<16); port++ {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			ports[int32(fd)] = port
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: address.As4()}); err == nil || errors.Is(err, unix.EINPROGRESS) {
				waits = append(waits, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
			}
		}
		for deadline := time.Now().Add(3 * time.Second); len(waits) > 0 && time.Now().Before(deadline); {
			if _, err := unix.Poll(waits, 100); err != nil && !errors.Is(err, unix.EINTR) {
				t.Fatal(err)
			}
			waits = slices.DeleteFunc(waits, func(w unix.PollFd) bool {
				if code, err := unix.GetsockoptInt(int(w.Fd), unix.SOL_SOCKET, unix.SO_ERROR); w.Revents != 0 && err == nil && code == 0 {
					open = append(open, ports[w.Fd])
				}
				return w.Revents != 0
			})
		}
		for fd := range ports {
			unix.Close(int(fd))
		}
	}
	slices.Sort(open)
	return open
}
