package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestComposeCorpusIsNotMisread holds what became of each file against what
// compose-go itself reads from its folder on disk, with the .env file there and
// nothing of this program's environment: field by field, for every service.
func TestComposeCorpusIsNotMisread(t *testing.T) {
	for _, c := range composeCases(t) {
		if !c.loads() {
			continue
		}
		t.Run(c.folder, func(t *testing.T) {
			p := readByComposeGo(t, c)
			d := loadCompose(t, c)
			r := reading{t: t, dir: filepath.Join(composeCorpus, c.folder), namespace: p.Name, project: p}
			left := maps.Clone(d.Services)
			for name, s := range p.Services {
				id := planner.ServiceID{Namespace: p.Name, Name: name}
				if hook, before := r.hookOf(d, name); before != "" {
					r.container(name+" before "+before, s, hook, true)
					continue
				}
				got, ok := d.Services[id]
				delete(left, id)
				if !ok {
					t.Errorf("%s became nothing: there are %v", id, slices.Collect(maps.Keys(d.Services)))
					continue
				}
				r.service(name, s, got)
			}
			for id := range left {
				t.Errorf("%s comes from nowhere", id)
			}
		})
	}
}

func readByComposeGo(t *testing.T, c composeCase) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(composeCorpus, c.folder))
	if err != nil {
		t.Fatal(err)
	}
	o, err := cli.NewProjectOptions([]string{filepath.Join(dir, c.file)}, cli.WithWorkingDirectory(dir), cli.WithEnv(nil), cli.WithEnvFiles(), cli.WithDotEnv)
	if err != nil {
		t.Fatalf("options: %v", err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("compose-go refuses it: %v", err)
	}
	return p
}

// reading compares one file's two readings.
type reading struct {
	t         *testing.T
	dir       string
	namespace string
	project   *types.Project
}

// hookOf is what a service became that runs to its end before another.
func (r reading) hookOf(d planner.Desired, name string) (planner.Template, string) {
	for before, s := range r.project.Services {
		if s.DependsOn[name].Condition == types.ServiceConditionCompletedSuccessfully {
			return d.Services[planner.ServiceID{Namespace: r.namespace, Name: before}].Hooks[planner.HookPreRollout].Template, before
		}
	}
	return planner.Template{}, ""
}

// same compares two values as they print.
func (r reading) same(name, what string, got, want any) {
	r.t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		r.t.Errorf("%s: %s is %s, and compose-go reads %s", name, what, g, w)
	}
}

func (r reading) service(name string, s types.ServiceConfig, got planner.Service) {
	r.t.Helper()
	r.container(name, s, got.Template, false)
	global := s.Deploy != nil && s.Deploy.Mode == "global"
	r.same(name, "mode: global", got.EveryNode, global)
	if !global {
		r.same(name, "replicas", got.Replicas, s.GetScale())
	}
	r.ports(name, s, got)
	var on, want []string
	for _, d := range got.DependsOn {
		on = append(on, d.Service.Name)
	}
	for other, d := range s.DependsOn {
		if d.Condition != types.ServiceConditionCompletedSuccessfully {
			want = append(want, other)
			continue
		}
		for further := range r.project.Services[other].DependsOn {
			want = append(want, further) // the hook waits, too
		}
	}
	sort.Strings(on)
	slices.Sort(want)
	r.same(name, "depends_on", on, slices.Compact(want))
	r.same(name, "image ports", got.ImagePorts, s.NetworkMode != "host")
	names := []string{s.ContainerName}
	for _, n := range s.Networks {
		if n != nil {
			names = append(names, n.Aliases...)
		}
	}
	for _, alias := range names {
		if alias != "" && alias != name && !strings.ContainsAny(alias, "._") && !slices.Contains(got.Aliases, alias) {
			r.t.Errorf("%s: alias %s is missing in %v", name, alias, got.Aliases)
		}
	}
}

// ports are all that is published, and where, and what others in the fleet reach.
func (r reading) ports(name string, s types.ServiceConfig, got planner.Service) {
	r.t.Helper()
	var open, want []string
	reached := map[string]bool{}
	for _, p := range got.Ports {
		reached[fmt.Sprint(p.Port, "/", p.Protocol)] = p.Port == p.Container
		if p.Publish != nil {
			open = append(open, fmt.Sprint(p.Publish.Address, ":", p.Publish.Port, ":", p.Container, "/", p.Protocol, p.Publish.Mode))
		}
	}
	for _, p := range s.Ports {
		if !reached[fmt.Sprint(p.Target, "/", p.Protocol)] {
			r.t.Errorf("%s: %d/%s is no port of its address", name, p.Target, p.Protocol)
		}
		address, mode := p.HostIP, ""
		if address == "0.0.0.0" {
			address = ""
		}
		if address != "" || p.Mode == "host" {
			mode = "node"
		}
		if p.Published != "" {
			open := fmt.Sprint(address, ":", p.Published, ":", p.Target, "/", p.Protocol, mode)
			want = append(want, open)
		}
	}
	for _, e := range s.Expose {
		number, protocol, _ := strings.Cut(e, "/")
		if protocol == "" {
			protocol = "tcp"
		}
		if first, _, isRange := strings.Cut(number, "-"); isRange {
			number = first
		}
		if !reached[number+"/"+protocol] {
			r.t.Errorf("%s: exposed %s is no port of its address", name, e)
		}
	}
	sort.Strings(open)
	sort.Strings(want)
	r.same(name, "ports", open, want)
}

