package manifest

import (
	"strconv"

	"github.com/orpheus-cd/orpheus/planner"
)

// checkProbes looks at the probes and the hook of a container as a whole, and
// gives defaults their zero value.
func (w *writtenService) checkProbes(c placed) {
	for _, kind := range planner.ProbeKinds {
		if p := c.Probe(kind); p != nil {
			w.checkProbe(c, c.at+"."+string(kind)+"Probe", kind, p)
		}
	}
	if c.HasPreStop() {
		w.checkPreStop(c, c.at+".lifecycle.preStop", c.Lifecycle.PreStop)
	}
}

func (w *writtenService) checkProbe(c placed, at string, kind planner.ProbeKind, p *planner.Probe) {
	d := w.d
	if given := trues(p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil, p.Exec != nil); given != 1 {
		d.fault(at, "must have exactly one of httpGet, tcpSocket, grpc and exec", "keep the one that is meant")
	}
	if p.Exec != nil {
		w.checkCommand(at+".exec.command", p.Exec.Command)
	}
	w.checkHTTP(c, at+".httpGet", p.HTTPGet)
	if p.TCPSocket != nil {
		w.checkProbePort(c, at+".tcpSocket.port", p.TCPSocket.Port)
	}
	if p.GRPC != nil {
		w.checkProbePort(c, at+".grpc.port", p.GRPC.Port)
	}
	if kind != planner.ProbeReadiness && p.SuccessThreshold > 1 && !d.all {
		d.fault(at+".successThreshold", "must be 1 for a "+string(kind)+" probe", "remove it")
	}
	if kind == planner.ProbeReadiness && p.TerminationGracePeriodSeconds != nil {
		d.fault(at+".terminationGracePeriodSeconds", "is not possible on a readiness probe: it stops nothing", "remove it")
	}
	zeroIf(&p.PeriodSeconds, 10)
	zeroIf(&p.TimeoutSeconds, 1)
	zeroIf(&p.SuccessThreshold, 1)
	zeroIf(&p.FailureThreshold, 3)
}

func (w *writtenService) checkPreStop(c placed, at string, hook *planner.PreStop) {
	if given := trues(w.d.has(at+".exec"), hook.HTTPGet != nil, hook.Sleep != nil); given != 1 {
		w.d.fault(at, "must have exactly one of exec, httpGet and sleep", "keep the one that is meant")
	}
	w.checkCommand(at+".exec.command", hook.Command)
	w.checkHTTP(c, at+".httpGet", hook.HTTPGet)
	grace := int64(planner.DefaultGrace.Seconds())
	if w.spec.grace != nil {
		grace = *w.spec.grace
	}
	if s := hook.Sleep; s != nil && s.Seconds > grace {
		w.d.fault(at+".sleep.seconds", "is longer than terminationGracePeriodSeconds, "+strconv.FormatInt(grace, 10),
			"sleep for less, or raise spec.terminationGracePeriodSeconds")
	}
}

func (w *writtenService) checkCommand(at string, command []string) {
	if len(command) == 0 && w.d.has(at) {
		w.d.fault(at, "must not be empty", "write a command, or remove what it is for")
	}
}

func (w *writtenService) checkHTTP(c placed, at string, h *planner.ProbeHTTP) {
	if h == nil {
		return
	}
	w.checkProbePort(c, at+".port", h.Port)
	zeroIf(&h.Path, "/")
	zeroIf(&h.Scheme, "HTTP")
}

// checkProbePort wants a port's name to be one of the container's own.
func (w *writtenService) checkProbePort(c placed, at, port string) {
	if _, err := strconv.Atoi(port); err == nil || port == "" {
		return
	}
	for _, p := range c.ports {
		if p.name == port {
			return
		}
	}
	w.d.fault(at, "the container has no port "+quote(port), "name one of its ports, or write a number")
}

func trues(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// zeroIf writes a default as the zero value, which is how the revision sees it.
func zeroIf[T comparable](v *T, def T) {
	if *v == def {
		var zero T
		*v = zero
	}
}
