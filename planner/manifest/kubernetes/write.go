package kubernetes

import (
	"maps"
	"slices"
	"strconv"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// object is a part of a document under construction, in the order in which it
// is written.
type object []member

// member is a field: its value is a text, a number, a truth value, a *node that
// is a scalar, an object or a list. from is where it comes from; without it
// that of what is around it.
type member struct {
	name  string
	value any
	from  value
}

// list is a list of a document under construction.
type list []item

type item struct {
	value any
	from  value
}

// put sets a field, in the place of one of that name.
func (o *object) put(name string, v any, from value) {
	for i := range *o {
		if (*o)[i].name == name {
			(*o)[i] = member{name, v, from}
			return
		}
	}
	*o = append(*o, member{name, v, from})
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// copy takes scalars over as they are.
func (o *object) copy(from value, names ...string) {
	for _, name := range names {
		if v := from.at(name); v.given() && v.n.scalar() {
			v.n.seen = true
			o.put(name, v.n, v)
		}
	}
}

// copyText takes texts over: what is a number or a truth value becomes text.
func (o *object) copyText(from value, names ...string) {
	for _, name := range names {
		if v := from.at(name); v.given() && v.n.scalar() {
			o.put(name, v.text(), v)
		}
	}
}

// copyTexts takes a list of texts over.
func (o *object) copyTexts(from value, names ...string) {
	for _, name := range names {
		if texts := textList(from.at(name)); len(texts) > 0 {
			o.put(name, texts, from.at(name))
		}
	}
}

func textList(v value) list {
	var out list
	for _, i := range v.items() {
		if i.n.scalar() {
			out = append(out, item{i.text(), i})
		}
	}
	return out
}

// putTexts sets a field to a map of texts, unless it is empty.
func (o *object) putTexts(name string, m map[string]string, from value) {
	var texts object
	for _, key := range slices.Sorted(maps.Keys(m)) {
		texts.put(key, m[key], value{})
	}
	if len(texts) > 0 {
		o.put(name, texts, from)
	}
}

// writer makes the nodes of one document and notes where they come from.
type writer struct{ origins map[string]Position }

func (w *writer) node(v any, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch v := v.(type) {
	case object:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, m := range v {
			inner := join(path, m.name)
			w.origin(inner, m.from)
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: m.name}, w.node(m.value, inner))
		}
	case list:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for i, each := range v {
			inner := path + "[" + strconv.Itoa(i) + "]"
			w.origin(inner, each.from)
			n.Content = append(n.Content, w.node(each.value, inner))
		}
	case *node:
		n.Tag, n.Value = v.tag, v.text
	case string:
		n.Tag, n.Value = "!!str", v
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case int:
		n.Tag, n.Value = "!!int", strconv.Itoa(v)
	case int64:
		n.Tag, n.Value = "!!int", strconv.FormatInt(v, 10)
	}
	return n
}

func (w *writer) origin(path string, from value) {
	if from.n != nil {
		w.origins[path] = from.r.position(from.n, from.path)
	}
}

// document makes the document of a workload.
func (w *workload) document() Document {
	wr := &writer{map[string]Position{}}
	root := object{{"apiVersion", "orpheus/v1", value{}}, {"kind", "Service", value{}},
		{"metadata", w.metadata, value{}}, {"spec", w.finished(), value{}}}
	return Document{ID: planner.ServiceID{Namespace: w.namespace, Name: w.name}, From: w.r.position(w.r.root, ""),
		Root: wr.node(root, ""), Contents: w.contents, origins: wr.origins}
}
