package agent

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// What a driver does not honour is refused before it is asked: one that ignores
// a user's name would run the program as root.
func TestLacksOfTheKernel(t *testing.T) {
	all := runtime.Capabilities{NetNS: true, Mounts: true, Users: true, UserNames: true, Ulimits: true, Sysctls: true, Reaper: true}
	for _, c := range []struct {
		change  func(*planner.Template)
		without func(*runtime.Capabilities)
		want    string
	}{
		{func(t *planner.Template) { t.HostAliases = []planner.HostAlias{{IP: "node", Hostnames: []string{"a"}}} },
			func(c *runtime.Capabilities) { c.Mounts = false }, "hostAliases"},
		{func(t *planner.Template) { t.DNS.Options = []string{"ndots:2"} }, func(c *runtime.Capabilities) { c.NetNS = false }, "dns"},
		{func(t *planner.Template) { t.Sysctls = []planner.Sysctl{{Name: "net.core.somaxconn", Value: "1"}} },
			func(c *runtime.Capabilities) { c.Sysctls = false }, "sysctls"},
		{func(t *planner.Template) { t.Containers[0].Ulimits = []planner.Ulimit{{Name: "core"}} },
			func(c *runtime.Capabilities) { c.Ulimits = false }, "ulimits"},
		{func(t *planner.Template) { t.Containers[0].Init = true }, func(c *runtime.Capabilities) { c.Reaper = false }, "init"},
		{func(t *planner.Template) { t.Containers[0].Security.RunAsUserName = "node" },
			func(c *runtime.Capabilities) { c.UserNames = false }, "runAsUserName"},
		{func(t *planner.Template) { t.Containers[0].Security.SupplementalGroups = []int64{0} },
			func(c *runtime.Capabilities) { c.UserNames = false }, "supplementalGroups"},
	} {
		template := planner.Template{Containers: []planner.Container{{Name: "main"}}}
		c.change(&template)
		if got := lacks(all, false, template); len(got) > 0 {
			t.Errorf("%s: a driver that can lacks %q", c.want, got)
		}
		can := all
		c.without(&can)
		if got := strings.Join(lacks(can, false, template), ", "); !strings.Contains(got, c.want) {
			t.Errorf("a driver without %s lacks %q", c.want, got)
		}
	}
}

// What the kernel is asked for reaches the driver as it was written.
func TestWorkloadOfTheKernel(t *testing.T) {
	s := service("web", "a", func(s *planner.Service) {
		s.Template.Sysctls = []planner.Sysctl{{Name: "kernel.shmmax", Value: "1"}}
		s.Template.Containers[0].Ulimits = []planner.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}
		s.Template.Containers[0].Security.RunAsUserName = "node"
		s.Template.Containers[0].Init = true
	})
	w := workload(Config{}, s, planner.LeaseDoc{}, planner.Lease{Slot: "0"}, "web-0")
	if c := w.Containers[0]; !reflect.DeepEqual(w.Sysctls, s.Template.Sysctls) || !reflect.DeepEqual(c.Ulimits, s.Template.Containers[0].Ulimits) || c.Security.RunAsUserName != "node" || !c.Reaper {
		t.Errorf("%+v", w)
	}
}

// ownerDriver is a driver whose images run as somebody.
type ownerDriver struct {
	runtime.Driver
	owner runtime.Owner
}

func (d ownerDriver) Owner(context.Context, runtime.Workload) (runtime.Owner, error) {
	return d.owner, nil
}

// Local volumes are made for whom the first container runs as: by the manifest
// where that has his number, else by the driver, if there is one to make.
func TestOwnerOf(t *testing.T) {
	knows, uid, gid := ownerDriver{owner: runtime.Owner{UID: 472, GID: 1}}, int64(7), int64(8)
	local := []planner.Volume{{Name: "data", Local: &planner.LocalVolume{}}}
	for _, c := range []struct {
		name    string
		driver  runtime.Driver
		sec     planner.Security
		volumes []planner.Volume
		want    runtime.Owner
	}{
		{"by number", knows, planner.Security{RunAsUser: &uid}, local, runtime.Owner{UID: 7, GID: 7}},
		{"with a group", knows, planner.Security{RunAsUser: &uid, RunAsGroup: &gid}, local, runtime.Owner{UID: 7, GID: 8}},
		{"by name", knows, planner.Security{RunAsUserName: "grafana"}, local, knows.owner},
		{"by the image", knows, planner.Security{}, local, knows.owner},
		{"nothing to make", knows, planner.Security{}, nil, runtime.Owner{}},
		{"nobody knows", runtimetest.NewFake("x"), planner.Security{}, local, runtime.Owner{}},
	} {
		template := planner.Template{Volumes: c.volumes, Containers: []planner.Container{{Security: c.sec}}}
		if got, err := ownerOf(t.Context(), c.driver, runtime.Workload{}, template); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}
