package manifest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"

func fleetOf(spec string) string { return goodFleet + "spec: " + spec + "\n" }

func nodeOf(name, spec string) string {
	return "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// A default that is written down is as good as none.
func TestFleetSpec(t *testing.T) {
	rows := []struct {
		spec string
		want planner.Fleet
	}{
		{"{}", planner.Fleet{}},
		{"{pollInterval: 5s, failover: careful, budgets: {preset: own}, records: {prefix: refs/orpheus/}}", planner.Fleet{}},
		{"{budgets: {readsPerSecond: 200, pushesPerMinute: 600}, records: {}}", planner.Fleet{}},
		{"{pollInterval: 10s, failover: fast}", planner.Fleet{PollInterval: 10 * time.Second, FastFailover: true}},
		{"{budgets: {preset: github}}", planner.Fleet{Budgets: planner.GitHubBudgets}},
		{"{budgets: {pushesPerMinute: 30}}", planner.Fleet{Budgets: planner.Budgets{PushesPerMinute: 30}}},
		{"{records: {prefix: refs/heads/orpheus/}}", planner.Fleet{Records: &planner.RecordsPlace{Prefix: "refs/heads/orpheus/"}}},
		{"{records: {url: \"ssh://git@git.example.com:2222/team/records.git\"}}", planner.Fleet{Records: &planner.RecordsPlace{URL: "ssh://git@git.example.com:2222/team/records.git"}}},
		{"{records: {url: \"git@git.example.com:team/records.git\"}}", planner.Fleet{Records: &planner.RecordsPlace{URL: "git@git.example.com:team/records.git"}}},
		{"{records: {url: /srv/git/records.git}}", planner.Fleet{Records: &planner.RecordsPlace{URL: "/srv/git/records.git"}}},
		{"{network: {services: 10.232.0.0/16, services6: \"fd6f:7270:6865:7573::/112\"}}", planner.Fleet{}},
		{"{network: {services: 172.20.0.0/20}}", planner.Fleet{Network: planner.FleetNetwork{Services: "172.20.0.0/20"}}},
		{"{network: {services: 100.64.0.0/10, services6: \"fd00:0:0:1::/64\"}}", planner.Fleet{Network: planner.FleetNetwork{Services: "100.64.0.0/10", Services6: "fd00:0:0:1::/64"}}},
	}
	for _, row := range rows {
		row.want.Name = "test"
		d := load(t, newTree(map[string]string{"fleet.yaml": fleetOf(row.spec)}))
		if !reflect.DeepEqual(d.Fleet, row.want) || len(d.Faults) > 0 {
			t.Errorf("%s: %+v\n%s", row.spec, d.Fleet, lines(d.Faults))
		}
	}
	// Addresses of the internet are allowed: a fleet may have some of its own. So
	// are those of instances: nodes may take them from elsewhere.
	for cidr, want := range map[string]string{"203.0.113.0/24": "is not a private range", "10.0.0.0/8": "holds 10.231.0.0/20"} {
		d := load(t, newTree(map[string]string{"fleet.yaml": fleetOf("{network: {services: " + cidr + "}}")}))
		if len(d.Faults) != 1 || !d.Faults[0].Warning || !strings.Contains(d.Faults[0].Reason, want) || d.Fleet.Network.Services != cidr {
			t.Errorf("%s: %+v\n%s", cidr, d.Fleet.Network, lines(d.Faults))
		}
	}
	d := load(t, newTree(map[string]string{"fleet.yaml": fleetOf("{records: {url: \"http://git.example.com/r.git\"}}")}))
	if len(d.Faults) != 1 || !d.Faults[0].Warning || d.Fleet.Records == nil {
		t.Errorf("http: %+v\n%s", d.Fleet.Records, lines(d.Faults))
	}
}

// What is wrong in a fleet's spec refuses the commit, and secrets in it are
// not shown again.
func TestFleetSpecFaults(t *testing.T) {
	rows := []struct{ spec, want string }{
		{"{budgets: {preset: forgejo}}", "write own or github"},
		{"{budgets: {preset: github, pushesPerMinute: 600}}", "is given beside numbers"},
		{"{budgets: {pushesPerMinute: 1}}", "write a number from 2"},
		{"{budgets: github}", "write it like {preset: github}"},
		{"{failover: slow}", "write careful or fast"},
		{"{network: 10.232.0.0/16}", "write it like {services: 10.232.0.0/16}"},
		{"{network: {services: \"\"}}", "must not be empty"},
		{"{network: {services: 10.232.0.0}}", "no range of IPv4 addresses; write one such as 10.232.0.0/16"},
		{"{network: {services: \"fd00::/112\"}}", "no range of IPv4 addresses"},
		{"{network: {services6: 10.232.0.0/16}}", "no range of IPv6 addresses"},
		{"{network: {services6: \"::ffff:10.0.0.0/112\"}}", "IPv4 addresses in IPv6 form"},
		{"{network: {services: 10.232.1.0/16}}", "does not begin at its first address; write 10.232.0.0/16"},
		{"{network: {services: 10.232.0.0/25}}", "not from a /8 to a /24"},
		{"{network: {services: 0.0.0.0/0}}", "not from a /8 to a /24"},
		{"{network: {services6: \"fd00::/113\"}}", "not from a /64 to a /112"},
		{"{network: {services6: \"fd00::/32\"}}", "not from a /64 to a /112"},
		{"{network: {services: 127.1.0.0/16}}", "holds loopback addresses"},
		{"{network: {services: 0.0.0.0/8}}", "holds addresses without a meaning"},
		{"{network: {services: 169.254.0.0/16}}", "holds link-local addresses"},
		{"{network: {services: 224.0.0.0/16}}", "holds multicast"},
		{"{network: {services: 240.0.0.0/8}}", "holds multicast"},
		{"{network: {services6: \"fe80::/64\"}}", "holds link-local addresses"},
		{"{network: {services6: \"ff02::/112\"}}", "holds multicast addresses"},
		{"{network: {services6: \"::/64\"}}", "holds loopback"},
		{"{network: {serviceCIDR: 10.1.0.0/16}}", "write services: CIDR"},
		{"{records: {url: \"https://bot:canary@git.example.com/r.git\"}}", "holds credentials"},
		{"{records: {url: \"https://canary@git.example.com/r.git\"}}", "holds credentials"},
		{"{records: {url: \"HTTPS://canary@git.example.com/r.git\"}}", "holds credentials"},
		{"{records: {url: \"ssh://git:canary@git.example.com/r.git\"}}", "holds credentials"},
		{"{records: {url: \"https://git.example.com/r.git?private_token=canary\"}}", "has a query"},
		{"{records: {url: \"https://bot:can%ary@git.example.com/r.git\"}}", "cannot be read as a URL"},
		{"{records: {url: \"https://git.example.com/r.git\\ncanary\"}}", "control character"},
		{"{records: {url: \"bot:canary@git.example.com:team/r.git\"}}", "no absolute path"},
		{"{records: {url: \"git@-oProxyCommand=canary:r.git\"}}", "no absolute path"},
		{"{records: {url: \"ssh://git.example.com/r.git\"}}", "names no user"},
		{"{records: {url: \"ssh://-oProxyCommand=canary/r.git\"}}", "names no host"},
		{"{records: {url: \"ssh://-l@git.example.com/r.git\"}}", "begins with a hyphen"},
		{"{records: {url: \"ext::sh -c canary\"}}", "has a space"},
		{"{records: {url: \"ftp://git.example.com/r.git\"}}", "scheme that is not supported"},
		{"{records: {url: \"https://git.example.com\"}}", "names no repository"},
		{"{records: {url: records.git}}", "no absolute path"},
		{"{records: {url: 8080}}", "must be text"},
		{"{records: {prefix: orpheus/}}", "must begin with refs/"},
		{"{records: {prefix: refs/orpheus}}", `write "refs/orpheus/"`},
		{"{records: {prefix: refs/}}", "as a ref of Git can be"},
		{"{records: {prefix: refs/heads/}}", "all branches"},
		{"{records: {prefix: refs/tags/orpheus/}}", "something else to Git"},
		{"{records: {prefix: refs/replace/}}", "something else to Git"},
		{"{records: {prefix: refs/a/../b/}}", "as a ref of Git can be"},
		{"{records: {prefix: \"refs/a b/\"}}", "as a ref of Git can be"},
		{"{records: {prefix: refs/a.lock/}}", "as a ref of Git can be"},
		{"{records: {prefix: refs/a//b/}}", "as a ref of Git can be"},
	}
	for _, row := range rows {
		_, err := NewLoader(Limits{}).Load(t.Context(), newTree(map[string]string{"fleet.yaml": fleetOf(row.spec)}), ".", planner.Commit{})
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", row.spec, err)
			continue
		}
		if got := lines(refused.Faults); !strings.Contains(got, row.want) || strings.Contains(got, "canary") {
			t.Errorf("%s:\n%s\nwant %q", row.spec, got, row.want)
		}
	}
}

