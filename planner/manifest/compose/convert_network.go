package compose

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner/manifest/draft"
)

// reachable says under which names and ports a service is reached.
func (s *service) reachable() {
	host := s.networkMode()
	if s.Hostname != "" {
		s.hostname()
	}
	if !host {
		s.spec.Put("imagePorts", true, s.at)
	}
	s.ports(host)
	s.aliases()
	s.hostAliases()
	s.nameServers()
	if s.swarm && s.Deploy.EndpointMode != "" {
		s.spec.Put("endpointMode", s.Deploy.EndpointMode, s.field("deploy.endpoint_mode"))
	}
	for name, n := range s.Networks {
		s.checkAttachment(name, n)
	}
}

// networkMode tells whether the service is on the network of its node.
func (s *service) networkMode() (host bool) {
	at := s.field("network_mode")
	switch mode, of, _ := strings.Cut(s.NetworkMode, ":"); {
	case s.NetworkMode == "", s.NetworkMode == "bridge", s.NetworkMode == "default":
	case s.NetworkMode == "host":
		s.spec.Put("network", "host", at)
		return true
	case s.NetworkMode == "none":
		s.fault(at, "none is not possible: every instance has a network", "remove it")
	case mode == "service" || mode == "container":
		s.fault(at, "is not possible between services: "+quote(of)+" may run on another node", "write both as one service of several containers, which share a network, in a manifest of kind Service")
	default:
		s.fault(at, quote(s.NetworkMode)+" is not known here", "remove it, or write host")
	}
	return false
}

func (s *service) hostname() {
	at := s.field("hostname")
	if swarmTemplate.MatchString(s.Hostname) {
		s.fault(at, quote(s.Hostname)+" is a template of Swarm's, which nothing fills in here", "remove it: the host name of an instance is that of its slot, such as "+s.names[s.Name]+"-0")
		return
	}
	if first, _, dotted := strings.Cut(s.Hostname, "."); dotted {
		s.fault(at, quote(s.Hostname)+" has a dot: the host name of an instance is one label", "write "+cmp.Or(labelOf(first, 63), "web"))
		return
	}
	s.spec.Put("hostname", strings.ToLower(s.Hostname), at)
}

// listens is a port of a service's program.
type listens struct {
	port     int
	protocol string
}

// ports lists what the service says it listens on, what it publishes, and what
// others in the project ask it for.
func (s *service) ports(host bool) {
	seen := map[listens]int{}
	var ports list
	add := func(l listens, name, at string) (int, bool) {
		if i, ok := seen[l]; ok {
			return i, false
		}
		var p object
		if name != "" {
			p.Put("name", name, "")
		}
		p.Put("containerPort", l.port, "")
		if l.protocol == "udp" {
			p.Put("protocol", "UDP", "")
		}
		p.Put("port", l.port, "")
		seen[l] = len(ports)
		ports = append(ports, item(p, at))
		return seen[l], true
	}
	for i, p := range s.Ports {
		s.published(i, p, host, add, &ports)
	}
	for i, text := range s.Expose {
		at := s.indexed("expose", i)
		first, last, protocol, ok := portRange(text)
		if !ok || protocol != "tcp" && protocol != "udp" {
			s.fault(at, quote(text)+" is no port that can be exposed", "write a number or a range of TCP or UDP: 8080, 8000-8010 or 53/udp")
			continue
		}
		for port := first; port <= last && len(ports) < maxServicePorts; port++ {
			add(listens{port, protocol}, "", at)
		}
	}
	for _, port := range s.asked(s.Name) {
		if len(ports) < maxServicePorts {
			add(listens{port, "tcp"}, "", s.at)
		}
	}
	if len(ports) > 0 {
		s.spec.Put("ports", ports, s.field("ports"))
	}
}

// maxServicePorts is one more than a container may have, so that too many are
// refused where all are checked.
const maxServicePorts = 65

