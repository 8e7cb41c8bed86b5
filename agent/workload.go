package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// defaultPIDs bounds the processes and threads of a container that sets no
// limit of its own, where the driver can.
const defaultPIDs = 4096

// admit says which driver runs a service, or why this node does not.
func (a *Agent) admit(s planner.Service) (*driverState, string) {
	if reasons := planner.Admit(a.cfg.Policy, s); len(reasons) > 0 {
		return nil, strings.Join(reasons, "; ")
	}
	d := a.drivers[s.Template.DriverName()]
	if d == nil {
		return nil, fmt.Sprintf("spec.driver: driver %q is not configured on this node", s.Template.DriverName())
	}
	if d.info.Name != "" {
		_, runs := d.driver.(runtime.Execer)
		if reasons := lacks(d.info.Capabilities, runs, s.Template); len(reasons) > 0 {
			return nil, fmt.Sprintf("driver %s on this node has no %s", d.name, strings.Join(reasons, ", no "))
		}
	}
	if d.info.Capabilities.NetNS && !s.Template.HostNetwork && a.cfg.Network == nil {
		return nil, "this node has no network for containers (it needs root); write network: host if the node's policy allows it"
	}
	return d, ""
}

// lacks names what a template needs and a driver cannot do; runs says whether
// it can run commands in an instance.
func lacks(c runtime.Capabilities, runs bool, t planner.Template) []string {
	var out []string
	need := func(wanted, can bool, what string) {
		if wanted && !can {
			out = append(out, what)
		}
	}
	need(len(t.InitContainers) > 0 || len(t.Containers) > 1, c.Init, "init containers or sidecars")
	need(len(t.HostAliases) > 0, c.NetNS && c.Mounts, "hostAliases")
	need(len(t.DNS.Servers)+len(t.DNS.Search)+len(t.DNS.Options) > 0, c.NetNS && c.Mounts, "dns")
	need(len(t.Sysctls) > 0, c.Sysctls, "sysctls")
	for _, ctr := range t.AllContainers() {
		sec := ctr.Security
		need(ctr.Image != "", c.Images, "images")
		need(ctr.RunsCommands(), runs, "commands run in an instance (exec of probes and preStop)")
		need(len(ctr.Ports) > 0 && !t.HostNetwork && t.DriverName() != planner.DriverProcess, c.NetNS, "network of its own: write network: host")
		need(sec.RunAsUser != nil || sec.RunAsGroup != nil, c.Users, "runAsUser and runAsGroup (it needs root)")
		need(sec.RunAsUserName != "" || len(sec.SupplementalGroups) > 0, c.UserNames, "runAsUserName and supplementalGroups (it needs root)")
		need(len(ctr.Ulimits) > 0, c.Ulimits, "ulimits")
		need(ctr.Init, c.Reaper, "init")
		need(sec.ReadOnlyRootFilesystem || sec.Privileged || len(sec.AddCapabilities) > 0 || len(ctr.Devices) > 0,
			c.Security, "read-only root, capabilities, devices or privileged mode")
		need(ctr.Resources.Limits.CPUMillis > 0, c.LimitsCPU, "cpu limits")
		need(ctr.Resources.Limits.MemoryBytes > 0, c.LimitsMemory, "memory limits")
		need(ctr.Resources.Limits.PIDs > 0, c.LimitsPIDs, "pids limits")
	}
	return out
}

// workload is what a driver is to make of a lease: everything but what the
// network and the volumes add at the start.
func workload(cfg Config, s planner.Service, doc planner.LeaseDoc, l planner.Lease, id string) runtime.Workload {
	slot := planner.SlotID{Service: s.ID, Name: l.Slot}
	t := s.Template
	w := runtime.Workload{
		ID: id, Slot: slot, Node: cfg.Node.Name, Epoch: l.Epoch, Token: l.Token, Revision: l.Revision,
		Hostname: t.Hostname, Grace: t.Grace(), Sysctls: t.Sysctls,
	}
	if w.Hostname == "" {
		w.Hostname = s.ID.Name + "-" + l.Slot
	}
	pins, env := doc.Images[l.Revision], append(ownEnv(cfg, slot), onceEnv(t, doc, l)...)
	for _, c := range t.InitContainers {
		w.Init = append(w.Init, container(cfg, slot, c, pins, env))
	}
	for _, c := range t.Containers {
		w.Containers = append(w.Containers, container(cfg, slot, c, pins, env))
	}
	return w
}

// ownEnv says to every container what it is.
func ownEnv(cfg Config, slot planner.SlotID) []runtime.Env {
	return []runtime.Env{
		{Name: "ORPHEUS_NODE", Value: string(cfg.Node.Name)},
		{Name: "ORPHEUS_NAMESPACE", Value: slot.Service.Namespace},
		{Name: "ORPHEUS_SERVICE", Value: slot.Service.Name},
		{Name: "ORPHEUS_SLOT", Value: slot.Name},
	}
}

