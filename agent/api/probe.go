package api

import "github.com/orpheus-cd/orpheus/planner"

// Probe is what one probe of a running container has found.
type Probe struct {
	Container string            `json:"container"`
	Kind      planner.ProbeKind `json:"kind"`
	Check     string            `json:"check"` // "httpGet http://:8080/healthz"
	// Result is what counts: "success", "failure", or "" while nothing does yet.
	Result planner.CheckResult `json:"result,omitempty"`
	// Failures is how many of the last checks failed in a row, up to
	// FailureThreshold; Message says how the last one did.
	Failures         int    `json:"failures,omitempty"`
	FailureThreshold int    `json:"failureThreshold"`
	Message          string `json:"message,omitempty"`
	// Output is what the container answered to it; told on the unix socket only.
	Output string `json:"output,omitempty"`
}

// withoutLogs is the status for those who may not read logs.
func (s *Status) withoutLogs() *Status {
	out := *s
	out.Services = make([]Service, len(s.Services))
	for k, service := range s.Services {
		service.Instances = append([]Instance(nil), service.Instances...)
		for n := range service.Instances {
			service.Instances[n].LastLog = nil
			probes := append([]Probe(nil), service.Instances[n].Probes...)
			for p := range probes {
				probes[p].Output = ""
			}
			service.Instances[n].Probes = probes
		}
		out.Services[k] = service
	}
	return &out
}
