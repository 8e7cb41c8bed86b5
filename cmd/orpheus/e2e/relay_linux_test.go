package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// ported is a process that listens on all addresses at a port, which its
// service serves at another, or the same; more is further fields.
func ported(name string, replicas, listens, port int) spec {
	return spec{
		name: name, replicas: replicas, args: []string{"serve"}, env: map[string]string{"PORT": strconv.Itoa(listens)},
		more: fmt.Sprintf("  ports: [{containerPort: %d, port: %d}]\n", listens, port),
	}
}

// freePorts are ports on which nobody listens.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// endpointsOf is how a node leads connections to a service.
func endpointsOf(ctx context.Context, n *devfleet.Node, service string) (s api.ServiceEndpoints, err error) {
	client, err := api.NewClient(n.Socket())
	if err != nil {
		return s, err
	}
	defer client.Close()
	all, err := client.Endpoints(ctx)
	if err != nil {
		return s, err
	}
	for _, s := range all.Services {
		if s.Name == service {
			return s, nil
		}
	}
	return s, fmt.Errorf("no endpoints of %s", service)
}

// askedOn has a node's program ask an address, and returns who answered.
func askedOn(n *devfleet.Node, address string) (string, error) {
	var conn net.Conn
	err := n.Within(func() (err error) {
		conn, err = net.DialTimeout("tcp4", address, 10*time.Second)
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if _, body, is := strings.Cut(string(answer), "\r\n\r\n"); is && err == nil {
		return strings.TrimSpace(body), nil
	}
	return "", fmt.Errorf("%q: %w", answer, err)
}

// TestProgramsKeepTheirPorts: on a node that balances in user space, a program
// listens on its port whichever of the two comes first, a service that cannot be
// served there for it says so, and nothing of it is a problem of the node.
func TestProgramsKeepTheirPorts(t *testing.T) {
	t.Parallel()
	t.Run(planner.DriverProcess, func(t *testing.T) {
		n := newNode(t, devfleet.Options{Driver: planner.DriverProcess})
		ports := freePorts(t, 4)
		n.agent()
		files := map[string]string{
			"fleet.yaml": fleetYAML,
			// Its program comes first, and its service has the same number.
			"own.yaml": ported("own", 1, ports[0], ports[0]).manifest(n.Hub, n.driver),
			// The relay has this number, until a program wants it.
			"led.yaml": ported("led", 1, ports[1], ports[2]).manifest(n.Hub, n.driver),
		}
		n.apply("first version", files)
		n.eventually("the relay leads", func() string {
			s, err := endpointsOf(t.Context(), n.Node, "led")
			if err != nil {
				return err.Error()
			}
			if _, err := askedOn(n.Node, net.JoinHostPort(s.Address, strconv.Itoa(ports[2]))); err != nil || !strings.HasPrefix(s.Address, "127.") {
				return fmt.Sprintf("%s: %v", s.Address, err)
			}
			return ""
		})
		n.apply("a program wants a port that the relay has", map[string]string{"late.yaml": ported("late", 1, ports[2], ports[3]).manifest(n.Hub, n.driver)})
		for service, taken := range map[string]int{"own": ports[0], "led": ports[2]} {
			n.eventually(service+" says that its port is not opened", func() string {
				s, err := endpointsOf(t.Context(), n.Node, service)
				if err != nil || s.Address != "" || len(s.NotOpened) != 1 || !s.NotOpened[0].Meant || s.NotOpened[0].Port != taken {
					return fmt.Sprintf("%+v, %v", s, err)
				}
				return ""
			})
			for _, verb := range []string{"why", "status", "endpoints"} {
				if out, _ := n.orpheus(verb, service, "--socket", n.Socket()); !strings.Contains(strings.Join(strings.Fields(out), " "), fmt.Sprintf("port %d/tcp of %s is not opened", taken, service)) {
					t.Errorf("%s %s does not tell:\n%s", verb, service, out)
				}
			}
		}
		n.await("nothing is a problem", func(st *api.Status) string { return strings.Join(st.Problems, "; ") })
		if out, code := n.orpheus("status", "--network", "--socket", n.Socket()); code != 0 || !strings.Contains(out, "leads connections in user space, process ") {
			t.Errorf("status --network: exit code %d\n%s", code, out)
		}
	})
}

// TestRelaysBalance: nodes without the kernel's balancer lead connections to the
// instances of both alike, and to those alone when the other's have gone.
func TestRelaysBalance(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 2})
	f.begin(map[string]string{
		"fleet.yaml": fleetYAML,
		"web.yaml":   f.manifest(ported("web", 2, 8601, 8602)),
	}, map[string]int{"web": 2})
	for _, n := range f.Nodes {
		at := ""
		f.await(n.Name+" leads to both", patience, func([]*api.Status) string {
			s, err := endpointsOf(t.Context(), n, "web")
			if err != nil || s.Address == "" {
				return fmt.Sprintf("%+v, %v", s, err)
			}
			at = net.JoinHostPort(s.Address, "8602")
			seen := map[string]bool{}
			for range 20 {
				who, err := askedOn(n, at)
				if err != nil {
					return err.Error()
				}
				seen[who] = true
			}
			if len(seen) != 2 {
				return fmt.Sprintf("%v answered", seen)
			}
			return ""
		})
		counts := map[string]int{}
		for range 400 {
			who, err := askedOn(n, at)
			if err != nil {
				t.Fatal(err)
			}
			counts[who]++
		}
		if statistic, bound := uneven(counts, 2); statistic > bound {
			t.Errorf("%s leads to %v: %.1f is more than %.1f", n.Name, counts, statistic, bound)
		}
	}
	f.await("nothing is a problem", patience, func(all []*api.Status) string {
		for _, st := range all {
			if st == nil || len(st.Problems) > 0 {
				return fmt.Sprintf("%+v", st)
			}
		}
		return ""
	})
}