func container(cfg Config, slot planner.SlotID, c planner.Container, pins map[string]string, env []runtime.Env) runtime.Container {
	out := runtime.Container{
		Name: c.Name, Image: c.Image, Digest: pins[c.Image],
		Command: c.Command, Args: c.Args, WorkingDir: c.WorkingDir,
		Devices: c.Devices, Resources: c.Resources, Security: c.Security, Ulimits: c.Ulimits, StopSignal: c.StopSignal, Reaper: c.Init,
		LogPath: filepath.Join(logDir(cfg.StateDir, slot), c.Name+".log"),
		Env:     slices.Clone(env),
	}
	for _, e := range c.Env {
		out.Env = append(out.Env, runtime.Env{Name: e.Name, Value: e.Value})
	}
	return out
}

// place adds what network and volumes made ready: mounts for drivers that can
// mount, else the paths in the environment.
func place(w *runtime.Workload, t planner.Template, caps runtime.Capabilities, at runtime.Attachment, volumes map[string]string) {
	w.NetNS = at.NetNS
	if at.NetNS == "" && !caps.NetNS {
		w.Hostname = ""
	}
	specs := t.AllContainers()
	add := func(c *runtime.Container, spec planner.Container) {
		if caps.LimitsPIDs && c.Resources.Limits.PIDs == 0 {
			c.Resources.Limits.PIDs = defaultPIDs
		}
		if !caps.Mounts {
			for _, v := range t.Volumes {
				c.Env = append(c.Env, runtime.Env{Name: volumeEnv(v.Name), Value: volumes[v.Name]})
			}
			return
		}
		for _, m := range spec.VolumeMounts {
			c.Mounts = append(c.Mounts, runtime.Mount{
				Volume: m.Name, Source: volumes[m.Name], Target: m.MountPath, ReadOnly: m.ReadOnly || isFile(t, m.Name),
			})
		}
		// What the manifest mounts there itself comes first.
		for _, ours := range []runtime.Mount{
			{Source: at.ResolvConf, Target: "/etc/resolv.conf", ReadOnly: true},
			{Source: at.Hosts, Target: "/etc/hosts", ReadOnly: true},
		} {
			taken := func(m runtime.Mount) bool { return m.Target == ours.Target }
			if ours.Source != "" && !slices.ContainsFunc(c.Mounts, taken) {
				c.Mounts = append(c.Mounts, ours)
			}
		}
	}
	for i := range w.Init {
		add(&w.Init[i], specs[i])
	}
	for i := range w.Containers {
		add(&w.Containers[i], specs[len(w.Init)+i])
	}
}

// withNames adds the files by which what is on the node's own network finds
// names: those of the node, as with Docker. An image mostly has neither.
func withNames(at runtime.Attachment, t planner.Template) runtime.Attachment {
	if !t.HostNetwork {
		return at
	}
	for name, file := range map[string]*string{"/etc/resolv.conf": &at.ResolvConf, "/etc/hosts": &at.Hosts} {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			*file = name
		}
	}
	return at
}

// ownerOf is the user that local volumes are made for: the first container's.
// Drivers are asked where its number does not stand in the manifest.
func ownerOf(ctx context.Context, d runtime.Driver, w runtime.Workload, t planner.Template) (runtime.Owner, error) {
	var o runtime.Owner
	if sec := t.Containers[0].Security; sec.RunAsUser != nil {
		o.UID, o.GID = int(*sec.RunAsUser), int(*sec.RunAsUser)
		if sec.RunAsGroup != nil {
			o.GID = int(*sec.RunAsGroup)
		}
		return o, nil
	}
	owners, can := d.(runtime.Owners)
	if !can || !slices.ContainsFunc(t.Volumes, func(v planner.Volume) bool { return v.Local != nil }) {
		return o, nil
	}
	return owners.Owner(ctx, w)
}

// resolved is the service with its host paths where they really lead: a link
// that a container planted below an allowed path does not take others along.
func resolved(s planner.Service, paths map[string]string) planner.Service {
	s.Template.Volumes = slices.Clone(s.Template.Volumes)
	for i, v := range s.Template.Volumes {
		if v.HostPath != nil {
			s.Template.Volumes[i].HostPath = &planner.HostPathVolume{Path: paths[v.Name]}
		}
	}
	return s
}

func isFile(t planner.Template, volume string) bool {
	for _, v := range t.Volumes {
		if v.Name == volume {
			return v.File != nil
		}
	}
	return false
}

// volumeEnv is the variable a process finds the path of a volume in.
func volumeEnv(name string) string {
	return "ORPHEUS_VOLUME_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
