package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// at is an instance of web that takes connections on port 80, at port of its
// node.
func serves(slot string, port int) ServingInstance {
	return ServingInstance{Slot: SlotID{web, slot}, Revision: "r1-a", Endpoints: []Endpoint{{Container: 80, Host: port}}}
}

// told is a node as its records show it: live, of process "p1", whose status
// was seen at 10 s.
func told(name NodeName, n int, serving uint64, instances ...ServingInstance) NodeView {
	v := NodeView{StatusSince: 10 * time.Second}
	v.Record = NodeRecord{Node: name, Epoch: 1, Incarnation: "p1", Address: fmt.Sprintf("192.0.2.%d:7718", n)}
	v.Status = NodeStatus{Node: name, Incarnation: "p1", Serving: serving}
	for _, i := range instances {
		v.Status.Instances = append(v.Status.Instances, InstanceStatus{Slot: i.Slot, Revision: i.Revision, Phase: PhaseReady, Endpoints: i.Endpoints})
	}
	return v
}

func announced(process string, serving uint64, at time.Duration, instances ...ServingInstance) Heard {
	return Heard{Announcement: Announcement{Incarnation: process, Serving: serving, Instances: instances}, At: at}
}

func leasedAs(at ...string) LeaseDoc {
	doc := LeaseDoc{Service: web}
	for i, a := range at {
		slot, node, _ := strings.Cut(a, "@")
		doc.Leases = append(doc.Leases, Lease{Slot: slot, Node: NodeName(node), Epoch: 1, Token: uint64(i + 1), Revision: "r1-a"})
	}
	return doc
}

