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
)

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
	texts("command", maxArguments, longText, func(e *planner.ProbeExec) *[]string { return &e.Command }).must(),
)

var preStopSchema = newSchema(
	object("exec", execSchema, func(e *planner.ProbeExec) *planner.ProbeExec { return e }).must(),
)

var lifecycleSchema = newSchema(
	pointer("preStop", preStopSchema, func(l *planner.Lifecycle) **planner.ProbeExec { return &l.PreStop }),
).foreign("postStart", "remove it: only preStop is known")

func headerName(s string) (string, string) {
	if s == "" {
		return "must not be empty", ""
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return "is not the name of an HTTP header", ""
		}
	}
	return "", ""
}

// portRef is a port by number or by name.
func portRef[T any](name string, at func(*T) *string) field[T] {
	return field[T]{fieldInfo{name: name}, func(d *decoder, v value, into *T) {
		if v.node.Tag == "!!int" && v.node.Style == 0 {
			if n, ok := d.number(v, 1, 65535); ok {
				*at(into) = strconv.FormatInt(n, 10)
			}
			return
		}
		if s, ok := d.text(v, dnsLabel(15)); ok {
			*at(into) = s
		}
	}}
}

// checkProbe looks at a probe as a whole and gives defaults their zero value.
func checkProbe(d *decoder, at string, p *planner.Probe) {
	if p == nil {
		return
	}
	given := 0
	for _, set := range []bool{p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil, p.Exec != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		d.fault(at, "must have exactly one of httpGet, tcpSocket, grpc and exec", "keep the one that is meant")
	}
	if p.Exec != nil && len(p.Exec.Command) == 0 && d.has(at+".exec.command") {
		d.fault(at+".exec.command", "must not be empty", "write a command, or remove the probe")
	}
	if h := p.HTTPGet; h != nil {
		zeroIf(&h.Path, "/")
		zeroIf(&h.Scheme, "HTTP")
	}
	zeroIf(&p.PeriodSeconds, 10)
	zeroIf(&p.TimeoutSeconds, 1)
	zeroIf(&p.SuccessThreshold, 1)
	zeroIf(&p.FailureThreshold, 3)
}

// zeroIf writes a default as the zero value, which is how the revision sees it.
func zeroIf[T comparable](v *T, def T) {
	if *v == def {
		var zero T
		*v = zero
	}
}