// container compares what runs. A hook has the environment of its service, too.
func (r reading) container(name string, s types.ServiceConfig, template planner.Template, hook bool) {
	r.t.Helper()
	if len(template.Containers) != 1 {
		r.t.Errorf("%s has %d containers", name, len(template.Containers))
		return
	}
	c := template.Containers[0]
	r.same(name, "image", c.Image, s.Image)
	r.same(name, "entrypoint", c.Command, []string(s.Entrypoint))
	r.same(name, "command", c.Args, []string(s.Command))
	r.same(name, "working_dir", c.WorkingDir, s.WorkingDir)
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	want := map[string]string{}
	for key, value := range s.Environment {
		if value != nil {
			want[key] = *value
		}
	}
	if hook {
		maps.DeleteFunc(env, func(key, _ string) bool { _, asked := want[key]; return !asked })
	}
	r.same(name, "environment", env, want)
	r.mounts(name, s, template)
	r.check(name, s, c, hook)
	r.security(name, s, c)
	r.limits(name, s, c)
	if s.Hostname != "" {
		r.same(name, "hostname", template.Hostname, s.Hostname)
	}
	r.same(name, "network_mode: host", template.HostNetwork, s.NetworkMode == "host")
	grace := int64(10)
	if s.StopGracePeriod != nil {
		grace = int64(*s.StopGracePeriod) / 1e9
	}
	got := int64(30)
	if template.TerminationGracePeriodSeconds != nil {
		got = *template.TerminationGracePeriodSeconds
	}
	if !hook {
		r.same(name, "stop_grace_period", got, grace)
		r.same(name, "stop_signal", c.StopSignal, s.StopSignal)
	}
	r.same(name, "init", c.Init, s.Init != nil && *s.Init && (!hook || c.Init))
	r.same(name, "dns", template.DNS.Servers, []string(s.DNS))
	r.same(name, "dns_search", template.DNS.Search, []string(s.DNSSearch))
	r.same(name, "dns_opt", template.DNS.Options, s.DNSOpts)
	sysctls := map[string]string{}
	for _, each := range template.Sysctls {
		sysctls[each.Name] = each.Value
	}
	r.same(name, "sysctls", sysctls, map[string]string(s.Sysctls))
	hosts, wanted := map[string]string{}, map[string]string{}
	for _, line := range template.HostAliases {
		for _, host := range line.Hostnames {
			hosts[host] = strings.Replace(line.IP, planner.NodeHost, "host-gateway", 1)
		}
	}
	for host, addresses := range s.ExtraHosts {
		wanted[host] = strings.Join(addresses, " ")
	}
	r.same(name, "extra_hosts", hosts, wanted)
}

func (r reading) check(name string, s types.ServiceConfig, c planner.Container, hook bool) {
	r.t.Helper()
	var got, want []string
	if c.ReadinessProbe != nil && c.ReadinessProbe.Exec != nil {
		got = c.ReadinessProbe.Exec.Command
	}
	if h := s.HealthCheck; h != nil && !h.Disable && len(h.Test) > 0 && !hook {
		want = h.Test[1:]
		if h.Test[0] == "CMD-SHELL" {
			want = []string{"/bin/sh", "-c", h.Test[1]}
		}
		if h.Interval != nil && c.ReadinessProbe != nil {
			period := c.ReadinessProbe.PeriodSeconds
			if period == 0 {
				period = 10
			}
			r.same(name, "healthcheck.interval", period, int64(*h.Interval)/1e9)
		}
	}
	r.same(name, "healthcheck.test", got, want)
}

func (r reading) security(name string, s types.ServiceConfig, c planner.Container) {
	r.t.Helper()
	user := c.Security.RunAsUserName
	if c.Security.RunAsUser != nil {
		user = strconv.FormatInt(*c.Security.RunAsUser, 10)
		if c.Security.RunAsGroup != nil {
			user += ":" + strconv.FormatInt(*c.Security.RunAsGroup, 10)
		}
	}
	r.same(name, "user", user, s.User)
	r.same(name, "read_only", c.Security.ReadOnlyRootFilesystem, s.ReadOnly)
	r.same(name, "privileged", c.Security.Privileged, s.Privileged)
	r.same(name, "cap_add", c.Security.AddCapabilities, plainCapabilities(s.CapAdd))
	r.same(name, "cap_drop", c.Security.DropCapabilities, plainCapabilities(s.CapDrop))
	groups := []string{}
	for _, g := range c.Security.SupplementalGroups {
		groups = append(groups, strconv.FormatInt(g, 10))
	}
	r.same(name, "group_add", groups, s.GroupAdd)
}

