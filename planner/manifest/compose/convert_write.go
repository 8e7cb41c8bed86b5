package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	yaml "go.yaml.in/yaml/v3"
)

// object is a part of a document under construction, in the order in which it
// is written.
type object []member

// member is a field of an object: its value is text, a number, a truth value,
// an object or a list. from is the Compose field that it comes from, "" = that
// of what is around it.
type member struct {
	name  string
	value any
	from  string
}

// list is a list of a document under construction.
type list []item

type item struct {
	value any
	from  string
}

// put sets a field, in the place of one of that name.
func (o *object) put(name string, value any, from string) {
	for i := range *o {
		if (*o)[i].name == name {
			(*o)[i] = member{name, value, from}
			return
		}
	}
	*o = append(*o, member{name, value, from})
}

// get is the value of a field, nil if there is none.
func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// origin is the Compose field that a field comes from.
func (o object) origin(name string) string {
	for _, m := range o {
		if m.name == name {
			return m.from
		}
	}
	return ""
}

func (o *object) remove(name string) {
	*o = slices.DeleteFunc(*o, func(m member) bool { return m.name == name })
}

// textList is a list of texts that come from one place.
func textList(all []string) list {
	out := make(list, len(all))
	for i, s := range all {
		out[i].value = s
	}
	return out
}

// overlay lays what x-orpheus says over a part of a document: objects are merged
// field by field, null removes a field, all else replaces what is there.
func (o *object) overlay(over map[string]any, from string) {
	for _, name := range slices.Sorted(maps.Keys(over)) {
		at := from + "." + name
		if over[name] == nil {
			o.remove(name)
			continue
		}
		if inner, isObject := over[name].(map[string]any); isObject {
			if below, ok := o.get(name).(object); ok {
				source := o.origin(name)
				below = slices.Clone(below)
				below.overlay(inner, at)
				o.put(name, below, source)
				continue
			}
		}
		o.put(name, written(over[name], at), at)
	}
}

// written is a value as YAML readers give it, in the form of a document.
func written(v any, from string) any {
	switch v := v.(type) {
	case map[string]any:
		var o object
		for _, name := range slices.Sorted(maps.Keys(v)) {
			o.put(name, written(v[name], from+"."+name), from+"."+name)
		}
		return o
	case []any:
		out := make(list, len(v))
		for i, each := range v {
			at := from + "[" + strconv.Itoa(i) + "]"
			out[i] = item{written(each, at), at}
		}
		return out
	}
	return v
}

// writer makes the nodes of one document and notes where they come from.
type writer struct {
	p       *Project
	origins map[string]Position
}

// node makes the node of a value. path is its field in the document, from the
// Compose field it comes from.
func (w *writer) node(v any, path, from string) *yaml.Node {
	at := w.p.Position(from)
	n := &yaml.Node{Line: at.Line, Column: at.Column}
	switch v := v.(type) {
	case object:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, m := range v {
			inner, source := m.name, m.from
			if path != "" {
				inner = path + "." + m.name
			}
			if source == "" {
				source = from
			}
			w.note(inner, m.from)
			value := w.node(m.value, inner, source)
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: m.name, Line: value.Line, Column: value.Column}
			n.Content = append(n.Content, key, value)
		}
	case list:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for i, each := range v {
			inner, source := path+"["+strconv.Itoa(i)+"]", each.from
			if source == "" {
				source = from
			}
			w.note(inner, each.from)
			n.Content = append(n.Content, w.node(each.value, inner, source))
		}
	default:
		scalar(n, v)
	}
	return n
}

func (w *writer) note(path, from string) {
	if from != "" {
		w.origins[path] = w.p.Position(from)
	}
}

// scalar makes n the node of a single value. Text has quotes, so that nothing
// takes it for something else.
func scalar(n *yaml.Node, v any) {
	n.Kind = yaml.ScalarNode
	switch v := v.(type) {
	case string:
		n.Tag, n.Style, n.Value = "!!str", yaml.DoubleQuotedStyle, v
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case int:
		n.Tag, n.Value = "!!int", strconv.Itoa(v)
	case int64:
		n.Tag, n.Value = "!!int", strconv.FormatInt(v, 10)
	case uint64:
		n.Tag, n.Value = "!!int", strconv.FormatUint(v, 10)
	case float64:
		n.Tag, n.Value = "!!float", strconv.FormatFloat(v, 'g', -1, 64)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	default:
		n.Tag, n.Style, n.Value = "!!str", yaml.DoubleQuotedStyle, fmt.Sprint(v)
	}
}
