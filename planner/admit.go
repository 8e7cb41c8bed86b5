package planner

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Policy says what manifests may ask of a node. It comes from the agent's
// configuration, never from the repository. The zero value allows images of
// any public registry on the containerd driver and nothing that reaches the
// host.
type Policy struct {
	Drivers      []string // drivers that may be used; empty = containerd
	HostPaths    []string // folders that hostPath volumes may lie in
	Devices      []string // device paths that may be given
	Capabilities []string // capabilities that may be added, without CAP_
	Privileged   bool
	HostNetwork  bool
	// Registries lists the only registries images may come from, as host[:port]
	// with an optional leading "*."; empty = all but loopback and link-local
	// addresses.
	Registries []string
	// KnownRegistries are those the node's configuration describes: allowed
	// even on loopback.
	KnownRegistries []string
	// ReservedPorts may not be published: the agent's own.
	ReservedPorts []int
	// HostPorts are the first and the last of the node's ports that lead other
	// nodes to instances: they may not be published. Zero = there are none.
	HostPorts [2]int
	// ReservedPaths may not be reached by any hostPath, whatever HostPaths
	// allows: the agent's state, the sockets of its drivers.
	ReservedPaths []string
}

// Admit lists everything a node's policy has against a service; empty means
// it may run. Each entry names the field and the setting that would allow it.
func Admit(p Policy, s Service) []string {
	a := &admission{policy: p}
	t := s.Template
	drivers := p.Drivers
	if len(drivers) == 0 {
		drivers = []string{DriverContainerd}
	}
	if d := t.DriverName(); !slices.Contains(drivers, d) {
		a.refuse("spec.driver", "driver %q is not allowed on this node", d, "policy.drivers")
	}
	if t.HostNetwork && !p.HostNetwork {
		a.refuse("spec.network", "the host's network is not allowed on this node", "", "policy.hostNetwork")
	}
	for _, v := range t.Volumes {
		if v.HostPath != nil {
			a.hostPath(v)
		}
	}
	for _, c := range t.AllContainers() {
		a.container(c)
	}
	for _, port := range s.Ports {
		if port.Publish == nil {
			continue
		}
		if why := p.MayPublish(port.Publish.Port); why != "" {
			a.reasons = append(a.reasons, "spec.ports: "+why)
		}
	}
	return a.reasons
}

// MayPublish says why a port may not be published on the node; "" = it may.
func (p Policy) MayPublish(port int) string {
	switch first, last := p.HostPorts[0], p.HostPorts[1]; {
	case slices.Contains(p.ReservedPorts, port):
		return fmt.Sprintf("port %d is the agent's own on this node; publish another", port)
	case first > 0 && port >= first && port <= last:
		return fmt.Sprintf("port %d is one of those (%d-%d) by which other nodes reach instances of this one; publish another, or set network.hostPorts in the agent's configuration", port, first, last)
	}
	return ""
}

type admission struct {
	policy  Policy
	reasons []string
}

func (a *admission) refuse(field, format, value, setting string) {
	what := format
	if value != "" {
		what = fmt.Sprintf(format, value)
	}
	a.reasons = append(a.reasons, field+": "+what+"; "+setting+" in the agent's configuration decides")
}

func (a *admission) container(c Container) {
	if c.Security.Privileged && !a.policy.Privileged {
		a.refuse("securityContext.privileged", "privileged containers are not allowed on this node", "", "policy.privileged")
	}
	for _, name := range c.Security.AddCapabilities {
		if !slices.Contains(a.policy.Capabilities, name) && !a.policy.Privileged {
			a.refuse("securityContext.capabilities.add", "capability %s is not allowed on this node", name, "policy.capabilities")
		}
	}
	for _, u := range c.Ulimits {
		// A real-time program is not bound by its share of the processor.
		if u.Name == "rtprio" && u.Hard != 0 && !slices.Contains(a.policy.Capabilities, "SYS_NICE") && !a.policy.Privileged {
			a.refuse("ulimits", "rtprio lets a container keep the processor from the whole node, as SYS_NICE does, which is not allowed", "", "policy.capabilities")
		}
	}
	for _, dev := range c.Devices {
		if !slices.Contains(a.policy.Devices, dev) {
			a.refuse("devices", "device %s is not allowed on this node", dev, "policy.devices")
		}
	}
	if c.Image != "" {
		a.registry(c.Image)
	}
}