func showServing(instances []RemoteInstance) string {
	var all []string
	for _, i := range instances {
		text := fmt.Sprintf("%s@%s=%s", i.Slot.Name, i.Node, i.Address)
		for _, e := range i.Endpoints {
			text += fmt.Sprintf(":%d>%d/%s", e.Host, e.Container, e.Protocol)
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// TestServing: three nodes, self is n1. Slot 0 of web is leased to n2, slot 1
// to n3.
func TestServing(t *testing.T) {
	const two, three = "0@n2=192.0.2.2:20000>80/tcp", "1@n3=192.0.2.3:20001>80/tcp"
	fenced := func(n *NodeView) {
		n.Record.Fence = &Fence{Epoch: 2, Fenced: true, By: "n3", Nonce: "x"}
		n.Record.Epoch = 2
	}
	restarted := func(n *NodeView) { n.Record.Incarnation = "p2" }
	address := func(a string) func(*NodeView) { return func(n *NodeView) { n.Record.Address = a } }
	tests := []struct {
		name   string
		change map[NodeName]func(*NodeView)
		heard  map[NodeName]Heard
		leases []string // nil = 0@n2 1@n3
		want   string
	}{
		{name: "what the records say", want: two + " " + three},
		// What is told directly is sooner, and counted.
		{name: "heard more", heard: map[NodeName]Heard{"n2": announced("p1", 6, 0, serves("0", 20007))}, want: "0@n2=192.0.2.2:20007>80/tcp " + three},
		{name: "heard that it ends", heard: map[NodeName]Heard{"n2": announced("p1", 6, 0)}, want: three},
		{name: "heard the same", heard: map[NodeName]Heard{"n2": announced("p1", 5, 0)}, want: three},
		{name: "heard before", heard: map[NodeName]Heard{"n2": announced("p1", 4, 99*time.Second)}, want: two + " " + three},
		// Of two processes the one counts that came later.
		{name: "heard of a new process", heard: map[NodeName]Heard{"n2": announced("p2", 1, 11*time.Second, serves("0", 20007))}, want: "0@n2=192.0.2.2:20007>80/tcp " + three},
		{name: "heard of an old process", heard: map[NodeName]Heard{"n2": announced("p0", 9, 9*time.Second, serves("0", 20007))}, want: two + " " + three},
		{name: "heard of the registered process, whose status is not read", change: map[NodeName]func(*NodeView){"n2": restarted},
			heard: map[NodeName]Heard{"n2": announced("p2", 1, time.Second, serves("0", 20007))}, want: "0@n2=192.0.2.2:20007>80/tcp " + three},
		// A status that does not tell endpoints (it has too many) does not count
		// against what was heard.
		{name: "a status without endpoints", change: map[NodeName]func(*NodeView){"n2": func(n *NodeView) { n.Status = NodeStatus{Incarnation: "p1"} }},
			heard: map[NodeName]Heard{"n2": announced("p1", 0, 0, serves("0", 20000))}, want: two + " " + three},
		// A process that restarted has told nothing yet: its instances go on, but
		// others take the connections.
		{name: "restarted", change: map[NodeName]func(*NodeView){"n2": restarted}, want: three},
		{name: "restarted, and what the one before said", change: map[NodeName]func(*NodeView){"n2": restarted},
			heard: map[NodeName]Heard{"n2": announced("p1", 6, 99*time.Second, serves("0", 20007))}, want: three},
		{name: "all restarted", change: map[NodeName]func(*NodeView){"n2": restarted, "n3": restarted}, want: two + " " + three},
		// A fence may be wrong: it cuts nobody off.
		{name: "fenced", change: map[NodeName]func(*NodeView){"n2": fenced}, want: three},
		{name: "all fenced", change: map[NodeName]func(*NodeView){"n2": fenced, "n3": fenced}, want: two + " " + three},
		{name: "fenced, but self has one", change: map[NodeName]func(*NodeView){"n2": fenced, "n3": fenced, "n1": func(n *NodeView) { *n = told("n1", 1, 1, serves("2", 20000)) }},
			leases: []string{"0@n2", "1@n3", "2@n1"}, want: ""},
		{name: "fenced, and self's is just gone", change: map[NodeName]func(*NodeView){"n2": fenced, "n3": fenced, "n1": func(n *NodeView) { *n = told("n1", 1, 1, serves("2", 20000)) }},
			heard: map[NodeName]Heard{"n1": announced("p1", 2, 0)}, leases: []string{"0@n2", "1@n3", "2@n1"}, want: two + " " + three},
		{name: "retired", change: map[NodeName]func(*NodeView){"n2": func(n *NodeView) { n.Record.Retired = true }}, want: three},
		// What cannot be reached is listed, and keeps no doubted one out.
		{name: "no address", change: map[NodeName]func(*NodeView){"n2": address("")}, want: "0@n2=:20000>80/tcp " + three},
		{name: "no address, the other fenced", change: map[NodeName]func(*NodeView){"n2": address(""), "n3": fenced}, want: "0@n2=:20000>80/tcp " + three},
		{name: "a name for an address", change: map[NodeName]func(*NodeView){"n2": address("node-2.example.com:7718")}, want: "0@n2=:20000>80/tcp " + three},
		{name: "IPv6", change: map[NodeName]func(*NodeView){"n2": address("[2001:db8::2]:7718")}, want: "0@n2=2001:db8::2:20000>80/tcp " + three},
		{name: "IPv4 in IPv6 form", change: map[NodeName]func(*NodeView){"n2": address("[::ffff:192.0.2.2]:7718")}, want: two + " " + three},
		// A move: both have the slot until the old one hears that it ends.
		{name: "a slot on two nodes", heard: map[NodeName]Heard{"n3": announced("p1", 6, 0, serves("0", 20001))}, leases: []string{"0@n2", "0@n3"}, want: two + " 0@n3=192.0.2.3:20001>80/tcp"},
		// A lost document cuts nobody off.
		{name: "no document", leases: []string{}, want: two + " " + three},
		// A node this one does not know says nothing.
		{name: "an unknown node", heard: map[NodeName]Heard{"n9": announced("p1", 1, 0, serves("0", 20009))}, want: two + " " + three},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := View{Self: "n1", Docs: map[ServiceID]DocView{}, Nodes: map[NodeName]NodeView{
				"n1": told("n1", 1, 1), "n2": told("n2", 2, 5, serves("0", 20000)), "n3": told("n3", 3, 5, serves("1", 20001))}}
			if tt.leases == nil {
				tt.leases = []string{"0@n2", "1@n3"}
			}
			v.Docs[web] = DocView{Doc: leasedAs(tt.leases...)}
			for name, change := range tt.change {
				n := v.Nodes[name]
				change(&n)
				v.Nodes[name] = n
			}
			if got := showServing(Serving(v, tt.heard)[web]); got != tt.want {
				t.Errorf("serving: %s\nwant:    %s", got, tt.want)
			}
		})
	}
}

// TestAttack33Serving: a node that says what is not true of itself. n2 holds
// slot 0 of web, as it should; n3 is hostile.
func TestAttack33Serving(t *testing.T) {
	good := "0@n2=192.0.2.2:20000>80/tcp"
	many := make([]ServingInstance, 100_000)
	for i := range many {
		many[i] = serves(fmt.Sprint(i), 22)
	}
	ends := func(e ...Endpoint) Heard {
		i := serves("1", 1)
		i.Endpoints = e
		return announced("p1", 9, 0, i)
	}
	countless := make([]Endpoint, 100_000)
	for i := range countless {
		countless[i] = Endpoint{Container: i, Host: 22}
	}
	tests := []struct {
		name    string
		address string // of n3
		heard   Heard
		want    string // "" = good alone
		length  int    // of what n3 says
	}{
		// Connections of a service that others run are not its to draw.
		{name: "a slot it has no lease of", heard: announced("p1", 9, 0, serves("0", 22), serves("7", 22))},
		{name: "many slots", heard: announced("p1", 9, 0, many...), want: good + " 1@n3=192.0.2.3:22>80/tcp"},
		// Whoever connects there would reach this machine itself.
		{name: "loopback", address: "127.0.0.1:7718", heard: announced("p1", 9, 0, serves("1", 22)), want: good + " 1@n3=:22>80/tcp"},
		{name: "loopback in IPv6 form", address: "[::ffff:127.0.0.1]:7718", heard: announced("p1", 9, 0, serves("1", 22)), want: good + " 1@n3=:22>80/tcp"},
		{name: "self's own address", address: "192.0.2.1:7718", heard: announced("p1", 9, 0, serves("1", 22)), want: good + " 1@n3=:22>80/tcp"},
		{name: "unspecified", address: "0.0.0.0:7718", heard: announced("p1", 9, 0, serves("1", 22)), want: good + " 1@n3=:22>80/tcp"},
		{name: "a cloud's metadata", address: "169.254.169.254:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		{name: "metadata by IPv6", address: "[fd00:ec2::254]:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		{name: "metadata in a routed range", address: "168.63.129.16:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		{name: "an address with an interface", address: "[2001:db8::3%eth0]:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		{name: "multicast", address: "224.0.0.1:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		{name: "broadcast", address: "255.255.255.255:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		{name: "an interface", address: "[fe80::1%lo]:80", heard: announced("p1", 9, 0, serves("1", 80)), want: good + " 1@n3=:80>80/tcp"},
		// Ports that are none.
		{name: "no ports", heard: ends(Endpoint{0, "", 22, false}, Endpoint{-1, "", 22, false}, Endpoint{80, "", 0, false}, Endpoint{80, "", 65536, false}, Endpoint{80, "sctp", 22, false}, Endpoint{80, "TCP", 22, false})},
		{name: "a port twice", heard: ends(Endpoint{80, "", 22, false}, Endpoint{80, "tcp", 23, false}, Endpoint{80, "udp", 24, false}), want: good + " 1@n3=192.0.2.3:22>80/tcp:24>80/udp"},
		{name: "no end of ports", heard: ends(countless...), length: MaxEndpoints - 1},
		{name: "no slot", heard: announced("p1", 9, 0, ServingInstance{Slot: SlotID{ServiceID{"../x", "y"}, "0"}, Endpoints: []Endpoint{{80, "", 22, false}}})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := View{Self: "n1", Docs: map[ServiceID]DocView{web: {Doc: leasedAs("0@n2", "1@n3")}}, Nodes: map[NodeName]NodeView{
				"n1": told("n1", 1, 1), "n2": told("n2", 2, 5, serves("0", 20000)), "n3": told("n3", 3, 5)}}
			if tt.address != "" {
				n := v.Nodes["n3"]
				n.Record.Address = tt.address
				v.Nodes["n3"] = n
			}
			got := Serving(v, map[NodeName]Heard{"n3": tt.heard})
			if tt.length > 0 {
				if n := len(got[web][1].Endpoints); n != tt.length || len(got[web]) != 2 {
					t.Errorf("%d endpoints", n)
				}
				return
			}
			if tt.want == "" {
				tt.want = good
			}
			if text := showServing(got[web]); text != tt.want || len(got) != 1 {
				t.Errorf("serving: %s, %d services\nwant:    %s", text, len(got), tt.want)
			}
		})
	}
}

// TestReachLoopback: a fleet on one machine reaches itself.
func TestReachLoopback(t *testing.T) {
	v := View{Self: "n1", Nodes: map[NodeName]NodeView{"n1": told("n1", 1, 1), "n2": told("n2", 2, 1)}}
	for name, n := range v.Nodes {
		n.Record.Address = "127.0.0.1:7718"
		v.Nodes[name] = n
	}
	if addr, why := v.Reach("n2"); addr.String() != "127.0.0.1" || why != "" {
		t.Errorf("%v, %s", addr, why)
	}
}

func TestAnnouncementCheck(t *testing.T) {
	good := announced("p1", 1, 0, serves("0", 20000)).Announcement
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		change func(*Announcement)
		want   string
	}{
		{func(a *Announcement) { a.Incarnation = "" }, "incarnation: is missing"},
		{func(a *Announcement) { a.Serving = 1 << 63 }, "serving: "},
		{func(a *Announcement) { a.Instances[0].Slot.Name = "\x1b[2J" }, `instances[0].slot.name: "\x1b[2J" is no name`},
		{func(a *Announcement) { a.Instances[0].Revision = "a b" }, "instances[0].revision: "},
		{func(a *Announcement) { a.Instances[0].Endpoints[0].Host = 0 }, "instances[0].endpoints[0].hostPort: 0 is no port"},
		{func(a *Announcement) { a.Instances[0].Endpoints[0].Container = 65536 }, "endpoints[0].port: 65536 is no port"},
		{func(a *Announcement) { a.Instances[0].Endpoints[0].Protocol = "a b" }, "endpoints[0].protocol: "},
		{func(a *Announcement) { a.Instances[0].Endpoints = make([]Endpoint, MaxEndpoints+1) }, "endpoints: 65 are more than 64"},
		{func(a *Announcement) { a.Instances = make([]ServingInstance, maxItems+1) }, "instances: 4097 are more than 4096"},
	}
	for _, tt := range tests {
		bad := announced("p1", 1, 0, serves("0", 20000)).Announcement
		tt.change(&bad)
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// TestServingProperties: nobody is cut off, and nothing is made up.
func TestServingProperties(t *testing.T) {
	names := []NodeName{"n1", "n2", "n3", "n4"}
	rapid.Check(t, func(t *rapid.T) {
		v := View{Self: "n1", Nodes: map[NodeName]NodeView{}, Docs: map[ServiceID]DocView{}}
		heard := map[NodeName]Heard{}
		process := rapid.SampledFrom([]string{"p1", "p2"})
		var leases []string
		draw := func() (list []ServingInstance) {
			for _, slot := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"0", "1", "2"}), 0, 3, rapid.ID).Draw(t, "slots") {
				list = append(list, serves(slot, rapid.IntRange(20000, 20002).Draw(t, "port")))
			}
			return list
		}
		for i, name := range names {
			n := told(name, i+1, uint64(rapid.IntRange(0, 3).Draw(t, "serving")), draw()...)
			n.Record.Incarnation, n.Record.Retired = process.Draw(t, "record"), rapid.Bool().Draw(t, "retired")
			v.Nodes[name] = n
			if rapid.Bool().Draw(t, "heard") {
				heard[name] = announced(process.Draw(t, "process"), uint64(rapid.IntRange(0, 3).Draw(t, "serving")), time.Duration(rapid.IntRange(0, 20).Draw(t, "at"))*time.Second, draw()...)
			}
			if slot := rapid.SampledFrom([]string{"", "0", "1", "2"}).Draw(t, "leased"); slot != "" {
				leases = append(leases, slot+"@"+string(name))
			}
		}
		v.Docs[web] = DocView{Doc: leasedAs(leases...)}
		got := Serving(v, heard)[web]
		if again := Serving(v, maps.Clone(heard))[web]; showServing(again) != showServing(got) {
			t.Fatalf("another order: %s\n%s", showServing(got), showServing(again))
		}
		// An entry is what its node said, in its status or directly.
		lists := func(n NodeName, slot string) (status, direct bool) {
			same := func(i ServingInstance) bool { return i.Slot.Name == slot }
			status = slices.ContainsFunc(v.Nodes[n].Status.Instances, func(i InstanceStatus) bool { return i.Slot.Name == slot })
			return status, slices.ContainsFunc(heard[n].Instances, same)
		}
		for _, i := range got {
			if status, direct := lists(i.Node, i.Slot.Name); i.Node == v.Self || !status && !direct {
				t.Fatalf("%s@%s takes connections: nobody said so", i.Slot.Name, i.Node)
			}
		}
		// Where a node says of a slot in all it says that it takes connections,
		// somebody takes those of the service.
		self, selfDirect := false, false
		for _, slot := range []string{"0", "1", "2"} {
			a, b := lists(v.Self, slot)
			self, selfDirect = self || a, selfDirect || b
		}
		for _, name := range names[1:] {
			for _, slot := range []string{"0", "1", "2"} {
				_, any := heard[name]
				status, direct := lists(name, slot)
				if status && (direct || !any) && len(got) == 0 && !self && !selfDirect {
					t.Fatalf("%s@%s takes connections, and the service is cut off", slot, name)
				}
			}
		}
	})
}