func TestNodes(t *testing.T) {
	d := load(t, newTree(map[string]string{
		"fleet.yaml":   goodFleet,
		"nodes/a.yaml": nodeOf("a", "{labels: {zone: north}, taints: [{key: disk, value: slow, effect: NoSchedule}, {key: disk, effect: NoExecute}], drain: true, key: \""+key+" root@a\", ownLabels: [\"hw/*\"]}"),
		// As Kubernetes writes it, beside another, in one file, anywhere.
		"x.yaml": nodeOf("b", "{unschedulable: true, abandoned: true, ownLabels: []}") + "---\napiVersion: orpheus/v1\nkind: Node\nmetadata: {name: c}\n",
	}))
	want := map[planner.NodeName]planner.NodeSpec{
		"a": {Name: "a", Labels: map[string]string{"zone": "north"}, Drain: true, Key: key, OwnLabels: []string{"hw/*"}, File: "nodes/a.yaml", Line: 3,
			Taints: []planner.Taint{{Key: "disk", Value: "slow", Effect: "NoSchedule"}, {Key: "disk", Effect: "NoExecute"}}},
		"b": {Name: "b", Unschedulable: true, Abandoned: true, OwnLabels: []string{}, File: "x.yaml", Line: 3},
		"c": {Name: "c", File: "x.yaml", Line: 8},
	}
	if !reflect.DeepEqual(d.Nodes, want) || len(d.Faults) > 0 {
		t.Errorf("%+v\n%s", d.Nodes, lines(d.Faults))
	}
	if r := NewReport(d); r.Nodes != 3 {
		t.Errorf("%+v", r)
	}
}

