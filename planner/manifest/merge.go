package manifest

import (
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// mergeKeys names the lists whose items are merged one by one, and the field
// that tells which item is which, as Kubernetes does. Items of ports are
// called by name or by containerPort: see samePort. All other lists are
// replaced as a whole.
var mergeKeys = map[string]string{
	"containers":                "name",
	"initContainers":            "name",
	"env":                       "name",
	"ports":                     "name",
	"volumes":                   "name",
	"volumeMounts":              "mountPath",
	"topologySpreadConstraints": "topologyKey",
	"hostAliases":               "ip",
	"sysctls":                   "name",
	"ulimits":                   "name",
}

// maxMerged is how many items two lists may have together to be merged: no
// field allows so many, and the decoder says so.
const maxMerged = 2 * max(maxEnv, maxArguments)

// merger lays documents over each other by Kubernetes' strategic merge, on
// nodes that nobody else has.
type merger struct{ d *decoder }

// own copies a tree, without comments, and notes where it was written.
func (m merger) own(n *yaml.Node, from *source, bad map[*yaml.Node]bool) *yaml.Node {
	c := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	m.d.sources[c] = from
	if bad[n] {
		m.d.bad[c] = true
	}
	if n.Kind == yaml.AliasNode {
		return c // refused by the lint; where it leads is nobody's business
	}
	for _, child := range n.Content {
		c.Content = append(c.Content, m.own(child, from, bad))
	}
	return c
}

// directive is the key of an object, or of a list's item, that says how to
// merge it.
const directive = "$patch"

// merge lays patch over base, nil = there is nothing below, and returns the
// result: nil = nothing is left. name is the field's.
func (m merger) merge(base, patch *yaml.Node, name, path string) *yaml.Node {
	switch {
	case isNull(patch) && !m.d.bad[patch]:
		return nil
	case patch.Kind == yaml.MappingNode:
		return m.object(base, patch, path)
	case patch.Kind == yaml.SequenceNode:
		return m.list(base, patch, name, path)
	}
	return patch
}

func (m merger) object(base, patch *yaml.Node, path string) *yaml.Node {
	switch m.directive(patch, path) {
	case "delete":
		return nil
	case "replace":
		base = nil
	}
	if base == nil || base.Kind != yaml.MappingNode {
		base = m.emptied(patch)
	}
	for i := 0; i+1 < len(patch.Content); i += 2 {
		key, node := patch.Content[i], patch.Content[i+1]
		if key.Kind != yaml.ScalarNode || strings.HasPrefix(key.Value, "$") {
			continue // a directive, or refused by the lint
		}
		at := indexOf(base, key.Value)
		var below *yaml.Node
		if at >= 0 {
			below = base.Content[at+1]
		}
		merged := m.merge(below, node, key.Value, value{path: path}.child(key.Value, nil).path)
		switch {
		case merged == nil && at >= 0:
			base.Content = append(base.Content[:at:at], base.Content[at+2:]...)
		case merged == nil:
		case at >= 0:
			if base.Content[at+1] = merged; merged == node {
				base.Content[at] = key // what is wrong with it is wrong here
			}
		default:
			base.Content = append(base.Content, key, merged)
		}
	}
	return base
}

// directive reads what a patch says of itself, "" = merge.
func (m merger) directive(patch *yaml.Node, path string) string {
	said := ""
	for i := 0; i+1 < len(patch.Content); i += 2 {
		key, node := patch.Content[i], patch.Content[i+1]
		switch {
		case !strings.HasPrefix(key.Value, "$"):
		case key.Value != directive:
			m.d.wrong(value{key, path}, quote(key.Value)+" is not supported", "write $patch: replace or $patch: delete")
		case node.Value != "replace" && node.Value != "delete":
			m.d.wrong(value{node, path}, "$patch cannot be "+kindOf(node), "write $patch: replace or $patch: delete")
		default:
			said = node.Value
		}
	}
	return said
}

// emptied is the object or list that n is, without what it holds.
func (m merger) emptied(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	m.d.sources[&c] = m.d.sources[n]
	return &c
}

func (m merger) list(base, patch *yaml.Node, name, path string) *yaml.Node {
	key, merges := mergeKeys[name]
	replaced := false
	for i, item := range patch.Content {
		if !isDirective(item) {
			continue
		}
		v := value{path: path}.item(i, item)
		switch m.directive(item, v.path) {
		case "replace":
			replaced = true
		case "delete":
			m.d.wrong(v, "does not say which item to delete", "add the field that names it, or write $patch: replace to empty the list")
		}
	}
	if !merges || replaced || base == nil || base.Kind != yaml.SequenceNode {
		base = m.emptied(patch)
	}
	crowded := len(base.Content)+len(patch.Content) > maxMerged
	for i, item := range patch.Content {
		if isDirective(item) {
			continue
		}
		v := value{path: path}.item(i, item)
		at := -1
		if merges && !crowded && item.Kind == yaml.MappingNode {
			at = find(base.Content, item, key)
		}
		if at < 0 {
			m.add(base, v, merges && !replaced)
		} else if merged := m.merge(base.Content[at], item, "", v.path); merged != nil {
			base.Content[at] = merged
		} else {
			base.Content = append(base.Content[:at:at], base.Content[at+1:]...)
		}
	}
	return base
}

// add appends an item that has no partner below.
func (m merger) add(list *yaml.Node, v value, merges bool) {
	if v.node.Kind != yaml.MappingNode {
		list.Content = append(list.Content, v.node)
		return
	}
	if item := m.object(nil, v.node, v.path); item != nil {
		list.Content = append(list.Content, item)
	} else if merges {
		m.d.report(m.d.at(v.node), planner.Fault{Field: v.path, Reason: "deletes nothing: no base has such an item", Remedy: "remove it", Warning: true})
	}
}

// isDirective reports whether a list's item only says how to merge the list.
func isDirective(item *yaml.Node) bool {
	return item.Kind == yaml.MappingNode && len(item.Content) == 2 && item.Content[0].Value == directive
}

// find returns the index of the item that is meant: of several the last, as
// it is the one in force; -1 = none.
func find(items []*yaml.Node, item *yaml.Node, key string) int {
	if i := findBy(items, item, key); i >= 0 || key != "name" {
		return i
	}
	return findPort(items, item)
}

func findBy(items []*yaml.Node, item *yaml.Node, key string) int {
	want := scalarOf(item, key)
	if want == "" {
		return -1
	}
	for i := len(items) - 1; i >= 0; i-- {
		if scalarOf(items[i], key) == want {
			return i
		}
	}
	return -1
}

// findPort finds a port by its number, and by its protocol where several have
// the number or both name one. Only ports have the field.
func findPort(items []*yaml.Node, item *yaml.Node) int {
	want := scalarOf(item, "containerPort")
	if want == "" {
		return -1
	}
	protocol := func(n *yaml.Node) string {
		if p := scalarOf(n, "protocol"); p != "" {
			return strings.ToUpper(p)
		}
		return "TCP"
	}
	found, exact, several := -1, -1, false
	for i, other := range items {
		if scalarOf(other, "containerPort") != want {
			continue
		}
		found, several = i, found >= 0
		if protocol(other) == protocol(item) {
			exact = i
		}
	}
	if exact >= 0 || several || scalarOf(item, "protocol") != "" {
		return exact
	}
	return found
}

// scalarOf is the text of a field that is one value, "" if it has none.
func scalarOf(n *yaml.Node, key string) string {
	if n.Kind != yaml.MappingNode {
		return ""
	}
	if v := lookup(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// indexOf is the index of a key in a mapping's content, -1 = it has none.
func indexOf(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}
