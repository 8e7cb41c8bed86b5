package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// testEndpoints are two services: web on two nodes, with one instance that ends
// and one that does not answer; dns, over UDP and TCP.
func testEndpoints() *api.Endpoints {
	return &api.Endpoints{
		Node: "node-1", Range: "10.232.0.0/16", Balanced: api.Balanced{Addresses: 3, Published: 1, Targets: 6},
		Services: []api.ServiceEndpoints{
			{
				Namespace: "default", Name: "web", Address: "10.232.0.17",
				Ports: []api.EndpointPort{{Name: "http", Protocol: "tcp", Container: 8080, Port: 80}, {Name: "metrics", Protocol: "tcp", Container: 9100}},
				Endpoints: []api.Endpoint{
					{Slot: "0", Node: "node-1", State: api.EndpointReady, Revision: "r1-1", Targets: []string{"10.231.0.5:8080", "10.231.0.5:9100"}},
					{Slot: "1", Node: "node-2", State: api.EndpointReady, Targets: []string{"192.0.2.2:20001", "192.0.2.2:20002"}},
					{Slot: "2", Node: "node-2", State: api.EndpointEjected, Reason: "does not answer", Targets: []string{"192.0.2.2:20003", ""}},
					{Slot: "3", Node: "node-1", State: api.EndpointDraining, Reason: "replaced", Targets: []string{"10.231.0.6:8080", "10.231.0.6:9100"}},
				},
			},
			{
				Namespace: "infra", Name: "dns",
				Ports: []api.EndpointPort{
					{Name: "dns", Protocol: "udp", Container: 53},
					{Name: "metrics", Protocol: "tcp", Container: 9153, Published: 80, Mode: "fleet"}, {Name: "metrics", Protocol: "tcp", Container: 9153, Published: 81, Mode: "fleet"},
				},
				Endpoints: []api.Endpoint{{Slot: "node-1", Node: "node-1", State: api.EndpointReady, Targets: []string{"10.231.0.7:53", "10.231.0.7:9153", "10.231.0.7:9153"}}},
			},
		},
	}
}

func TestEndpoints(t *testing.T) {
	w := serve(t, func(o *api.Options) { o.Endpoints = testEndpoints })
	got, err := w.client.Endpoints(t.Context())
	if err != nil || !reflect.DeepEqual(got, testEndpoints()) {
		t.Errorf("%+v, %v", got, err)
	}
	// Over loopback, too: it is as harmless as the status.
	if code, body, header := w.get(t, "GET", "/v1/endpoints", nil); code != 200 || !strings.Contains(body, "10.232.0.17") || header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %s", code, header, body)
	}
	first := testEndpoints()
	var now *api.Endpoints
	changing := serve(t, func(o *api.Options) { o.Endpoints = func() *api.Endpoints { return now } })
	for _, next := range []*api.Endpoints{first, {Node: "node-1"}, first} {
		now = next
		if got, err := changing.client.Endpoints(t.Context()); err != nil || !reflect.DeepEqual(got, next) {
			t.Errorf("%+v, %v; want %+v", got, err, next)
		}
	}
}

func TestNetwork(t *testing.T) {
	var fault error
	w := serve(t, func(o *api.Options) {
		o.Network = func(ctx context.Context) (*api.NetworkState, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("a look at the network without a bound")
			}
			return &api.NetworkState{Bridge: "orpheus0", Names: &api.NameServer{Local: 7}}, fault
		}
	})
	if got, err := w.client.Network(t.Context()); err != nil || got.Bridge != "orpheus0" || got.Names.Local != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	fault = errors.New("netlink is away")
	if _, err := w.client.Network(t.Context()); err == nil || !strings.Contains(err.Error(), "netlink is away") {
		t.Error(err)
	}
}