func plainCapabilities(all []string) []string {
	var out []string
	for _, each := range all {
		out = append(out, strings.TrimPrefix(strings.ToUpper(each), "CAP_"))
	}
	sort.Strings(out)
	return out
}

func (r reading) limits(name string, s types.ServiceConfig, c planner.Container) {
	r.t.Helper()
	memory, reserved, pids, cpus := int64(s.MemLimit), int64(s.MemReservation), s.PidsLimit, float64(s.CPUS)
	if d := s.Deploy; d != nil && d.Resources.Limits != nil {
		memory, cpus = int64(d.Resources.Limits.MemoryBytes), float64(d.Resources.Limits.NanoCPUs)
	}
	if d := s.Deploy; d != nil && d.Resources.Reservations != nil {
		reserved = int64(d.Resources.Reservations.MemoryBytes)
	}
	r.same(name, "memory", c.Resources.Limits.MemoryBytes, memory)
	if reserved > 0 {
		r.same(name, "reserved memory", c.Resources.Requests.MemoryBytes, reserved)
	}
	r.same(name, "pids", c.Resources.Limits.PIDs, pids)
	r.same(name, "cpus", c.Resources.Limits.CPUMillis, int64(cpus*1000+0.5))
	got, want := map[string]string{}, map[string]string{}
	for _, u := range c.Ulimits {
		got[u.Name] = fmt.Sprint(u.Soft, ":", u.Hard)
	}
	for each, u := range s.Ulimits {
		if u.Single != 0 {
			u.Soft, u.Hard = u.Single, u.Single
		}
		want[each] = fmt.Sprint(u.Soft, ":", u.Hard)
	}
	r.same(name, "ulimits", got, want)
}

// mounts are at their targets, or below a folder that is one, and nowhere else.
func (r reading) mounts(name string, s types.ServiceConfig, template planner.Template) {
	r.t.Helper()
	volumes := map[string]planner.Volume{}
	for _, v := range template.Volumes {
		volumes[v.Name] = v
	}
	want := map[string]string{} // what is there, by target
	for _, v := range s.Volumes {
		switch {
		case v.Type == types.VolumeTypeTmpfs:
			want[v.Target] = "memory"
		case v.Type == types.VolumeTypeVolume && v.Source != "":
			want[v.Target] = "volume"
		case v.Type == types.VolumeTypeBind && strings.Contains(v.Source, "/testdata/compose/"):
			want[v.Target] = "repository"
			if _, err := os.Stat(v.Source); errors.Is(err, fs.ErrNotExist) {
				want[v.Target] = "volume" // a folder that Compose makes, for data
			}
		case v.Type == types.VolumeTypeBind:
			want[v.Target] = "node " + v.Source
		}
	}
	for _, text := range s.Tmpfs {
		target, _, _ := strings.Cut(text, ":")
		want[target] = "memory"
	}
	if s.ShmSize > 0 {
		want["/dev/shm"] = "memory"
	}
	for _, c := range s.Configs {
		want[targetOf(c.Target, "/"+c.Source)] = "repository"
	}
	for _, c := range s.Secrets {
		target := targetOf(c.Target, c.Source)
		if !path.IsAbs(target) {
			target = "/run/secrets/" + target
		}
		want[target] = "repository"
	}
	for _, m := range template.Containers[0].VolumeMounts {
		at := path.Clean(m.MountPath)
		for want[at] == "" && at != "/" {
			at = path.Dir(at)
		}
		v := volumes[m.Name]
		kind := "repository"
		switch {
		case v.Local != nil:
			kind = "volume"
		case v.HostPath != nil:
			kind = "node " + v.HostPath.Path
		case v.EmptyDir != nil && v.EmptyDir.Medium == "Memory":
			kind = "memory"
		}
		if want[at] == "" && want[at+"/"] != kind || want[at] != "" && want[at] != kind {
			r.t.Errorf("%s: mounts %s at %s; compose-go has %q there", name, kind, m.MountPath, want[at])
		}
	}
	for target, kind := range want {
		below := func(m planner.VolumeMount) bool { return path.Clean(m.MountPath) == path.Clean(target) }
		if !slices.ContainsFunc(template.Containers[0].VolumeMounts, below) {
			r.t.Errorf("%s: nothing is at %s, where compose-go has %s", name, target, kind)
		}
	}
}

func targetOf(target, source string) string {
	if target == "" {
		return source
	}
	return target
}
