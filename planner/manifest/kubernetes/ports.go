package kubernetes

import (
	"cmp"
	"slices"

	"github.com/orpheus-cd/orpheus/planner/manifest/draft"
)

// port is one of a container's on its way.
type port struct {
	name, protocol string
	number         int64
	from           value
	address        int64 // of the service's, 0 = none
	addressFrom    value
	publish        object
	publishFrom    value
}

// readPorts reads what a container says that it listens on.
func (c *container) readPorts() {
	for _, v := range c.v.at("ports").items() {
		number, ok := v.at("containerPort").number()
		if !ok {
			continue
		}
		p := &port{number: number, name: v.at("name").text(), protocol: cmp.Or(v.at("protocol").text(), "TCP"), from: v}
		host, given := v.at("hostPort").number()
		if address := v.at("hostIP").text(); given && host > 0 && c.spec.Get("network") == nil {
			p.publishFrom = v.at("hostPort")
			p.publish = object{member("port", host, p.publishFrom), member("mode", "node", p.publishFrom)}
			if address != "" && address != "0.0.0.0" && address != "::" {
				p.publish.Put("address", address, v.at("hostIP"))
			}
		}
		c.ports = append(c.ports, p)
	}
}

// written is a container with its ports, in the order of the documentation.
func (c *container) written() object {
	var all list
	for _, p := range c.ports {
		o := object{}
		if p.name != "" {
			o.Put("name", p.name, p.from)
		}
		o.Put("containerPort", p.number, p.from)
		if p.protocol != "TCP" {
			o.Put("protocol", p.protocol, p.from)
		}
		if p.address != 0 {
			o.Put("port", p.address, p.addressFrom)
		}
		if p.publish != nil {
			o.Put("publish", p.publish, p.publishFrom)
		}
		all = append(all, item(o, p.from))
	}
	if len(all) > 0 {
		c.fields.Put("ports", all, c.v.at("ports"))
	}
	return ordered(c.fields, "name", "image", "command", "args", "workingDir", "env", "ports", "resources", "volumeMounts", "securityContext")
}

// ordered begins with the named fields.
func ordered(o object, names ...string) object {
	rank := func(m draft.Member[value]) int {
		if i := slices.Index(names, m.Name); i >= 0 {
			return i
		}
		return len(names)
	}
	sorted := slices.Clone(o)
	slices.SortStableFunc(sorted, func(a, b draft.Member[value]) int { return rank(a) - rank(b) })
	return sorted
}

// finished is the spec of the workload. A single container stands in it by
// itself.
func (w *workload) finished() object {
	if len(w.main) == 1 && len(w.init) == 0 {
		for _, m := range w.main[0].written() {
			if m.Name != "name" {
				w.spec = append(w.spec, m)
			}
		}
	} else {
		w.putContainers("initContainers", w.init)
		w.putContainers("containers", w.main)
	}
	return ordered(w.spec, "replicas", "everyNode", "nodeSelector", "tolerations", "topologySpreadConstraints", "endpointMode", "sessionAffinity", "aliases",
		"network", "hostname", "hostAliases", "sysctls", "initContainers", "containers", "image", "command", "args", "workingDir", "env", "ports",
		"resources", "volumeMounts", "securityContext", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "stopSignal",
		"volumes", "terminationGracePeriodSeconds", "minReadySeconds", "progressDeadlineSeconds", "update")
}

func (w *workload) putContainers(name string, all []*container) {
	var written list
	for _, c := range all {
		written = append(written, item(c.written(), c.v))
	}
	if len(written) > 0 {
		w.spec.Put(name, written, w.pod.at(name))
	}
}

// finishServices gives the workloads what Services say of them.
func (c *converter) finishServices() {
	for _, r := range c.resources {
		if r.group == service {
			c.service(r)
		}
	}
	for _, w := range c.workloads {
		w.callable()
	}
}

// service gives a Service to the workload that it selects.
func (c *converter) service(r *resource) {
	v := r.value(c)
	selector := v.at("spec", "selector")
	var selected []*workload
	for _, w := range c.workloads {
		if w.namespace == r.namespace && covers(w.labels, selector) {
			selected = append(selected, w)
		}
	}
	if len(selected) == 0 {
		return
	}
	delete(c.unused, r)
	first := slices.IndexFunc(selected, func(w *workload) bool { return w.r.name == r.name })
	w := selected[max(first, 0)]
	for _, other := range selected {
		if other != w {
			selector.hintFailed("selects "+other.r.String()+", too: an address leads to the instances of one service, here of "+w.name, "make them one service, or put a proxy before them")
		}
	}
	v.ownMetadata()
	selector.n.tick()
	w.offer(r, v.at("spec"))
}

// hintFailed is a hint of what was not converted.
func (v value) hintFailed(reason, remedy string) {
	v.c.note(v.r, v.n, v.path, reason, remedy, false)
}

// covers reports whether the labels have all that a selector asks for.
func covers(labels map[string]string, selector value) bool {
	fields := selector.fields()
	for _, f := range fields {
		if text, ok := labels[f.key]; !ok || text != f.n.text {
			return false
		}
	}
	return len(fields) > 0
}

