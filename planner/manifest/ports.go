package manifest

import (
	"net/netip"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// port is a port as written: name, containerPort and protocol go into the
// template, the rest beside it.
type port struct {
	name          string
	containerPort int
	protocol      string // "" = tcp
	port          int
	publish       []published
}

// published is one way in from the world, and its field path.
type published struct {
	planner.Publish
	at string
}

var portSchema = newSchema(
	text("name", dnsLabel(15), func(p *port) *string { return &p.name }).restart(),
	number("containerPort", 1, 65535, func(p *port) *int { return &p.containerPort }).must().restart(),
	special("protocol", anyCase("TCP", "UDP"), decodeProtocol).restart(),
	number("port", 1, 65535, func(p *port) *int { return &p.port }),
	field[port]{fieldInfo{name: "publish", shape: onePublish.or(listShape(maxPublished, onePublish).atLeast(1)), itself: true, children: publishSchema.infos()}, decodePublish},
).foreign(
	"hostPort", "write publish: PORT",
	"targetPort", "write containerPort: PORT",
	"nodePort", "write publish: PORT",
	"hostIP", "write publish: {port: PORT, address: IP}",
	"target", "write containerPort: PORT",
	"published", "write publish: PORT",
).like("{containerPort: 80, publish: 8080}")

var publishSchema = newSchema(
	number("port", 1, 65535, func(p *planner.Publish) *int { return &p.Port }).must(),
	text("mode", oneOf("fleet", "node"), func(p *planner.Publish) *string { return &p.Mode }),
	special("address", addressShape, decodeAddress),
)

var onePublish = publishSchema.shape().or(numberShape(1, 65535))

func decodeProtocol(d *decoder, v value, into *port) {
	s, ok := d.text(v, anyText)
	if !ok {
		return
	}
	switch strings.ToUpper(s) {
	case "TCP":
	case "UDP":
		into.protocol = "udp"
	default:
		d.wrong(v, quote(s)+" is not supported", "write TCP or UDP")
	}
}

// decodePublish takes a port number, an object, or a list of these.
func decodePublish(d *decoder, v value, into *port) {
	if v.node.Kind != yaml.SequenceNode {
		into.publish = []published{decodePublished(d, v)}
		return
	}
	items := d.items(v, maxPublished, "")
	if len(v.node.Content) == 0 {
		d.wrong(v, "must have at least one item", "add a port of the nodes, or remove the line")
	}
	for _, item := range items {
		into.publish = append(into.publish, decodePublished(d, item))
	}
}

func decodePublished(d *decoder, v value) published {
	p := published{at: v.path}
	if v.node.Kind == yaml.MappingNode {
		decodeObject(d, v, publishSchema, &p.Publish)
		zeroIf(&p.Mode, "fleet")
		return p
	}
	if n, ok := d.number(v, 1, 65535); ok {
		p.Port = int(n)
	}
	return p
}

func decodeAddress(d *decoder, v value, into *planner.Publish) {
	s, ok := d.text(v, anyText)
	if !ok {
		return
	}
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil || addr.Zone() != "":
		d.wrong(v, quote(s)+" is not an IP address", "write one such as 192.0.2.10, or remove the line for all addresses")
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		d.wrong(v, quote(s)+" is not the address of a node", "write one such as 192.0.2.10, or remove the line for all addresses")
	case addr.IsUnspecified(): // all addresses, the default
	default:
		into.Address = addr.Unmap().String()
	}
}

// overlap reports whether no node can serve both claims.
func (c claim) overlap(o claim) bool {
	return c.protocol == o.protocol && c.port == o.port &&
		(c.address == "" || o.address == "" || c.address == o.address)
}
