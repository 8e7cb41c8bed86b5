package compose

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/override"
	"github.com/compose-spec/compose-go/v2/tree"
)

// step is an inclusion or an extension under way.
type step struct{ file, service string }

func (s step) String() string {
	if s.service == "" {
		return quote(s.file)
	}
	return s.service + " of " + quote(s.file)
}

// enter notes a step, or says why it must not be taken: it leads to where it
// came from, or too far.
func (l *load) enter(s step, at Position) bool {
	if i := slices.Index(l.steps, s); i >= 0 {
		var chain []string
		for _, before := range append(slices.Clone(l.steps[i:]), s) {
			chain = append(chain, before.String())
		}
		verb := "includes"
		if s.service != "" {
			verb = "extends"
		}
		l.faults.add(at.fault("goes round in a circle: "+strings.Join(chain, ", which "+verb+" "), "take one of them out"))
		return false
	}
	if len(l.steps) >= maxInclusions {
		l.faults.add(at.fault(fmt.Sprintf("goes more than %d files deep", maxInclusions), "include files where they are needed"))
		return false
	}
	l.steps = append(l.steps, s)
	return true
}

func (l *load) leave() { l.steps = l.steps[:len(l.steps)-1] }

// inclusion is one entry of include.
type inclusion struct {
	field            string // include[0]
	paths            []string
	projectDirectory string
	envFiles         []string
	withEnv          bool // env_file is given
}

// included reads the entries of include. Their form has been checked.
func included(v any) []inclusion {
	var all []inclusion
	list, _ := v.([]any)
	for i, item := range list {
		in := inclusion{field: fmt.Sprintf("include[%d]", i)}
		switch item := item.(type) {
		case string:
			in.paths = []string{item}
		case map[string]any:
			in.paths = texts(item["path"])
			in.projectDirectory, _ = item["project_directory"].(string)
			_, in.withEnv = item["env_file"]
			in.envFiles = texts(item["env_file"])
		}
		all = append(all, in)
	}
	return all
}

// texts is a text, or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// includes takes in what a document includes: its own words count more.
func (l *load) includes(own *model, d *document, s scope) bool {
	good := true
	for _, in := range included(own.dict["include"]) {
		good = l.includeOne(own, in, d, s) && good
	}
	delete(own.dict, "include")
	delete(own.raw, "include")
	return good
}

// includeOne reads one entry: its first file, and the others over that.
func (l *load) includeOne(own *model, in inclusion, d *document, s scope) bool {
	at := d.position(in.field)
	files, ok := l.paths(s.dir, in.paths, at)
	if !ok || len(files) == 0 {
		return false
	}
	inner := scope{file: files[0], dir: path.Dir(files[0]), include: true, asked: &at}
	if in.projectDirectory != "" {
		full, reason, remedy := within(s.dir, in.projectDirectory)
		if reason != "" {
			l.faults.add(at.fault("project_directory "+quote(in.projectDirectory)+" "+reason, remedy))
			return false
		}
		inner.dir = full
	}
	if inner.env, ok = l.includedEnv(in, inner.dir, s, at); !ok {
		return false
	}
	if !l.enter(step{file: files[0]}, at) {
		return false
	}
	defer l.leave()
	m := &model{dict: map[string]any{}, raw: map[string]any{}}
	for _, file := range files {
		documents, ok := l.documents(file, &at)
		if !ok {
			return false
		}
		part := inner
		part.file = file
		for _, doc := range documents {
			if !l.add(m, doc, part) {
				return false
			}
		}
	}
	if !l.finish(m, inner) {
		return false
	}
	l.rebase(m, s.dir, inner.dir)
	return l.take(own, m, d, at)
}

// paths are the files of the repository for names that a file in dir uses.
func (l *load) paths(dir string, names []string, at Position) ([]string, bool) {
	var all []string
	good := true
	for _, name := range names {
		full, reason, remedy := within(dir, name)
		if reason != "" {
			l.faults.add(at.fault(quote(name)+" "+reason, remedy))
			good = false
			continue
		}
		all = append(all, full)
	}
	return all, good
}

// includedEnv is the environment of an included file: that of the including
// one, and below it what env_file says, or the .env of its own folder.
func (l *load) includedEnv(in inclusion, dir string, s scope, at Position) (map[string]string, bool) {
	env, good := map[string]string{}, true
	if !in.withEnv {
		name := path.Join(dir, ".env")
		if _, why := l.disk.look(name); why == nil {
			good = l.dotenv(name, at, env, lookup(s.env))
		} else if !why.gone {
			l.faults.add(at.fault(quote(name)+" "+why.reason, why.remedy))
			good = false
		}
	}
	for _, file := range in.envFiles {
		if file == "/dev/null" {
			continue // the usual way to say none
		}
		name, reason, remedy := within(s.dir, file)
		if reason != "" {
			l.faults.add(at.fault("env_file "+quote(file)+" "+reason, remedy))
			good = false
			continue
		}
		good = l.dotenv(name, at, env, lookup(s.env)) && good
	}
	maps.Copy(env, s.env)
	return env, good
}

// kinds are the parts of a project that are included.
var kinds = []string{"services", "jobs", "volumes", "networks", "secrets", "configs", "models"}

// take puts what an included model has below what is there.
func (l *load) take(own, m *model, d *document, at Position) bool {
	for _, kind := range kinds {
		from := mapping(m.dict[kind])
		if len(from) == 0 {
			continue
		}
		to := mapping(own.dict[kind])
		if to == nil {
			to = map[string]any{}
			own.dict[kind] = to
		}
		raw := mapping(own.raw[kind])
		if raw == nil {
			raw = map[string]any{}
			own.raw[kind] = raw
		}
		for _, name := range slices.Sorted(maps.Keys(from)) {
			conflict, twice := to[name]
			if !twice {
				to[name], raw[name] = from[name], mapping(m.raw[kind])[name]
				continue
			}
			if reflect.DeepEqual(from[name], conflict) {
				continue
			}
			l.clear(m, own.resets, kind, name)
			var merged any
			err := guarded(func() (err error) {
				merged, err = override.MergeYaml(from[name], conflict, tree.NewPath(kind, name))
				return err
			})
			if err != nil {
				l.faults.add(l.foreign(err, func(string) Position { return d.position(join(kind, name)) }))
				return false
			}
			to[name] = merged
			raw[name] = mapping(mergedRaw(
				map[string]any{kind: map[string]any{name: mapping(m.raw[kind])[name]}},
				map[string]any{kind: map[string]any{name: raw[name]}})[kind])[name]
		}
	}
	own.traces = append(m.traces, own.traces...)
	return true
}

// clear takes out of an included part what the including document resets.
func (l *load) clear(m *model, resets [][]string, kind, name string) {
	for _, p := range resets {
		if len(p) > 2 && p[0] == kind && p[1] == name {
			cut(m.dict, p)
			cut(m.raw, p)
		}
	}
}
