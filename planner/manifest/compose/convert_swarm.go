package compose

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// swarmTemplate is what Swarm fills in for each task.
var swarmTemplate = regexp.MustCompile(`\{\{[^}]*\.(?:Service|Node|Task)\.[A-Z]`)

// checkSwarmNames refuses what only Swarm understands: its templates in the
// environment, and the name tasks.SERVICE for the addresses of all tasks. Compose
// knows neither, and passes both as they stand.
func (s *service) checkSwarmNames() {
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		v, at := s.Environment[name], s.written(name, "environment", "env_file")
		if v == nil {
			continue
		}
		if swarmTemplate.MatchString(*v) {
			s.foreign(at, quote(*v)+" is a template of Swarm's, which nothing fills in here", "have the program read ORPHEUS_NODE, ORPHEUS_SERVICE or ORPHEUS_SLOT, which are in its environment")
		}
		s.checkTaskNames(at, *v)
	}
	s.checkTaskNames(s.field("entrypoint"), s.Entrypoint...)
	s.checkTaskNames(s.field("command"), s.Command...)
	if s.HealthCheck != nil {
		s.checkTaskNames(s.field("healthcheck.test"), s.HealthCheck.Test...)
	}
	for _, text := range s.mountedTexts(s.ServiceConfig) {
		if name := s.taskName(text); name != "" {
			s.warn(s.field("volumes"), "has a file that asks for tasks."+name+", a name of Swarm's that nobody has here", endpointRemedy(name))
		}
	}
}

// foreign is a fault where Swarm's meaning counts, else a warning.
func (s *service) foreign(at, reason, remedy string) {
	if s.swarm {
		s.fault(at, reason, remedy)
		return
	}
	s.warn(at, reason, remedy)
}

func (s *service) checkTaskNames(at string, texts ...string) {
	for _, text := range texts {
		if name := s.taskName(text); name != "" {
			s.fault(at, "asks for tasks."+name+", a name of Swarm's that nobody has here", endpointRemedy(name))
			return
		}
	}
}

func endpointRemedy(name string) string {
	return "write " + name + "; for the addresses of all of its instances say deploy: {endpoint_mode: dnsrr} there"
}

// taskName is the service of which a text asks for all tasks, "" = none.
func (s *service) taskName(text string) string {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !isWordByte(r) }) {
		if name, ok := strings.CutPrefix(strings.Trim(word, "."), "tasks."); ok && slices.Contains(s.enabled, name) {
			return name
		}
	}
	return ""
}
