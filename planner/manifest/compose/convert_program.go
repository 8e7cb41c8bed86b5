package compose

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/mattn/go-shellwords"
)

// program says what is run: image, entrypoint and command, and where.
func (s *service) program() {
	switch {
	case s.Image != "":
		s.spec.Put("image", s.Image, s.field("image"))
		if s.Build != nil {
			s.warn(s.field("build"), "is not done here: the image is pulled", "build it in CI, and push it as "+quote(s.Image))
		}
	case s.Build != nil:
		s.fault(s.field("build"), "cannot be done on the nodes of a fleet: they pull images", "build it in CI, push it, and name it with image: REGISTRY/NAME:VERSION")
		s.spec.Put("image", "", s.field("build")) // or its absence is told of as well
	case s.Provider != nil: // said already
		s.spec.Put("image", "", s.field("provider"))
	default:
		s.fault(s.field("image"), "is required", "name an image")
	}
	s.checkShellText("entrypoint")
	s.checkShellText("command")
	s.arguments()
	if dir := s.WorkingDir; dir != "" {
		if path.IsAbs(dir) {
			dir = path.Clean(dir)
		}
		s.spec.Put("workingDir", dir, s.field("working_dir"))
	}
	if s.Init != nil && *s.Init {
		s.spec.Put("init", true, s.field("init"))
	}
	s.pulled()
}

// arguments follows Docker: an entrypoint that is given takes the image's CMD
// away, too. Our command and args are its entrypoint and command.
func (s *service) arguments() {
	cleared := func(key string, words types.ShellCommand) bool {
		_, written := s.tree()[key]
		return written && s.raw(key) != nil && len(words) == 0
	}
	if len(s.Entrypoint) == 1 && s.Entrypoint[0] == "" {
		s.Entrypoint = types.ShellCommand{} // Docker's way to say that there is none
	}
	entrypoint, command := s.field("entrypoint"), s.field("command")
	switch none := cleared("entrypoint", s.Entrypoint); {
	case none && len(s.Command) == 0:
		s.fault(entrypoint, "is empty: what then runs only the image knows", "write command: with the program and its arguments")
	case none:
		s.spec.Put("command", textList(s.Command), command)
	case len(s.Entrypoint) > 0:
		s.spec.Put("command", textList(s.Entrypoint), entrypoint)
		if len(s.Command) > 0 {
			s.spec.Put("args", textList(s.Command), command)
		}
	case cleared("command", s.Command):
		s.fault(command, "is empty: the image's arguments cannot be taken away alone", "write entrypoint: with the program and its arguments, or remove it")
	case len(s.Command) > 0:
		s.spec.Put("args", textList(s.Command), command)
	}
}

// checkShellText refuses what the parser of command lines drops: all that
// follows the first operator of a shell.
func (s *service) checkShellText(key string) {
	line, isText := s.raw(key).(string)
	if !isText {
		return
	}
	if dropped := afterOperator(line); dropped != "" {
		s.fault(s.field(key), "has an operator of a shell, and no shell runs it: "+quote(dropped)+" would be left out", `write ["/bin/sh", "-c", "…"], or quote the operator`)
	}
}

// afterOperator is the part of a command line from its first operator on, which
// Compose leaves out.
func afterOperator(line string) string {
	parser := shellwords.NewParser()
	if _, err := parser.Parse(line); err != nil || parser.Position < 0 || parser.Position >= len(line) {
		return ""
	}
	return line[parser.Position:]
}

// pulled says when images are pulled.
func (s *service) pulled() {
	at := s.field("pull_policy")
	policy, _, err := s.GetPullPolicy()
	switch {
	case err != nil:
		s.fault(at, quote(s.PullPolicy)+" is not known here", "remove it: an image is pulled where it is missing")
	case policy == types.PullPolicyMissing, policy == types.PullPolicyIfNotPresent:
	case policy == types.PullPolicyAlways, policy == types.PullPolicyRefresh:
		s.warn(at, "changes nothing: a tag is resolved once for each revision of a service, the same for all nodes", "remove it; orpheus restart --pull resolves it again")
	case policy == types.PullPolicyBuild:
		s.fault(at, "cannot be done on the nodes of a fleet: they pull images", "build it in CI, and remove it")
	default:
		s.fault(at, quote(s.PullPolicy)+" is not possible: a node that lacks an image pulls it", "remove it")
	}
}

// variables are those of the environment, in order of their names.
func (s *service) variables() {
	var env list
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		at := s.written(name, "environment", "env_file")
		v := s.Environment[name]
		if v == nil {
			continue // no variable of the fleet has that name: Load says so
		}
		if name == "" {
			s.fault(at, "has a variable without a name", "write NAME=VALUE")
			continue
		}
		s.reread(at, *v)
		env = append(env, item(object{member("name", name, ""), member("value", *v, "")}, at))
	}
	if len(env) > 0 {
		s.spec.Put("env", env, s.at)
	}
}

// reread warns of a value that without quotes is no text, and as text is another
// one than is written.
func (s *service) reread(at, value string) {
	written := s.p.Position(at).Written
	if written == "" || written == value {
		return
	}
	kind := "a number"
	switch first := written[0]; {
	case value == "true" || value == "false":
		kind = "true or false"
	case strings.Contains(value, "+0000"):
		kind = "a date"
	case first == '0' && strings.Trim(written, "01234567") == "":
		kind = "a number to the base 8"
	}
	s.warn(at, fmt.Sprintf("is %s, as for docker compose: without quotes %s is %s", quote(value), plain(written), kind), "write "+quote(written)+" in quotes, if that is meant")
}

