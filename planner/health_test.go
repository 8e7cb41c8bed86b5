package planner

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// probed is a container with the probes that are named, each with these
// thresholds: "startup:1/3 liveness:1/3", successes before failures.
func probed(t *testing.T, text string) Container {
	t.Helper()
	c := Container{Name: "main"}
	for _, word := range strings.Fields(text) {
		kind, thresholds, _ := strings.Cut(word, ":")
		p := &Probe{TCPSocket: &ProbePort{Port: "80"}}
		if s, f, ok := strings.Cut(thresholds, "/"); ok {
			p.SuccessThreshold, p.FailureThreshold = int(s[0]-'0'), int(f[0]-'0')
		}
		switch ProbeKind(kind) {
		case ProbeStartup:
			c.StartupProbe = p
		case ProbeLiveness:
			c.LivenessProbe = p
		case ProbeReadiness:
			c.ReadinessProbe = p
		default:
			t.Fatalf("no probe %q", kind)
		}
	}
	return c
}

// Kubernetes' semantics, as its documentation and the worker of its prober
// (pkg/kubelet/prober/worker.go) have them. Results are those of the kind in
// the column: S success, F failure, ? no result; L, R and U (startup) choose
// the kind. What comes out is s(tarted), r(eady), and the probe the container
// is doomed by.
func TestHealth(t *testing.T) {
	tests := []struct {
		name    string
		probes  string
		results string
		want    string
	}{
		// Without probes a container that runs has started and is ready.
		{"no probes", "", "", "sr"},
		{"results without probes change nothing", "", "LFFFFRFFFFUFFFF", "sr"},

		// "The default state of readiness before the initial delay is Failure."
		{"readiness begins as failure", "readiness", "", "s"},
		{"one success is enough by default", "readiness", "RS", "sr"},
		{"successThreshold counts in a row", "readiness:3/3", "RSS", "s"},
		{"successThreshold reached", "readiness:3/3", "RSSS", "sr"},
		{"a failure begins the count anew", "readiness:3/3", "RSSFSS", "s"},
		{"and it is reached again", "readiness:3/3", "RSSFSSS", "sr"},
		{"failures below the threshold leave ready", "readiness", "RSFF", "sr"},
		{"the third failure takes it away", "readiness", "RSFFF", "s"},
		{"a success between begins the count anew", "readiness", "RSFFSFF", "sr"},
		{"failing for long, then one success", "readiness", "RSFFFFFFFS", "sr"},
		{"readiness never restarts", "readiness:1/1", "RFFFFFFFFFF", "s"},
		{"no result counts neither way", "readiness", "RSFF???", "sr"},
		{"and breaks no row", "readiness", "RSF?F?F", "s"},

		// "The default state of liveness is Success", so the container is ready.
		{"liveness begins as success", "liveness", "", "sr"},
		{"below failureThreshold it lives", "liveness", "LFF", "sr"},
		{"the third failure in a row", "liveness", "LFFF", "sr liveness"},
		{"a success between", "liveness", "LFFSFF", "sr"},
		{"failureThreshold 1", "liveness:1/1", "LF", "sr liveness"},
		{"on hold until there is a new container", "liveness", "LFFFSSSS", "sr liveness"},
		{"liveness does not touch readiness", "liveness readiness", "RSLFFF", "sr liveness"},
		{"which goes on while it is stopped", "liveness readiness:1/1", "RSLFFFRF", "s liveness"},
		{"liveness does not wait for readiness", "liveness readiness", "LFFF", "s liveness"},

		// "All other probes are disabled if a startup probe is provided, until it
		// succeeds."
		{"startup begins as unknown", "startup", "", ""},
		{"startup alone makes ready", "startup", "US", "sr"},
		{"startup holds liveness back", "startup liveness:1/1", "LFFFF", ""},
		{"startup holds readiness back", "startup readiness", "RSSS", ""},
		{"then readiness decides", "startup readiness", "RSUS", "s"},
		{"and comes through", "startup readiness", "USRS", "sr"},
		{"liveness counts after startup only", "startup liveness", "LFFUSLF", "sr"},
		{"startup fails", "startup:1/3", "UFFF", " startup"},
		{"startup may fail for long", "startup:1/9", "UFFFFFFFFS", "sr"},
		{"one verdict is all", "startup", "USFFFFFF", "sr"},
		{"a failed startup stays failed", "startup:1/2", "UFFSSS", " startup"},
		{"and holds the others back for good", "startup:1/1 liveness readiness", "UFRSLS", " startup"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := probed(t, tt.probes)
			h, kind := ContainerHealth{}, ProbeKind("")
			for _, r := range tt.results {
				switch r {
				case 'L':
					kind = ProbeLiveness
				case 'R':
					kind = ProbeReadiness
				case 'U':
					kind = ProbeStartup
				case 'S':
					h = h.After(c, kind, CheckSuccess)
				case 'F':
					h = h.After(c, kind, CheckFailure)
				case '?':
					h = h.After(c, kind, CheckUnknown)
				}
			}
			got := ""
			if h.Started(c) {
				got += "s"
			}
			if h.Ready(c) {
				got += "r"
			}
			if doomed := h.Doomed(c); doomed != "" {
				got += " " + string(doomed)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q (%+v)", got, tt.want, h)
			}
			// What was written to disk and read again goes on the same way.
			var again ContainerHealth
			data, err := json.Marshal(h)
			if err == nil {
				err = json.Unmarshal(data, &again)
			}
			if err != nil || again != h {
				t.Errorf("%s became %+v (%v)", data, again, err)
			}
		})
	}
}

