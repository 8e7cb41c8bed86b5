// Package reference is what there is to know of the fields of manifests. It
// joins the tables by which manifests are decoded (manifest.Parts: names,
// types, bounds) with those that people read (docs/manifest.md: defaults and
// prose), and makes of both what a command line prints (Find) and what editors
// read (Schema). A test of planner/manifest holds the two equal.
package reference

import (
	"slices"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/docs"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// Entry is a kind of document, a part that several of them hold, or a field.
type Entry struct {
	Name string `json:"name"`
	// Path names it as a user writes it: "Service.spec.update".
	Path string `json:"path"`
	// Kind is the kind or part that it belongs to.
	Kind string `json:"kind"`
	// Type and Default are words of the documentation, Notes its sentences;
	// all in markdown without links.
	Type     string `json:"type"`
	Default  string `json:"default,omitempty"`
	Notes    string `json:"description,omitempty"`
	Required bool   `json:"required,omitempty"`
	Restarts bool   `json:"restarts,omitempty"`
	// Later says that this version refuses it.
	Later bool `json:"unsupported,omitempty"`
	// List says that Fields are those of each item.
	List bool `json:"list,omitempty"`
	// Part names the part whose fields these are, "" = its own.
	Part   string   `json:"part,omitempty"`
	Fields []*Entry `json:"fields,omitempty"`

	shape   manifest.Shape
	flat    bool     // a container's field that stands in spec
	oneOf   []string // exactly one of these fields is there
	section string   // of the page
	at      string   // path in the section
}

// Book is everything. What it holds is shared: read, do not write.
type Book struct {
	// Kinds are the kinds of documents.
	Kinds []*Entry
	// Parts are what they hold in several places.
	Parts []*Entry
}

// Read returns the Book of this version.
var Read = sync.OnceValue(func() *Book { return newBook(manifest.Parts(), readPage(docs.Manifest)) })

// flatPart is the part whose fields also stand in the spec of a Service.
const flatPart, flatKind = "Container", "Service"

func newBook(parts []manifest.Part, p page) *Book {
	b, j := &Book{}, joiner{page: p, parts: map[string]manifest.Part{}}
	for _, part := range parts {
		j.parts[part.Name] = part
	}
	for _, part := range parts {
		e := &Entry{Name: part.Name, Path: part.Name, Kind: part.Name, Type: "part of a Service", Notes: unlinked(p.intro[part.Name]), oneOf: part.ExactlyOne, section: part.Name}
		e.Fields = j.fields(e, "", part.Fields)
		if part.Kind {
			e.Type = "kind of document"
			b.Kinds = append(b.Kinds, e)
		} else {
			b.Parts = append(b.Parts, e)
		}
	}
	return b
}

// joiner finds the prose of fields.
type joiner struct {
	page  page
	parts map[string]manifest.Part
}

// fields are those below e. prefix is their path in the section of the page.
func (j joiner) fields(e *Entry, prefix string, fields []manifest.Field) []*Entry {
	var all []*Entry
	for _, f := range fields {
		all = append(all, j.field(e, prefix, f))
	}
	return all
}

func (j joiner) field(above *Entry, prefix string, f manifest.Field) *Entry {
	e := &Entry{Name: f.Name, Path: above.Path + "." + f.Name, Kind: above.Kind, Required: f.Required, Restarts: f.Restarts, Later: f.Later || above.Later,
		List: f.Shape.Type == manifest.TypeList, Part: f.Part, shape: f.Shape, oneOf: f.Shape.ExactlyOne, section: above.section, at: prefix + f.Name}
	if above.Kind == flatKind && prefix == "spec." && j.isFlat(f.Name) {
		e.flat, e.section, e.at = true, flatPart, f.Name
	}
	if e.List {
		e.at += "[]"
	}
	row := j.page.rows[e.section][e.at]
	e.Type, e.Default, e.Notes = unlinked(row.kind), unlinked(row.byDefault), unlinked(row.notes)
	if e.Default == "required" {
		e.Default = ""
	}
	below, inner := f.Shape.Fields, e.at+"."
	if e.List && f.Shape.Item != nil {
		below, e.oneOf = f.Shape.Item.Fields, f.Shape.Item.ExactlyOne
	}
	if f.Part != "" {
		part := j.parts[f.Part]
		below, inner = part.Fields, ""
		// Path and Kind stay those of the service, where people look.
		e.section, e.oneOf = f.Part, part.ExactlyOne
	}
	e.Fields = append(j.fields(e, inner, below), j.keys(e)...)
	return e
}

// keys are those entries of a map that the page has a row for.
func (j joiner) keys(e *Entry) []*Entry {
	if e.shape.Type != manifest.TypeMap {
		return nil
	}
	var all []*Entry
	for at, row := range j.page.rows[e.section] {
		key, ok := strings.CutPrefix(at, e.at+`["`)
		if !ok {
			continue
		}
		key = strings.TrimSuffix(key, `"]`)
		all = append(all, &Entry{Name: key, Path: e.Path + `["` + key + `"]`, Kind: e.Kind, Restarts: row.restarts, section: e.section, at: at,
			Type: row.kind, Default: row.byDefault, Notes: unlinked(row.notes), shape: *e.shape.Item})
	}
	slices.SortFunc(all, func(a, b *Entry) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// isFlat reports whether a field of spec is one of a container's.
func (j joiner) isFlat(name string) bool {
	if name == "name" {
		return false
	}
	for _, f := range j.parts[flatPart].Fields {
		if f.Name == name {
			return true
		}
	}
	return false
}
