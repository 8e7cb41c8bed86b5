package compose

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// runsOnce is what to do about a service that is to end.
const runsOnce = "write unless-stopped if it is to run for ever; what runs once before another service has that service depend on it by service_completed_successfully; kind Job comes with a later version"

// checkRestart refuses what is not to run for ever. Where Swarm's policy is
// given that one counts.
func (s *service) checkRestart() {
	policy, _, _ := strings.Cut(s.Restart, ":")
	if s.swarm && s.Deploy.RestartPolicy != nil && s.Deploy.RestartPolicy.Condition != "" {
		if policy == types.RestartPolicyNo || policy == types.RestartPolicyOnFailure {
			s.warn(s.field("restart"), "is not looked at: deploy.restart_policy says otherwise", "remove it")
		}
		return
	}
	switch policy {
	case "", types.RestartPolicyAlways, types.RestartPolicyUnlessStopped:
	default:
		if policy != types.RestartPolicyNo && policy != types.RestartPolicyOnFailure {
			s.fault(s.field("restart"), quote(s.Restart)+" is not known here", "write unless-stopped, or remove it")
			return
		}
		if s.completes[s.Name] == "" {
			_, most, _ := strings.Cut(s.Restart, ":")
			s.endless(s.field("restart"), s.Restart, "unless-stopped", policy == types.RestartPolicyNo, most != "" && most != "0")
		}
	}
}

// checkRestartPolicy is the same of Swarm's policy.
func (s *service) checkRestartPolicy() {
	r := s.Deploy.RestartPolicy
	if r == nil || s.completes[s.Name] != "" {
		return
	}
	if c := r.Condition; c != "" && c != "any" {
		s.endless(s.field("deploy.restart_policy.condition"), c, "any", c == "none", false)
	}
	if r.MaxAttempts == nil || *r.MaxAttempts == 0 {
		return
	}
	at, remedy := s.field("deploy.restart_policy.max_attempts"), "remove it: what fails again and again is moved to another node, see reschedule in x-orpheus"
	if s.isServer() {
		s.warn(at, "has no effect: "+neverGivenUp, remedy)
	} else {
		s.fault(at, "is not possible: nothing is given up", remedy)
	}
}

// neverGivenUp is what becomes of a limit of attempts.
const neverGivenUp = "nothing is given up: what keeps failing is tried again, ever more slowly, and moves to another node"

// endless has a server that may end run for ever, with a warning, and refuses all
// else of which the file says so. limited is with a limit of attempts.
func (s *service) endless(at, policy, instead string, no, limited bool) {
	if known := policy == types.RestartPolicyNo || policy == "none" || strings.HasPrefix(policy, types.RestartPolicyOnFailure); !known || !s.isServer() {
		s.fault(at, quote(policy)+" is not possible: a service is to run for ever, so what ends is started again", strings.Replace(runsOnce, "unless-stopped", instead, 1))
		return
	}
	reason := quote(policy) + " runs for ever here: what ends with 0 is started again, too"
	switch {
	case no:
		reason = quote(policy) + " runs for ever here: what ends is started again"
	case limited:
		reason += "; " + neverGivenUp
	}
	s.warn(at, reason, "write "+instead)
}

// isServer reports whether the file says that others connect to the service, or
// wait for it to run: then it is not meant to come to its end. A short depends_on
// does not say so: it is written of what runs once, too.
func (s *service) isServer() bool {
	if slices.Contains(endingCommands, lastOfScript(slices.Concat([]string(s.Entrypoint), []string(s.Command)))) {
		return false
	}
	if len(s.Ports) > 0 || len(s.Expose) > 0 || hasTest(s.ServiceConfig) {
		return true
	}
	services, _ := s.p.Tree["services"].(map[string]any)
	for _, name := range s.enabled {
		switch s.p.Types.Services[name].DependsOn[s.Name].Condition {
		case types.ServiceConditionHealthy:
			return true
		case types.ServiceConditionStarted:
			own, _ := services[name].(map[string]any)
			on, _ := own["depends_on"].(map[string]any)
			if each, _ := on[s.Name].(map[string]any); each["condition"] != nil {
				return true
			}
		}
	}
	return false
}