func (a *admission) hostPath(v Volume) {
	p := path.Clean(v.HostPath.Path)
	if !path.IsAbs(p) {
		a.reasons = append(a.reasons, fmt.Sprintf("spec.volumes[%s].hostPath: %q is not an absolute path", v.Name, v.HostPath.Path))
		return
	}
	for _, reserved := range a.policy.ReservedPaths {
		reserved = path.Clean(reserved)
		if within(p, reserved) || within(reserved, p) {
			a.reasons = append(a.reasons, fmt.Sprintf("spec.volumes[%s].hostPath: %s would reach %s, which is the agent's own", v.Name, p, reserved))
			return
		}
	}
	for _, allowed := range a.policy.HostPaths {
		if within(p, path.Clean(allowed)) {
			return
		}
	}
	a.refuse("spec.volumes["+v.Name+"].hostPath", "path %s is not allowed on this node", p, "policy.hostPaths")
}

// within reports whether p is dir or lies below it; both are clean.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

func (a *admission) registry(image string) {
	host := RegistryOf(image)
	if slices.Contains(a.policy.KnownRegistries, host) && len(a.policy.Registries) == 0 {
		return
	}
	if len(a.policy.Registries) > 0 {
		if !slices.ContainsFunc(a.policy.Registries, func(pattern string) bool { return matchHost(pattern, host) }) {
			a.refuse("image", "registry %s is not allowed on this node", host, "policy.registries")
		}
		return
	}
	if InternalHost(host) {
		a.reasons = append(a.reasons, fmt.Sprintf("image: registry %s is an address of the node itself or its link; add it to registries in the agent's configuration to allow it", host))
	}
}

// RegistryOf is the registry host of an image reference, with its port, by the
// rules of the distribution project (a capital letter makes a host, too);
// short names belong to docker.io.
func RegistryOf(image string) string {
	first, _, slash := strings.Cut(image, "/")
	if slash && (strings.ContainsAny(first, ".:") || first == "localhost" || first != strings.ToLower(first)) {
		return first
	}
	return "docker.io"
}

func matchHost(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
		return strings.HasSuffix(host, "."+suffix)
	}
	return pattern == host
}

// internalHosts are names and addresses of the node itself and of the metadata
// services of clouds that no range of addresses tells apart.
var internalHosts = []string{
	"localhost", "localhost.localdomain", "localhost4", "localhost6", "localhost6.localdomain6",
	"ip6-localhost", "ip6-loopback",
	"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal",
	"fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16",
}

// InternalHost reports whether a host, with or without a port, is literally the
// node itself, its link, or the metadata service that clouds put there. What a
// name resolves to is not known here: whoever connects asks again for that.
func InternalHost(host string) bool {
	name := host
	if strings.HasPrefix(host, "[") {
		name, _, _ = strings.Cut(host[1:], "]")
	} else if i := strings.LastIndexByte(host, ':'); i >= 0 {
		name = host[:i]
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	addr, err := netip.ParseAddr(name)
	if err == nil {
		addr = addr.Unmap()
		return slices.Contains(internalHosts, addr.String()) ||
			addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast()
	}
	return slices.Contains(internalHosts, name) || strings.HasSuffix(name, ".localhost") || numeric(name)
}

// numeric reports whether a host that is no address in its normal form ends in
// a number: resolvers read 2130706433, 127.1 and 0x7f.1 as addresses, each in
// its own way, and no domain ends so.
func numeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	_, err := strconv.ParseUint(last, 0, 64)
	return err == nil || strings.Trim(last, "0123456789") == ""
}