// TestNoEndpoints: a node that leads no connections, and one whose agent does
// not know yet, say so instead of an empty list, which Prometheus would obey.
func TestNoEndpoints(t *testing.T) {
	none := serve(t, nil)
	young := serve(t, func(o *api.Options) { o.Endpoints = func() *api.Endpoints { return nil } })
	for _, path := range []string{"/v1/endpoints", "/v1/http_sd"} {
		if code, body, _ := none.get(t, "GET", path, nil); code != 404 || !strings.Contains(body, "no network") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, body, _ := young.get(t, "GET", path, nil); code != 503 || !strings.Contains(body, "ask again") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, err := none.client.Network(t.Context()); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Error(err)
	}
	if _, err := young.client.Endpoints(t.Context()); err == nil || !strings.Contains(err.Error(), "ask again") {
		t.Error(err)
	}
}

type group struct {
	Targets []string
	Labels  map[string]string
}

func TestHTTPServiceDiscovery(t *testing.T) {
	w := serve(t, func(o *api.Options) { o.Endpoints = testEndpoints })
	for _, c := range []struct {
		query, want string
	}{
		// Ready ones over TCP, in the order of services, slots and ports.
		{"", "10.231.0.5:8080 10.231.0.5:9100 192.0.2.2:20001 192.0.2.2:20002 10.231.0.7:9153"},
		{"?port=metrics", "10.231.0.5:9100 192.0.2.2:20002 10.231.0.7:9153"},
		{"?port=metrics&service=web", "10.231.0.5:9100 192.0.2.2:20002"},
		// Several values of a filter: any of them.
		{"?port=metrics&service=web&service=dns", "10.231.0.5:9100 192.0.2.2:20002 10.231.0.7:9153"},
		{"?namespace=infra", "10.231.0.7:9153"},
		// A port that is not reached from here is left out, whatever is asked for.
		{"?service=web&all=1", "10.231.0.5:8080 10.231.0.5:9100 192.0.2.2:20001 192.0.2.2:20002 192.0.2.2:20003 10.231.0.6:8080 10.231.0.6:9100"},
		{"?service=web&all=0&port=http", "10.231.0.5:8080 192.0.2.2:20001"},
		{"?service=nobody", ""},
	} {
		code, body, header := w.get(t, "GET", "/v1/http_sd"+c.query, nil)
		var groups []group
		if err := json.Unmarshal([]byte(body), &groups); err != nil || code != 200 || groups == nil {
			t.Errorf("%s: %d %v %s", c.query, code, err, body)
			continue
		}
		// Prometheus takes no other type.
		if got := header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %s", c.query, got)
		}
		var targets []string
		for _, g := range groups {
			targets = append(targets, g.Targets...)
		}
		if got := strings.Join(targets, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	_, body, _ := w.get(t, "GET", "/v1/http_sd?service=web&port=metrics", nil)
	var groups []group
	if err := json.Unmarshal([]byte(body), &groups); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"__meta_orpheus_namespace": "default", "__meta_orpheus_service": "web", "__meta_orpheus_slot": "0", "__meta_orpheus_node": "node-1",
		"__meta_orpheus_revision": "r1-1", "__meta_orpheus_state": "ready", "__meta_orpheus_port": "9100", "__meta_orpheus_port_name": "metrics",
	}
	if !reflect.DeepEqual(groups[0].Labels, want) {
		t.Errorf("labels %v", groups[0].Labels)
	}
}

func TestHTTPServiceDiscoveryRefuses(t *testing.T) {
	many := testEndpoints()
	for i := range 20_000 {
		many.Services[0].Endpoints = append(many.Services[0].Endpoints, api.Endpoint{
			Slot: fmt.Sprint(i), Node: planner.NodeName("node-3"), State: api.EndpointReady, Targets: []string{"192.0.2.3:1"},
		})
	}
	w := serve(t, func(o *api.Options) { o.Endpoints = func() *api.Endpoints { return many } })
	for query, want := range map[string]string{
		"?svc=web":          "filters are service, namespace", // misspelt, it would be everything
		"?all=yes":          "all: write 1",
		"":                  "ask for fewer",
		"?namespace=infra":  "",
		"?port=metrics":     "",
		"?port=http&all=tr": "all: write 1",
	} {
		code, body, _ := w.get(t, "GET", "/v1/http_sd"+query, nil)
		if want == "" && code != http.StatusOK || want != "" && (code != http.StatusBadRequest || !strings.Contains(body, want)) {
			t.Errorf("%s: %d %.200s", query, code, body)
		}
	}
}
