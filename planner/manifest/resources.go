package manifest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
)

var requestsSchema = newSchema(
	special("cpu", quantityShape(maxCPUMillis/1000, "0.5 or 500m"), decodeCPU),
	special("memory", quantityShape(maxMemoryBytes, "128Mi or 1G"), decodeMemory),
).foreign("pids", "set it under limits")

var limitsSchema = newSchema(
	special("cpu", quantityShape(maxCPUMillis/1000, "0.5 or 500m"), decodeCPU),
	special("memory", quantityShape(maxMemoryBytes, "128Mi or 1G"), decodeMemory),
	number("pids", 1, maxPIDs, func(r *planner.ResourceList) *int64 { return &r.PIDs }),
)

var resourcesSchema = newSchema(
	object("requests", requestsSchema, func(r *planner.Resources) *planner.ResourceList { return &r.Requests }),
	object("limits", limitsSchema, func(r *planner.Resources) *planner.ResourceList { return &r.Limits }),
)

// quantityForm is stricter than Kubernetes' parser: exponents of more digits
// would make it compute numbers of that many digits.
var quantityForm = regexp.MustCompile(`^((0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?|\.[0-9]{1,9})(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi|e[0-9]{1,2})?$`)

// quantity reads an amount, which may be written as a plain number.
func (d *decoder) quantity(v value) (resource.Quantity, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrong(v, "must be an amount, not "+kindOf(n), "write one like 100m or 128Mi")
		return resource.Quantity{}, false
	}
	if quantityForm.MatchString(n.Value) {
		if q, err := resource.ParseQuantity(n.Value); err == nil {
			return q, true
		}
	}
	d.wrong(v, quote(n.Value)+" is not an amount", "write one like 100m or 128Mi")
	return resource.Quantity{}, false
}

func decodeCPU(d *decoder, v value, into *planner.ResourceList) {
	q, ok := d.quantity(v)
	if !ok {
		return
	}
	// MilliValue rounds up: an amount below 1m would become 1m.
	if q.Cmp(*resource.NewMilliQuantity(maxCPUMillis, resource.DecimalSI)) > 0 {
		d.wrong(v, fmt.Sprintf("must be at most %d", maxCPUMillis/1000), "")
		return
	}
	if q.Cmp(*resource.NewMilliQuantity(q.MilliValue(), resource.DecimalSI)) != 0 {
		d.wrong(v, quote(v.node.Value)+" is finer than a thousandth of a core", "write a multiple of 1m")
		return
	}
	into.CPUMillis = q.MilliValue()
}

func decodeMemory(d *decoder, v value, into *planner.ResourceList) {
	if n, ok := d.bytes(v); ok {
		into.MemoryBytes = n
	}
}

// bytes reads an amount of memory or disk: 0, or at least 1 MiB.
func (d *decoder) bytes(v value) (int64, bool) {
	q, ok := d.quantity(v)
	if !ok {
		return 0, false
	}
	if q.Cmp(*resource.NewQuantity(maxMemoryBytes, resource.BinarySI)) > 0 {
		d.wrong(v, quote(v.node.Value)+" is more than 1Pi", "write an amount from 1Mi to 1Pi")
		return 0, false
	}
	if q.Sign() != 0 && q.Cmp(*resource.NewQuantity(minMemoryBytes, resource.BinarySI)) < 0 {
		remedy := "write at least 1Mi"
		if digits := strings.TrimRight(v.node.Value, "m"); len(digits) > 0 && len(digits) < 6 && strings.Trim(digits, "0123456789") == "" {
			remedy = "did you mean " + digits + "Mi?"
		}
		d.wrong(v, quote(v.node.Value)+" is less than 1Mi", remedy)
		return 0, false
	}
	if q.Cmp(*resource.NewQuantity(q.Value(), resource.BinarySI)) != 0 {
		d.wrong(v, quote(v.node.Value)+" is not a whole number of bytes", "write an amount such as 128Mi")
		return 0, false
	}
	return q.Value(), true
}

// checkResources compares requests with limits. As in Kubernetes a missing
// request is the limit, so a request equal to the limit is the default.
func checkResources(d *decoder, at string, r *planner.Resources) {
	if r.Limits.CPUMillis > 0 && r.Requests.CPUMillis > r.Limits.CPUMillis {
		d.fault(at+".requests.cpu", "asks for more than limits.cpu allows", "raise the limit or lower the request")
	}
	if r.Limits.MemoryBytes > 0 && r.Requests.MemoryBytes > r.Limits.MemoryBytes {
		d.fault(at+".requests.memory", "asks for more than limits.memory allows", "raise the limit or lower the request")
	}
	zeroIf(&r.Requests.CPUMillis, r.Limits.CPUMillis)
	zeroIf(&r.Requests.MemoryBytes, r.Limits.MemoryBytes)
}

var capabilitiesSchema = newSchema(
	texts("add", 64, capability, func(s *planner.Security) *[]string { return &s.AddCapabilities }),
	texts("drop", 64, capability, func(s *planner.Security) *[]string { return &s.DropCapabilities }),
)

var securitySchema = newSchema(
	optional("runAsUser", 0, maxUser, func(s *planner.Security) **int64 { return &s.RunAsUser }),
	optional("runAsGroup", 0, maxUser, func(s *planner.Security) **int64 { return &s.RunAsGroup }),
	boolean("readOnlyRootFilesystem", func(s *planner.Security) *bool { return &s.ReadOnlyRootFilesystem }),
	boolean("privileged", func(s *planner.Security) *bool { return &s.Privileged }),
	object("capabilities", capabilitiesSchema, func(s *planner.Security) *planner.Security { return s }),
	special("allowPrivilegeEscalation", boolShape, func(d *decoder, v value, into *planner.Security) {
		if b, ok := d.boolean(v); ok && b { // false is the default
			into.AllowPrivilegeEscalation = &b
		}
	}),
	special("supplementalGroups", listShape(maxGroups, numberShape(0, maxUser)), decodeGroups),
	text("runAsUserName", userName, func(s *planner.Security) *string { return &s.RunAsUserName }),
).foreign("sysctls", "write it directly in spec")

// capabilities are Linux' capabilities up to 6.x, without CAP_.
var capabilities = strings.Fields(`ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE
	BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
	FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE
	MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID
	SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
	SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM`)

var capability = rule{checkCapability, form{
	pattern: "([Cc][Aa][Pp]_)?(" + anyCase(capabilities...).Pattern + ")",
	words:   capabilities,
	says:    "a Linux capability such as NET_ADMIN",
}}

func checkCapability(s string) (string, string) {
	if name := capabilityName(s); slices.Contains(capabilities, name) {
		return "", ""
	}
	return "is not a capability", cmp.Or(suggest(capabilityName(s), capabilities), "write one such as NET_ADMIN, or ALL")
}

func capabilityName(s string) string { return strings.TrimPrefix(strings.ToUpper(s), "CAP_") }

// normalCapabilities sorts and removes duplicates: order means nothing.
func normalCapabilities(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	normal := make([]string, len(names))
	for i, n := range names {
		normal[i] = capabilityName(n)
	}
	slices.Sort(normal)
	return slices.Compact(normal)
}
