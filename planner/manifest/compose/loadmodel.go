package compose

import (
	"errors"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/override"
	"github.com/compose-spec/compose-go/v2/transform"
	"github.com/compose-spec/compose-go/v2/validation"
)

// scope is how a file is read.
type scope struct {
	file    string
	dir     string            // its working folder in the repository
	env     map[string]string // what stands in for the environment
	include bool              // it may include others; else it is only extended
	asked   *Position         // where it is named
}

// model is what files say together: for compose-go in its own canonical form,
// and as it was written. Both keep relative paths as they begin in the folder
// of the scope they were read in.
type model struct {
	dict   map[string]any
	raw    map[string]any
	traces []trace // lowest first
	resets [][]string
}

// model reads the documents of one file over each other, as compose-go does.
func (l *load) model(documents []*document, s scope) (*model, bool) {
	m := &model{dict: map[string]any{}, raw: map[string]any{}}
	good := true
	for _, d := range documents {
		good = l.add(m, d, s) && good
	}
	return m, good
}

// add lays a document over what is there.
func (l *load) add(m *model, d *document, s scope) bool {
	if l.ctx.Err() != nil {
		l.faults.add(Position{File: s.file}.fault("was not read in time", inTime))
		return false
	}
	cfg := l.interpolated(d, s.env)
	if !l.valid(cfg, d) || !l.ranges(cfg, d) {
		return false
	}
	own := &model{dict: cfg, raw: clone(cfg).(map[string]any), resets: d.resets}
	own.traces = []trace{{value: clone(cfg), d: d}}
	if s.include {
		if !l.includes(own, d, s) {
			return false
		}
		m.reset(d.resets)
		if !l.extensions(own, d, s) {
			return false
		}
	} else {
		m.reset(d.resets)
	}
	m.resets = append(m.resets, d.resets...)
	return l.lay(m, own, d)
}

// reset takes out what !reset and !override of a document above say.
func (m *model) reset(paths [][]string) {
	for _, p := range paths {
		cut(m.dict, p)
		cut(m.raw, p)
	}
}

// cut removes what stands at a path through objects.
func cut(tree map[string]any, p []string) {
	for ; len(p) > 1; p = p[1:] {
		tree = mapping(tree[p[0]])
	}
	if len(p) == 1 {
		delete(tree, p[0])
	}
}

// lay merges a document into the model, by compose-go's rules.
func (l *load) lay(m, own *model, d *document) bool {
	tree := own.traces[len(own.traces)-1].value
	err := guarded(func() (err error) {
		if m.dict, err = override.Merge(m.dict, own.dict); err != nil {
			return err
		}
		if m.dict, err = override.EnforceUnicity(m.dict); err != nil {
			return err
		}
		delete(m.dict, "version")
		if m.dict, err = transform.Canonical(m.dict, false); err != nil {
			return err
		}
		m.dict = loader.OmitEmpty(m.dict)
		m.dict, err = override.EnforceUnicity(m.dict)
		return err
	})
	if err != nil {
		f := l.foreign(err, d.position)
		if field := culprit(mapping(tree), err); field != "" && strings.HasPrefix(field, f.Field) {
			f = d.position(field).fault(f.Reason, f.Remedy)
		}
		l.faults.addUnlessTold(f)
		return false
	}
	m.raw = mergedRaw(m.raw, own.raw)
	m.traces = append(m.traces, own.traces...)
	return true
}

// mergedRaw merges what was written, for who wants to see that. Where the forms
// of both differ so much that compose-go cannot, the later one counts.
func mergedRaw(below, above map[string]any) map[string]any {
	if len(below) == 0 {
		return above
	}
	kept := clone(below).(map[string]any)
	var merged map[string]any
	err := guarded(func() (err error) {
		if merged, err = override.Merge(below, clone(above).(map[string]any)); err != nil {
			return err
		}
		merged, err = override.EnforceUnicity(merged)
		return err
	})
	if err == nil {
		return merged
	}
	return overlaid(kept, above, 2)
}

// overlaid lays objects over each other to a depth, and below it the upper one
// counts.
func overlaid(below, above map[string]any, depth int) map[string]any {
	for key, v := range above {
		inner, outer := mapping(v), mapping(below[key])
		if depth > 0 && inner != nil && outer != nil {
			below[key] = overlaid(outer, inner, depth-1)
			continue
		}
		below[key] = v
	}
	return below
}

// finish is what compose-go does once all of a scope is merged.
func (l *load) finish(m *model, s scope) bool {
	position := func(field string) Position { return m.find(field, s.file) }
	err := guarded(func() (err error) {
		if m.dict, err = transform.SetDefaultValues(m.dict); err != nil {
			return err
		}
		return validation.Validate(m.dict)
	})
	if err != nil {
		l.faults.add(l.foreign(err, position))
		return false
	}
	return true
}

// guarded calls compose-go, which may panic where a file is not what it
// expects.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errGaveUp
		}
	}()
	return f()
}

var errGaveUp = errors.New("is not of the form that the Compose specification has")

// clone copies plain values.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, e := range v {
			out[key] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// trace is where a part of the model comes from: what a document has at from,
// or that document itself, became what the model has at to.
type trace struct {
	value    any // with variables, before it was merged
	d        *document
	from, to string
}

// moved are the traces of one field that becomes another.
func moved(traces []trace, from, to string) []trace {
	var all []trace
	for _, t := range traces {
		switch {
		case t.to == from:
			t.to = to
			all = append(all, t)
		case strings.HasPrefix(t.to, from+"."):
			t.to = to + t.to[len(from):]
			all = append(all, t)
		case t.to == "" || strings.HasPrefix(from, t.to+"."):
			rest := strings.TrimPrefix(strings.TrimPrefix(from, t.to), ".")
			if v, ok := at(t.value, rest); ok {
				all = append(all, trace{value: v, d: t.d, from: join(t.from, rest), to: to})
			}
		}
	}
	return all
}

// at is what stands at a path of keys, such as services.web: names with dots
// are tried as a whole.
func at(v any, field string) (any, bool) {
	if field == "" {
		return v, true
	}
	m := mapping(v)
	for i := range len(field) + 1 {
		if i == len(field) || field[i] == '.' {
			if inner, ok := m[field[:i]]; ok {
				if found, ok := at(inner, strings.TrimPrefix(field[i:], ".")); ok {
					return found, true
				}
			}
		}
	}
	return nil, false
}

// find is where a field of the model was written, as far as the names in it are
// found in a document.
func (m *model) find(field, file string) Position {
	for _, t := range slices.Backward(m.traces) {
		rest, below := field, true
		if t.to != "" {
			rest, below = strings.CutPrefix(field, t.to)
			rest = strings.TrimPrefix(rest, ".")
		}
		if !below {
			continue
		}
		for within := rest; ; within = around(within) {
			if within == "" && t.to == "" && rest != "" {
				break
			}
			if s, ok := t.d.at[strings.Trim(t.from+"."+within, ".")]; ok {
				return Position{File: t.d.file, Line: s.line, Column: s.column, Field: field}
			}
			if within == "" {
				break
			}
		}
	}
	return Position{File: file, Line: 1, Field: field}
}
