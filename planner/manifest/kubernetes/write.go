package kubernetes

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest/draft"
)

// object is a part of a document under construction, with the values that its
// fields come from. The Scalars in it are those of a *node.
type (
	object = draft.Object[value]
	list   = draft.List[value]
)

func member(name string, v any, from value) draft.Member[value] {
	return draft.Member[value]{Name: name, Value: v, From: from}
}

func item(v any, from value) draft.Item[value] { return draft.Item[value]{Value: v, From: from} }

// Scalar is n as YAML writes it.
func (n *node) Scalar() (tag, text string) { return n.tag, n.text }

// copyScalars takes scalars over as they are.
func copyScalars(o *object, from value, names ...string) {
	for _, name := range names {
		if v := from.at(name); v.given() && v.n.scalar() {
			v.n.seen = true
			o.Put(name, v.n, v)
		}
	}
}

// copyText takes texts over: what is a number or a truth value becomes text.
func copyText(o *object, from value, names ...string) {
	for _, name := range names {
		if v := from.at(name); v.given() && v.n.scalar() {
			o.Put(name, v.text(), v)
		}
	}
}

// copyTexts takes a list of texts over.
func copyTexts(o *object, from value, names ...string) {
	for _, name := range names {
		if texts := textList(from.at(name)); len(texts) > 0 {
			o.Put(name, texts, from.at(name))
		}
	}
}

func textList(v value) list {
	var out list
	for _, i := range v.items() {
		if i.n.scalar() {
			out = append(out, item(i.text(), i))
		}
	}
	return out
}

// putTexts sets a field to a map of texts, unless it is empty.
func putTexts(o *object, name string, m map[string]string, from value) {
	var texts object
	for _, key := range slices.Sorted(maps.Keys(m)) {
		texts.Put(key, m[key], value{})
	}
	if len(texts) > 0 {
		o.Put(name, texts, from)
	}
}

// document makes the document of a workload.
func (w *workload) document() Document {
	origins, place := map[string]Position{}, func(from value) (Position, bool) {
		if from.n == nil {
			return Position{}, false
		}
		return from.r.position(from.n, from.path), true
	}
	wr := &draft.Writer[value, Position]{Place: place, Origins: origins}
	root := object{member("apiVersion", "orpheus/v1", value{}), member("kind", "Service", value{}),
		member("metadata", w.metadata, value{}), member("spec", w.finished(), value{})}
	return Document{ID: planner.ServiceID{Namespace: w.namespace, Name: w.name}, From: w.r.position(w.r.root, ""),
		Root: wr.Node(root, "", Position{}), Contents: w.contents, origins: origins}
}
