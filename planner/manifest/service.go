package manifest

import (
	"fmt"
	"maps"

	"github.com/orpheus-cd/orpheus/planner"
)

// serviceSpec is the spec of a Service as written.
type serviceSpec struct {
	replicas       int
	everyNode      bool
	driver         string
	network        string
	endpointMode   string
	affinity       string
	imagePorts     bool
	aliases        []string
	hostname       string
	hostAliases    []planner.HostAlias
	dns            planner.DNS
	sysctls        []planner.Sysctl
	grace          *int64
	nodeSelector   map[string]string
	flat           container
	initContainers []container
	containers     []container
	volumes        []volume
	tolerations    []planner.Toleration
	spread         []spread
	update         updateSpec
	minReady       int // seconds
	deadline       int // seconds; 0 = not given
	reschedule     reschedule
	dependsOn      []dependency
	hooks          hooks
	suspend        *suspension
	mode           string
}

var serviceMetadata = newSchema(
	text("name", dnsLabel(maxServiceName), func(m *metadata) *string { return &m.name }).must(),
	text("namespace", dnsLabel(63), func(m *metadata) *string { return &m.namespace }),
	textMap("labels", maxLabels, ownLabelKey, labelValue, func(m *metadata) *map[string]string { return &m.labels }),
	textMap("annotations", maxLabels, annotationKey, anyText, func(m *metadata) *map[string]string { return &m.annotations }),
)

var specSchema = newSchema(append([]field[serviceSpec]{
	number("replicas", 0, maxReplicas, func(s *serviceSpec) *int { return &s.replicas }),
	boolean("everyNode", func(s *serviceSpec) *bool { return &s.everyNode }),
	textMap("nodeSelector", maxLabels, labelKey, labelValue, func(s *serviceSpec) *map[string]string { return &s.nodeSelector }),
	objects("tolerations", maxTolerations, tolerationSchema, func(s *serviceSpec) *[]planner.Toleration { return &s.tolerations }),
	objects("topologySpreadConstraints", maxSpread, spreadSchema, func(s *serviceSpec) *[]spread { return &s.spread }),
	text("driver", dnsLabel(63), func(s *serviceSpec) *string { return &s.driver }).restart(),
	objects("initContainers", maxContainers, containerSchema, func(s *serviceSpec) *[]container { return &s.initContainers }).restart().in("Container"),
	objects("containers", maxContainers, containerSchema, func(s *serviceSpec) *[]container { return &s.containers }).restart().in("Container"),
	objects("volumes", maxVolumes, volumeSchema, func(s *serviceSpec) *[]volume { return &s.volumes }).restart(),
	text("network", oneOf("host"), func(s *serviceSpec) *string { return &s.network }).restart(),
	text("endpointMode", oneOf(endpointModes...), func(s *serviceSpec) *string { return &s.endpointMode }),
	text("sessionAffinity", oneOf(sessionAffinities...), func(s *serviceSpec) *string { return &s.affinity }),
	boolean("imagePorts", func(s *serviceSpec) *bool { return &s.imagePorts }),
	texts("aliases", maxAliases, aliasName(63), func(s *serviceSpec) *[]string { return &s.aliases }),
	text("hostname", dnsLabel(63), func(s *serviceSpec) *string { return &s.hostname }).restart(),
	objects("hostAliases", maxHostAliases, hostAliasSchema, func(s *serviceSpec) *[]planner.HostAlias { return &s.hostAliases }).restart(),
	object("dns", dnsSchema, func(s *serviceSpec) *planner.DNS { return &s.dns }).restart(),
	objects("sysctls", maxSysctls, sysctlSchema, func(s *serviceSpec) *[]planner.Sysctl { return &s.sysctls }).restart(),
	optional("terminationGracePeriodSeconds", 0, maxGrace, func(s *serviceSpec) **int64 { return &s.grace }).restart(),
	restartPolicy[serviceSpec](),
	object("update", updateSchema, func(s *serviceSpec) *updateSpec { return &s.update }),
	number("minReadySeconds", 0, maxSeconds, func(s *serviceSpec) *int { return &s.minReady }),
	number("progressDeadlineSeconds", 1, maxSeconds, func(s *serviceSpec) *int { return &s.deadline }),
	object("reschedule", rescheduleSchema, func(s *serviceSpec) *reschedule { return &s.reschedule }),
	special("dependsOn", mapShape(maxDepends, serviceName.shape(), condition.shape()).or(listShape(maxDepends, serviceName.shape())), decodeDependsOn),
	object("hooks", hooksSchema, func(s *serviceSpec) *hooks { return &s.hooks }),
	unread[serviceSpec]("disconnect"),
	unread[serviceSpec]("restart"),
	pointer("suspend", suspendSchema, func(s *serviceSpec) **suspension { return &s.suspend }),
	text("mode", oneOf("enforce", "observe"), func(s *serviceSpec) *string { return &s.mode }),
	unread[serviceSpec]("affinity"),
	unread[serviceSpec]("exclusive"),
	unread[serviceSpec]("autoscale"),
}, lift(containerFields, func(s *serviceSpec) *container { return &s.flat })...)...).foreign(containerHabits...).foreign(rolloutHabits...).foreign(
	"hostNetwork", "write network: host",
	"extra_hosts", "write hostAliases: [{ip: 10.0.0.1, hostnames: [NAME]}]",
	"dnsConfig", "write dns: {servers: [ADDRESS], search: [DOMAIN], options: [OPTION]}",
	"dnsPolicy", "remove it: instances ask the name server of their node, which asks those of dns.servers, else the node's",
	"dns_search", "write dns: {search: [DOMAIN]}",
	"dns_opt", "write dns: {options: [OPTION]}",
	"template", "write what is under template.spec directly in spec",
	"selector", "remove it: a service needs no selector",
	"nodeName", "write nodeSelector: {orpheus/node: NAME}",
	"type", "remove it: publish on a port opens it to the world",
	"imagePullSecrets", "registry credentials belong to the agent's configuration",
	"name", "write it in metadata",
	"namespace", "write it in metadata",
	"labels", "write it in metadata",
	"annotations", "write it in metadata",
	"container_name", "remove it: metadata.name names the service",
	"scale", "write replicas: NUMBER",
	"deploy", "write replicas, resources, update and endpointMode directly in spec",
	"networks", "remove it: every instance has a network of its own",
	"network_mode", "write network: host, or remove it",
	"endpoint_mode", "write endpointMode: dnsrr, or remove it",
	"clusterIP", "write endpointMode: dnsrr where it is None, or remove it: a service has an address as soon as one of its ports has port: PORT",
	"clusterIPs", "remove it: a service has an address as soon as one of its ports has port: PORT",
	"sessionAffinityConfig", "remove it: a client keeps its instance for as long as that takes connections",
	"externalTrafficPolicy", "write publish: {port: PORT, mode: node} where it is Local, or remove it",
	"internalTrafficPolicy", "remove it: connections are led to all ready instances alike",
	"externalIPs", "write publish: {port: PORT, address: IP}",
	"loadBalancerIP", "write publish: {port: PORT, address: IP}",
	"externalName", "remove it: names of other machines belong into your DNS",
	"ipFamilies", "remove it: a service has an IPv4 and an IPv6 address",
	"ipFamilyPolicy", "remove it: a service has an IPv4 and an IPv6 address",
	"publishNotReadyAddresses", "remove it: only ready instances get connections",
	"stop_grace_period", "write terminationGracePeriodSeconds: SECONDS",
	"configs", "use a volume with file: PATH",
	"secrets", "secrets are not supported by this version",
)

