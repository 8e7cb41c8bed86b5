package draft

import (
	"fmt"
	"strconv"

	yaml "go.yaml.in/yaml/v3"
)

// Writer makes the nodes of a document. P is a position in an input.
type Writer[F, P any] struct {
	// Place is the position of an origin; unknown is where there is none, and
	// that of what is around counts.
	Place func(from F) (at P, known bool)
	// Mark has a node tell its position; nil = it does not.
	Mark func(n *yaml.Node, at P)
	// Origins are the positions that are known, by field of the document. The
	// writer adds to them.
	Origins map[string]P
}

// Node makes the node of a value. path is its field in the document, around the
// position of what it is in.
func (w *Writer[F, P]) Node(v any, path string, around P) *yaml.Node {
	n := &yaml.Node{}
	if w.Mark != nil {
		w.Mark(n, around)
	}
	switch v := v.(type) {
	case Object[F]:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, m := range v {
			inner := m.Name
			if path != "" {
				inner = path + "." + m.Name
			}
			value := w.Node(m.Value, inner, w.note(inner, m.From, around))
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: m.Name, Line: value.Line, Column: value.Column}
			n.Content = append(n.Content, key, value)
		}
	case List[F]:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for i, each := range v {
			inner := path + "[" + strconv.Itoa(i) + "]"
			n.Content = append(n.Content, w.Node(each.Value, inner, w.note(inner, each.From, around)))
		}
	default:
		scalar(n, v)
	}
	return n
}

// note is the position of a field, which it remembers where it is one of its own.
func (w *Writer[F, P]) note(path string, from F, around P) P {
	at, known := w.Place(from)
	if !known {
		return around
	}
	w.Origins[path] = at
	return at
}

// scalar makes n the node of a single value. Text has quotes, so that nothing
// takes it for something else.
func scalar(n *yaml.Node, v any) {
	n.Kind = yaml.ScalarNode
	switch v := v.(type) {
	case Scalar:
		n.Tag, n.Value = v.Scalar()
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
