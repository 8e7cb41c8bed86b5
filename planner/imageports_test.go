package planner

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseImagePorts(t *testing.T) {
	many := make([]string, 70_000)
	for i := range many {
		many[i] = fmt.Sprintf("%d/tcp", 70_000-i) // beyond 65535, too
	}
	tests := []struct {
		name    string
		exposed []string
		want    string
	}{
		{name: "none"},
		{"in any order, once", []string{"6379/tcp", "80", "53/udp", "53/tcp", "80/tcp"}, "53/tcp 53/udp 80/tcp 6379/tcp"},
		{"letters of any size", []string{"53/UDP", "80/TCP"}, "53/udp 80/tcp"},
		{"a range", []string{"8001-8003/tcp", "8002"}, "8001/tcp 8002/tcp 8003/tcp"},
		{"what is none", []string{"", "/tcp", "0/tcp", "65536/tcp", "-1", "1-", "5-3", "80/sctp", "80/tcp/x", "http", "8 0"}, ""},
		{"the last that there is", []string{"65534-65535"}, "65534/tcp 65535/tcp"},
		{"all that there are", []string{"1-65535/tcp"}, texts(1)},
		{"more than anybody uses", many, texts(1)},
		{"many ranges", slices.Repeat([]string{"100-65535/tcp", "99/tcp"}, 10_000), texts(99)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := imagePortTexts(ParseImagePorts(tt.exposed)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// texts are MaxImagePorts ports from the first.
func texts(first int) string {
	var ports []ImagePort
	for n := range MaxImagePorts {
		ports = append(ports, ImagePort{first + n, "tcp"})
	}
	return imagePortTexts(ports)
}

func imagePortTexts(ports []ImagePort) string {
	var out []string
	for _, p := range ports {
		out = append(out, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	return strings.Join(out, " ")
}

// All containers of an instance count.
func TestImagePortsOfInstance(t *testing.T) {
	i := Instance{Containers: []ContainerState{
		{Exposed: ParseImagePorts([]string{"80", "9100"})}, {}, {Exposed: ParseImagePorts([]string{"53/udp", "80"})},
	}}
	if got, want := imagePortTexts(i.ImagePorts()), "53/udp 80/tcp 9100/tcp"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (Instance{}).ImagePorts(); got != nil {
		t.Errorf("got %v of nothing", got)
	}
}

func TestPortsWith(t *testing.T) {
	tcp := func(ports ...int) (out []ImagePort) {
		for _, p := range ports {
			out = append(out, ImagePort{p, "tcp"})
		}
		return out
	}
	range32 := ParseImagePorts([]string{"1000-2000"})
	tests := []struct {
		name     string
		declared []Port
		headless bool
		exposed  [][]ImagePort
		want     string // containerPort>port of those added
	}{
		{name: "nothing runs"},
		{name: "in order, once", exposed: [][]ImagePort{tcp(6379), tcp(80, 6379)}, want: "80>80 6379>6379"},
		// The address has it already, by whatever number the program listens on.
		{name: "declared", declared: []Port{{Container: 5432, Protocol: "tcp", Port: 5432}}, exposed: [][]ImagePort{tcp(5432)}},
		{name: "another program's", declared: []Port{{Container: 9000, Protocol: "tcp", Port: 80}}, exposed: [][]ImagePort{tcp(80)}},
		// The address has it by another number, or not at all.
		{name: "by another number", declared: []Port{{Container: 8080, Protocol: "tcp", Port: 80}}, exposed: [][]ImagePort{tcp(8080)}, want: "8080>8080"},
		{name: "published only", declared: []Port{{Container: 8080, Protocol: "tcp", Publish: &Publish{Port: 80}}}, exposed: [][]ImagePort{tcp(8080)}, want: "8080>8080"},
		{name: "another protocol", declared: []Port{{Container: 53, Protocol: "udp", Port: 53}}, exposed: [][]ImagePort{tcp(53)}, want: "53>53"},
		// Slots answer on the ports of their containers.
		{name: "headless", headless: true, declared: []Port{{Container: 8080, Protocol: "tcp", Port: 80}}, exposed: [][]ImagePort{tcp(80, 8080)}, want: "80>80"},
		// One node cannot push the ports of the others out.
		{name: "too many", exposed: [][]ImagePort{range32, tcp(5432), tcp(5432)}, want: strings.TrimSuffix(addedTexts(range32[:MaxImagePorts-1]), " ") + " 5432>5432"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Service{Ports: slices.Grow(tt.declared, 8), Headless: tt.headless, ImagePorts: true}
			got := s.PortsWith(tt.exposed...)
			if !slices.Equal(got[:len(s.Ports)], s.Ports) {
				t.Errorf("declared ports are %v, were %v", got[:len(s.Ports)], s.Ports)
			}
			var added []string
			for _, p := range got[len(s.Ports):] {
				added = append(added, fmt.Sprintf("%d>%d", p.Container, p.Port))
			}
			if text := strings.Join(added, " "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
			if room := s.Ports[:cap(s.Ports)]; slices.ContainsFunc(room[len(s.Ports):], func(p Port) bool { return p != Port{} }) {
				t.Errorf("the service's own list was written to: %v", room)
			}
		})
	}
}

func addedTexts(ports []ImagePort) string {
	var out strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&out, "%d>%d ", p.Port, p.Port)
	}
	return out.String()
}

// Only a service whose instances have a network, and an image, has such ports,
// and an address for them.
func TestHasImagePorts(t *testing.T) {
	tests := []struct {
		service Service
		want    bool
	}{
		{Service{}, false},
		{Service{ImagePorts: true}, true},
		{Service{ImagePorts: true, Template: Template{HostNetwork: true}}, false},
		{Service{ImagePorts: true, Template: Template{Driver: DriverProcess}}, false},
	}
	for _, tt := range tests {
		if got := tt.service.HasImagePorts(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.service, got, tt.want)
		}
		if got := tt.service.NeedsAddress(); got != tt.want {
			t.Errorf("%+v: needs an address: %v, want %v", tt.service, got, tt.want)
		}
	}
}