var serviceSchema = newEnvelope(serviceMetadata,
	object("spec", specSchema, func(e *envelope[serviceSpec]) *serviceSpec { return &e.spec }).must())

// decodeService reads a Service, nil if nothing can be made of it.
func decodeService(d *decoder, v value) *service {
	e := envelope[serviceSpec]{spec: serviceSpec{replicas: 1}}
	decodeObject(d, v, serviceSchema, &e)
	if !d.has("metadata.name") || !d.has("spec") {
		return nil
	}
	w := &writtenService{d: d, spec: &e.spec}
	w.gather()
	w.check()

	s := &service{at: d.where("metadata.name"), files: w.files}
	s.ID = planner.ServiceID{Namespace: e.metadata.namespace, Name: e.metadata.name}
	if !d.has("metadata.namespace") {
		s.ID.Namespace = planner.DefaultNamespace
	}
	s.Line = s.at.line
	checkCalled(d, s.ID)
	w.checkSearch(s.ID.Namespace)
	s.Replicas, s.EveryNode = e.spec.replicas, e.spec.everyNode
	if s.EveryNode {
		s.Replicas = 0
	}
	s.NodeSelector, s.Tolerations, s.Spread = e.spec.nodeSelector, w.tolerations(), w.spread()
	s.Suspend, s.Observe = e.spec.suspended(), e.spec.mode == "observe"
	s.Labels, s.Annotations = e.metadata.labels, maps.Clone(e.metadata.annotations)
	s.Template = w.template(e.metadata.annotations[restartedAt])
	s.Ports, s.claims = w.ports()
	s.Headless, s.ClientAffinity = e.spec.endpointMode == endpointModes[1], e.spec.affinity == sessionAffinities[1]
	s.ImagePorts = e.spec.imagePorts
	s.Aliases, s.aliases = e.spec.aliases, w.checkAliases(s.ID)
	s.Update = w.update(s.Template)
	s.MinReady, s.ProgressDeadline = w.deadlines()
	s.Reschedule = w.reschedule()
	s.DependsOn, s.depends = w.dependencies(s.ID)
	s.hooks = w.hooks()
	if len(s.files) == 0 {
		s.Revision = planner.RevisionOf(s.Template)
		s.withHooks(&s.Service)
	}
	return s
}

