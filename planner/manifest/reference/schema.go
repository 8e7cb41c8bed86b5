package reference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// Options say what a schema is for.
type Options struct {
	// Kind leaves out all other kinds; "" = all.
	Kind string
	// Overlay is for documents that are laid over those of a base: nothing is
	// required but what says what the document is about, a field may be null,
	// and $patch may say how to merge.
	Overlay bool
}

// Schema returns the JSON Schema (draft 7) of manifests, indented.
//
// It takes every manifest that planner/manifest takes. Values may be ${name}
// where a variable may stand. Fields that this version refuses are left out.
func (b *Book) Schema(o Options) ([]byte, error) {
	root, err := b.root(o)
	if err != nil {
		return nil, err
	}
	flat, err := encode(root)
	if err != nil {
		return nil, fmt.Errorf("encode the schema: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, flat, "", "  "); err != nil {
		return nil, fmt.Errorf("encode the schema: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

const (
	draft      = "http://json-schema.org/draft-07/schema#"
	apiVersion = "orpheus/v1"
	variable   = `\$\{[A-Za-z][A-Za-z0-9_-]*\}` // somewhere in a text
)

// root picks by kind, so that what is wrong is told of the kind that is meant.
func (b *Book) root(o Options) (*schema, error) {
	g := generator{overlay: o.Overlay, rules: b.rules()}
	root := &schema{Schema: draft, Title: "Orpheus manifests", Comment: "made by orpheus schema"}
	if o.Overlay {
		root.Title, root.Comment = "Orpheus manifests laid over a base", root.Comment+" --overlay"
	}
	var names []string
	var enum []any
	for _, k := range b.Kinds {
		names = append(names, k.Name)
		if o.Kind != "" && o.Kind != k.Name {
			continue
		}
		enum = append(enum, k.Name)
		root.Definitions = append(root.Definitions, property{k.Name, g.kind(k)})
		root.AllOf = append(root.AllOf, &schema{If: given("kind", k.Name), Then: &schema{Ref: definition(k.Name)}})
	}
	if len(enum) == 0 {
		return nil, fmt.Errorf("there is no kind %q; there are %s", o.Kind, strings.Join(names, ", "))
	}
	for _, p := range b.Parts {
		if o.Kind == "" || o.Kind == flatKind {
			root.Definitions = append(root.Definitions, property{p.Name, g.object(p)})
		}
	}
	// What is known before the kind is.
	root.Type, root.Required = types{"object"}, []string{"apiVersion", "kind"}
	root.Properties = properties{
		{"apiVersion", &schema{Const: apiVersion, Description: "the version of the format"}},
		{"kind", &schema{Enum: enum, Description: "what the document is about"}},
		{"metadata", &schema{Type: types{"object"}}},
		{"spec", &schema{}},
	}
	return root, nil
}

func definition(name string) string { return "#/definitions/" + name }

// generator makes schemas of entries.
type generator struct {
	overlay bool
	rules   map[string][]*schema
}

func (g generator) kind(k *Entry) *schema {
	s := g.object(k)
	s.Description = Plain(k.Notes)
	for i, p := range s.Properties {
		switch p.name {
		case "apiVersion":
			s.Properties[i].schema = &schema{Description: p.Description, Const: apiVersion}
		case "kind":
			s.Properties[i].schema = &schema{Description: p.Description, Const: k.Name}
		}
	}
	s.Required = nil
	for _, f := range k.Fields {
		if f.Required && (!g.overlay || f.Name == "apiVersion" || f.Name == "kind" || f.Name == "metadata" && k.Name != "Fleet") {
			s.Required = append(s.Required, f.Name)
		}
	}
	return s
}

// object is the schema of the fields of e.
func (g generator) object(e *Entry) *schema {
	s := &schema{Type: types{"object"}}
	if g.overlay {
		s.Type = s.Type.with("null")
	}
	g.fields(s, e, e.Fields, e.oneOf)
	return s
}

// fields has s take these fields of e and no others.
func (g generator) fields(s *schema, e *Entry, fields []*Entry, oneOf []string) {
	s.AdditionalProperties = false
	for _, f := range fields {
		if f.Later {
			continue
		}
		s.Properties = append(s.Properties, property{f.Name, g.field(f)})
		if f.Required && (!g.overlay || f.at == "metadata.name" && f.Kind != "Fleet") {
			s.Required = append(s.Required, f.Name)
		}
	}
	if g.overlay {
		s.Properties = append(s.Properties, property{"$patch", patch()})
		return
	}
	for _, name := range oneOf {
		s.OneOf = append(s.OneOf, required(name))
	}
	s.AllOf = g.rules[e.section+" "+e.at]
}

// patch is what an overlay may say of an object.
func patch() *schema {
	return &schema{Enum: []any{"delete", "replace"}, Description: "delete: removes what the base has here; replace: stands in its place instead of being merged"}
}

// field is the schema of a field with what people are told of it.
func (g generator) field(f *Entry) *schema {
	if f.flat {
		// The same as a container's, which says it.
		return &schema{Ref: definition(flatPart) + "/properties/" + f.Name}
	}
	s := g.value(f, f.shape)
	s.Description, s.MarkdownDescription = Plain(f.says()), f.says()
	if s.Description == s.MarkdownDescription {
		s.MarkdownDescription = ""
	}
	s.Default = f.defaultValue()
	return s
}

// value is the schema of the values of a shape: a text, a number and an object
// may stand in one, as their keywords do not meet.
func (g generator) value(f *Entry, shape manifest.Shape) *schema {
	s := &schema{}
	var says []string
	for _, one := range append([]manifest.Shape{shape}, shape.Or...) {
		says = append(says, g.add(s, f, one)...)
	}
	g.variable(s, f, says)
	switch {
	case !g.overlay || writtenOut[f.at] || s.Ref != "":
	case s.AnyOf != nil:
		s.AnyOf = append(s.AnyOf, &schema{Type: types{"null"}})
	default:
		s.Type = s.Type.with("null")
	}
	return s
}

// add has s take what one shape takes, and says what that is.
func (g generator) add(s *schema, f *Entry, one manifest.Shape) (says []string) {
	switch one.Type {
	case manifest.TypeText:
		s.Type, s.Pattern, s.Not = s.Type.with("string"), one.Pattern, never(one)
		for _, w := range one.Words {
			s.Enum = append(s.Enum, w)
		}
		if one.Says != "" {
			says = append(says, one.Says)
		}
	case manifest.TypeNumber, manifest.TypeDecimal:
		name := "integer"
		if one.Type == manifest.TypeDecimal {
			name = "number"
		}
		s.Type, s.Minimum, s.Maximum = s.Type.with(name), &one.Low, &one.High
		says = append(says, fmt.Sprintf("a number from %d to %d", one.Low, one.High))
	case manifest.TypeBool:
		s.Type = s.Type.with("boolean")
		says = append(says, "true or false")
	case manifest.TypeScalar:
		s.Type = s.Type.with("string").with("number").with("boolean")
	case manifest.TypeList:
		s.Type, s.MaxItems = s.Type.with("array"), one.Limit
		if !g.overlay {
			s.MinItems = one.Least
		}
		s.Items = g.item(f, *one.Item)
	case manifest.TypeMap:
		g.mapping(s, f, one)
	case manifest.TypeObject:
		s.Type = s.Type.with("object")
		if f.Part != "" {
			*s = schema{Ref: definition(f.Part)}
		} else if len(one.Fields) > 0 && len(f.Fields) == 0 {
			g.fields(s, f, nested(f, one.Fields), one.ExactlyOne)
		} else {
			g.fields(s, f, f.Fields, f.oneOf)
		}
	}
	return says
}

// never is what a text is not, unless a variable makes it something else.
func never(one manifest.Shape) *schema {
	if one.Never == "" {
		return nil
	}
	return &schema{Type: types{"string"}, Pattern: one.Never, Not: &schema{Pattern: variable}}
}

// item is the schema of a list's items.
func (g generator) item(f *Entry, item manifest.Shape) *schema {
	if item.Type == manifest.TypeObject && item.Or != nil {
		return g.value(f, item)
	}
	if item.Type == manifest.TypeObject {
		if f.Part != "" {
			return &schema{Ref: definition(f.Part)}
		}
		return g.object(f)
	}
	return g.value(&Entry{section: f.section, at: f.at}, item)
}

// mapping has s take an object of names that are not ours.
func (g generator) mapping(s *schema, f *Entry, one manifest.Shape) {
	s.Type, s.MaxProperties = s.Type.with("object"), one.Limit
	keys, message := one.Keys.Pattern, "The name must be "+one.Keys.Says
	for _, known := range f.Fields {
		s.Properties = append(s.Properties, property{known.Name, g.field(known)})
	}
	if g.overlay {
		s.Properties = append(s.Properties, property{"$patch", patch()})
		keys = alternative(keys, `\$patch`)
	}
	if keys != "" {
		s.PropertyNames = &schema{Pattern: whole(keys), PatternErrorMessage: message, Not: never(*one.Keys)}
	}
	if s.PropertyNames != nil && one.Keys.Words != nil {
		known := &schema{}
		for _, w := range one.Keys.Words {
			known.Enum = append(known.Enum, w)
		}
		s.PropertyNames = &schema{AnyOf: []*schema{known, s.PropertyNames}}
	}
	s.AdditionalProperties = g.value(&Entry{section: f.section, at: f.at + "[]"}, *one.Item)
}

// nested are fields of an object that stands beside other forms of a value.
func nested(f *Entry, fields []manifest.Field) []*Entry {
	var all []*Entry
	for _, n := range fields {
		all = append(all, &Entry{Name: n.Name, Required: n.Required, Later: n.Later, section: f.section, at: f.at + "." + n.Name, shape: n.Shape})
	}
	return all
}

// writtenOut are the fields in which no variable may stand: they say what the
// document is about.
var writtenOut = map[string]bool{"apiVersion": true, "kind": true, "metadata.name": true, "metadata.namespace": true}

// variable has s take ${name} where its values bear it. A number or a truth
// value is one variable and nothing else; in a text one may stand anywhere.
func (g generator) variable(s *schema, f *Entry, says []string) {
	text, single := false, false
	for _, t := range s.Type {
		text = text || t == "string"
		single = single || t == "integer" || t == "number" || t == "boolean"
	}
	fixed := writtenOut[f.at] || f.section == "Fleet"
	pattern := s.Pattern
	switch {
	case text && (pattern != "" || s.Enum != nil):
		if pattern != "" {
			pattern = whole(pattern)
		}
		if !fixed {
			pattern = alternative(pattern, variable)
		}
	case !text && single && !fixed:
		s.Type, pattern = s.Type.with("string"), whole(variable)
	}
	s.Pattern = pattern
	if pattern != "" && len(says) > 0 {
		s.PatternErrorMessage = "Must be " + strings.Join(says, ", or ")
	}
	if s.Enum != nil && pattern != "" {
		// The words for who completes them, the pattern for what is meant by them.
		s.AnyOf = []*schema{{Enum: s.Enum}, {Type: types{"string"}, Pattern: s.Pattern, PatternErrorMessage: s.PatternErrorMessage}}
		s.Enum, s.Pattern, s.PatternErrorMessage, s.Type = nil, "", "", nil
	}
}

// whole is a pattern for a whole text.
func whole(pattern string) string { return "^(" + pattern + ")$" }

func alternative(a, b string) string {
	if a == "" {
		return b
	}
	return a + "|" + b
}

// says is what an editor shows of a field, in markdown.
func (e *Entry) says() string {
	var lines []string
	if e.Notes != "" {
		lines = append(lines, e.Notes)
	}
	var facts []string
	if e.Type != "" {
		facts = append(facts, "Type: "+e.Type)
	}
	switch {
	case e.Required:
		facts = append(facts, "required")
	case e.Default != "" && e.Default != "none":
		facts = append(facts, "default: "+e.Default)
	}
	if e.Restarts {
		facts = append(facts, "a change restarts the service")
	}
	if len(facts) > 0 {
		lines = append(lines, strings.Join(facts, "; ")+".")
	}
	return strings.Join(lines, "\n\n")
}

// defaultValue is the default where that is one value; nil = it is not.
func (e *Entry) defaultValue() any {
	word, ok := strings.CutPrefix(e.Default, "`")
	word, whole := strings.CutSuffix(word, "`")
	if !ok || !whole || strings.Contains(word, "`") {
		return nil
	}
	switch e.shape.Type {
	case manifest.TypeNumber:
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			return n
		}
	case manifest.TypeBool:
		if b, err := strconv.ParseBool(word); err == nil {
			return b
		}
	case manifest.TypeText:
		return word
	}
	return nil
}
