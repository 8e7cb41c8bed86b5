package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v4"
)

// document is one YAML document of a Compose file, before variables are put in.
type document struct {
	file   string
	tree   map[string]any
	at     map[string]spot // by path
	resets [][]string      // paths that !reset and !override take out of what is below
	// made has the variables that values were made with, by path.
	made map[string]string
	// written has values that are no text and read as another one than they are
	// written, by path.
	written map[string]string
}

// spot is a place in a file.
type spot struct{ line, column int }

// position is where a field of the document stands, or the nearest around it.
func (d *document) position(field string) Position {
	p := Position{File: d.file, Field: field, Variables: d.made[field], Written: d.written[field]}
	for at := field; ; at = around(at) {
		if s, ok := d.at[at]; ok {
			p.Line, p.Column = s.line, s.column
			return p
		}
		if at == "" {
			return p
		}
	}
}

// budget is what is left of the bounds of one load.
type budget struct {
	nodes int
	bytes int
	told  bool
}

// documents parses all documents of a file. asked is where the file is named,
// nil for the Compose file itself.
func (l *load) documents(file string, asked *Position) ([]*document, bool) {
	data, why := l.disk.text(file)
	if l.parsed++; why == nil && l.parsed > maxParsed {
		why = &unread{reason: fmt.Sprintf("is one too many: files are included and extended more than %d times", maxParsed), remedy: "include each file once, or split the project"}
	}
	if why != nil {
		at, reason := Position{File: file, Line: 1}, why.reason
		if asked != nil {
			at, reason = *asked, quote(file)+" "+why.reason
		}
		l.faults.add(at.fault(reason, why.remedy))
		return nil, false
	}
	if bytes.Contains(data, []byte("\n<<<<<<< ")) || bytes.HasPrefix(data, []byte("<<<<<<< ")) {
		line := 1 + bytes.Count(data[:bytes.Index(data, []byte("<<<<<<< "))], []byte("\n"))
		l.faults.add(Position{File: file, Line: line}.fault("holds a merge conflict", "resolve it"))
		return nil, false
	}
	var all []*document
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	good := true
	for n := 0; ; n++ {
		node, err := nextDocument(decoder)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.faults.add(syntaxFault(file, data, err))
			return nil, false
		}
		if n >= maxDocuments {
			l.faults.add(Position{File: file, Line: node.Line}.fault(fmt.Sprintf("has more than %d documents", maxDocuments), "split it"))
			return nil, false
		}
		if len(node.Content) != 1 || node.Content[0].Tag == "!!null" && len(node.Content[0].Value) == 0 {
			continue // nothing between two separators
		}
		d, ok := l.document(file, node.Content[0])
		if good = good && ok; ok {
			all = append(all, d)
		}
	}
	if good && len(all) == 0 {
		l.faults.add(Position{File: file, Line: 1}.fault("holds nothing", "write services into it, or take it out of what is listed"))
		return nil, false
	}
	return all, good
}

// nextDocument reads one document. Should the parser ever panic, that is a
// fault of this file.
func nextDocument(decoder *yaml.Decoder) (node *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the YAML parser gave up")
		}
	}()
	node = &yaml.Node{}
	return node, decoder.Decode(node)
}

var yamlError = regexp.MustCompile(`(?s)^(?:yaml: )?(?:.*line (\d+)(?:, column \d+)?: )?(.*)$`)

// yamlOffset is where the parser's reader stopped, which knows no lines.
var yamlOffset = regexp.MustCompile(`offset (\d+): control characters`)

// syntaxFault says why a file is no YAML.
func syntaxFault(file string, data []byte, err error) planner.Fault {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	m := yamlError.FindStringSubmatch(text)
	line, _ := strconv.Atoi(m[1])
	if strings.Contains(text, "while parsing") {
		line++ // its parser counts lines from zero, unlike its scanner
	}
	remedy := "correct it; where lines begin, indent with spaces"
	if m := yamlOffset.FindStringSubmatch(text); m != nil {
		offset, _ := strconv.Atoi(m[1])
		line = 1 + bytes.Count(data[:min(offset, len(data))], []byte("\n"))
		remedy = `remove it, or write it as an escape, such as "\t", within double quotes`
	}
	line = max(line, 1)
	if lines := bytes.Split(data, []byte("\n")); line <= len(lines) && bytes.Contains(lines[line-1], []byte("${")) {
		remedy = "correct it; within [ ] and { }, put what has ${ into quotes"
	}
	return Position{File: file, Line: line}.fault("is not valid YAML: "+plain(m[2]), remedy)
}

// document takes a document apart.
func (l *load) document(file string, root *yaml.Node) (*document, bool) {
	r := &reader{l: l, d: &document{file: file, at: map[string]spot{}}, open: map[*yaml.Node]bool{}}
	tree := r.value(root, "", nil, 1)
	if r.broken {
		return nil, false
	}
	var ok bool
	if r.d.tree, ok = tree.(map[string]any); !ok {
		l.faults.add(Position{File: file, Line: root.Line, Column: root.Column}.fault("must be an object with services in it", "a Compose file begins like\nservices:\n  web:\n    image: nginx"))
		return nil, false
	}
	return r.d, true
}

// reader makes plain values of nodes: aliases and merges become what they stand
// for, and each value keeps its place.
type reader struct {
	l      *load
	d      *document
	open   map[*yaml.Node]bool // aliases being followed
	broken bool
}

func (r *reader) wrong(n *yaml.Node, field, reason, remedy string) {
	r.broken = true
	r.l.faults.add(Position{File: r.d.file, Line: n.Line, Column: n.Column, Field: field}.fault(reason, remedy))
}

