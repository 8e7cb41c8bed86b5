package agent

import (
	"fmt"
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// ownPorts are the ports on which instances of this node listen on the node
// itself, where the Balancer listens there, too: it must not be in their way,
// and where they come first, an address of a service would reach them, whosever
// instances they are. Such a port is not opened for any service, and slots,
// which are reached on the very ports of their instances, have no address.
type ownPorts struct {
	listening runtime.Listening // nil = the kernel leads connections: nobody is in nobody's way
	// followed are those of services that may run here as they are followed, taken
	// those and the ones of instances that run here by an earlier revision; each
	// with the first service that has it.
	followed, taken map[runtime.ContainerPort]planner.ServiceID
	// closed are the ports of services that are not opened for it.
	closed []api.NotOpened
}

// lookAtOwnPorts takes in what listens on this node, or may, and reports whether
// that changed. With anew what is followed has.
func (a *Agent) lookAtOwnPorts(here map[planner.ServiceID][]local, anew bool) bool {
	p := &a.balance.own
	if p.listening == nil {
		return false
	}
	if anew || p.followed == nil {
		p.followed = map[runtime.ContainerPort]planner.ServiceID{}
		for id, s := range a.state.followed.Services {
			if a.mayListen(s) {
				noteListens(p.followed, id, s)
			}
		}
	}
	taken := maps.Clone(p.followed)
	for id, all := range here {
		for _, l := range all {
			for k, port := range a.state.followed.Services[id].Ports {
				if !l.own {
					notePort(taken, runtime.ContainerPort{Port: l.ports[k], Protocol: port.Protocol}, id)
				}
			}
		}
	}
	changed := !maps.Equal(taken, p.taken)
	p.taken = taken
	return changed
}

// mayListen reports whether instances of a service listen on this node itself
// where they run here, which nothing that the node knows of itself forbids.
func (a *Agent) mayListen(s planner.Service) bool {
	d := a.drivers[s.Template.DriverName()]
	return !s.Orphan && d != nil && (s.Template.HostNetwork || !d.info.Capabilities.NetNS) && len(planner.Admit(a.cfg.Policy, s)) == 0 &&
		(a.fleet != nil || planner.RunsHere(a.cfg.Node, a.state.followed.Fleet, s))
}

// noteListens notes the ports that instances of a service listen on.
func noteListens(ports map[runtime.ContainerPort]planner.ServiceID, id planner.ServiceID, s planner.Service) {
	for _, p := range s.Ports {
		notePort(ports, runtime.ContainerPort{Port: p.Container, Protocol: p.Protocol}, id)
	}
	for _, c := range s.Template.Containers {
		for _, p := range c.Ports {
			protocol := p.Protocol
			if protocol == "" {
				protocol = "tcp"
			}
			notePort(ports, runtime.ContainerPort{Port: p.ContainerPort, Protocol: protocol}, id)
		}
	}
}

func notePort(ports map[runtime.ContainerPort]planner.ServiceID, at runtime.ContainerPort, id planner.ServiceID) {
	if first, noted := ports[at]; !noted || id.Compare(first) < 0 {
		ports[at] = id
	}
}

// closedPorts says of each port of a service why its address does not have it on
// this node, "" = it does; nil = it has all of them.
func (a *Agent) closedPorts(l *led) []string {
	p, s := &a.balance.own, l.service
	if p.listening == nil || s.Headless {
		return nil
	}
	var closed []string
	for k, port := range s.Ports {
		if port.Port == 0 {
			continue
		}
		at := runtime.ContainerPort{Port: p.listening.ListensOn(port.Port), Protocol: port.Protocol}
		by, taken := p.taken[at]
		if !taken {
			continue
		}
		if closed == nil {
			closed = make([]string, len(s.Ports))
		}
		closed[k] = describeClosed(s, port.Port, at, by)
		if k < l.declared {
			closed[k] += "; choose another \"port\" in the manifest, or connect to where its instances are"
		} else {
			closed[k] += "; list it in ports with another \"port\", or connect to where its instances are"
		}
	}
	return closed
}

// describeClosed says why a port is not opened.
func describeClosed(s planner.Service, port int, at runtime.ContainerPort, by planner.ServiceID) string {
	own := map[runtime.ContainerPort]planner.ServiceID{}
	noteListens(own, s.ID, s)
	who := fmt.Sprintf("port %d of this node is that of the programs of %s", at.Port, by)
	if _, is := own[at]; is {
		who = fmt.Sprintf("port %d of this node is the program's own", at.Port)
	}
	if at.Port != port {
		who = fmt.Sprintf("without root it would be %d, and %s", at.Port, who)
	}
	return who
}

// isClosed reports whether the service's address does not have port k here.
func (l *led) isClosed(k int) bool { return l.closed != nil && l.closed[k] != "" }

// hidden reports whether the service's address has none of its ports here.
func (l *led) hidden() bool {
	for k, p := range l.service.Ports {
		if p.Port != 0 && !l.isClosed(k) {
			return false
		}
	}
	return l.closed != nil
}

// notOpened are the ports that the service's address does not have here.
func (l *led) notOpened() []api.NotOpened {
	var out []api.NotOpened
	for k, why := range l.closed {
		if why != "" {
			p := l.service.Ports[k]
			out = append(out, api.NotOpened{
				Namespace: l.service.ID.Namespace, Name: l.service.ID.Name, Kind: "service", Port: p.Port, Protocol: p.Protocol, Reason: why, Meant: true,
			})
		}
	}
	return out
}

// showOwnPorts keeps which ports are closed for the status.
func (a *Agent) showOwnPorts() {
	p := &a.balance.own
	if p.listening == nil {
		return
	}
	p.closed = nil
	for _, id := range sortedServices(a.balance.led) {
		p.closed = append(p.closed, a.balance.led[id].notOpened()...)
	}
	p.closed = slices.Clip(p.closed[:min(len(p.closed), maxReported)])
}
