package reference

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// maxPath is how long a path may be: none is nearly as long.
const maxPath = 256

// Find returns what a path names: "Service", "service.spec.update",
// "spec.ports[].publish", "Probe.httpGet". Without a kind a Service is meant,
// and what is in brackets is passed over unless it names a key of a map. The
// error says what was probably meant.
func (b *Book) Find(path string) (*Entry, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("a path of %d bytes names no field", len(path))
	}
	names := split(path)
	at := b.top(names[0])
	if at == nil {
		if service := b.top(flatKind); service.find(names[0]) != nil {
			names = append([]string{flatKind}, names...)
			at = service
		}
	}
	if at == nil {
		return nil, fmt.Errorf("there is no kind %q; %s", names[0], meant(names[0], b.names()))
	}
	for _, name := range names[1:] {
		next := at.find(name)
		if next == nil {
			return nil, fmt.Errorf("%s has no field %q; %s", at.Path, name, at.meant(name))
		}
		at = next
	}
	return at, nil
}

// top returns a kind or a part by its name, whatever the case of its letters.
func (b *Book) top(name string) *Entry {
	for _, e := range b.all() {
		if strings.EqualFold(e.Name, name) {
			return e
		}
	}
	return nil
}

func (b *Book) all() []*Entry { return append(b.Kinds[:len(b.Kinds):len(b.Kinds)], b.Parts...) }

func (b *Book) names() []string { return namesOf(b.all()) }

func namesOf(entries []*Entry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// find returns the field of that name, nil if there is none.
func (e *Entry) find(name string) *Entry {
	for _, f := range e.Fields {
		if f.Name == name {
			return f
		}
	}
	for _, f := range e.Fields {
		if strings.EqualFold(f.Name, name) {
			return f
		}
	}
	return nil
}

// meant says which field was probably meant: one of e's, or one below.
func (e *Entry) meant(name string) string {
	if len(e.Fields) == 0 {
		return "it has none"
	}
	if near := manifest.Nearest(name, namesOf(e.Fields)); near == "" {
		if below := e.below(name); below != nil {
			return "did you mean " + below.Path + "?"
		}
	}
	return meant(name, namesOf(e.Fields))
}

// below finds the field of that name that is least deep below e.
func (e *Entry) below(name string) *Entry {
	for level := e.Fields; len(level) > 0; {
		var next []*Entry
		for _, f := range level {
			if f.Name == name {
				return f
			}
			next = append(next, f.Fields...)
		}
		level = next
	}
	return nil
}

func meant(name string, names []string) string {
	if near := manifest.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "there are " + strings.Join(names, ", ")
}

// Complete returns the paths that what was typed may become, those of objects
// with a dot at their end.
func (b *Book) Complete(typed string) []string {
	above, last, fields := "", typed, b.Kinds
	if i := strings.LastIndexByte(typed, '.'); i >= 0 {
		e, err := b.Find(typed[:i])
		if err != nil {
			return nil
		}
		above, last, fields = typed[:i+1], typed[i+1:], e.Fields
	}
	var all []string
	for _, f := range fields {
		if len(f.Name) < len(last) || !strings.EqualFold(f.Name[:len(last)], last) || strings.ContainsAny(f.Name, `/"`) {
			continue
		}
		path := above + f.Name
		if len(f.Fields) > 0 {
			path += "."
		}
		all = append(all, path)
	}
	return all
}

// split takes a path apart. Of brackets it keeps the keys in quotes.
func split(path string) []string {
	var names []string
	for rest := path; rest != ""; {
		name, after := rest, ""
		if i := strings.IndexAny(rest, ".["); i >= 0 {
			name, after = rest[:i], rest[i:]
		}
		if name != "" {
			names = append(names, name)
		}
		switch inner, more, closed := strings.Cut(after, "]"); {
		case strings.HasPrefix(after, `["`) && closed:
			names, rest = append(names, strings.Trim(inner, `["`)), more
		case strings.HasPrefix(after, "[") && closed:
			rest = more
		default:
			rest = strings.TrimLeft(after, ".[")
		}
	}
	if names == nil {
		return []string{""}
	}
	return names
}

// Words are the texts that the field, or each of its items, may be; nil = any.
func (e *Entry) Words() []string {
	shape := e.shape
	if shape.Item != nil {
		shape = *shape.Item
	}
	return shape.Words
}
