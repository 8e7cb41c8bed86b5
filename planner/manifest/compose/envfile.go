package compose

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner"
)

// environment is what stands in for the process environment: the fleet's
// variables, and below them those of the .env in dir.
func (l *load) environment(dir string) (map[string]string, bool) {
	env := map[string]string{}
	name := path.Join(dir, ".env")
	if _, why := l.disk.look(name); why != nil {
		maps.Copy(env, l.source.Variables)
		if !why.gone {
			l.faults.add(Position{File: name}.fault(why.reason, why.remedy))
		}
		return env, why.gone
	}
	good := l.dotenv(name, Position{File: l.source.Path, Line: 1}, env, lookup(l.source.Variables))
	maps.Copy(env, l.source.Variables)
	if v, ok := env[fileVariable]; ok {
		l.faults.add(Position{File: name}.warning(fileVariable+"="+quote(v)+" is not followed: what is read is what fleet.yaml lists", "include the other files in "+quote(path.Base(l.source.Path))))
	}
	return env, good
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

// dotenv adds the variables of a file to those in into, which it may refer to.
// asked is where the file is named.
func (l *load) dotenv(name string, asked Position, into map[string]string, find func(string) (string, bool)) bool {
	data, why := l.disk.text(name)
	if why != nil {
		l.faults.add(asked.fault(quote(name)+" "+why.reason, why.remedy))
		return false
	}
	return l.parseEnv(name, data, into, find)
}

var envErrorLine = regexp.MustCompile(`line (\d+): `)

// Bounds of a file with variables.
const (
	maxEnvFile       = 64 << 10
	maxEnvReferences = 64 // in one line: compose-go's time grows with their square
)

// parseEnv is compose-go's reader of such files, within bounds. What it says of
// a file is not repeated: it may be a secret.
func (l *load) parseEnv(name string, data []byte, into map[string]string, find func(string) (string, bool)) (good bool) {
	at := Position{File: name, Line: 1}
	defer func() {
		if r := recover(); r != nil {
			l.faults.add(at.fault("cannot be read", envRemedy))
			good = false
		}
	}()
	if len(data) > maxEnvFile {
		l.faults.add(at.fault(fmt.Sprintf("is larger than %d KiB", maxEnvFile>>10), "split it, or mount it as a file"))
		return false
	}
	lines := bytes.Split(data, []byte("\n"))
	for i, line := range lines {
		if n := bytes.Count(line, []byte("$")); n > maxEnvReferences {
			at.Line = i + 1
			l.faults.add(at.fault(fmt.Sprintf("has %d references to variables in one line, more than %d", n, maxEnvReferences), "write values out"))
			return false
		}
	}
	missing, size := map[string]bool{}, 0
	bounded := func(key string) (string, bool) {
		v, ok := find(key)
		if !ok {
			v, ok = into[key]
		}
		if size += len(v); size > maxTextBytes {
			return "", true
		}
		missing[key] = missing[key] || !ok
		return v, ok
	}
	err := dotenv.ParseWithFormat(bytes.NewReader(data), name, into, bounded, dotenv.DotEnv)
	switch {
	case err != nil:
		l.faults.add(envFault(at, err))
		return false
	case size > maxTextBytes:
		l.faults.add(at.fault("is too large with its variables", "write values out"))
		return false
	}
	return l.undefined(at, lines, missing)
}

const envRemedy = "write lines NAME=value; a value with special characters in single quotes"

// envFault is why a file with variables cannot be read.
func envFault(at Position, err error) planner.Fault {
	text := err.Error()
	if m := envErrorLine.FindStringSubmatch(text); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
	}
	var required *template.MissingRequiredError
	var invalid *template.InvalidTemplateError
	switch {
	case errors.As(err, &required):
		return at.fault("variable "+plain(required.Variable)+" is required", "define it in spec.variables of fleet.yaml")
	case errors.As(err, &invalid):
		return at.fault("has what begins like a variable and is none", "write ${NAME}, or $$ for a dollar")
	case strings.Contains(text, "unterminated quoted value"):
		return at.fault("has a quoted value without an end", "close the quotes")
	case strings.Contains(text, "in variable name"), strings.Contains(text, "key cannot contain a space"):
		return at.fault("has a line that does not begin with the name of a variable", envRemedy)
	}
	return at.fault("cannot be read", envRemedy)
}

var bareReference = regexp.MustCompile(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)

// bareName is a line that has the name of a variable alone.
var bareName = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*$`)

// undefined tells of variables that a file refers to without a default, or names
// alone, and that nobody defines.
func (l *load) undefined(at Position, lines [][]byte, missing map[string]bool) bool {
	good := true
	for i, line := range lines {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			continue
		}
		if m := bareName.FindSubmatch(line); m != nil && missing[string(m[1])] {
			good = false
			at.Line = i + 1
			l.faults.add(at.fault("variable "+plain(string(m[1]))+" has no value: the environment of machines is not read", "write "+plain(string(m[1]))+"=VALUE, or remove it"))
		}
		for _, m := range bareReference.FindAllSubmatch(line, maxEnvReferences) {
			if name := string(m[1]) + string(m[2]); missing[name] {
				good = false
				at.Line = i + 1
				l.faults.add(at.fault("variable "+name+" is not defined", defineIt(name)))
			}
		}
	}
	return good
}

// readEnvFile adds to vars what an entry of env_file or label_file says. found
// is false if there is no such file and that is all right.
func (l *load) readEnvFile(file types.EnvFile, at Position, vars map[string]string, find func(string) (string, bool)) {
	name, reason, remedy := within(path.Dir(l.source.Path), file.Path)
	if reason != "" {
		l.faults.add(at.fault(quote(file.Path)+" "+reason, remedy))
		return
	}
	if file.Format != "" && file.Format != "raw" && file.Format != dotenv.DotEnv {
		l.faults.add(at.fault("format "+quote(file.Format)+" is not known", "leave format out, or write raw"))
		return
	}
	data, why := l.disk.text(name)
	switch {
	case why != nil && why.gone && !bool(file.Required):
	case why != nil:
		l.faults.add(at.fault(quote(name)+" "+why.reason, why.remedy))
	case file.Format == "raw":
		l.rawEnv(name, data, vars)
	default:
		l.parseEnv(name, data, vars, find)
	}
}

// rawEnv reads lines NAME=value as they are.
func (l *load) rawEnv(name string, data []byte, vars map[string]string) {
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			l.faults.add(Position{File: name, Line: i + 1}.fault("has a line that is not NAME=value", envRemedy))
			continue
		}
		vars[key] = value
	}
}