// A probe that goes on succeeding, or failing, changes nothing any more: what
// is at rest is not written to disk.
func TestHealthAtRest(t *testing.T) {
	for _, result := range []CheckResult{CheckSuccess, CheckFailure, CheckUnknown} {
		c := probed(t, "readiness:2/3")
		var seen []ContainerHealth
		h := ContainerHealth{}
		for range 20 {
			h = h.After(c, ProbeReadiness, result)
			if !slices.Contains(seen, h) {
				seen = append(seen, h)
			}
		}
		if len(seen) > 3 {
			t.Errorf("%q: %d different states: %v", result, len(seen), seen)
		}
	}
}

func TestNextCheck(t *testing.T) {
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	started := sec(1000)
	tests := []struct {
		name  string
		probe Probe
		times CheckTimes
		want  time.Duration
	}{
		{"the first check comes at once", Probe{}, CheckTimes{Started: started}, started},
		{"or after the initial delay", Probe{InitialDelaySeconds: 7}, CheckTimes{Started: started}, sec(1007)},
		{"which counts from the start of the container, not from the startup probe's success",
			Probe{InitialDelaySeconds: 7}, CheckTimes{Started: started, Freed: sec(1003)}, sec(1007)},
		{"what startup held back comes as soon as it succeeds", Probe{InitialDelaySeconds: 7}, CheckTimes{Started: started, Freed: sec(1060)}, sec(1060)},
		{"then every ten seconds", Probe{}, CheckTimes{Started: started, Begun: sec(1020), End: sec(1021), Counted: sec(1020)}, sec(1030)},
		{"or as the period says", Probe{PeriodSeconds: 3}, CheckTimes{Started: started, Begun: sec(1020), End: sec(1021), Counted: sec(1020)}, sec(1023)},
		{"a check that takes longer than the period is followed at once, never overtaken",
			Probe{PeriodSeconds: 3, TimeoutSeconds: 20}, CheckTimes{Started: started, Begun: sec(1020), End: sec(1035), Counted: sec(1020)}, sec(1035)},
	}
	for _, tt := range tests {
		if got := tt.probe.NextCheck(tt.times); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestHastyChecks: until the first success checks come sooner than the period asks
// for; what fails counts no sooner, and what succeeds at once.
func TestHastyChecks(t *testing.T) {
	const started = 1000 * time.Second
	tests := []struct {
		name  string
		probe Probe
		slow  time.Duration // what a check takes
		fail  int           // so many checks, then they succeed
		// until is when the last of these is begun after the start of the container,
		// want the seconds at which they are, with ! if their result counts.
		until time.Duration
		want  string
	}{
		{"ready soon", Probe{}, 0, 2, 25 * time.Second, "0! 0.25 0.5! 10.5! 20.5!"},
		{"ready at once", Probe{}, 0, 0, 15 * time.Second, "0! 10!"},
		{"ready later", Probe{PeriodSeconds: 3}, 0, 9, 10 * time.Second, "0! 0.25 0.5 1 2 3! 4 5 6! 7! 10!"},
		{"after the initial delay", Probe{InitialDelaySeconds: 5}, 0, 2, 16 * time.Second, "5! 5.25 5.5! 15.5!"},
		// A period of a second is not much longer.
		{"often anyway", Probe{PeriodSeconds: 1}, 0, 9, 4 * time.Second, "0! 0.25 0.5 1! 2! 3! 4!"},
		// What takes long is not asked all the time.
		{"slow checks", Probe{}, 2 * time.Second, 9, 20 * time.Second, "0! 4 8 10! 14 18 20!"},
		// One that goes on longer than its period is followed at once, as ever.
		{"slower than the period", Probe{PeriodSeconds: 1, TimeoutSeconds: 5}, 2 * time.Second, 9, 6 * time.Second, "0! 2! 4! 6!"},
	}
	for _, tt := range tests {
		times := CheckTimes{Started: started, Hasty: true}
		var got []string
		for n := 0; ; n++ {
			begun := tt.probe.NextCheck(times)
			if begun-started > tt.until {
				break
			}
			result, counts := CheckSuccess, false
			if n < tt.fail {
				result = CheckFailure
			}
			times, counts = tt.probe.Checked(times, begun, begun+tt.slow, result)
			at := strconv.FormatFloat((begun - started).Seconds(), 'f', -1, 64)
			if counts {
				at += "!"
			}
			got = append(got, at)
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.want)
		}
	}
	// What does not get ready in a minute is left to its period.
	times, n := CheckTimes{Started: started, Hasty: true}, 0
	for begun := started; begun < started+2*time.Minute; begun = (Probe{}).NextCheck(times) {
		if times, _ = (Probe{}).Checked(times, begun, begun, CheckFailure); begun >= started+hastyFor {
			n++
		}
	}
	if n != 6 {
		t.Errorf("%d checks in the second minute", n)
	}
}

// The defaults of Kubernetes' API reference.
func TestProbeDefaults(t *testing.T) {
	var p Probe
	if p.InitialDelay() != 0 || p.Period() != 10*time.Second || p.Timeout() != time.Second || p.Successes() != 1 || p.Failures() != 3 {
		t.Errorf("%v %v %v %d %d", p.InitialDelay(), p.Period(), p.Timeout(), p.Successes(), p.Failures())
	}
	five := int64(5)
	if p.Grace(30*time.Second) != 30*time.Second || (Probe{TerminationGracePeriodSeconds: &five}).Grace(30*time.Second) != 5*time.Second {
		t.Error("the probe's grace replaces the instance's only if it is given")
	}
}

// What people read of a probe holds nothing that may be a secret.
func TestProbeString(t *testing.T) {
	tests := []struct {
		probe Probe
		want  string
	}{
		{Probe{HTTPGet: &ProbeHTTP{Port: "8080", Path: "/healthz?token=secret"}}, "httpGet http://:8080/healthz"},
		{Probe{HTTPGet: &ProbeHTTP{Port: "http", Scheme: "HTTPS", Host: "::1"}}, "httpGet https://[::1]:http/"},
		{Probe{TCPSocket: &ProbePort{Port: "5432"}}, "tcpSocket :5432"},
		{Probe{GRPC: &ProbeGRPC{Port: "9090"}}, "grpc :9090"},
		{Probe{GRPC: &ProbeGRPC{Port: "9090", Service: "a.B"}}, "grpc :9090/a.B"},
		{Probe{Exec: &ProbeExec{Command: []string{"/bin/check", "--password", "secret"}}}, "exec /bin/check"},
	}
	for _, tt := range tests {
		if got := tt.probe.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
