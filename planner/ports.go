package planner

import "strconv"

// hostPort is a port of a node.
type hostPort struct {
	port     int
	protocol string
}

func (p hostPort) String() string { return strconv.Itoa(p.port) + "/" + p.protocol }

// portClaim is a port that an instance needs of its node.
type portClaim struct {
	hostPort
	address string // "" = on all addresses
	// shared: the node opens it for all instances of the service that it has;
	// else the instance itself listens there.
	shared bool
}

// clashes reports whether no node can serve both claims; same says that they
// are of one service.
func (c portClaim) clashes(o portClaim, same bool) bool {
	return c.hostPort == o.hostPort && (c.address == "" || o.address == "" || c.address == o.address) && !(same && c.shared && o.shared)
}

// nodePorts are the ports of a node that are taken.
type nodePorts map[hostPort][]portHolder

// portHolder is a service that has a port, n instances of it.
type portHolder struct {
	service ServiceID
	portClaim
	n int
}

// add counts n more instances that have the port, or fewer.
func (p nodePorts) add(id ServiceID, c portClaim, n int) {
	for i, h := range p[c.hostPort] {
		if h.service == id && h.portClaim == c {
			p[c.hostPort][i].n += n
			return
		}
	}
	p[c.hostPort] = append(p[c.hostPort], portHolder{id, c, n})
}

// taken says who else has one of the ports that an instance of a service needs;
// "" = nobody. The service itself gives those freed back before.
func (p nodePorts) taken(id ServiceID, claims, freed []portClaim) string {
	for _, c := range claims {
		for _, h := range p[c.hostPort] {
			n := h.n
			for _, f := range freed {
				if h.service == id && h.portClaim == f {
					n--
				}
			}
			if n > 0 && h.clashes(c, h.service == id) {
				return c.takenBy(h.service, id)
			}
		}
	}
	return ""
}

// takenBy says that a service has a port that one needs.
func (c portClaim) takenBy(by, needs ServiceID) string {
	if by == needs {
		return "port " + c.String() + " is taken by another of its instances"
	}
	return "port " + c.String() + " is taken by service " + by.String()
}

// claims lists the ports that an instance of the service needs of its node,
// made from t. What listens on the node itself needs its own; for what has a
// network of its own the node opens those that are published.
func (s *Service) claims(t Template) []portClaim {
	if t.HostNetwork || t.DriverName() == DriverProcess {
		return t.listens()
	}
	return s.published(func(Publish) bool { return true })
}

// listens lists the ports that containers listen on.
func (t Template) listens() (claims []portClaim) {
	for _, c := range t.Containers {
		for _, p := range c.Ports {
			claims = append(claims, portClaim{hostPort: hostPort{p.ContainerPort, protocolOf(p.Protocol)}})
		}
	}
	return claims
}

// published lists the ports that nodes open for the service.
func (s *Service) published(which func(Publish) bool) (claims []portClaim) {
	for _, p := range s.Ports {
		if p.Publish != nil && which(*p.Publish) {
			claims = append(claims, portClaim{hostPort{p.Publish.Port, protocolOf(p.Protocol)}, p.Publish.Address, true})
		}
	}
	return claims
}

// OnEveryNode reports whether a port is opened on every node of the fleet, and
// not just where an instance runs.
func (p Publish) OnEveryNode() bool { return p.Mode != "node" }

func protocolOf(s string) string {
	if s == "" {
		return "tcp"
	}
	return s
}

// everywhere are the ports that services have opened on every node.
type everywhere map[hostPort][]portHolder

// add notes those of a service.
func (e everywhere) add(s *Service) {
	for _, c := range s.published(Publish.OnEveryNode) {
		e[c.hostPort] = append(e[c.hostPort], portHolder{s.ID, c, 1})
	}
}

// taken says which other service has one of the ports on every node, of those
// that go before this one.
func (e everywhere) taken(id ServiceID, claims []portClaim, before func(other ServiceID) bool) string {
	for _, c := range claims {
		for _, h := range e[c.hostPort] {
			if h.service != id && h.clashes(c, false) && before(h.service) {
				return "port " + c.String() + " of every node is taken by service " + h.service.String()
			}
		}
	}
	return ""
}