// writtenService is a service between decoding and its template: its
// containers and where each was written.
type writtenService struct {
	d     *decoder
	spec  *serviceSpec
	init  []placed
	main  []placed
	files []fileRef
}

// placed is a container and its field path.
type placed struct {
	*container
	at string
}

func (w *writtenService) all() []placed {
	return append(append(make([]placed, 0, len(w.init)+len(w.main)), w.init...), w.main...)
}

// gather finds the containers, written flat or as lists.
func (w *writtenService) gather() {
	d, flat := w.d, ""
	for _, f := range containerFields {
		if d.has("spec." + f.name) {
			flat = f.name
			break
		}
	}
	if flat != "" && d.has("spec.containers") {
		d.fault("spec."+flat, "is given beside containers", "move it into the container it belongs to")
	}
	for i := range w.spec.initContainers {
		w.init = append(w.init, placed{&w.spec.initContainers[i], fmt.Sprintf("spec.initContainers[%d]", i)})
	}
	if d.has("spec.containers") {
		for i := range w.spec.containers {
			w.main = append(w.main, placed{&w.spec.containers[i], fmt.Sprintf("spec.containers[%d]", i)})
		}
		if len(w.main) == 0 {
			d.fault("spec.containers", "must have at least one container", "add one, or write its fields directly in spec")
		}
		return
	}
	w.spec.flat.Name = planner.MainContainer
	w.main = []placed{{&w.spec.flat, "spec"}}
}

// template builds the normalised template.
func (w *writtenService) template(restarted string) planner.Template {
	t := planner.Template{
		Driver:      w.spec.driver,
		Hostname:    w.spec.hostname,
		HostNetwork: w.spec.network == "host" && !w.isProcess(), // a process is always on the host's
		HostAliases: w.spec.hostAliases,
		DNS:         w.spec.dns,
		Sysctls:     normalSysctls(w.spec.sysctls),
		RestartedAt: restarted,
	}
	zeroIf(&t.Driver, planner.DriverContainerd)
	if g := w.spec.grace; g != nil && *g != int64(planner.DefaultGrace.Seconds()) {
		t.TerminationGracePeriodSeconds = g
	}
	for _, v := range w.spec.volumes {
		t.Volumes = append(t.Volumes, v.Volume)
	}
	t.InitContainers = templates(w.init)
	t.Containers = templates(w.main)
	return t
}

func templates(containers []placed) []planner.Container {
	var list []planner.Container
	for _, c := range containers {
		for _, p := range c.ports {
			c.Ports = append(c.Ports, planner.ContainerPort{Name: p.name, ContainerPort: p.containerPort, Protocol: p.protocol})
		}
		c.Security.AddCapabilities = normalCapabilities(c.Security.AddCapabilities)
		c.Security.DropCapabilities = normalCapabilities(c.Security.DropCapabilities)
		c.Ulimits = normalUlimits(c.Ulimits)
		list = append(list, c.Container)
	}
	return list
}

// ports lists the ports beside the template, and which of the node's ports
// the service wants for itself. One that is published several times is as many
// ports, of which the first is that of the service's address.
func (w *writtenService) ports() (ports []planner.Port, claims []claim) {
	for _, c := range w.all() {
		for i, p := range c.ports {
			out := planner.Port{Name: p.name, Container: p.containerPort, Protocol: p.protocol, Port: p.port}
			if out.Protocol == "" {
				out.Protocol = "tcp"
			}
			if len(p.publish) == 0 {
				ports = append(ports, out)
				if w.onHost() {
					field := fmt.Sprintf("%s.ports[%d].containerPort", c.at, i)
					claims = append(claims, claim{out.Protocol, p.containerPort, "", false, field, w.d.where(field)})
				}
			}
			for _, open := range p.publish {
				out.Publish = &open.Publish
				ports = append(ports, out)
				out.Port = 0
				cl := claim{out.Protocol, open.Port, open.Address, open.OnEveryNode(), open.at, w.d.where(open.at)}
				if w.onHost() {
					cl.address = "" // the service listens where it likes
				}
				claims = append(claims, cl)
			}
		}
	}
	return ports, claims
}

func (w *writtenService) isProcess() bool { return w.spec.driver == planner.DriverProcess }

// onHost reports whether the service listens on the node's own addresses.
func (w *writtenService) onHost() bool { return w.isProcess() || w.spec.network == "host" }