// published adds one of ports, and what opens it.
func (s *service) published(i int, p types.ServicePortConfig, host bool, add func(listens, string, string) (int, bool), ports *list) {
	at := s.portField(i)
	if p.Protocol != "" && p.Protocol != "tcp" && p.Protocol != "udp" {
		s.fault(at, "protocol "+quote(p.Protocol)+" is not possible", "write tcp or udp")
		return
	}
	if len(*ports) >= maxServicePorts {
		return
	}
	index, isNew := add(listens{int(p.Target), protocolOf(p.Protocol)}, p.Name, at)
	if target := (*ports)[index].Value.(object); !isNew && p.Name != "" {
		if name := target.Get("name"); name == nil {
			target.Put("name", p.Name, at)
			(*ports)[index].Value = target
		} else if name != p.Name {
			s.warn(at, fmt.Sprintf("is called %s, as before: the name is that of port %d of the container", name, p.Target), "call it that, or leave the name out")
		}
	}
	if host {
		if p.Published != "" && p.Published != strconv.Itoa(int(p.Target)) {
			s.warn(at, fmt.Sprintf("is not led on: with network_mode: host the program itself listens on the node, on port %d", p.Target), "remove it, or have the program listen on the port that is meant")
		}
		return
	}
	if p.Published == "" || p.Published == "0" {
		s.warn(at, fmt.Sprintf("is open to the services of the fleet alone, as %s:%d: a port of the nodes has to be chosen", s.names[s.Name], p.Target), fmt.Sprintf(`name one: "8080:%d"; or write expose: ["%d"]`, p.Target, p.Target))
		return
	}
	open, ok := s.opened(at, p)
	if !ok {
		return
	}
	target := (*ports)[index]
	target.Value = publishedToo(target.Value.(object), item(open, at))
	(*ports)[index] = target
}

// publishedToo is a port that is opened by one more way, where it is not by that
// already.
func publishedToo(port object, open draft.Item[string]) object {
	var all list
	switch old := port.Get("publish").(type) {
	case nil:
		port.Put("publish", open.Value, open.From)
		return port
	case list:
		all = slices.Clone(old)
	default:
		all = list{item(old, origin(port, "publish"))}
	}
	again := func(other draft.Item[string]) bool { return bare(other.Value) == bare(open.Value) }
	if !slices.ContainsFunc(all, again) {
		port.Put("publish", append(all, open), open.From)
	}
	return port
}

func protocolOf(p string) string {
	if p == "" {
		return "tcp"
	}
	return p
}

// opened says where in the world a port is opened.
func (s *service) opened(at string, p types.ServicePortConfig) (publish any, ok bool) {
	first, last, isRange := strings.Cut(p.Published, "-")
	port, err := strconv.ParseUint(first, 10, 16)
	switch {
	case isRange && last != first:
		s.fault(at, quote(p.Published)+" leaves the choice of a port to the node", "name one")
		return nil, false
	case err != nil || port == 0:
		s.fault(at, quote(p.Published)+" is no port", "write a number from 1 to 65535")
		return nil, false
	}
	open := object{member("port", int(port), "")}
	mode := "fleet"
	switch p.Mode {
	case "", "ingress":
	case "host":
		mode = "node"
	default:
		s.fault(at, "mode "+quote(p.Mode)+" is not known here", "write ingress or host")
	}
	if p.HostIP != "" {
		addr, err := netip.ParseAddr(strings.Trim(p.HostIP, "[]"))
		switch {
		case err != nil:
			s.fault(at, quote(p.HostIP)+" is no address", "write one such as 192.0.2.10, or none for all")
		case !addr.IsUnspecified():
			mode = "node"
			open.Put("address", addr.Unmap().String(), "")
		}
	}
	if mode == "fleet" {
		return int(port), true
	}
	open.Put("mode", mode, "")
	return open, true
}

// portField is the item of ports in the file that the i-th port comes from: one
// that is a range is several.
func (s *service) portField(i int) string {
	written, _ := s.raw("ports").([]any)
	for at, entry := range written {
		n := 1
		if text, ok := portText(entry); ok {
			if parsed, err := types.ParsePortConfig(text); err == nil {
				n = len(parsed)
			}
		}
		if i < n {
			return fmt.Sprintf("%s[%d]", s.field("ports"), at)
		}
		i -= n
	}
	return s.field("ports")
}

