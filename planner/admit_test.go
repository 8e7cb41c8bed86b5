package planner

import (
	"strings"
	"testing"
)

// admits checks what a policy says to a service: "" = it may run, else a part
// of the only reason.
func admits(t *testing.T, p Policy, s Service, want string) {
	t.Helper()
	reasons := Admit(p, s)
	switch {
	case want == "" && len(reasons) > 0:
		t.Errorf("refused: %q", reasons)
	case want != "" && (len(reasons) != 1 || !strings.Contains(reasons[0], want)):
		t.Errorf("reasons %q, want one with %q", reasons, want)
	}
}

func with(change func(*Template)) Service {
	t := plain("web:1")
	change(&t)
	return Service{ID: web, Template: t}
}

func hostPath(p string) Service {
	return with(func(t *Template) { t.Volumes = []Volume{{Name: "v", HostPath: &HostPathVolume{Path: p}}} })
}

// TestAttack21Host: whatever reaches the host is refused unless the node's own
// configuration allows it.
func TestAttack21Host(t *testing.T) {
	reserved := []string{"/var/lib/orpheus", "/run/containerd/", "/run/docker.sock"}
	tests := []struct {
		name   string
		policy Policy
		s      Service
		want   string
	}{
		// Nothing special may run anywhere.
		{"plain", Policy{}, with(func(*Template) {}), ""},
		{"local volume", Policy{}, Service{Template: volumeA}, ""},
		// Host paths: none without policy, then only below the folders named.
		{"host root", Policy{}, hostPath("/"), "spec.volumes[v].hostPath: path / is not allowed"},
		{"container socket", Policy{}, hostPath("/run/containerd/containerd.sock"), "not allowed"},
		{"allowed folder", Policy{HostPaths: []string{"/srv/"}}, hostPath("/srv"), ""},
		{"below it", Policy{HostPaths: []string{"/srv"}}, hostPath("/srv/a/../b"), ""},
		{"its neighbour", Policy{HostPaths: []string{"/srv"}}, hostPath("/srv2"), "not allowed"},
		{"out of it", Policy{HostPaths: []string{"/srv"}}, hostPath("/srv/../etc"), "path /etc is not allowed"},
		{"above it", Policy{HostPaths: []string{"/srv/data"}}, hostPath("/srv"), "not allowed"},
		{"all allowed", Policy{HostPaths: []string{"/"}}, hostPath("/etc"), ""},
		// Never the agent's own, nor a folder above it, even where all is allowed.
		{"state folder", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/var/lib/orpheus"), "the agent's own"},
		{"in the state folder", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/var/lib/orpheus/volumes/x"), "the agent's own"},
		{"above the state folder", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/var/lib"), "the agent's own"},
		{"root above the state folder", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/"), "the agent's own"},
		{"by a detour", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/srv/../var/lib//orpheus/."), "the agent's own"},
		{"reserved with a slash at its end", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/run/containerd/containerd.sock"), "the agent's own"},
		{"the socket itself", Policy{HostPaths: []string{"/run"}, ReservedPaths: reserved}, hostPath("/run/docker.sock"), "the agent's own"},
		{"beside the reserved", Policy{HostPaths: []string{"/"}, ReservedPaths: reserved}, hostPath("/var/lib/orpheus2"), ""},
		// A path without root is none, whatever is allowed.
		{"relative", Policy{HostPaths: []string{"/", "."}}, hostPath("etc"), "not an absolute path"},
		{"empty", Policy{HostPaths: []string{"/"}}, hostPath(""), "not an absolute path"},
		// The host's network.
		{"host network", Policy{}, Service{Template: hostNetwork("web")}, "spec.network"},
		{"host network allowed", Policy{HostNetwork: true}, Service{Template: hostNetwork("web")}, ""},
		// Privileged, which no other setting implies.
		{"privileged", Policy{Capabilities: []string{"ALL"}, HostNetwork: true}, with(func(t *Template) { t.Containers[0].Security.Privileged = true }), "securityContext.privileged"},
		{"privileged allowed", Policy{Privileged: true}, with(func(t *Template) {
			t.Containers[0].Security = Security{Privileged: true, AddCapabilities: []string{"SYS_ADMIN"}}
		}), ""},
		// Also in an init container.
		{"privileged init", Policy{}, with(func(t *Template) {
			t.InitContainers = []Container{{Name: "i", Image: "i", Security: Security{Privileged: true}}}
		}), "privileged"},
		// Capabilities, each by its own name.
		{"capability", Policy{}, with(func(t *Template) { t.Containers[0].Security.AddCapabilities = []string{"SYS_ADMIN"} }), "capability SYS_ADMIN is not allowed"},
		{"all capabilities", Policy{Capabilities: []string{"NET_ADMIN"}}, with(func(t *Template) { t.Containers[0].Security.AddCapabilities = []string{"ALL"} }), "capability ALL"},
		{"one of two", Policy{Capabilities: []string{"NET_ADMIN"}}, with(func(t *Template) { t.Containers[0].Security.AddCapabilities = []string{"NET_ADMIN", "SYS_PTRACE"} }), "SYS_PTRACE"},
		{"capability allowed", Policy{Capabilities: []string{"NET_ADMIN"}}, with(func(t *Template) { t.Containers[0].Security.AddCapabilities = []string{"NET_ADMIN"} }), ""},
		{"dropped", Policy{}, with(func(t *Template) { t.Containers[0].Security.DropCapabilities = []string{"ALL"} }), ""},
		// A limit that gives what a capability gives.
		{"real time", Policy{Capabilities: []string{"SYS_TIME"}}, with(func(t *Template) { t.Containers[0].Ulimits = []Ulimit{{"rtprio", 0, 99}} }), "ulimits: rtprio"},
		{"real time allowed", Policy{Capabilities: []string{"SYS_NICE"}}, with(func(t *Template) { t.Containers[0].Ulimits = []Ulimit{{"rtprio", 99, Unlimited}} }), ""},
		{"no real time", Policy{}, with(func(t *Template) { t.Containers[0].Ulimits = []Ulimit{{"rtprio", 0, 0}, {"memlock", -1, -1}} }), ""},
		// Devices, by their exact path; privileged allows none by itself.
		{"device", Policy{Privileged: true}, with(func(t *Template) { t.Containers[0].Devices = []string{"/dev/sda"} }), "device /dev/sda is not allowed"},
		{"device by a detour", Policy{Devices: []string{"/dev/fuse"}}, with(func(t *Template) { t.Containers[0].Devices = []string{"/dev/fuse/../sda"} }), "/dev/fuse/../sda"},
		{"device allowed", Policy{Devices: []string{"/dev/fuse"}}, with(func(t *Template) { t.Containers[0].Devices = []string{"/dev/fuse"} }), ""},
		// Drivers: a process is not confined, so it must be allowed by name.
		{"process", Policy{}, Service{Template: process("x")}, `driver "process" is not allowed`},
		{"process allowed", Policy{Drivers: []string{DriverProcess}}, Service{Template: process("x")}, ""},
		{"containerd not allowed", Policy{Drivers: []string{DriverProcess}}, with(func(*Template) {}), `driver "containerd"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { admits(t, tt.policy, tt.s, tt.want) })
	}
}

// TestAttack22Registry: an image reference must not make the node ask itself,
// its link or the metadata service of its cloud.
func TestAttack22Registry(t *testing.T) {
	const no = "an address of the node itself or its link"
	only := Policy{Registries: []string{"registry.example.com", "*.corp.example:5000"}}
	known := Policy{KnownRegistries: []string{"127.0.0.1:5000"}}
	tests := []struct {
		policy Policy
		image  string
		want   string
	}{
		// Public and private registries.
		{Policy{}, "web", ""},
		{Policy{}, "library/web:1", ""},
		{Policy{}, "ghcr.io/a/web:1", ""},
		{Policy{}, "registry.example.com:5000/web", ""},
		{Policy{}, "10.0.0.5:5000/web", ""},
		{Policy{}, "[2001:db8::5]:5000/web", ""},
		// A digest or tag is no host.
		{Policy{}, "127.0.0.1:5000", ""},
		{Policy{}, "library/web@sha256:" + strings.Repeat("0", 64), ""},
		// Loopback by name.
		{Policy{}, "localhost/web", no},
		{Policy{}, "localhost:5000/web", no},
		{Policy{}, "LOCALHOST/web", no},
		{Policy{}, "LocalHost:5000/web", no},
		{Policy{}, "localhost.:5000/web", no},
		{Policy{}, "a.localhost:5000/web", no},
		{Policy{}, "localhost.localdomain/web", no},
		{Policy{}, "ip6-localhost:5000/web", no},
		{Policy{}, "ip6-loopback:5000/web", no},
		// Loopback by address, in every form one is written in.
		{Policy{}, "127.0.0.1/web", no},
		{Policy{}, "127.0.0.1:5000/web", no},
		{Policy{}, "127.9.9.9:5000/web", no},
		{Policy{}, "127.0.0.1.:5000/web", no},
		{Policy{}, "[::1]/web", no},
		{Policy{}, "[::1]:5000/web", no},
		{Policy{}, "[0:0:0:0:0:0:0:1]:5000/web", no},
		{Policy{}, "[::ffff:127.0.0.1]:5000/web", no},
		{Policy{}, "[::ffff:7f00:1]/web", no},
		{Policy{}, "[::ffff:169.254.169.254]/web", no},
		{Policy{}, "2130706433:5000/web", no},
		{Policy{}, "0x7f000001:5000/web", no},
		{Policy{}, "0X7F.1/web", no},
		{Policy{}, "017700000001:5000/web", no},
		{Policy{}, "0177.0.0.1/web", no},
		{Policy{}, "127.000.000.001/web", no},
		{Policy{}, "127.1:5000/web", no},
		{Policy{}, "99999999999999999999999.1/web", no},
		// All addresses of the node, its link, groups.
		{Policy{}, "0.0.0.0:5000/web", no},
		{Policy{}, "[::]:5000/web", no},
		{Policy{}, "[fe80::1]:5000/web", no},
		{Policy{}, "[fe80::1%eth0]:5000/web", no},
		{Policy{}, "[fe80::1%lo]/web", no},
		{Policy{}, "224.0.0.1/web", no},
		// Metadata services.
		{Policy{}, "169.254.169.254/latest/meta-data", no},
		{Policy{}, "[fd00:ec2::254]/web", no},
		{Policy{}, "[fd00:0ec2::254]:80/web", no},
		{Policy{}, "100.100.100.200/web", no},
		{Policy{}, "[::ffff:100.100.100.200]/web", no},
		{Policy{}, "metadata.google.internal/web", no},
		{Policy{}, "Metadata.Google.Internal./web", no},
		{Policy{}, "metadata:80/web", no},
		// No host at all.
		{Policy{}, ":5000/web", no},
		{Policy{}, "./web", no},
		// A registry the node's configuration describes may be anywhere, exactly that one.
		{known, "127.0.0.1:5000/web", ""},
		{known, "127.0.0.1:5001/web", no},
		{known, "127.0.0.1/web", no},
		// A list allows what is on it and nothing else.
		{only, "registry.example.com/web", ""},
		{only, "registry.example.com:5000/web", "registry registry.example.com:5000 is not allowed"},
		{only, "a.corp.example:5000/web", ""},
		{only, "a.b.corp.example:5000/web", ""},
		{only, "corp.example:5000/web", "not allowed"},
		{only, "evilcorp.example:5000/web", "not allowed"},
		{only, "web", "registry docker.io is not allowed"},
		{only, "registry.example.com.evil.example/web", "not allowed"},
		{only, "169.254.169.254/web", "not allowed"},
		{Policy{Registries: []string{"docker.io"}}, "web", ""},
		{Policy{Registries: []string{"127.0.0.1:5000"}}, "127.0.0.1:5000/web", ""},
		{Policy{Registries: []string{"docker.io"}, KnownRegistries: []string{"127.0.0.1:5000"}}, "127.0.0.1:5000/web", "not allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.image, func(t *testing.T) {
			admits(t, tt.policy, with(func(t *Template) { t.Containers[0].Image = tt.image }), tt.want)
		})
	}
}

// TestAttack26ReservedPorts: no service takes the agent's own port away.
func TestAttack26ReservedPorts(t *testing.T) {
	p := Policy{ReservedPorts: []int{7700, 7701}}
	publish := func(port int, protocol, mode string) Service {
		s := with(func(*Template) {})
		s.Ports = []Port{{Container: 80, Protocol: protocol, Publish: &Publish{Port: port, Mode: mode}}}
		return s
	}
	admits(t, p, publish(80, "tcp", ""), "")
	admits(t, p, publish(7700, "tcp", ""), "port 7700 is the agent's own")
	admits(t, p, publish(7701, "udp", "node"), "port 7701 is the agent's own")
	// A container may listen on what it likes in its own network.
	inside := with(func(*Template) {})
	inside.Ports = []Port{{Container: 7700, Protocol: "tcp", Port: 7700}}
	admits(t, p, inside, "")
}

// TestAdmitListsAll: everything that is wrong is said at once, in the order of
// the manifest's parts.
func TestAdmitListsAll(t *testing.T) {
	s := with(func(t *Template) {
		t.Driver = "other"
		t.HostNetwork = true
		t.Volumes = []Volume{{Name: "v", HostPath: &HostPathVolume{Path: "/etc"}}}
		t.Containers[0].Security = Security{Privileged: true, AddCapabilities: []string{"A", "B"}}
		t.Containers[0].Devices = []string{"/dev/sda"}
		t.Containers[0].Image = "localhost/x"
	})
	s.Ports = []Port{{Publish: &Publish{Port: 1}}}
	want := []string{"spec.driver", "spec.network", "spec.volumes[v]", "privileged", "capability A", "capability B", "/dev/sda", "localhost", "port 1"}
	got := Admit(Policy{ReservedPorts: []int{1}}, s)
	if len(got) != len(want) {
		t.Fatalf("%d reasons: %q", len(got), got)
	}
	for n := range want {
		if !strings.Contains(got[n], want[n]) {
			t.Errorf("reason %d is %q, want %q", n, got[n], want[n])
		}
	}
}

// Ports by which other nodes reach instances are not published, one before and
// one behind them are.
func TestAdmitHostPorts(t *testing.T) {
	for port, allowed := range map[int]bool{19999: true, 20000: false, 25000: false, 29999: false, 30000: true} {
		s := with(func(*Template) {})
		s.Ports = []Port{{Container: 80, Protocol: "tcp", Publish: &Publish{Port: port}}}
		if got := Admit(Policy{HostPorts: [2]int{20000, 29999}}, s); (len(got) == 0) != allowed {
			t.Errorf("port %d: %q", port, got)
		}
		if got := Admit(Policy{}, s); len(got) != 0 {
			t.Errorf("port %d of a node without such ports: %q", port, got)
		}
	}
}
