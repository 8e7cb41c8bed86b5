package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// A service with name servers of its own asks those from its first question on,
// by its node, and finds services all the same; no other service asks them. Its
// port answers on every port that it is published by.
func TestNameServersOfAService(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	var servers []string
	for _, n := range f.Nodes {
		var conn net.PacketConn
		f.must(n.Within(func() (err error) {
			conn, err = net.ListenPacket("udp", net.JoinHostPort(n.Address.Addr().String(), "53"))
			return err
		}))
		t.Cleanup(func() { conn.Close() })
		go answerAlways(conn, [4]byte{192, 0, 2, 99})
		servers = append(servers, n.Address.Addr().String())
	}
	serve := func(name, more string) string {
		return f.manifest(spec{name: name, args: []string{"serve"}, more: "  init: true\n" + more})
	}
	f.begin(map[string]string{
		"fleet.yaml": threeQuick,
		"own.yaml": serve("own", "  ports: [{containerPort: 8080, port: 80, publish: [18090, 18091, {port: 18092, mode: node}]}]\n"+
			"  dns: {servers: ["+strings.Join(servers, ", ")+"], search: [corp.example.com], options: ['timeout:1']}\n"),
		"other.yaml": serve("other", "  ports: [{containerPort: 8080, port: 80, publish: 18093}]\n"),
	}, map[string]int{"own": 1, "other": 1})

	resolve := func(port int, name string) []string {
		var out struct{ Addresses []string }
		c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := c.Get("http://" + f.at(0, port) + "/resolve?name=" + url.QueryEscape(name))
		if err != nil {
			return []string{err.Error()}
		}
		defer answer.Body.Close()
		if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
			return []string{err.Error()}
		}
		return out.Addresses
	}
	f.await("its name servers answer, on every port", patience, func([]*api.Status) string {
		for _, port := range []int{18090, 18091} {
			if got := resolve(port, "who.knows.example"); !slices.Equal(got, []string{"192.0.2.99"}) {
				return fmt.Sprintf("port %d: %q", port, got)
			}
		}
		if got := resolve(18090, "other"); len(got) == 0 || got[0] == "192.0.2.99" {
			return fmt.Sprintf("other is at %q", got)
		}
		return ""
	})
	if got := resolve(18093, "who.knows.example"); slices.Contains(got, "192.0.2.99") {
		t.Errorf("another service is answered by them: %q", got)
	}
	onNode := 0
	for k := range f.Nodes {
		if conn, err := net.DialTimeout("tcp", f.at(k, 18092), 5*time.Second); err == nil {
			conn.Close()
			onNode++
		}
	}
	if onNode != 1 {
		t.Errorf("%d nodes have the port of the node that it runs on", onNode)
	}
}

// answerAlways answers every question for an IPv4 address with one.
func answerAlways(conn net.PacketConn, address [4]byte) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		out := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
		if q.Type == dnsmessage.TypeA {
			out.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: address},
			}}
		}
		if text, err := out.Pack(); err == nil {
			_, _ = conn.WriteTo(text, from)
		}
	}
}
