package manifest

import (
	"fmt"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// piece is a part of a text: text as it is, or the name of a variable.
type piece struct {
	text      string
	reference bool
}

// split takes a text apart at its references ${name}; $${ stands for the text
// ${. stray is the beginning of what looks like a reference and is none.
func split(s string) (pieces []piece, stray string) {
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			pieces = append(pieces, piece{text: text.String()})
			text.Reset()
		}
	}
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			break
		}
		text.WriteString(s[:i])
		s = s[i:]
		switch {
		case strings.HasPrefix(s, "$${"):
			text.WriteString("${")
			s = s[3:]
		case strings.HasPrefix(s, "${"):
			name, rest, closed := strings.Cut(s[2:], "}")
			if !closed || !variableName.MatchString(name) {
				return nil, s
			}
			flush()
			pieces = append(pieces, piece{name, true})
			s = rest
		default:
			text.WriteByte('$')
			s = s[1:]
		}
	}
	text.WriteString(s)
	flush()
	return pieces, ""
}

// strayReference is what to say of one.
func strayReference(stray string) (reason, remedy string) {
	return quote(stray) + " begins like a variable and is none", "write ${NAME}, or $${ for the text ${"
}

// written out are the fields that say what a document is about.
var writtenOut = map[string]bool{"apiVersion": true, "kind": true, "metadata.name": true, "metadata.namespace": true}

// expander puts the values of variables into a document of its own.
type expander struct {
	d    *decoder
	vars *variables // nil = ${ is text like any other
	used map[string]bool
	size int64 // of all keys and values
}

// tree expands all texts of a value; keys stay as they are.
func (e *expander) tree(v value) {
	switch v.node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			e.size += int64(len(v.node.Content[i].Value))
			e.tree(v.child(v.node.Content[i].Value, v.node.Content[i+1]))
		}
	case yaml.SequenceNode:
		for i, n := range v.node.Content {
			e.tree(v.item(i, n))
		}
	case yaml.ScalarNode:
		if e.vars != nil && v.node.Tag == "!!str" && e.size <= maxComposed && strings.Contains(v.node.Value, "${") {
			e.scalar(v)
		}
		e.size += int64(len(v.node.Value))
	}
}

// scalar expands one text. A text that is one reference and nothing else
// takes the type of the variable.
func (e *expander) scalar(v value) {
	n := v.node
	wrong := func(reason, remedy string) {
		e.d.wrong(v, reason, remedy)
		e.d.bad[n] = true
	}
	if writtenOut[v.path] {
		wrong("cannot have variables: it says what the document is about", "write it out")
		return
	}
	pieces, stray := split(n.Value)
	if stray != "" {
		wrong(strayReference(stray))
		return
	}
	var b strings.Builder
	var made []*variable
	for _, p := range pieces {
		if !p.reference {
			b.WriteString(p.text)
			continue
		}
		e.used[p.text] = true
		other, reason, remedy := e.vars.find(p.text)
		if reason != "" {
			e.used[""] = true // what is said depends on all of them
			wrong(reason, remedy)
			return
		}
		made = append(made, other)
		if b.WriteString(other.value); int64(b.Len()) > maxTextBytes {
			wrong(fmt.Sprintf("is longer than %d bytes with its variables", maxTextBytes), "")
			return
		}
	}
	n.Value, n.Style = b.String(), yaml.DoubleQuotedStyle
	if len(made) == 0 {
		return // only escapes
	}
	if kind := e.vars.kindOf(pieces); kind == typeInt || kind == typeBool {
		n.Style, n.Tag = 0, "!!"+kind
	}
	e.d.sources[n] = &source{file: e.d.sources[n].file, variables: made}
}

// madeWith tells people which variables a value was made with, "" = none.
func (s *source) madeWith() string {
	if len(s.variables) == 0 {
		return ""
	}
	return " (with " + tellVariables(s.variables) + ")"
}