// spend counts a value. It reports false when there are too many.
func (r *reader) spend(n *yaml.Node, field string, depth int) bool {
	b := &r.l.budget
	b.nodes--
	b.bytes -= len(n.Value)
	switch {
	case b.nodes < 0 || b.bytes < 0:
		if !b.told {
			b.told = true
			r.wrong(n, field, "is too large with what its aliases and merges repeat", "repeat less, or split the project")
		}
		r.broken = true
		return false
	case depth > maxNesting:
		r.wrong(n, field, fmt.Sprintf("is nested more than %d levels deep", maxNesting), "nest it less: aliases count with what they stand for")
		return false
	}
	return true
}

// value reads n. parts is the path as a list, for resets.
func (r *reader) value(n *yaml.Node, field string, parts []string, depth int) any {
	if !r.spend(n, field, depth) {
		return nil
	}
	if _, known := r.d.at[field]; !known {
		r.d.at[field] = spot{n.Line, n.Column}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if n.Alias == nil || r.open[n.Alias] {
			r.wrong(n, field, "refers to itself", "write the value out")
			return nil
		}
		r.open[n.Alias] = true
		defer delete(r.open, n.Alias)
		return r.value(n.Alias, field, parts, depth+1)
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		r.into(out, n, field, parts, depth)
		return out
	case yaml.SequenceNode:
		if len(n.Content) > maxItems {
			r.wrong(n, field, fmt.Sprintf("has %d items, more than %d", len(n.Content), maxItems), "split it")
			return nil
		}
		out := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			if tagOf(item) == resetTag {
				continue
			}
			at := field + "[" + strconv.Itoa(len(out)) + "]"
			out = append(out, r.value(item, at, append(slices.Clip(parts), strconv.Itoa(i)), depth+1))
		}
		return out
	}
	return r.scalar(n, field)
}

func (r *reader) scalar(n *yaml.Node, field string) any {
	if n.Tag == resetTag || n.Tag == overrideTag {
		c := *n
		c.Tag, c.Style = "", c.Style&^yaml.TaggedStyle
		n = &c
	}
	v, err := decodeScalar(n)
	if err != nil {
		r.wrong(n, field, "cannot be read: "+plain(err.Error()), "write it as text, in quotes")
		return nil
	}
	if f, isFloat := v.(float64); isFloat && (math.IsInf(f, 0) || math.IsNaN(f)) {
		r.wrong(n, field, "is no number that can be counted with", "write it as text, in quotes")
		return nil
	}
	if _, isText := v.(string); !isText && v != nil && fmt.Sprint(v) != n.Value {
		if r.d.written == nil {
			r.d.written = map[string]string{}
		}
		r.d.written[field] = n.Value
	}
	return v
}

func decodeScalar(n *yaml.Node) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the YAML parser gave up")
		}
	}()
	err = n.Decode(&v)
	return v, err
}

const (
	resetTag    = "!reset"
	overrideTag = "!override"
)

// tagOf is the tag of a value, through an alias.
func tagOf(n *yaml.Node) string {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias.Tag
	}
	return n.Tag
}

// into reads the entries of a mapping, those of the mappings that it merges
// after its own: what is there already stays.
func (r *reader) into(out map[string]any, n *yaml.Node, field string, parts []string, depth int) {
	first := make(map[string]int, len(n.Content)/2)
	var merged *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" && key.Tag != "!!merge" {
			remedy := "write the key in quotes"
			if key.Kind == yaml.MappingNode {
				remedy = "if {{ }} is for a program that fills in values, commit what it makes, or write ${NAME}; else put it in quotes"
			}
			r.wrong(n.Content[i], field, "has a key that is no text", remedy)
			continue
		}
		if line, twice := first[key.Value]; twice {
			r.wrong(key, join(field, key.Value), fmt.Sprintf("is given twice, first on line %d", line), "keep one of them")
			continue
		}
		if first[key.Value] = key.Line; key.Tag == "!!merge" {
			merged = v
			continue
		}
		if _, known := out[key.Value]; known {
			continue // a mapping that merges this one has it
		}
		r.entry(out, key, v, join(field, key.Value), append(slices.Clip(parts), key.Value), depth)
	}
	if merged != nil {
		r.merge(out, merged, field, parts, depth+1)
	}
}

// entry reads one entry. Where it stands is where its key does.
func (r *reader) entry(out map[string]any, key, v *yaml.Node, field string, parts []string, depth int) {
	switch tagOf(v) {
	case resetTag:
		r.d.resets = append(r.d.resets, parts)
		return
	case overrideTag:
		r.d.resets = append(r.d.resets, parts)
	}
	r.d.at[field] = spot{key.Line, key.Column}
	if v.Kind == yaml.ScalarNode && (v.Line != key.Line || v.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0) && v.Value != "" {
		r.d.at[field] = spot{v.Line, v.Column}
	}
	out[key.Value] = r.value(v, field, parts, depth+1)
}

// merge reads what stands at a merge key: a mapping, or a list of them, of
// which the first counts most.
func (r *reader) merge(out map[string]any, n *yaml.Node, field string, parts []string, depth int) {
	if !r.spend(n, field, depth) {
		return
	}
	switch {
	case n.Kind == yaml.AliasNode && n.Alias != nil && !r.open[n.Alias]:
		r.open[n.Alias] = true
		r.merge(out, n.Alias, field, parts, depth+1)
		delete(r.open, n.Alias)
	case n.Kind == yaml.MappingNode:
		r.into(out, n, field, parts, depth)
	case n.Kind == yaml.SequenceNode && len(n.Content) <= maxItems:
		for _, item := range n.Content {
			r.merge(out, item, field, parts, depth+1)
		}
	default:
		r.wrong(n, field, "merges what is no object", "write <<: *name of an object")
	}
}

// join is the path of a field of what stands at field.
func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}