// composeGrace is how long Compose and Swarm let a container end by itself.
const composeGrace = 10 * time.Second

// ended says how instances are stopped.
func (s *service) ended() {
	grace, at := composeGrace, s.at
	if s.StopGracePeriod != nil {
		grace, at = time.Duration(*s.StopGracePeriod), s.field("stop_grace_period")
	}
	s.spec.Put("terminationGracePeriodSeconds", seconds(grace), at)
	if s.StopSignal != "" {
		s.spec.Put("stopSignal", s.StopSignal, s.field("stop_signal"))
	}
	if len(s.PreStop) == 0 {
		return
	}
	hook, at := s.PreStop[0], s.indexed("pre_stop", 0)
	if len(s.PreStop) > 1 {
		s.fault(s.indexed("pre_stop", 1), "is one too many: a container has one hook before its end", `write one that does both: ["/bin/sh", "-c", "first; second"]`)
	}
	for _, f := range []struct {
		key   string
		given bool
	}{{"user", hook.User != ""}, {"privileged", hook.Privileged}, {"working_dir", hook.WorkingDir != ""}, {"environment", len(hook.Environment) > 0}} {
		if f.given {
			s.fault(at+"."+f.key, "is not possible: the hook runs like the container's program", "remove it")
		}
	}
	s.checkHookText(at, "pre_stop")
	s.spec.Put("lifecycle", object{member("preStop", object{member("exec", object{member("command", textList(hook.Command), at+".command")}, at)}, at)}, at)
}

func (s *service) checkHookText(at, key string) {
	hooks, _ := s.raw(key).([]any)
	for _, h := range hooks {
		m, _ := h.(map[string]any)
		if line, isText := m["command"].(string); isText && afterOperator(line) != "" {
			s.fault(at+".command", "has an operator of a shell, and no shell runs it: "+quote(afterOperator(line))+" would be left out", `write ["/bin/sh", "-c", "…"]`)
		}
	}
}

// seconds rounds up: what is given is the least that is wanted.
func seconds(d time.Duration) int {
	return int(min(math.Ceil(d.Seconds()), math.MaxInt32))
}

// logged says where logs go that are not kept by the nodes.
func (s *service) logged() {
	if s.Logging == nil {
		return
	}
	switch at := s.field("logging.driver"); s.Logging.Driver {
	case "", "json-file", "local":
	case "journald", "none":
		s.warn(at, quote(s.Logging.Driver)+" has no effect: logs are kept, and bounded, by the nodes", "remove it; orpheus logs shows them")
	default:
		s.fault(at, quote(s.Logging.Driver)+" is not possible: logs are kept by the nodes", "remove it, and have the program send them, or collect them on the nodes")
	}
}

// annotations are labels and annotations of all kinds: here they are for people
// alone.
func (s *service) annotations() object {
	all := map[string]string{}
	if s.swarm {
		maps.Copy(all, s.Deploy.Labels)
	}
	maps.Copy(all, s.Labels)
	maps.Copy(all, s.Annotations)
	told := map[string]bool{}
	var notes object
	for _, key := range slices.Sorted(maps.Keys(all)) {
		at := s.labelField(key)
		if reason := noAnnotation(key, all[key]); reason != "" {
			s.warn(at, "label "+quote(key)+" is left out: "+reason, "remove it, or write it so that it can be an annotation")
			continue
		}
		for _, reader := range labelReaders {
			if strings.HasPrefix(key, reader.prefix) && !told[reader.prefix] {
				told[reader.prefix] = true
				s.warn(at, fmt.Sprintf("is for %s, which does not see it: it asks Docker, and nothing here is a container of Docker's", reader.name), reader.remedy)
			}
		}
		if at == s.field("deploy.labels") {
			s.reread(at+"."+key, all[key])
		} else {
			s.reread(at, all[key])
		}
		notes.Put(key, all[key], at)
	}
	return notes
}

// labelReaders are programs that are told what to do by labels of containers.
var labelReaders = []struct{ prefix, name, remedy string }{
	{"traefik.", "Traefik's Docker provider", "give Traefik a file of routes that lead to http://SERVICE:PORT"},
	{"caddy", "the Docker plugin of Caddy", "give Caddy a Caddyfile with reverse_proxy SERVICE:PORT"},
	{"com.centurylinklabs.watchtower.", "Watchtower", "remove it: a commit that names another version updates a service"},
	{"diun.", "Diun", "remove it"},
	{"ofelia.", "Ofelia", "remove it"},
}

// labelField is where a label is written.
func (s *service) labelField(key string) string {
	_, own := s.Labels[key]
	_, noted := s.Annotations[key]
	switch {
	case noted:
		return s.keyed("annotations", key)
	case own:
		return s.written(key, "labels", "label_file")
	}
	return s.field("deploy.labels")
}

// noAnnotation says why a label cannot be an annotation, "" if it can.
func noAnnotation(key, value string) string {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "" || len(name) > 63:
		return "the key of an annotation has 1 to 63 characters"
	case strings.Trim(name, letters+"-_.") != "" || !strings.Contains(letters, name[:1]) || !strings.Contains(letters, name[len(name)-1:]):
		return "the key of an annotation has letters, digits, '-', '_' and '.'"
	case found && (prefix == "" || len(prefix) > 253 || strings.Trim(prefix, letters[:26]+letters[52:]+"-.") != ""):
		return "an annotation has a DNS name before the slash"
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }):
		return "the value of an annotation has no control characters"
	}
	return ""
}
