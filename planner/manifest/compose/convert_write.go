package compose

import (
	"maps"
	"slices"
	"strconv"

	"github.com/orpheus-cd/orpheus/planner/manifest/draft"
	yaml "go.yaml.in/yaml/v3"
)

// object is a part of a document under construction. What its fields come from
// are Compose fields, "" = that of what is around.
type (
	object = draft.Object[string]
	list   = draft.List[string]
)

func member(name string, value any, from string) draft.Member[string] {
	return draft.Member[string]{Name: name, Value: value, From: from}
}

func item(value any, from string) draft.Item[string] {
	return draft.Item[string]{Value: value, From: from}
}

// origin is the Compose field that a field comes from.
func origin(o object, name string) string {
	for _, m := range o {
		if m.Name == name {
			return m.From
		}
	}
	return ""
}

// textList is a list of texts that come from one place.
func textList(all []string) list {
	out := make(list, len(all))
	for i, s := range all {
		out[i].Value = s
	}
	return out
}

// overlay lays what x-orpheus says over a part of a document: objects are merged
// field by field, null removes a field, all else replaces what is there.
func overlay(o *object, over map[string]any, from string) {
	for _, name := range slices.Sorted(maps.Keys(over)) {
		at := from + "." + name
		if over[name] == nil {
			*o = slices.DeleteFunc(*o, func(m draft.Member[string]) bool { return m.Name == name })
			continue
		}
		if inner, isObject := over[name].(map[string]any); isObject {
			if below, ok := o.Get(name).(object); ok {
				source := origin(*o, name)
				below = slices.Clone(below)
				overlay(&below, inner, at)
				o.Put(name, below, source)
				continue
			}
		}
		o.Put(name, written(over[name], at), at)
	}
}

// written is a value as YAML readers give it, in the form of a document.
func written(v any, from string) any {
	switch v := v.(type) {
	case map[string]any:
		var o object
		for _, name := range slices.Sorted(maps.Keys(v)) {
			o.Put(name, written(v[name], from+"."+name), from+"."+name)
		}
		return o
	case []any:
		out := make(list, len(v))
		for i, each := range v {
			at := from + "[" + strconv.Itoa(i) + "]"
			out[i] = item(written(each, at), at)
		}
		return out
	}
	return v
}

// writer makes the nodes of a document.
func (p *Project) writer(origins map[string]Position) *draft.Writer[string, Position] {
	return &draft.Writer[string, Position]{
		Place:   func(from string) (Position, bool) { return p.Position(from), from != "" },
		Mark:    func(n *yaml.Node, at Position) { n.Line, n.Column = at.Line, at.Column },
		Origins: origins,
	}
}
