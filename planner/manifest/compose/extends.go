package compose

import (
	"maps"
	"path"
	"slices"

	"github.com/compose-spec/compose-go/v2/override"
)

// extensions puts below each service of a document what it extends.
func (l *load) extensions(own *model, d *document, s scope) bool {
	good := true
	e := extender{l: l, m: own, s: s, find: func(field string) Position { return own.find(field, s.file) }}
	for _, kind := range []string{"services", "jobs"} {
		for _, name := range slices.Sorted(maps.Keys(mapping(own.dict[kind]))) {
			good = e.service(kind, name) && good
		}
	}
	return good
}

// extender resolves extensions among the services of one model.
type extender struct {
	l    *load
	m    *model
	s    scope
	find func(string) Position
}

// extension is what a service extends.
func extensionOf(service map[string]any) (name, file string, ok bool) {
	switch v := service["extends"].(type) {
	case string:
		return v, "", true
	case map[string]any:
		name, _ = v["service"].(string)
		file, _ = v["file"].(string)
		return name, file, name != ""
	}
	return "", "", false
}

// service resolves what the service extends, and what that extends.
func (e extender) service(kind, name string) bool {
	services := mapping(e.m.dict[kind])
	own := mapping(services[name])
	ref, file, extends := extensionOf(own)
	if !extends {
		return true
	}
	field := join(kind, name)
	at := e.find(join(field, "extends"))
	if !e.l.enter(step{e.s.file, name}, at) {
		return false
	}
	defer e.l.leave()
	base, ok := e.m, true
	if file != "" {
		base, ok = e.elsewhere(kind, ref, file, at)
	} else if services[ref] == nil {
		if _, there := services[ref]; !there {
			e.l.faults.add(at.fault("extends "+quote(ref)+", which there is none of in this file", "name a service of this file, or add file:"))
			return false
		}
	} else {
		ok = e.service(kind, ref)
	}
	if !ok {
		return false
	}
	return e.put(base, kind, ref, name, at)
}

// elsewhere reads the file that has the base, with relative paths made to begin
// in the folder of the scope.
func (e extender) elsewhere(kind, ref, file string, at Position) (*model, bool) {
	full, reason, remedy := within(e.s.dir, file)
	if reason != "" {
		e.l.faults.add(at.fault("extends a service of "+quote(file)+", which "+reason, remedy))
		return nil, false
	}
	documents, ok := e.l.documents(full, &at)
	if !ok {
		return nil, false
	}
	onlyNeeded(documents, kind, ref)
	inner := scope{file: full, dir: path.Dir(full), env: e.s.env, asked: &at}
	m, ok := e.l.model(documents, inner)
	if !ok {
		return nil, false
	}
	if _, there := mapping(m.dict[kind])[ref]; !there {
		e.l.faults.add(at.fault("extends "+quote(ref)+", which there is none of in "+quote(full), "name a service of that file"))
		return nil, false
	}
	e.l.rebase(m, e.s.dir, inner.dir)
	there := extender{l: e.l, m: m, s: scope{file: full, dir: e.s.dir, env: e.s.env}, find: func(field string) Position { return m.find(field, full) }}
	return m, there.service(kind, ref)
}

// onlyNeeded leaves of the documents what a service needs: it, and what it
// extends in turn. Nothing else of the file is looked at.
func onlyNeeded(documents []*document, kind, ref string) {
	needed, next := map[string]bool{}, []string{ref}
	for len(next) > 0 {
		name := next[0]
		if next = next[1:]; needed[name] {
			continue
		}
		needed[name] = true
		for _, d := range documents {
			if base, file, ok := extensionOf(mapping(mapping(d.tree[kind])[name])); ok && file == "" {
				next = append(next, base)
			}
		}
	}
	for _, d := range documents {
		all := mapping(d.tree[kind])
		if all == nil {
			if _, given := d.tree[kind]; given {
				continue // not an object: the check says so
			}
		}
		kept := map[string]any{}
		for name := range needed {
			if s, ok := all[name]; ok {
				kept[name] = s
			}
		}
		d.tree = map[string]any{kind: kept}
	}
}

// put lays the service over its base.
func (e extender) put(base *model, kind, ref, name string, at Position) bool {
	services := mapping(e.m.dict[kind])
	from := mapping(mapping(base.dict[kind])[ref])
	if from == nil {
		delete(mapping(services[name]), "extends")
		return true
	}
	below := map[string]any{kind: map[string]any{name: clone(from)}}
	rawBelow := map[string]any{kind: map[string]any{name: clone(mapping(base.raw[kind])[ref])}}
	for _, p := range e.m.resets {
		cut(below, p)
		cut(rawBelow, p)
	}
	err := guarded(func() error {
		merged, err := override.ExtendService(mapping(mapping(below[kind])[name]), mapping(services[name]))
		if err == nil {
			delete(merged, "extends")
			services[name] = merged
		}
		return err
	})
	if err != nil {
		e.l.faults.add(e.l.foreign(err, func(string) Position { return at }))
		return false
	}
	raw := mapping(e.m.raw[kind])
	merged := mergedRaw(rawBelow, map[string]any{kind: map[string]any{name: raw[name]}})
	raw[name] = mapping(merged[kind])[name]
	delete(mapping(raw[name]), "extends")
	e.m.traces = append(moved(base.traces, join(kind, ref), join(kind, name)), e.m.traces...)
	return true
}
