package planner

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// ImagePort is a port on which an image says that its program listens
// (EXPOSE).
type ImagePort struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"` // "tcp" or "udp"
}

// MaxImagePorts bounds what counts of the ports that the images of an instance
// expose, and of those that the address of a service has for them.
const MaxImagePorts = 32

// ParseImagePorts reads ports as image configurations have them: "6379/tcp",
// "53/udp", "80", "8000-8010/tcp". What is none, or of another protocol, is left
// out. They come in order, the first MaxImagePorts.
func ParseImagePorts(exposed []string) []ImagePort {
	var out []ImagePort
	for _, text := range exposed {
		numbers, protocol, _ := strings.Cut(text, "/")
		from, to, isRange := strings.Cut(numbers, "-")
		if !isRange {
			to = from
		}
		protocol = protocolOf(strings.ToLower(protocol))
		first, err := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || first == 0 || protocol != "tcp" && protocol != "udp" {
			continue
		}
		// No more than counts of one range can be among the first of all.
		for n := first; n <= last && n < first+MaxImagePorts; n++ {
			out = append(out, ImagePort{int(n), protocol})
		}
		if len(out) > 1<<10 {
			out = firstImagePorts(out)
		}
	}
	return firstImagePorts(out)
}

// firstImagePorts sorts ports and leaves out those that count no more.
func firstImagePorts(ports []ImagePort) []ImagePort {
	slices.SortFunc(ports, ImagePort.compare)
	ports = slices.Compact(ports)
	return slices.Clip(ports[:min(len(ports), MaxImagePorts)])
}

func (p ImagePort) compare(o ImagePort) int {
	return cmp.Or(cmp.Compare(p.Port, o.Port), cmp.Compare(p.Protocol, o.Protocol))
}

// ImagePorts are those of all containers of an instance, in order.
func (i Instance) ImagePorts() []ImagePort {
	if len(i.Containers) == 1 && len(i.Containers[0].Exposed) <= MaxImagePorts {
		return i.Containers[0].Exposed // in order already
	}
	var all []ImagePort
	for _, c := range i.Containers {
		all = append(all, c.Exposed...)
	}
	return firstImagePorts(all)
}

// HasImagePorts reports whether the ports that images expose are ports of the
// service: it asks for them, and its instances have a network of their own.
func (s Service) HasImagePorts() bool {
	return s.ImagePorts && !s.Template.HostNetwork && s.Template.DriverName() != DriverProcess
}

// PortsWith are the ports of a service whose instances expose these, one list
// for each of them: those it declares, then one of the same number for each port
// that its address lacks. Where there are more than MaxImagePorts those count
// that most instances expose; they come in order.
func (s Service) PortsWith(exposed ...[]ImagePort) []Port {
	type counted struct {
		ImagePort
		n int
	}
	var lacks []counted
	index := map[ImagePort]int{}
	for _, ports := range exposed {
		for _, p := range ports {
			if at, known := index[p]; known {
				if at >= 0 {
					lacks[at].n++
				}
				continue
			}
			index[p] = -1
			if !s.declares(p) {
				index[p] = len(lacks)
				lacks = append(lacks, counted{p, 1})
			}
		}
	}
	slices.SortFunc(lacks, func(a, b counted) int { return cmp.Or(b.n-a.n, a.compare(b.ImagePort)) })
	lacks = lacks[:min(len(lacks), MaxImagePorts)]
	slices.SortFunc(lacks, func(a, b counted) int { return a.compare(b.ImagePort) })
	out := s.Ports[:len(s.Ports):len(s.Ports)]
	for _, p := range lacks {
		out = append(out, Port{Container: p.Port, Protocol: p.Protocol, Port: p.Port})
	}
	return out
}

// declares reports whether one of the declared ports is in the place of one that
// an image exposes: of the service's address or, where it is headless, of the
// slots'.
func (s Service) declares(image ImagePort) bool {
	return slices.ContainsFunc(s.Ports, func(p Port) bool {
		number := p.Port
		if s.Headless {
			number = p.Container
		}
		return number == image.Port && protocolOf(p.Protocol) == image.Protocol
	})
}
