package agent

import (
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// What a driver does not honour is refused before it is asked: one that ignores
// a user's name would run the program as root.
func TestLacksOfTheKernel(t *testing.T) {
	all := runtime.Capabilities{NetNS: true, Mounts: true, Users: true, UserNames: true, Ulimits: true, Sysctls: true}
	for _, c := range []struct {
		change  func(*planner.Template)
		without func(*runtime.Capabilities)
		want    string
	}{
		{func(t *planner.Template) { t.HostAliases = []planner.HostAlias{{IP: "node", Hostnames: []string{"a"}}} },
			func(c *runtime.Capabilities) { c.Mounts = false }, "hostAliases"},
		{func(t *planner.Template) { t.Sysctls = []planner.Sysctl{{Name: "net.core.somaxconn", Value: "1"}} },
			func(c *runtime.Capabilities) { c.Sysctls = false }, "sysctls"},
		{func(t *planner.Template) { t.Containers[0].Ulimits = []planner.Ulimit{{Name: "core"}} },
			func(c *runtime.Capabilities) { c.Ulimits = false }, "ulimits"},
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
	})
	w := workload(Config{}, s, planner.LeaseDoc{}, planner.Lease{Slot: "0"}, "web-0")
	if c := w.Containers[0]; !reflect.DeepEqual(w.Sysctls, s.Template.Sysctls) || !reflect.DeepEqual(c.Ulimits, s.Template.Containers[0].Ulimits) || c.Security.RunAsUserName != "node" {
		t.Errorf("%+v", w)
	}
}