// Documents that do not fit together.
func TestNodesTogether(t *testing.T) {
	rows := []struct {
		name, fleet string
		files       map[string]string
		nodes       int
		want        string
	}{
		// Nobody can say which was meant: both files are held back, with their services.
		{"twice", goodFleet, map[string]string{"a.yaml": nodeOf("x", "{drain: true}"), "b.yaml": nodeOf("x", "{}") + "---\n" + manifestOf("s", "w:1"), "c.yaml": nodeOf("m", "{}")}, 1,
			"a.yaml:3:18: metadata.name: node x is described also in b.yaml line 3; keep one of them\nb.yaml:3:18: metadata.name: node x is described also in a.yaml line 3; keep one of them\n"},
		{"twice in one file", goodFleet, map[string]string{"a.yaml": nodeOf("x", "{}") + "---\n" + nodeOf("x", "{}")}, 0,
			"a.yaml:3:18: metadata.name: node x is described also on line 8; keep one of them\na.yaml:8:18: metadata.name: node x is described also on line 3; keep one of them\n"},
		// A misspelt name drains nothing; said, and not held against the commit.
		{"not listed", fleetOf("{nodes: [node-1, node-2]}"), map[string]string{"a.yaml": nodeOf("nod-2", "{drain: true}"), "b.yaml": nodeOf("other", "{}"), "c.yaml": nodeOf("node-1", "{}")}, 3,
			"warning: a.yaml:3:18: metadata.name: node \"nod-2\" is not listed in spec.nodes of fleet.yaml; did you mean node-2?\n" +
				"warning: b.yaml:3:18: metadata.name: node \"other\" is not listed in spec.nodes of fleet.yaml; add it there, or remove this document\n"},
		// A broken file keeps all its documents back, and the others go on.
		{"broken", goodFleet, map[string]string{"a.yaml": nodeOf("x", "{drian: true}") + "---\n" + nodeOf("m", "{}"), "b.yaml": nodeOf("o", "{}")}, 1,
			"a.yaml:4:8: spec: unknown field \"drian\"; did you mean drain?\n"},
	}
	for _, row := range rows {
		row.files["fleet.yaml"] = row.fleet
		d := load(t, newTree(row.files))
		if got := lines(d.Faults); got != row.want || len(d.Nodes) != row.nodes || len(d.Services) > 0 {
			t.Errorf("%s: nodes %v, faults:\n%s\nwant:\n%s", row.name, d.Nodes, got, row.want)
		}
	}
}

// More nodes than a fleet can have are refused, not planned with.
func TestTooManyNodes(t *testing.T) {
	files := map[string]string{"fleet.yaml": goodFleet}
	for i := range maxNodes/100 + 1 {
		var b strings.Builder
		for j := range 100 {
			fmt.Fprintf(&b, "---\napiVersion: orpheus/v1\nkind: Node\nmetadata: {name: n-%d-%d}\n", i, j)
		}
		files[fmt.Sprintf("%d.yaml", i)] = b.String()
	}
	refusedLoad(t, newTree(files), Limits{}, "more than 1000")
}

// What says where a service may run is read with Kubernetes' meaning and never
// restarts it.
func TestPlacement(t *testing.T) {
	plain := serviceOf(t, body(`replicas: 2`))
	s := serviceOf(t, body(`replicas: 2, tolerations: [{key: disk, operator: Equal, value: slow, effect: NoSchedule}, {operator: Exists}],
  topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}, {topologyKey: rack, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}]`))
	if want := []planner.Toleration{{Key: "disk", Value: "slow", Effect: "NoSchedule"}, {Operator: "Exists"}}; !reflect.DeepEqual(s.Tolerations, want) {
		t.Errorf("%+v", s.Tolerations)
	}
	if want := []planner.SpreadConstraint{{TopologyKey: "zone"}, {TopologyKey: "rack", MaxSkew: 2, Soft: true}}; !reflect.DeepEqual(s.Spread, want) {
		t.Errorf("%+v", s.Spread)
	}
	if s.Revision != plain.Revision {
		t.Error("placement is part of the revision")
	}
}
