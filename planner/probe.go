package planner

import (
	"strconv"
	"strings"
	"time"
)

// Probe is a check of a container, with Kubernetes' fields and defaults;
// exactly one of the four ways is set, and numbers equal to their default are
// zero: the methods give the effective values.
type Probe struct {
	HTTPGet             *ProbeHTTP `json:"httpGet,omitempty"`
	TCPSocket           *ProbePort `json:"tcpSocket,omitempty"`
	GRPC                *ProbeGRPC `json:"grpc,omitempty"`
	Exec                *ProbeExec `json:"exec,omitempty"`
	InitialDelaySeconds int        `json:"initialDelaySeconds,omitempty"`
	PeriodSeconds       int        `json:"periodSeconds,omitempty"`    // 0 = 10
	TimeoutSeconds      int        `json:"timeoutSeconds,omitempty"`   // 0 = 1
	SuccessThreshold    int        `json:"successThreshold,omitempty"` // 0 = 1
	FailureThreshold    int        `json:"failureThreshold,omitempty"` // 0 = 3
	// TerminationGracePeriodSeconds replaces that of the instance when this
	// probe has it stopped; nil = the instance's. Never set for readiness.
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// ProbeHTTP succeeds on a status from 200 to 399.
type ProbeHTTP struct {
	Path    string       `json:"path,omitempty"`   // "" = /
	Port    string       `json:"port"`             // number or name of a port
	Host    string       `json:"host,omitempty"`   // "" = the instance
	Scheme  string       `json:"scheme,omitempty"` // "" = HTTP
	Headers []HTTPHeader `json:"httpHeaders,omitempty"`
}

// HTTPHeader is one header of an HTTP probe.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ProbePort succeeds when the port accepts a connection.
type ProbePort struct {
	Port string `json:"port"`
	Host string `json:"host,omitempty"`
}

// ProbeGRPC asks the gRPC health service.
type ProbeGRPC struct {
	Port    string `json:"port"`
	Service string `json:"service,omitempty"`
}

// ProbeExec succeeds when the command exits with 0.
type ProbeExec struct {
	Command []string `json:"command"`
}

// Lifecycle holds the hook that runs before the stop signal.
type Lifecycle struct {
	PreStop *PreStop `json:"preStop,omitempty"`
}

// PreStop is done before a container gets its stop signal; exactly one of the
// three is set. Its time counts against the grace period.
type PreStop struct {
	Command []string   `json:"command,omitempty"` // of exec
	HTTPGet *ProbeHTTP `json:"httpGet,omitempty"`
	Sleep   *Sleep     `json:"sleep,omitempty"`
}

// String names what the hook does, for people.
func (h PreStop) String() string {
	switch {
	case h.HTTPGet != nil:
		return "httpGet " + h.HTTPGet.String()
	case h.Sleep != nil:
		return "sleep " + strconv.FormatInt(h.Sleep.Seconds, 10) + " s"
	}
	return "exec " + ProbeExec{Command: h.Command}.String()
}

// Sleep waits.
type Sleep struct {
	Seconds int64 `json:"seconds"`
}

// HasPreStop reports whether something is to be done before the stop signal.
func (c Container) HasPreStop() bool { return c.Lifecycle != nil && c.Lifecycle.PreStop != nil }

// ProbeKind says what the result of a probe decides.
type ProbeKind string

// The kinds of probe: startup holds the other two back until it succeeds, and
// restarts the instance if it fails; liveness restarts it; readiness decides
// whether it counts as ready.
const (
	ProbeStartup   ProbeKind = "startup"
	ProbeLiveness  ProbeKind = "liveness"
	ProbeReadiness ProbeKind = "readiness"
)

// ProbeKinds lists them, in the order in which people read them.
var ProbeKinds = [...]ProbeKind{ProbeStartup, ProbeLiveness, ProbeReadiness}

// Probe returns the container's probe of a kind, nil if it has none.
func (c Container) Probe(kind ProbeKind) *Probe {
	switch kind {
	case ProbeStartup:
		return c.StartupProbe
	case ProbeLiveness:
		return c.LivenessProbe
	case ProbeReadiness:
		return c.ReadinessProbe
	}
	return nil
}

// Probed reports whether the container has any probe.
func (c Container) Probed() bool {
	return c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil
}

// Gated reports whether probes decide when the container is ready.
func (c Container) Gated() bool { return c.StartupProbe != nil || c.ReadinessProbe != nil }

// InitialDelay is the time from the start of the container to the first check.
func (p Probe) InitialDelay() time.Duration {
	return time.Duration(p.InitialDelaySeconds) * time.Second
}

// Period is the time between the begins of two checks.
func (p Probe) Period() time.Duration { return secondsOr(p.PeriodSeconds, 10) }

// Timeout is how long a check may take before it has failed.
func (p Probe) Timeout() time.Duration { return secondsOr(p.TimeoutSeconds, 1) }

// Successes is how many checks in a row must succeed to undo a failure.
func (p Probe) Successes() int { return max(1, p.SuccessThreshold) }

// Failures is how many checks in a row must fail before it counts.
func (p Probe) Failures() int {
	if p.FailureThreshold == 0 {
		return 3
	}
	return p.FailureThreshold
}

// Grace is how long an instance has to stop that this probe has stopped, given
// the grace it has otherwise.
func (p Probe) Grace(otherwise time.Duration) time.Duration {
	if p.TerminationGracePeriodSeconds == nil {
		return otherwise
	}
	return time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
}

func secondsOr(n, def int) time.Duration {
	if n == 0 {
		n = def
	}
	return time.Duration(n) * time.Second
}

// RunsCommands reports whether a probe or hook runs a command in the container.
func (c Container) RunsCommands() bool {
	for _, kind := range ProbeKinds {
		if p := c.Probe(kind); p != nil && p.Exec != nil {
			return true
		}
	}
	return c.HasPreStop() && len(c.Lifecycle.PreStop.Command) > 0
}

// String names what the probe does, for people: "httpGet http://:8080/healthz".
func (p Probe) String() string {
	switch {
	case p.HTTPGet != nil:
		return "httpGet " + p.HTTPGet.String()
	case p.TCPSocket != nil:
		return "tcpSocket " + joinPort(p.TCPSocket.Host, p.TCPSocket.Port)
	case p.GRPC != nil:
		return strings.TrimSuffix("grpc :"+p.GRPC.Port+"/"+p.GRPC.Service, "/")
	case p.Exec != nil:
		return "exec " + p.Exec.String()
	}
	return "probe of an unknown kind"
}

// String is the URL as people read it. What stands after a question mark is
// left out: it may be a secret.
func (h ProbeHTTP) String() string {
	scheme := strings.ToLower(h.Scheme)
	if scheme == "" {
		scheme = "http"
	}
	path, _, _ := strings.Cut(h.Path, "?")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme + "://" + joinPort(h.Host, h.Port) + path
}

func joinPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// String is the program alone: its arguments may hold a secret.
func (e ProbeExec) String() string {
	if len(e.Command) == 0 {
		return ""
	}
	return e.Command[0]
}

// PortNumber resolves a port of a probe, a number or the name of one of the
// container's ports; 0 = there is none of that name.
func (c Container) PortNumber(port string) int {
	if n, err := strconv.Atoi(port); err == nil && n > 0 && n < 1<<16 {
		return n
	}
	for _, p := range c.Ports {
		if p.Name != "" && p.Name == port {
			return p.ContainerPort
		}
	}
	return 0
}

// Gated reports whether probes decide when an instance of the template is
// ready.
func (t Template) Gated() bool {
	for _, c := range t.Containers {
		if c.Gated() {
			return true
		}
	}
	return false
}
