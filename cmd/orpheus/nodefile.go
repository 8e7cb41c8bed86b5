package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner"
)

// errNotEditable says that a manifest is written in a way that no single line
// can be changed in.
var errNotEditable = errors.New("is written in a way that cannot be edited here")

// newNodeFile is the manifest of a node that had none.
func newNodeFile(name planner.NodeName, field string) ([]byte, error) {
	quoted, err := yaml.Marshal(string(name)) // a name like 1 or on needs quotes
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "apiVersion: orpheus/v1\nkind: Node\nmetadata:\n  name: %sspec:\n  %s: true\n", quoted, field), nil
}

// setNodeField sets a truth value in spec of the node's document and leaves
// every other byte of the file as it is. Text that is no valid manifest may
// give any result: the caller reads it again.
func setNodeField(text []byte, name planner.NodeName, field string, value bool) ([]byte, error) {
	root, err := findNode(text, name)
	if err != nil {
		return nil, err
	}
	f := newTextFile(text)
	entry := field + ": " + strconv.FormatBool(value)
	spec, at := mapEntry(root, "spec")
	if spec == nil {
		if root.Style&yaml.FlowStyle != 0 {
			err = f.insertInto(root, "spec: {"+entry+"}")
		} else {
			f.insertLines(f.documentEnd(root.Line), "spec:", "  "+entry)
		}
		return f.text(), err
	}
	if spec.Kind != yaml.MappingNode {
		return nil, errNotEditable
	}
	switch old, _ := mapEntry(spec, field); {
	case old != nil && old.Style != 0:
		err = errNotEditable // a text, which is a fault
	case old != nil:
		err = f.replace(old, strconv.FormatBool(value))
	case spec.Style&yaml.FlowStyle != 0:
		err = f.insertInto(spec, entry)
	default:
		// Below "spec:", above what may be a comment of the first field.
		f.insertLines(at.Line, strings.Repeat(" ", spec.Content[0].Column-1)+entry)
	}
	return f.text(), err
}

// findNode returns the root of the document that describes the node.
func findNode(text []byte, name planner.NodeName) (*yaml.Node, error) {
	return findDocument(text, "Node", "node "+string(name), func(meta *yaml.Node) bool {
		n, _ := mapEntry(meta, "name")
		return n != nil && n.Value == string(name)
	})
}

// findDocument returns the root of the first document of a kind whose metadata
// is that of what is looked for.
func findDocument(text []byte, kind, what string, is func(meta *yaml.Node) bool) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("has no document for %s", what)
		} else if err != nil {
			return nil, err
		}
		if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
			continue
		}
		root := doc.Content[0]
		k, _ := mapEntry(root, "kind")
		meta, _ := mapEntry(root, "metadata")
		if k != nil && k.Value == kind && meta != nil && is(meta) {
			return root, nil
		}
	}
}

// mapEntry finds the value and the key of an entry, nil if there is none.
func mapEntry(n *yaml.Node, key string) (value, at *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1], n.Content[i]
		}
	}
	return nil, nil
}

// textFile is a file as lines, each with its end. Line numbers count from 1.
type textFile struct {
	lines [][]byte
	end   string
}

func newTextFile(text []byte) *textFile {
	f := &textFile{lines: bytes.SplitAfter(text, []byte("\n")), end: "\n"}
	if bytes.Contains(text, []byte("\r\n")) {
		f.end = "\r\n"
	}
	return f
}

func (f *textFile) text() []byte { return bytes.Join(f.lines, nil) }

// offset is where a node begins in its line; yaml counts characters.
func (f *textFile) offset(n *yaml.Node) (line []byte, offset int, err error) {
	if n.Line < 1 || n.Line > len(f.lines) {
		return nil, 0, errNotEditable
	}
	line = f.lines[n.Line-1]
	rest := bytes.TrimPrefix(line, []byte("\uFEFF"))
	offset = len(line) - len(rest)
	for i, r := range []rune(string(rest)) {
		if i+1 == n.Column {
			return line, offset, nil
		}
		offset += len(string(r))
	}
	return nil, 0, errNotEditable
}

// replace puts another value where a scalar stands that is written on one line
// as it is.
func (f *textFile) replace(n *yaml.Node, value string) error {
	line, at, err := f.offset(n)
	if err != nil {
		return err
	}
	quote, plain := map[yaml.Style]string{0: "", yaml.DoubleQuotedStyle: `"`, yaml.SingleQuotedStyle: "'"}[n.Style]
	old := quote + n.Value + quote
	if n.Kind != yaml.ScalarNode || !plain || !bytes.HasPrefix(line[at:], []byte(old)) {
		return errNotEditable
	}
	f.lines[n.Line-1] = slices.Concat(line[:at], []byte(value), line[at+len(old):])
	return nil
}

// insertInto puts an entry first into a mapping in braces.
func (f *textFile) insertInto(n *yaml.Node, entry string) error {
	return f.insertBehind('{', n, entry)
}

// insertBehind puts an entry first into what n is, which a bracket opens.
func (f *textFile) insertBehind(bracket byte, n *yaml.Node, entry string) error {
	line, at, err := f.offset(n)
	if err != nil {
		return err
	}
	if line[at] != bracket {
		return errNotEditable
	}
	if len(n.Content) > 0 {
		entry += ", "
	}
	f.lines[n.Line-1] = slices.Concat(line[:at+1], []byte(entry), line[at+1:])
	return nil
}

// documentEnd is the last line of the document that begins at a line: nothing
// of a mapping in block style can look like the mark of the next one.
func (f *textFile) documentEnd(line int) int {
	for ; line < len(f.lines); line++ {
		if l := f.lines[line]; bytes.HasPrefix(l, []byte("---")) || bytes.HasPrefix(l, []byte("...")) {
			return line
		}
	}
	if last := len(f.lines) - 1; len(f.lines[last]) == 0 {
		return last // what follows the last line's end
	}
	return line
}

// insertLines puts lines after a line.
func (f *textFile) insertLines(after int, lines ...string) {
	if l := f.lines[after-1]; !bytes.HasSuffix(l, []byte("\n")) {
		f.lines[after-1] = append(slices.Clone(l), f.end...)
	}
	var added [][]byte
	for _, l := range lines {
		added = append(added, []byte(l+f.end))
	}
	f.lines = slices.Insert(f.lines, after, added...)
}