// offer takes over what a Service says.
func (w *workload) offer(r *resource, spec value) {
	if r.name != w.name {
		w.aliases = append(w.aliases, alias{r.name, r.value(w.converter).at("metadata", "name")})
	}
	headless := spec.at("clusterIP").is("None")
	if headless && w.headless.n == nil {
		w.headless = spec.at("clusterIP")
	}
	if !headless {
		w.address = true
		spec.at("clusterIP").is("")
		spec.at("clusterIP").unlessRead("addresses are given by the fleet", "use the name", true)
	}
	spec.drop("clusterIPs")
	if kind := spec.at("type"); !kind.is("ClusterIP", "NodePort", "LoadBalancer") {
		kind.failed("is no type of a Service that selects pods", "write ClusterIP, NodePort or LoadBalancer")
	}
	spec.at("internalTrafficPolicy").is("Cluster")
	spec.at("ipFamilyPolicy").is("SingleStack")
	spec.drop("allocateLoadBalancerNodePorts")
	for _, f := range spec.at("ipFamilies").items() {
		f.is("IPv4")
	}
	spec.at("publishNotReadyAddresses").is("false")
	if affinity := spec.at("sessionAffinity"); affinity.is("ClientIP") {
		w.spec.Put("sessionAffinity", "ClientIP", affinity)
		spec.at("sessionAffinityConfig", "clientIP", "timeoutSeconds").lost("clients stay with an instance as long as it takes connections", "")
	} else {
		affinity.is("None")
	}
	for _, p := range spec.at("ports").items() {
		w.offerPort(spec, p, headless)
	}
	spec.at("externalTrafficPolicy").is("Cluster", "Local")
}

// offerPort gives a port of the workload the number that a Service has for it.
func (w *workload) offerPort(spec, v value, headless bool) {
	number, _ := v.at("port").number()
	protocol := cmp.Or(v.at("protocol").text(), "TCP")
	v.drop("appProtocol")
	p := w.target(v, protocol, number)
	if p == nil {
		return
	}
	if name := v.at("name").text(); name != "" && p.name == "" && len(name) <= 15 {
		p.name = name
	} else if name != "" && name != p.name {
		if p.name == "" {
			v.at("name").hint("has more than 15 characters, which no port's name has here: it has none, nor an SRV record", "give the port a name in the container")
		} else {
			v.at("name").hint("is "+quote(p.name)+" here, as in the container: so is its SRV record", "")
		}
	}
	switch {
	case headless:
		if number != p.number {
			v.at("port").hint("instances of a headless service answer on "+int64Text(p.number), "")
		}
		return
	case p.address != 0 && p.address != number:
		v.failed("port "+int64Text(p.number)+" of the container has port "+int64Text(p.address)+" of the service's address already", "ask for that one")
		return
	}
	for _, c := range slices.Concat(w.main, w.init) {
		for _, other := range c.ports {
			if other != p && other.address == number && other.protocol == protocol {
				v.failed("port "+int64Text(number)+" of the service's address leads to port "+int64Text(other.number)+" already", "give one of them another number")
				return
			}
		}
	}
	p.address, p.addressFrom = number, v
	w.publish(spec, v, p)
}

// target is the port of the workload that a port of a Service leads to.
func (w *workload) target(v value, protocol string, number int64) *port {
	target := v.at("targetPort")
	name := ""
	if n, isNumber := target.number(); isNumber {
		number = n
	} else {
		name = target.text()
	}
	for _, c := range w.main {
		for _, p := range c.ports {
			if p.protocol == protocol && (name != "" && p.name == name || name == "" && p.number == number) {
				return p
			}
		}
	}
	if name != "" || len(w.main) == 0 {
		v.failed("no container has a port called "+quote(name), "give the port its name in the container")
		return nil
	}
	p := &port{number: number, protocol: protocol, from: v}
	w.main[0].ports = append(w.main[0].ports, p)
	return p
}

// publish opens a port to the world where a Service does.
func (w *workload) publish(spec, v value, p *port) {
	kind := spec.at("type").text()
	if kind != "LoadBalancer" && kind != "NodePort" {
		return
	}
	number, reason := p.address, "is opened on every node: there is no balancer in this version"
	remedy := "have the name, or a balancer of your own, lead to the nodes"
	if nodePort, given := v.at("nodePort").number(); kind == "NodePort" {
		if !given {
			v.hint("a cluster chooses the port of the nodes: here it is not published", "give it a number: publish")
			return
		}
		number, reason, remedy = nodePort, "", ""
	}
	if number < 1 || number > 65535 {
		v.failed("has no port that could be published", "give it a number: publish")
		return
	}
	if p.publish != nil {
		v.hintFailed("port "+int64Text(p.number)+" is opened on its node as hostPort already", "keep one of them")
		return
	}
	p.publishFrom = v
	p.publish = object{member("port", number, v), member("mode", "fleet", v)}
	if spec.at("externalTrafficPolicy").is("Local") {
		p.publish.Put("mode", "node", spec.at("externalTrafficPolicy"))
	}
	if w.spec.Get("network") != nil && number != p.number {
		p.publish = nil
		v.failed("a service with its node's network is reached on port "+int64Text(p.number)+" there", "have it listen on "+int64Text(number))
		return
	}
	if reason != "" {
		v.hint(reason, remedy)
	}
}

// callable says under which names the workload is called, and what these lead
// to.
func (w *workload) callable() {
	switch {
	case w.headless.n != nil && !w.address:
		w.spec.Put("endpointMode", "dnsrr", w.headless)
	case w.headless.n != nil:
		w.headless.hint("another Service gives it an address, and a service has one of both: its name leads to the address", "call instances 0."+w.name)
	}
	var all list
	for _, a := range w.aliases {
		if !slices.ContainsFunc(all, func(i draft.Item[value]) bool { return i.Value == a.name }) {
			all = append(all, item(a.name, a.from))
		}
	}
	if len(all) > 0 {
		w.spec.Put("aliases", all, w.aliases[0].from)
	}
}
