package plugin

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// Workloads on their way to the plugin. Nothing is checked here: the agent
// made them, and the driver checks what it does not do.

func toWorkload(w runtime.Workload) *pluginpb.Workload {
	return &pluginpb.Workload{
		Id: w.ID, Slot: toSlot(w.Slot), Node: string(w.Node), Epoch: w.Epoch, Token: w.Token, Revision: string(w.Revision),
		Init: each(w.Init, toContainer), Containers: each(w.Containers, toContainer),
		NetNs: w.NetNS, Hostname: w.Hostname, Grace: durationpb.New(w.Grace),
		Sysctls: each(w.Sysctls, func(s planner.Sysctl) *pluginpb.Sysctl { return &pluginpb.Sysctl{Name: s.Name, Value: s.Value} }),
	}
}

func fromWorkload(w *pluginpb.Workload) runtime.Workload {
	return runtime.Workload{
		ID: w.GetId(), Slot: fromSlot(w.GetSlot()), Node: planner.NodeName(w.GetNode()), Epoch: w.GetEpoch(), Token: w.GetToken(),
		Revision: planner.Revision(w.GetRevision()),
		Init:     each(w.GetInit(), fromContainer), Containers: each(w.GetContainers(), fromContainer),
		NetNS: w.GetNetNs(), Hostname: w.GetHostname(), Grace: w.GetGrace().AsDuration(),
		Sysctls: each(w.GetSysctls(), func(s *pluginpb.Sysctl) planner.Sysctl {
			return planner.Sysctl{Name: s.GetName(), Value: s.GetValue()}
		}),
	}
}

func toSlot(s planner.SlotID) *pluginpb.Slot {
	return &pluginpb.Slot{Namespace: s.Service.Namespace, Service: s.Service.Name, Name: s.Name}
}

func fromSlot(s *pluginpb.Slot) planner.SlotID {
	return planner.SlotID{Service: planner.ServiceID{Namespace: s.GetNamespace(), Name: s.GetService()}, Name: s.GetName()}
}

func toContainer(c runtime.Container) *pluginpb.Container {
	return &pluginpb.Container{
		Name: c.Name, Image: c.Image, Digest: c.Digest, Command: c.Command, Args: c.Args, WorkingDir: c.WorkingDir,
		Env: each(c.Env, func(e runtime.Env) *pluginpb.EnvVar {
			return &pluginpb.EnvVar{Name: e.Name, Value: e.Value, Secret: e.Secret}
		}),
		Mounts: each(c.Mounts, func(m runtime.Mount) *pluginpb.Mount {
			return &pluginpb.Mount{Volume: m.Volume, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		}),
		Devices: c.Devices, Requests: toResources(c.Resources.Requests), Limits: toResources(c.Resources.Limits),
		Security: toSecurity(c.Security), StopSignal: c.StopSignal, LogPath: c.LogPath, Reaper: c.Reaper,
		Ulimits: each(c.Ulimits, func(u planner.Ulimit) *pluginpb.Ulimit {
			return &pluginpb.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard}
		}),
	}
}

func fromContainer(c *pluginpb.Container) runtime.Container {
	return runtime.Container{
		Name: c.GetName(), Image: c.GetImage(), Digest: c.GetDigest(), Command: c.GetCommand(), Args: c.GetArgs(), WorkingDir: c.GetWorkingDir(),
		Env: each(c.GetEnv(), func(e *pluginpb.EnvVar) runtime.Env {
			return runtime.Env{Name: e.GetName(), Value: e.GetValue(), Secret: e.GetSecret()}
		}),
		Mounts: each(c.GetMounts(), func(m *pluginpb.Mount) runtime.Mount {
			return runtime.Mount{Volume: m.GetVolume(), Source: m.GetSource(), Target: m.GetTarget(), ReadOnly: m.GetReadOnly()}
		}),
		Devices:    c.GetDevices(),
		Resources:  planner.Resources{Requests: fromResources(c.GetRequests()), Limits: fromResources(c.GetLimits())},
		Security:   fromSecurity(c.GetSecurity()),
		StopSignal: c.GetStopSignal(), LogPath: c.GetLogPath(), Reaper: c.GetReaper(),
		Ulimits: each(c.GetUlimits(), func(u *pluginpb.Ulimit) planner.Ulimit {
			return planner.Ulimit{Name: u.GetName(), Soft: u.GetSoft(), Hard: u.GetHard()}
		}),
	}
}

func toResources(r planner.ResourceList) *pluginpb.ResourceList {
	return &pluginpb.ResourceList{CpuMillis: r.CPUMillis, MemoryBytes: r.MemoryBytes, Pids: r.PIDs}
}

func fromResources(r *pluginpb.ResourceList) planner.ResourceList {
	return planner.ResourceList{CPUMillis: r.GetCpuMillis(), MemoryBytes: r.GetMemoryBytes(), PIDs: r.GetPids()}
}

func toSecurity(s planner.Security) *pluginpb.Security {
	return &pluginpb.Security{
		RunAsUser: s.RunAsUser, RunAsGroup: s.RunAsGroup, ReadOnlyRootFilesystem: s.ReadOnlyRootFilesystem, Privileged: s.Privileged,
		AddCapabilities: s.AddCapabilities, DropCapabilities: s.DropCapabilities, AllowPrivilegeEscalation: s.AllowPrivilegeEscalation,
		SupplementalGroups: s.SupplementalGroups, RunAsUserName: s.RunAsUserName,
	}
}

func fromSecurity(s *pluginpb.Security) planner.Security {
	if s == nil {
		return planner.Security{}
	}
	return planner.Security{
		RunAsUser: s.RunAsUser, RunAsGroup: s.RunAsGroup, ReadOnlyRootFilesystem: s.ReadOnlyRootFilesystem, Privileged: s.Privileged,
		AddCapabilities: s.AddCapabilities, DropCapabilities: s.DropCapabilities, AllowPrivilegeEscalation: s.AllowPrivilegeEscalation,
		SupplementalGroups: s.GetSupplementalGroups(), RunAsUserName: s.GetRunAsUserName(),
	}
}

// each converts a list; nil stays nil.
func each[A, B any](list []A, convert func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for k, item := range list {
		out[k] = convert(item)
	}
	return out
}
