package relay

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

func TestAddress(t *testing.T) {
	for service, want := range map[string]string{
		"10.232.0.5":                "127.232.0.5",
		"10.232.255.254":            "127.232.255.254",
		"172.20.1.2":                "127.20.1.2",
		"::ffff:10.232.0.5":         "127.232.0.5",
		"10.0.0.5":                  "", // would be among 127.0.0.0/24
		"10.0.1.5":                  "127.0.1.5",
		"fd6f:7270:6865:7573::5":    "", // loopback of IPv6 is one address
		"":                          "",
		"web.default.orpheus.local": "",
	} {
		if got := Address(service); got != want {
			t.Errorf("Address(%q) = %q, want %q", service, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	web := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}
	two := []runtime.Target{{Address: "192.0.2.2", Port: 20000}, {Address: "192.0.2.1", Port: 20000}, {Address: "192.0.2.2", Port: 20000}}
	front := func(kind runtime.FrontKind, address string, port int, targets ...runtime.Target) runtime.Front {
		return runtime.Front{Kind: kind, Service: web, Address: address, Port: port, Protocol: "tcp", Targets: targets}
	}
	for _, tc := range []struct {
		name   string
		fronts []runtime.Front
		listen []string
		fault  string
	}{
		// A port that anybody may listen on keeps its number.
		{"service", []runtime.Front{front(runtime.FrontService, "10.232.0.5", 5432, two...)}, []string{"127.232.0.5:5432"}, ""},
		// One that needs rights is raised.
		{"raised", []runtime.Front{front(runtime.FrontService, "10.232.0.5", 80, two...)}, []string{"127.232.0.5:10080"}, ""},
		// Who has that port by itself keeps it, in whatever order they come.
		{"raised to one that is taken", []runtime.Front{
			front(runtime.FrontService, "10.232.0.5", 80, two...), front(runtime.FrontService, "10.232.0.5", 10080, two...),
		}, []string{"127.232.0.5:10080"}, "of web is left out: web has it already"},
		// An IPv6 service address has no place on loopback.
		{"IPv6", []runtime.Front{front(runtime.FrontService, "fd6f:7270:6865:7573::5", 5432, two...)}, nil, ""},
		{"published", []runtime.Front{front(runtime.FrontPublished, "", 8080, two...)}, []string{":8080"}, ""},
		{"published at one address", []runtime.Front{front(runtime.FrontPublished, "192.0.2.9", 8080, two...)}, []string{"192.0.2.9:8080"}, ""},
		// A published port cannot have another number.
		{"published without rights", []runtime.Front{front(runtime.FrontPublished, "", 80, two...)}, nil, "need rights"},
		// Instances listen there themselves, here too, sooner or later.
		{"published is the instances' port", []runtime.Front{front(runtime.FrontPublished, "", 20000, two...)}, nil, ""},
		// Nobody listening refuses connections.
		{"no targets", []runtime.Front{front(runtime.FrontService, "10.232.0.5", 5432), front(runtime.FrontPublished, "", 8080)}, nil, ""},
		// Processes have their ports themselves.
		{"host", []runtime.Front{front(runtime.FrontHost, "", 20001, two...)}, nil, ""},
		// One bad front leaves the others.
		{"bad", []runtime.Front{
			front(runtime.FrontService, "10.232.0.5", 70000, two...), front(runtime.FrontService, "10.232.0.6", 5432, two...),
		}, []string{"127.232.0.6:5432"}, "want 1 to 65535"},
		{"bad target", []runtime.Front{front(runtime.FrontService, "10.232.0.5", 5432, runtime.Target{Address: "web", Port: 1})}, nil, `target "web"`},
		{"bad protocol", []runtime.Front{{Kind: runtime.FrontService, Service: web, Address: "10.232.0.5", Port: 5432, Protocol: "sctp", Targets: two}}, nil, "want tcp or udp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table, _, left := tableOf(runtime.Balancing{Fronts: tc.fronts}, 1024)
			var listen []string
			for _, e := range table.Fronts {
				listen = append(listen, e.Listen)
				if len(e.Targets) != 2 || e.Targets[0].String() != "192.0.2.1:20000" {
					t.Errorf("targets %v", e.Targets)
				}
			}
			if !slices.Equal(listen, tc.listen) {
				t.Errorf("listens at %v, want %v", listen, tc.listen)
			}
			if (tc.fault == "") != (len(left) == 0) || !strings.Contains(left.Error(), tc.fault) || !errors.Is(left, runtime.ErrInvalid) {
				t.Errorf("left out: %v, want %q", left, tc.fault)
			}
			text, _, err := table.encode()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := parse(text); err != nil || len(again.Fronts) != len(table.Fronts) {
				t.Errorf("read again: %v, %v", again, err)
			}
		})
	}
}

// A file that somebody spoiled is refused whole; no value of it panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"fronts":[{"listen":"127.232.0.5:80","protocol":"tcp","service":"web","targets":["192.0.2.1:20000"]}]}`))
	f.Add([]byte(`{"fronts":[{"listen":"","protocol":"tcp","targets":[""]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := parse(text)
		if err == nil {
			if _, _, err := table.encode(); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}
