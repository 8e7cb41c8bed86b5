package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// Bounds of what is read. Charts that were rendered are larger than manifests
// that people write.
const (
	MaxFileBytes = 4 << 20
	maxDocuments = 2000
	maxNesting   = 64
	maxNodes     = 500_000 // with what aliases repeat, of all files
	maxTextBytes = 64 << 20
)

// node is a value of an input, with aliases and merges written out.
type node struct {
	line, column int
	tag          string // of a scalar: !!str, !!int, !!float, !!bool, !!null and others; !!map, !!seq
	text         string // of a scalar
	names        []string
	children     []*node // values of names, or items
	seen         bool    // of a scalar: somebody has read it
	wanted       string  // what was looked for in vain: a list
}

func (n *node) scalar() bool { return n.tag != "!!map" && n.tag != "!!seq" }
func (n *node) null() bool   { return n.tag == "!!null" }

// what is the kind of value that n is, in words.
func (n *node) what() string {
	switch n.tag {
	case "!!map":
		return "an object"
	case "!!seq":
		return "a list"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return n.text
	}
	return "text"
}

// holdsWanted reports whether something else was looked for in n.
func (n *node) holdsWanted() bool {
	return slices.ContainsFunc(n.children, func(c *node) bool { return c.wanted != "" && !c.null() || c.holdsWanted() })
}

// child is the value of a name, nil if there is none.
func (n *node) child(name string) *node {
	if n != nil && n.tag == "!!map" {
		for i, each := range n.names {
			if each == name {
				return n.children[i]
			}
		}
	}
	return nil
}

// tick marks all scalars as read.
func (n *node) tick() {
	n.seen = true
	for _, c := range n.children {
		c.tick()
	}
}

// reader makes nodes of YAML.
type reader struct {
	file         string
	nodes, bytes int // left
	open         map[*yaml.Node]bool
	fault        *planner.Fault // the first
}

func (r *reader) wrong(line int, reason, remedy string) {
	if r.fault == nil {
		r.fault = &planner.Fault{File: r.file, Line: max(line, 1), Reason: reason, Remedy: remedy}
	}
}

const renderFirst = "render it first and convert what comes out: helm template … | orpheus convert -"

// documents reads the documents of a file.
func (r *reader) documents(data []byte) []*node {
	switch {
	case len(data) > MaxFileBytes:
		r.wrong(1, fmt.Sprintf("is larger than %d MiB", MaxFileBytes>>20), "split it")
		return nil
	case !utf8.Valid(data), bytes.IndexByte(data, 0) >= 0:
		r.wrong(1, "is not text in UTF-8", "save it as UTF-8")
		return nil
	}
	var all []*node
	dec := yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	for {
		root, err := next(dec)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			r.syntax(data, err)
			return nil
		}
		if len(root.Content) != 1 || root.Content[0].Tag == "!!null" {
			continue // nothing between two separators
		}
		if len(all) == maxDocuments {
			r.wrong(root.Line, fmt.Sprintf("has more than %d documents", maxDocuments), "split it")
			return nil
		}
		n := r.node(root.Content[0], 1)
		if r.fault != nil {
			r.template(data)
			return nil
		}
		all = append(all, n)
	}
}

// next reads one document. Should the parser ever panic, that is a fault of the
// file.
func next(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the YAML parser gave up")
		}
	}()
	n = &yaml.Node{}
	return n, dec.Decode(n)
}

var yamlError = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)

func (r *reader) syntax(data []byte, err error) {
	m := yamlError.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	line, _ := strconv.Atoi(m[1])
	r.wrong(line, "is not valid YAML: "+m[2], "correct it")
	r.template(data)
}

var action = regexp.MustCompile(`\{\{-?\s*(\.Values|\.Release|\.Chart|include|template|define|if|end|range|with|tpl|toYaml|/\*)|^\s*\{\{`)

// template gives a fault of a file that is a template the reason it has.
func (r *reader) template(data []byte) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		if action.Match(line) {
			r.fault.Line, r.fault.Reason, r.fault.Remedy = i+1, "is a template, not a manifest", renderFirst
			return
		}
	}
}

// node copies n, and what its aliases stand for.
func (r *reader) node(n *yaml.Node, depth int) *node {
	r.nodes--
	r.bytes -= len(n.Value)
	switch {
	case r.fault != nil:
	case r.nodes < 0 || r.bytes < 0:
		r.wrong(n.Line, "is too large, with what its aliases repeat", "repeat less, or split it")
	case depth > maxNesting:
		r.wrong(n.Line, fmt.Sprintf("is nested more than %d levels deep", maxNesting), "write it flatter")
	case n.Kind == yaml.AliasNode:
		if n.Alias == nil || r.open[n.Alias] {
			r.wrong(n.Line, "refers to itself", "write the value out")
			break
		}
		r.open[n.Alias] = true
		defer delete(r.open, n.Alias)
		c := r.node(n.Alias, depth+1)
		c.line, c.column = n.Line, n.Column
		return c
	case n.Kind == yaml.MappingNode:
		c := &node{line: n.Line, column: n.Column, tag: "!!map"}
		r.fields(c, n, depth)
		return c
	case n.Kind == yaml.SequenceNode:
		c := &node{line: n.Line, column: n.Column, tag: "!!seq"}
		for _, item := range n.Content {
			c.children = append(c.children, r.node(item, depth+1))
		}
		return c
	}
	return &node{line: n.Line, column: n.Column, tag: n.ShortTag(), text: n.Value}
}

// fields copies the fields of a mapping, and those that it merges where it has
// none of the name.
func (r *reader) fields(c *node, n *yaml.Node, depth int) {
	first := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		if key.Kind != yaml.ScalarNode {
			r.wrong(key.Line, "has a key that is no text", "write the key in quotes")
			return
		}
		if line, twice := first[key.Value]; twice {
			r.wrong(key.Line, fmt.Sprintf("%q is given twice, first on line %d", key.Value, line), "keep one of them")
			return
		}
		first[key.Value] = key.Line
		v := r.node(n.Content[i+1], depth+1)
		v.line, v.column = key.Line, key.Column
		c.names, c.children = append(c.names, key.Value), append(c.children, v)
	}
	for _, m := range merged {
		r.merge(c, m, depth+1)
	}
}

func (r *reader) merge(c *node, n *yaml.Node, depth int) {
	below := r.node(n, depth)
	if r.fault != nil {
		return
	}
	layers := []*node{below}
	if below.tag == "!!seq" {
		layers = below.children
	}
	for _, layer := range layers {
		if layer.tag != "!!map" {
			r.wrong(n.Line, "merges what is no object", "write <<: *name of an object")
			return
		}
		for i, name := range layer.names {
			if c.child(name) == nil {
				c.names, c.children = append(c.names, name), append(c.children, layer.children[i])
			}
		}
	}
}
