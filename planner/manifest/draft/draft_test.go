package draft

import (
	"maps"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

type word struct{ tag, text string }

func (w word) Scalar() (tag, text string) { return w.tag, w.text }

// What comes out reads as what was put in, text as text, and each node stands
// where its field comes from, or else what is around it.
func TestWrite(t *testing.T) {
	var inner, root Object[int]
	inner.Put("text", "yes", 4)
	inner.Put("kept", word{"!!int", "0x10"}, 0)
	inner.Put("text", "no", 5) // stays in its place
	root.Put("first", true, 0)
	root.Put("object", inner, 3)
	root.Put("list", List[int]{{"1.10", 7}, {int64(2), 0}, {nil, 0}, {0.5, 0}, {uint64(3), 0}, {Object[int]{}, 0}, {List[int]{}, 0}}, 6)
	if got := inner.Get("text"); got != "no" || inner.Get("gone") != nil {
		t.Errorf("got %v", got)
	}
	w := &Writer[int, int]{Place: func(from int) (int, bool) { return from, from > 0 }, Mark: func(n *yaml.Node, at int) { n.Line = at }, Origins: map[string]int{}}
	n := w.Node(root, "", 1)
	text, err := yaml.Marshal(n)
	const want = `first: true
object:
    text: "no"
    kept: 0x10
list:
    - "1.10"
    - 2
    - null
    - 0.5
    - 3
    - {}
    - []
`
	if err != nil || string(text) != want {
		t.Errorf("%v\n%s", err, text)
	}
	if origins := map[string]int{"object": 3, "object.text": 5, "list": 6, "list[0]": 7}; !maps.Equal(w.Origins, origins) {
		t.Errorf("origins %v", w.Origins)
	}
	object := n.Content[3]
	for what, line := range map[int]int{n.Line: 1, object.Line: 3, object.Content[1].Line: 5, object.Content[3].Line: 3, n.Content[5].Content[1].Line: 6} {
		if what != line {
			t.Errorf("a node is on line %d, want %d", what, line)
		}
	}
}
