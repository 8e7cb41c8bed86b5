package compose

import (
	"path"
	"slices"
	"strings"
)

// checkEnd warns of a script that looks as if it came to its end, in a service
// that does not say how it is restarted: Compose runs it once, and here it is
// started again and again. What Swarm runs it restarts, too.
func (s *service) checkEnd() {
	if s.swarm || s.Restart != "" || s.completes[s.Name] != "" {
		return
	}
	if last := lastOfScript(slices.Concat([]string(s.Entrypoint), []string(s.Command))); slices.Contains(endingCommands, last) {
		key := "command"
		if len(s.Command) == 0 {
			key = "entrypoint"
		}
		s.warn(s.field(key), "comes to its end, as it looks, with "+quote(last)+": a service is to run for ever, so it is started again and again", "have the service that needs what it does depend on it by service_completed_successfully, so that it runs once before that one; or write restart: unless-stopped if it goes on")
	}
}

// endingCommands are those that a script of one that goes on does not end with.
var endingCommands = []string{"chmod", "chown", "cp", "echo", "exit", "mkdir", "mv", "printf", "rm", "touch", "true"}

// lastOfScript is the program that the last line of a shell's script runs, "" if
// no shell is given one.
func lastOfScript(args []string) string {
	if len(args) < 3 || !slices.Contains([]string{"sh", "bash", "ash", "dash"}, path.Base(args[0])) {
		return ""
	}
	for i, arg := range args[1 : len(args)-1] {
		if !strings.HasPrefix(arg, "-") {
			return ""
		}
		if strings.HasSuffix(arg, "c") {
			lines := strings.FieldsFunc(strings.ReplaceAll(args[i+2], "&&", ";"), func(r rune) bool { return r == ';' || r == '\n' })
			for _, line := range slices.Backward(lines) {
				if words := strings.Fields(line); len(words) > 0 {
					if strings.ContainsAny(line, "|&") {
						return "" // what counts may be the other part
					}
					return words[0]
				}
			}
			return ""
		}
	}
	return ""
}
