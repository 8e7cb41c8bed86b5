package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestImagePorts: what an image exposes is reached from all nodes by the
// service's name and by its alias, although no manifest tells of the port: after
// all agents were killed and started again, and after an update on the port of
// the new image alone.
func TestImagePorts(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	f.push("db:1", "first", "5432/tcp", "5433/udp")
	f.push("db:2", "second", "6432/tcp")
	slots := map[string]int{"asker": 3, "db": 1}
	hash := f.begin(map[string]string{
		"fleet.yaml": threeQuick,
		"asker.yaml": f.manifest(spec{name: "asker", replicas: 3, args: []string{"serve"},
			more: fmt.Sprintf("  ports: [{name: http, containerPort: 8080, publish: {port: %d, mode: node}}]\n", nodePort)}),
		"db.yaml": f.database("1", 5432),
	}, slots)
	if on := f.places().perNode("asker"); len(on) != 3 {
		t.Fatalf("the three who ask are not on three nodes: %v", on)
	}
	f.everyNodeGets("first", "db:5432", "store:5432", "store.default.orpheus.internal:5432",
		"0.db.default.orpheus.internal:5432", "0.store.default.orpheus.internal:5432")
	f.noNodeGets("db:6432", "db:8080")
	for _, n := range f.Nodes {
		out, code := f.orpheus("endpoints", "db", "--socket", n.Socket())
		if code != 0 || !containsAll(out, "5432→5432", "5433/udp→5433") {
			t.Errorf("endpoints of %s, exit code %d:\n%s", n.Name, code, out)
		}
	}

	before := f.places()
	for _, n := range f.Nodes {
		f.restart(n)
	}
	f.everyNodeGets("first", "db:5432", "store:5432")
	f.settles("agents were started again", hash, slots)
	f.untouched("agents were started again", before)

	hash = f.commit("another image", map[string]string{"db.yaml": f.database("2", 6432)})
	f.settles("another image", hash, slots)
	f.everyNodeGets("second", "db:6432", "store:6432", "0.db.default.orpheus.internal:6432")
	f.noNodeGets("db:5432")
	for slot, places := range before {
		if strings.HasPrefix(slot, "asker/") && !slices.Equal(f.places()[slot], places) {
			t.Errorf("%s was touched: %v, before %v", slot, f.places()[slot], places)
		}
	}
}

// database is a service without declared ports, whose program listens where its
// image says.
func (f *fleet) database(version string, port int) string {
	return f.manifest(spec{name: "db", image: "db:" + version, args: []string{"serve"}, env: map[string]string{"PORT": fmt.Sprint(port)},
		more: "  imagePorts: true\n  aliases: [store]\n"})
}

// askFrom has the instance of the k-th node ask what is at an address.
func (f *fleet) askFrom(k int, at string) (got fetched, err error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Get("http://" + f.at(k, nodePort) + "/fetch?" + values("url", "http://"+at+"/", "n", 1).Encode())
	if err != nil {
		return got, err
	}
	defer answer.Body.Close()
	return got, json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&got)
}

// everyNodeGets waits until what calls itself version answers on each of the
// addresses from every node.
func (f *fleet) everyNodeGets(version string, addresses ...string) {
	f.t.Helper()
	f.await(version+" is reached from all nodes", 2*patience, func([]*api.Status) string {
		for k, n := range f.Nodes {
			for _, at := range addresses {
				if got, err := f.askFrom(k, at); err != nil || len(got.Errors) > 0 || !strings.Contains(got.Last, version) {
					return fmt.Sprintf("%s from %s: %+v, %v", at, n.Name, got, err)
				}
			}
		}
		return ""
	})
}

// noNodeGets waits until nothing answers on the addresses from any node.
func (f *fleet) noNodeGets(addresses ...string) {
	f.t.Helper()
	f.await("closed ports", 2*patience, func([]*api.Status) string {
		for k, n := range f.Nodes {
			for _, at := range addresses {
				if got, err := f.askFrom(k, at); err != nil || len(got.Errors) == 0 {
					return fmt.Sprintf("%s from %s: %+v, %v", at, n.Name, got, err)
				}
			}
		}
		return ""
	})
}
