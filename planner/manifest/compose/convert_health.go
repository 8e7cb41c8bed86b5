package compose

import (
	"math"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// Compose's defaults of a health check.
const (
	checkInterval = 30 * time.Second
	checkTimeout  = 30 * time.Second
	checkRetries  = 3
)

// rolloutDeadline is how long an instance of a rollout may take, in seconds,
// unless the service says otherwise.
const rolloutDeadline = 600

// mostDeadline is the longest that may be said.
const mostDeadline = 24 * 3600

// maxThreshold is how many checks in a row a probe may ask for.
const maxThreshold = 1000

// checked makes probes of the health check. Compose never ends a container
// because of it; Swarm replaces one that is not healthy, which begins to count
// when its start_period is over.
func (s *service) checked() {
	h := s.HealthCheck
	if h == nil || h.Disable || len(h.Test) == 0 || h.Test[0] == "NONE" {
		s.checkAlone()
		return
	}
	at := s.field("healthcheck")
	command := []string(h.Test[1:])
	switch {
	case h.Test[0] == "CMD-SHELL" && len(h.Test) == 2:
		command = []string{"/bin/sh", "-c", h.Test[1]}
	case h.Test[0] != "CMD" || len(h.Test) < 2:
		s.fault(at+".test", "names no command", `write ["CMD", PROGRAM, ARGUMENT] or ["CMD-SHELL", LINE]`)
		return
	}
	interval := given(h.Interval, checkInterval)
	retries := int(checkRetries)
	if h.Retries != nil && *h.Retries > 0 {
		retries = int(min(*h.Retries, maxThreshold+1))
	}
	probe := func(period time.Duration, failures int) object {
		return object{
			member("exec", object{member("command", textList(command), at+".test")}, at+".test"),
			member("periodSeconds", max(seconds(period), 1), at+".interval"),
			member("timeoutSeconds", max(seconds(given(h.Timeout, checkTimeout)), 1), at+".timeout"),
			member("failureThreshold", failures, at+".retries"),
		}
	}
	start := given(h.StartPeriod, 0)
	if whole := start + time.Duration(min(retries, maxThreshold))*interval; seconds(whole) > rolloutDeadline {
		from := at + ".retries"
		if start > 0 {
			from = at + ".start_period"
		}
		s.spec.Put("progressDeadlineSeconds", min(seconds(whole), mostDeadline), from)
	}
	if start > 0 && s.swarm {
		period := given(h.StartInterval, interval)
		whole := time.Duration(max(seconds(period), 1)) * time.Second
		failures := math.Ceil(float64(start+time.Duration(retries)*interval) / float64(whole))
		for failures > maxThreshold {
			whole *= 2
			failures = math.Ceil(float64(start+time.Duration(retries)*interval) / float64(whole))
		}
		p := probe(whole, int(failures))
		p.Put("periodSeconds", seconds(whole), at+".start_period")
		p.Put("failureThreshold", int(failures), at+".start_period")
		s.spec.Put("startupProbe", p, at)
	}
	if s.swarm {
		s.spec.Put("livenessProbe", probe(interval, retries), at)
	}
	s.spec.Put("readinessProbe", probe(interval, retries), at)
}

// checkAlone says what is left of a health check without a test.
func (s *service) checkAlone() {
	h := s.HealthCheck
	if h == nil || h.Disable || len(h.Test) > 0 {
		return
	}
	const reason, remedy = "has no test: that of the image is not looked at", `write test: ["CMD", PROGRAM, ARGUMENT]`
	if h.Interval == nil && h.Timeout == nil && h.Retries == nil && h.StartPeriod == nil && h.StartInterval == nil {
		s.warn(s.field("healthcheck"), reason, remedy) // disable: false
		return
	}
	s.fault(s.field("healthcheck"), reason, remedy)
}

// given is a time that is set and not zero, which stands for the default, too.
func given(d *types.Duration, byDefault time.Duration) time.Duration {
	if d == nil || *d == 0 {
		return byDefault
	}
	return time.Duration(*d)
}

// hasTest reports whether the file says how to find out that a service is
// healthy.
func hasTest(s types.ServiceConfig) bool {
	h := s.HealthCheck
	return h != nil && !h.Disable && len(h.Test) > 0 && h.Test[0] != "NONE"
}