// portText is an item of ports in its short form.
func portText(entry any) (string, bool) {
	switch entry.(type) {
	case string, int, int64, uint64, float64:
		return fmt.Sprint(entry), true
	}
	return "", false
}

// portRange reads an item of expose.
func portRange(text string) (first, last int, protocol string, ok bool) {
	numbers, protocol, has := strings.Cut(text, "/")
	if !has {
		protocol = "tcp"
	}
	from, to, isRange := strings.Cut(numbers, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	return first, last, strings.ToLower(protocol), err == nil && err2 == nil && first > 0 && last >= first && last <= 65535
}

// aliases are further names under which others of the project know the service.
func (s *service) aliases() {
	type alias struct{ name, at string }
	var wanted []alias
	if s.renamed() && s.NetworkMode != "host" {
		wanted = append(wanted, alias{s.Name, s.at})
	}
	if s.ContainerName != "" {
		wanted = append(wanted, alias{s.ContainerName, s.field("container_name")})
	}
	for _, network := range slices.Sorted(maps.Keys(s.Networks)) {
		if n := s.Networks[network]; n != nil {
			for _, name := range n.Aliases {
				wanted = append(wanted, alias{name, s.field("networks." + network + ".aliases")})
			}
		}
	}
	for _, other := range s.enabled {
		o := s.p.Types.Services[other]
		for i, link := range o.Links {
			if target, name, named := strings.Cut(link, ":"); named && target == s.Name {
				wanted = append(wanted, alias{name, fmt.Sprintf("services.%s.links[%d]", other, i)})
			}
		}
	}
	var names list
	seen := map[string]bool{s.names[s.Name]: true}
	for _, a := range wanted {
		label := strings.ToLower(a.name)
		switch {
		case seen[label]:
			continue
		case isAlias(label):
			names = append(names, item(label, a.at))
		case s.mentions(a.name):
			s.fault(a.at, quote(a.name)+" cannot be a name of the service: in a fleet that is one label, of letters, digits, hyphens and underscores", "write "+quote(s.names[s.Name])+" where the file names "+quote(a.name)+", and remove it")
		default:
			s.warn(a.at, quote(a.name)+" is left out, since it cannot be a name of a service: those are one label, of letters, digits, hyphens and underscores", "remove it; others reach the service as "+quote(s.names[s.Name]))
		}
		seen[label] = true
	}
	if len(names) > 0 {
		s.spec.Put("aliases", names, s.at)
	}
}

// hostAliases are extra_hosts, by address.
func (s *service) hostAliases() {
	hosts := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		for _, ip := range s.ExtraHosts[name] {
			if ip == "host-gateway" {
				ip = "node"
			}
			hosts[ip] = append(hosts[ip], name)
		}
	}
	var lines list
	for _, ip := range slices.Sorted(maps.Keys(hosts)) {
		at := s.keyed("extra_hosts", hosts[ip][0])
		lines = append(lines, item(object{member("ip", ip, ""), member("hostnames", textList(hosts[ip]), "")}, at))
	}
	if len(lines) > 0 {
		s.spec.Put("hostAliases", lines, s.field("extra_hosts"))
	}
}

// checkAttachment looks at what a service wants of one of its networks.
func (s *service) checkAttachment(name string, n *types.ServiceNetworkConfig) {
	if n != nil && !n.ServiceNameAliasEnabled() {
		s.fault(s.field("networks."+name+".use_service_name_alias"), "is not possible: a service always has its own name", "remove it")
	}
}

// nameServers say how the service looks up names that are not the fleet's.
func (s *service) nameServers() {
	var dns object
	for _, part := range []struct {
		name, key string
		values    []string
	}{{"servers", "dns", s.DNS}, {"search", "dns_search", s.DNSSearch}, {"options", "dns_opt", s.DNSOpts}} {
		if len(part.values) == 0 {
			continue
		}
		var all list
		for i, v := range part.values {
			all = append(all, item(v, s.indexed(part.key, i)))
		}
		dns.Put(part.name, all, s.field(part.key))
	}
	if len(dns) > 0 {
		s.spec.Put("dns", dns, dns[0].From)
	}
}
