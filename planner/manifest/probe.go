package manifest

import (
	"strconv"

	"github.com/orpheus-cd/orpheus/planner"
)

// maxProbeSeconds bounds every number of a probe that is a time.
const maxProbeSeconds = 24 * 3600

var probeSchema = newSchema(
	pointer("httpGet", probeHTTPSchema, func(p *planner.Probe) **planner.ProbeHTTP { return &p.HTTPGet }),
	pointer("tcpSocket", probePortSchema, func(p *planner.Probe) **planner.ProbePort { return &p.TCPSocket }),
	pointer("grpc", probeGRPCSchema, func(p *planner.Probe) **planner.ProbeGRPC { return &p.GRPC }),
	pointer("exec", execSchema, func(p *planner.Probe) **planner.ProbeExec { return &p.Exec }),
	number("initialDelaySeconds", 0, maxProbeSeconds, func(p *planner.Probe) *int { return &p.InitialDelaySeconds }),
	number("periodSeconds", 1, maxProbeSeconds, func(p *planner.Probe) *int { return &p.PeriodSeconds }),
	number("timeoutSeconds", 1, maxProbeSeconds, func(p *planner.Probe) *int { return &p.TimeoutSeconds }),
	number("successThreshold", 1, 1000, func(p *planner.Probe) *int { return &p.SuccessThreshold }),
	number("failureThreshold", 1, 1000, func(p *planner.Probe) *int { return &p.FailureThreshold }),
	optional("terminationGracePeriodSeconds", 1, maxGrace, func(p *planner.Probe) **int64 { return &p.TerminationGracePeriodSeconds }),
).exactlyOne("httpGet", "tcpSocket", "grpc", "exec")

var probeHTTPSchema = newSchema(
	text("path", anyText, func(h *planner.ProbeHTTP) *string { return &h.Path }),
	portRef("port", func(h *planner.ProbeHTTP) *string { return &h.Port }).must(),
	text("host", anyText, func(h *planner.ProbeHTTP) *string { return &h.Host }),
	text("scheme", oneOf("HTTP", "HTTPS"), func(h *planner.ProbeHTTP) *string { return &h.Scheme }),
	objects("httpHeaders", 64, headerSchema, func(h *planner.ProbeHTTP) *[]planner.HTTPHeader { return &h.Headers }),
)

var headerSchema = newSchema(
	text("name", headerName, func(h *planner.HTTPHeader) *string { return &h.Name }).must(),
	text("value", anyText, func(h *planner.HTTPHeader) *string { return &h.Value }).must(),
)

var probePortSchema = newSchema(
	portRef("port", func(p *planner.ProbePort) *string { return &p.Port }).must(),
	text("host", anyText, func(p *planner.ProbePort) *string { return &p.Host }),
)

var probeGRPCSchema = newSchema(
	portRef("port", func(g *planner.ProbeGRPC) *string { return &g.Port }).must(),
	text("service", anyText, func(g *planner.ProbeGRPC) *string { return &g.Service }),
)

var execSchema = newSchema(
	texts("command", maxArguments, longText, func(e *planner.ProbeExec) *[]string { return &e.Command }).must().nonEmpty(),
)

var headerName = rule{checkHeaderName, form{pattern: "[^\\s:]+", says: "the name of an HTTP header"}}

func checkHeaderName(s string) (string, string) {
	if s == "" {
		return "must not be empty", "write a value, or remove it"
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return "is not the name of an HTTP header", "write one such as X-Health"
		}
	}
	return "", ""
}

// portRef is a port by number or by name.
func portRef[T any](name string, at func(*T) *string) field[T] {
	return special(name, numberShape(1, 65535).or(dnsLabel(15).shape()), func(d *decoder, v value, into *T) {
		if v.node.Tag == "!!int" && v.node.Style == 0 {
			if n, ok := d.number(v, 1, 65535); ok {
				*at(into) = strconv.FormatInt(n, 10)
			}
			return
		}
		if s, ok := d.text(v, dnsLabel(15)); ok {
			*at(into) = s
		}
	})
}
