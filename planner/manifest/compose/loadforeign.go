package compose

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/errdefs"
	"github.com/compose-spec/compose-go/v2/transform"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/orpheus-cd/orpheus/planner"
)

// asTheSpecification is the remedy where nothing better is known.
const asTheSpecification = "write it as the Compose specification has it"

// complaints are those of compose-go about one service that are said better
// otherwise: by a part of its text, the key they are about, and our words.
var complaints = []struct{ part, key, reason, remedy string }{
	{"neither an image nor a build context", "image", "is required", "name an image"},
	{"healthcheck.test must start", "healthcheck.test", "names no command", `write ["CMD", PROGRAM, ARGUMENT] or ["CMD-SHELL", LINE]`},
	{"mutually exclusive `network_mode` and `networks`", "network_mode", "is given beside networks", "remove one of them"},
	{"'scale' and 'deploy.replicas'", "scale", "differs from deploy.replicas", "write the number once"},
	{"'cpus' and 'deploy.resources", "cpus", "differs from deploy.resources.limits.cpus", "write it once"},
	{"'mem_limit' and 'deploy.resources", "mem_limit", "differs from deploy.resources.limits.memory", "write it once"},
	{"'mem_reservation' and 'deploy.resources", "mem_reservation", "differs from deploy.resources.reservations.memory", "write it once"},
	{"'pids_limit' and 'deploy.resources", "pids_limit", "differs from deploy.resources.limits.pids", "write it once"},
	{"can't set container_name", "container_name", "is given to more than one replica", "remove it: all of them are reached by the name of the service"},
}

// foreign says in our words what compose-go said of the model. It names places
// as services.web.ports.0 or service "web".
func (l *load) foreign(err error, position func(string) Position) planner.Fault {
	text, _, _ := strings.Cut(err.Error(), "\n")
	text = strings.TrimSuffix(strings.ReplaceAll(text, ".[", "["), ": "+errdefs.ErrInvalid.Error())
	field := fieldIn(text)
	return position(field).fault(harmless(strings.TrimPrefix(strings.TrimPrefix(text, field), ": ")), remedyFor(text))
}

// foreignOf is foreign for what was said of one service.
func (l *load) foreignOf(err error, service string, position func(string) Position) planner.Fault {
	for _, c := range complaints {
		if strings.Contains(err.Error(), c.part) {
			return position(service+"."+c.key).fault(c.reason, c.remedy)
		}
	}
	f := l.foreign(err, position)
	if !strings.HasPrefix(f.Field, service) {
		at := position(service)
		f.File, f.Line, f.Column, f.Field = at.File, at.Line, at.Column, service
	}
	return f
}

// undecodedLine is one of the values that compose-go could not make its types of:
// 'services[web].mem_limit' invalid size: 'abc'.
var undecodedLine = regexp.MustCompile(`(?m)^'([^'\n]+)' (.+)$`)

// undecoded tells of values that are not what their keys take, each at its place,
// and takes them out of the model. It reports whether any could be.
func (l *load) undecoded(err error, dict map[string]any, position func(string) Position) bool {
	lines := undecodedLine.FindAllStringSubmatch(err.Error(), maxFaults)
	for _, m := range lines {
		l.faults.addUnlessTold(position(keyInBrackets.ReplaceAllString(m[1], ".$1")).fault(harmless(m[2]), remedyFor(m[2])))
	}
	if len(lines) == 0 {
		l.faults.addUnlessTold(l.foreign(err, position))
		return false
	}
	out := false
	for _, m := range lines {
		var keys []string
		for _, part := range partOfDecoded.FindAllStringSubmatch(m[1], -1) {
			keys = append(keys, part[1]+part[2])
		}
		keys = keyAround(dict, keys)
		if len(keys) > 2 && inside(dict, keys...) != nil {
			cut(dict, keys)
			out = true
		}
	}
	return out
}

// partOfDecoded is a part of a field as compose-go's decoder names it.
var partOfDecoded = regexp.MustCompile(`\[([^\[\]]*)\]|([^.\[\]]+)`)

// keyInBrackets is a key of an object as compose-go's decoder names it.
var keyInBrackets = regexp.MustCompile(`\[([^\[\]]*[^\[\]0-9][^\[\]]*)\]`)

// valueRemedies say how a value is written, by a part of what its parser said.
var valueRemedies = []struct{ part, remedy string }{
	{"invalid size", "write a number of bytes, or one with its unit, as 64m"},
	{"invalid suffix", "write a number of bytes, or one with its unit, as 64m"},
	{"time: ", "write a number with its unit, as 10s"},
	{"strconv.", "write a number"},
	{"invalid command line string", "close its quotes and brackets, or write it as a list: [PROGRAM, ARGUMENT]"},
	{"for port", `write "8080:80", in quotes, or one whole number`},
	{"with a trailing space", "write NAME=VALUE, without spaces around the ="},
	{"missing IP", "write NAME:ADDRESS"},
}

func remedyFor(text string) string {
	for _, r := range valueRemedies {
		if strings.Contains(text, r.part) {
			return r.remedy
		}
	}
	return asTheSpecification
}

// culprit is the field of a document that compose-go refuses with the error, as
// near as it is found by asking for each alone; "" = it is not found.
func culprit(tree map[string]any, refused error) string {
	fails := func(one map[string]any) bool {
		err := guarded(func() error { _, err := transform.Canonical(clone(one).(map[string]any), false); return err })
		return err != nil && err.Error() == refused.Error()
	}
	for _, kind := range []string{"services", "volumes", "networks", "configs", "secrets", "jobs"} {
		all := mapping(tree[kind])
		for _, name := range slices.Sorted(maps.Keys(all)) {
			own := mapping(all[name])
			for _, key := range slices.Sorted(maps.Keys(own)) {
				if !fails(map[string]any{kind: map[string]any{name: map[string]any{key: own[key]}}}) {
					continue
				}
				field := join(join(kind, name), key)
				items, _ := own[key].([]any)
				for i, item := range items {
					if fails(map[string]any{kind: map[string]any{name: map[string]any{key: []any{item}}}}) {
						return indexed(field, i)
					}
				}
				return field
			}
		}
	}
	return ""
}

// harmless is a sentence of compose-go, which may repeat text of the file.
func harmless(text string) string {
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	q := strconv.Quote(text)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// fieldIn finds the field that a message of compose-go is about.
func fieldIn(text string) string {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ':' }) {
		for _, top := range []string{"services.", "networks.", "volumes.", "configs.", "secrets.", "jobs.", "models."} {
			if strings.HasPrefix(word, top) {
				return strings.TrimRight(tree.Path(word).String(), ".,;")
			}
		}
	}
	var name string
	if _, err := fmt.Sscanf(text, "service %q", &name); err == nil {
		return "services." + name
	}
	return ""
}
