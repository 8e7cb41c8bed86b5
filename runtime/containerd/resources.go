//go:build linux

package containerd

import (
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/orpheus-cd/orpheus/planner"
)

// Kubernetes' figures for the kernel's CPU scheduler.
const (
	sharesPerCore = 1024
	minShares     = 2
	maxShares     = 262144
	quotaPeriod   = 100_000 // microseconds
	minQuota      = 1_000
)

// setResources translates limits and requests. Controllers the machine does
// not have are left out: Info says so, and the agent refuses what needs them.
func setResources(s *oci.Spec, r planner.Resources) {
	have := detectCgroups()
	out := s.Linux.Resources // keeps the rules for devices
	if have.has("cpu") {
		out.CPU = cpuOf(r)
	}
	if limit := r.Limits.MemoryBytes; limit > 0 && have.has("memory") {
		out.Memory = &specs.LinuxMemory{Limit: &limit}
		if have.swap {
			out.Memory.Swap = &limit // memory and swap together: no swap
		}
	}
	if limit := r.Limits.PIDs; limit > 0 && have.has("pids") {
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
}

// cpuOf weighs by the request (the limit, if only that is given) and caps by
// the limit.
func cpuOf(r planner.Resources) *specs.LinuxCPU {
	request := r.Requests.CPUMillis
	if request == 0 {
		request = r.Limits.CPUMillis
	}
	shares := uint64(min(max(request*sharesPerCore/1000, minShares), maxShares))
	cpu := &specs.LinuxCPU{Shares: &shares}
	if limit := r.Limits.CPUMillis; limit > 0 {
		quota, period := max(limit*quotaPeriod/1000, minQuota), uint64(quotaPeriod)
		cpu.Quota, cpu.Period = &quota, &period
	}
	return cpu
}
