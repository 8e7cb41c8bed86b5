package agent

import (
	"cmp"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// imagePort is a port that the images of an instance expose.
type imagePort struct {
	planner.ImagePort
	host int // of the instance's node, that leads to it; 0 = none
}

// imagePortsOf are those of an instance of this node.
func imagePortsOf(i planner.Instance) []imagePort {
	ports := i.ImagePorts()
	out := make([]imagePort, len(ports))
	for k, p := range ports {
		out[k].ImagePort = p
	}
	return out
}

// exposedAt are those of an instance on another node, as that tells them.
func exposedAt(endpoints []planner.Endpoint) []imagePort {
	var out []imagePort
	for _, e := range endpoints {
		if protocol := cmp.Or(e.Protocol, "tcp"); e.Exposed && (protocol == "tcp" || protocol == "udp") {
			out = append(out, imagePort{planner.ImagePort{Port: e.Container, Protocol: protocol}, e.Host})
		}
	}
	return out
}

// addImagePorts makes what the images of its instances expose ports of a service
// that asks for them, behind those that it declares. l has what was found of the
// instances here, and there what was found now or went through this before. Where
// before is of the same manifest and has the same instances elsewhere, and here
// the same ports are exposed, its ports are these; nil = nothing is.
func (l *led) addImagePorts(before *led) {
	l.declared = len(l.service.Ports)
	if !l.service.HasImagePorts() {
		return
	}
	if before != nil && slices.EqualFunc(l.here, before.here, sameImage) {
		l.service.Ports = before.service.Ports
		l.layHere()
		return
	}
	all := make([][]planner.ImagePort, 0, len(l.here)+len(l.there))
	for _, i := range l.here {
		all = append(all, plain(i.image))
	}
	for _, r := range l.there {
		all = append(all, plain(r.image))
	}
	l.service.Ports = l.service.PortsWith(all...)
	l.layHere()
	l.layThere()
}

// sameImage reports whether two instances expose the same ports.
func sameImage(a, b local) bool {
	return slices.EqualFunc(a.image, b.image, func(a, b imagePort) bool { return a.ImagePort == b.ImagePort })
}

// layHere brings the ports of the instances here into the order of the service's.
func (l *led) layHere() {
	added := l.service.Ports[l.declared:]
	here := make([]local, len(l.here))
	for k, i := range l.here {
		i.ports, i.hostPorts = slices.Clone(i.ports[:l.declared]), slices.Clone(i.hostPorts[:l.declared])
		for _, p := range added {
			port, host := 0, 0
			if at := indexOfPort(i.image, p); at >= 0 {
				port, host = p.Container, i.image[at].host
			}
			i.ports, i.hostPorts = append(i.ports, port), append(i.hostPorts, host)
		}
		here[k] = i
	}
	l.here = here
}

// layThere does the same for those elsewhere.
func (l *led) layThere() {
	added := l.service.Ports[l.declared:]
	there := make([]remote, len(l.there))
	for k, r := range l.there {
		r.ports = slices.Clone(r.ports[:l.declared])
		for _, p := range added {
			host := 0
			if at := indexOfPort(r.image, p); at >= 0 {
				host = r.image[at].host
			}
			r.ports = append(r.ports, host)
		}
		there[k] = r
	}
	l.there = there
}

func plain(ports []imagePort) []planner.ImagePort {
	out := make([]planner.ImagePort, len(ports))
	for k, p := range ports {
		out[k] = p.ImagePort
	}
	return out
}

// indexOfPort finds where the container listens; -1 = its image does not say so.
func indexOfPort(ports []imagePort, p planner.Port) int {
	return slices.IndexFunc(ports, func(i imagePort) bool { return i.Port == p.Container && i.Protocol == p.Protocol })
}

// exposes reports whether the images of an instance say that they listen there.
func (l local) exposes(port int, protocol string) bool {
	return indexOfPort(l.image, planner.Port{Container: port, Protocol: protocol}) >= 0
}
