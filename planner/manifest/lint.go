package manifest

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// lint refuses the parts of YAML that hide what a document says: anchors,
// aliases, merge keys, tags, duplicate keys, keys that are not text, and
// nesting without end. It returns false if the document is too deep to be
// looked at further.
func (d *decoder) lint(n *yaml.Node) bool { return d.lintNode(n, 1) }

func (d *decoder) lintNode(n *yaml.Node, depth int) bool {
	if depth > d.limits.Nesting {
		d.refuse(n, fmt.Sprintf("is nested more than %d levels deep", d.limits.Nesting), "")
		return false
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.refuse(n, "anchors and aliases are not supported", "write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		d.refuse(n, "tags are not supported", "remove "+shorten(n.Tag))
	}
	if n.Kind == yaml.MappingNode {
		d.lintKeys(n)
	}
	for _, child := range n.Content {
		if !d.lintNode(child, depth+1) {
			return false
		}
	}
	return true
}

func (d *decoder) lintKeys(n *yaml.Node) {
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.refuse(key, "a key must be text", "write it in quotes, if it is meant")
		case key.Tag == "!!merge":
			d.refuse(key, "merge keys are not supported", "write the values out")
		case key.Style&yaml.TaggedStyle != 0 || key.Anchor != "":
			// Refused as a node below.
		case key.Tag != "!!str":
			d.refuse(key, fmt.Sprintf("key %s unquoted reads as %s", shorten(key.Value), scalarKind(key)), "write "+quote(key.Value)+" in quotes")
		case first[key.Value] > 0:
			d.refuse(key, fmt.Sprintf("duplicate key %s, first given on line %d", quote(key.Value), first[key.Value]), "keep one of them")
		default:
			first[key.Value] = key.Line
		}
	}
}

func (d *decoder) refuse(n *yaml.Node, reason, remedy string) {
	d.bad[n] = true
	d.report(d.at(n), planner.Fault{Reason: reason, Remedy: remedy})
}
