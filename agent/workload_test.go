package agent

import (
	"os"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// A container that may write below an allowed host path plants a link there:
// what the link leads to is judged, not the link.
func TestAttack21LinkBelowAllowedHostPath(t *testing.T) {
	policy := planner.Policy{HostPaths: []string{"/srv/data"}}
	s := service("web", "a", func(s *planner.Service) {
		s.Template.Volumes = []planner.Volume{{Name: "host", HostPath: &planner.HostPathVolume{Path: "/srv/data/link"}}}
	})
	if reasons := planner.Admit(policy, s); len(reasons) != 0 {
		t.Fatalf("refused before the link is followed: %q", reasons)
	}
	for path, allowed := range map[string]bool{"/srv/data/sub": true, "/etc": false, "/srv/data2": false} {
		reasons := planner.Admit(policy, resolved(s, map[string]string{"host": path}))
		if (len(reasons) == 0) != allowed {
			t.Errorf("leads to %s: refused %q, want allowed %v", path, reasons, allowed)
		}
	}
}

// What is on the node's network finds names as the node does.
func TestNamesOnTheNodesNetwork(t *testing.T) {
	on := withNames(runtime.Attachment{}, planner.Template{HostNetwork: true})
	for name, got := range map[string]string{"/etc/resolv.conf": on.ResolvConf, "/etc/hosts": on.Hosts} {
		if _, err := os.Stat(name); (err == nil) != (got == name) {
			t.Errorf("%s: %q", name, got)
		}
	}
	own := runtime.Attachment{NetNS: "/ns", ResolvConf: "/run/resolv.conf", Hosts: "/run/hosts"}
	if got := withNames(own, planner.Template{}); got != own {
		t.Errorf("its own became %+v", got)
	}
}

// What the agent adds never hides what the manifest asks for.
func TestPlace(t *testing.T) {
	template := planner.Template{
		Containers: []planner.Container{{Name: "main", VolumeMounts: []planner.VolumeMount{{Name: "hosts", MountPath: "/etc/hosts"}}}},
		Volumes:    []planner.Volume{{Name: "hosts", File: &planner.FileVolume{SHA256: "x"}}},
	}
	at := runtime.Attachment{NetNS: "/ns", ResolvConf: "/run/resolv.conf", Hosts: "/run/hosts"}
	w := runtime.Workload{Containers: []runtime.Container{{Name: "main"}}}
	place(&w, template, runtime.Capabilities{Mounts: true, NetNS: true, LimitsPIDs: true}, at, map[string]string{"hosts": "/files/x"})
	c := w.Containers[0]
	if len(c.Mounts) != 2 || c.Mounts[0].Source != "/files/x" || !c.Mounts[0].ReadOnly || c.Mounts[1].Target != "/etc/resolv.conf" {
		t.Errorf("mounts %+v, want the manifest's own hosts, read-only, and our resolv.conf", c.Mounts)
	}
	if c.Resources.Limits.PIDs != defaultPIDs || w.NetNS != "/ns" {
		t.Errorf("pids %d in %q, want %d in /ns", c.Resources.Limits.PIDs, w.NetNS, defaultPIDs)
	}

	// A driver that cannot mount gives the paths in the environment.
	w = runtime.Workload{Containers: []runtime.Container{{Name: "main"}}, Hostname: "web-0"}
	template.Volumes[0].Name = "my-conf"
	place(&w, template, runtime.Capabilities{}, runtime.Attachment{}, map[string]string{"my-conf": "/files/x"})
	if env := w.Containers[0].Env; len(env) != 1 || env[0] != (runtime.Env{Name: "ORPHEUS_VOLUME_MY_CONF", Value: "/files/x"}) || w.Hostname != "" {
		t.Errorf("environment %+v, host name %q; want the path in ORPHEUS_VOLUME_MY_CONF and the host's name", env, w.Hostname)
	}
}
