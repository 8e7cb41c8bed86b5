package compose

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// resources says what a container may use and what is kept for it: deploy goes
// before the keys of Compose.
func (s *service) resources() {
	var limits, requests object
	if s.swarm {
		if l := s.Deploy.Resources.Limits; l != nil {
			at := s.field("deploy.resources.limits")
			s.cores(&limits, l.NanoCPUs.Value(), at+".cpus")
			bytesOf(&limits, l.MemoryBytes, at+".memory")
			s.processes(&limits, l.Pids, at+".pids")
		}
		if r := s.Deploy.Resources.Reservations; r != nil {
			at := s.field("deploy.resources.reservations")
			s.cores(&requests, r.NanoCPUs.Value(), at+".cpus")
			bytesOf(&requests, r.MemoryBytes, at+".memory")
		}
	}
	s.cores(&limits, s.CPUS, s.field("cpus"))
	s.quota(&limits)
	bytesOf(&limits, s.MemLimit, s.field("mem_limit"))
	bytesOf(&requests, s.MemReservation, s.field("mem_reservation"))
	s.processes(&limits, s.PidsLimit, s.field("pids_limit"))
	s.checkSwap()
	var all object
	if len(requests) > 0 {
		all.Put("requests", requests, "")
	}
	if len(limits) > 0 {
		all.Put("limits", limits, "")
	}
	if len(all) > 0 {
		s.spec.Put("resources", all, "")
	}
}

// cores adds a number of cores, in thousandths, unless one is there.
func (s *service) cores(to *object, cores float32, at string) {
	if cores == 0 || to.Get("cpu") != nil {
		return
	}
	millis := int64(math.Round(float64(cores) * 1000))
	if exact := float64(cores) * 1000; math.Abs(exact-float64(millis)) > exact*1e-6+1e-9 || millis <= 0 {
		s.fault(at, fmt.Sprintf("%v is no amount of cores in steps of a thousandth", cores), "write one like 0.5")
		return
	}
	text := strconv.FormatInt(millis, 10) + "m"
	if millis%1000 == 0 {
		text = strconv.FormatInt(millis/1000, 10)
	}
	to.Put("cpu", text, at)
}

// quota is cpu_quota in each cpu_period, which is a number of cores.
func (s *service) quota(limits *object) {
	const usual = 100_000 // microseconds
	period := s.CPUPeriod
	if period == 0 {
		period = usual
	}
	switch at := s.field("cpu_quota"); {
	case s.CPUQuota <= 0 && s.CPUPeriod != 0:
		s.warn(s.field("cpu_period"), "changes nothing without cpu_quota", "remove it, or write cpus")
	case s.CPUQuota <= 0:
	case s.CPUS != 0:
		s.fault(at, "is given beside cpus", "remove it")
	case period < 0 || s.CPUQuota*1000/period == 0:
		s.fault(at, "is less than a thousandth of a core", "write cpus: 0.5")
	default:
		limits.Put("cpu", strconv.FormatInt(s.CPUQuota*1000/period, 10)+"m", at)
	}
}

func bytesOf(to *object, n types.UnitBytes, at string) {
	if n > 0 && to.Get("memory") == nil {
		to.Put("memory", amount(int64(n)), at)
	}
}

// mostProcesses is as many as the kernel can number.
const mostProcesses = 4 << 20

// processes adds a limit of processes; -1 is none.
func (s *service) processes(to *object, n int64, at string) {
	switch {
	case to.Get("pids") != nil:
	case n < 0:
		to.Put("pids", mostProcesses, at)
	case n > 0:
		to.Put("pids", n, at)
	}
}

// checkSwap allows what is so anyway: a container with a memory limit has no
// swap.
func (s *service) checkSwap() {
	limit := s.MemLimit
	if s.swarm && s.Deploy.Resources.Limits != nil && limit == 0 {
		limit = s.Deploy.Resources.Limits.MemoryBytes
	}
	switch at := s.field("memswap_limit"); {
	case s.MemSwapLimit == 0, s.MemSwapLimit == limit:
	default:
		s.fault(at, "is not possible: what has a memory limit has no swap", "remove it, or write the same as mem_limit")
	}
	if s.raw("mem_swappiness") != nil && s.MemSwappiness != 0 {
		s.fault(s.field("mem_swappiness"), "is not possible: it is the node's", "remove it")
	}
}

// kernel says what of the kernel is different for the instance.
func (s *service) kernel() {
	var sysctls list
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		s.reread(s.keyed("sysctls", name), s.Sysctls[name])
		sysctls = append(sysctls, item(object{member("name", name, ""), member("value", s.Sysctls[name], "")}, s.keyed("sysctls", name)))
	}
	if len(sysctls) > 0 {
		s.spec.Put("sysctls", sysctls, s.field("sysctls"))
	}
	var ulimits list
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		if u == nil {
			continue
		}
		soft, hard := u.Soft, u.Hard
		if _, long := inside(s.tree(), "ulimits", name).(map[string]any); !long && u.Soft == 0 && u.Hard == 0 {
			soft, hard = u.Single, u.Single
		}
		ulimits = append(ulimits, item(object{member("name", strings.ToLower(name), ""), member("soft", soft, ""), member("hard", hard, "")}, s.keyed("ulimits", name)))
	}
	if len(ulimits) > 0 {
		s.spec.Put("ulimits", ulimits, s.field("ulimits"))
	}
	s.platform()
}

// platform is a label that nodes have of themselves.
func (s *service) platform() {
	if s.Platform == "" {
		return
	}
	at := s.field("platform")
	parts := strings.Split(s.Platform, "/")
	os, arch := "linux", parts[0]
	if len(parts) > 1 {
		os, arch = parts[0], parts[1]
	}
	if arch == "linux" {
		return // on any
	}
	label := architecture(arch)
	if os != "linux" || label == "" || len(parts) > 3 {
		s.fault(at, quote(s.Platform)+" is no platform of a node", "write one such as linux/amd64 or linux/arm64")
		return
	}
	s.selectNodes("orpheus/arch", label, at)
}

// architecture is the label of nodes for what Docker, uname and Swarm call it,
// "" for none.
func architecture(name string) string {
	switch name {
	case "amd64", "x86_64", "x86-64":
		return "amd64"
	case "arm64", "aarch64":
		return "arm64"
	case "arm", "armv7l", "armhf":
		return "arm"
	case "386", "i386", "i686":
		return "386"
	case "ppc64le", "s390x", "riscv64", "mips64le", "loong64":
		return name
	}
	return ""
}

// selectNodes asks for nodes with a label.
func (s *service) selectNodes(key, value, at string) {
	selector, _ := s.spec.Get("nodeSelector").(object)
	if old := selector.Get(key); old != nil && old != value {
		s.fault(at, fmt.Sprintf("asks for %s=%s beside %s=%s, and no node has both", key, value, key, old), "remove one")
		return
	}
	selector.Put(key, value, at)
	s.spec.Put("nodeSelector", selector, at)
}
