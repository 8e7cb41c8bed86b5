// Package kubernetes says what manifests of Kubernetes say in the words of our
// own, as far as that can be.
//
// Nothing is lost silently. What is read is ticked off field by field, and what
// nobody has read at the end is a note, whether it has a meaning to Kubernetes
// or not. What comes out is for package manifest to check.
package kubernetes

import (
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// File is an input: YAML or JSON, one document or several.
type File struct {
	Name string
	Data []byte
}

// Result is what a number of files became.
type Result struct {
	Documents []Document // in order of namespaces and names
	Notes     []Note     // in order of files and lines
}

// Document is a manifest of kind Service.
type Document struct {
	ID   planner.ServiceID
	From Position // the workload that it was made from
	// Root is the document: a mapping with apiVersion, kind, metadata and spec.
	Root *yaml.Node
	// Contents are files that the document mounts, by the path that it names.
	Contents map[string][]byte

	origins map[string]Position
}

// Position is where something was written.
type Position struct {
	File   string
	Line   int    // from 1
	Object string // Deployment shop/web
	Field  string // spec.template.spec.containers[0].image
}

// Note is what a reader must know of the conversion. With Warning something was
// lost or changed, or is worth a look; without it something was not converted
// that the workload may need.
type Note struct {
	planner.Fault
	Object string `json:"object,omitempty"`
}

// InputError says that files cannot be read at all. Nothing was converted.
type InputError struct{ Faults []planner.Fault }

func (e *InputError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Convert converts what is in the files, taken together: a Service gives ports
// to the workload that it selects, a ConfigMap is put in where it is used, in
// whatever file they are. Files of the repository that documents mount are
// called by paths in its folder files. The error is an *InputError.
func Convert(inputs []File, files string) (Result, error) {
	c := &converter{files: files, unused: map[*resource]bool{}}
	if faults := c.read(inputs); len(faults) > 0 {
		return Result{}, &InputError{faults}
	}
	return c.convert(), nil
}

// convert converts what was read.
func (c *converter) convert() Result {
	c.index()
	for _, r := range c.resources {
		if r.group.workload() {
			c.workload(r)
		}
	}
	c.finishServices()
	for _, r := range c.resources {
		c.rest(r)
		c.unread(r)
	}
	for _, w := range c.workloads {
		c.documents = append(c.documents, w.document())
	}
	slices.SortStableFunc(c.documents, func(a, b Document) int {
		return strings.Compare(a.ID.String(), b.ID.String())
	})
	slices.SortStableFunc(c.notes, func(a, b Note) int { return planner.CompareFaults(a.Fault, b.Fault) })
	return Result{c.documents, slices.Compact(c.notes)}
}

// Origin is where a field of the document comes from: the nearest that is known
// around it.
func (d Document) Origin(field string) Position {
	for ; field != ""; field = around(field) {
		if p, known := d.origins[field]; known {
			return p
		}
	}
	return d.From
}

// around is the path of what holds a field, "" at the top.
func around(field string) string {
	for i := len(field) - 1; i > 0; i-- {
		if field[i] == '.' || field[i] == '[' {
			return field[:i]
		}
	}
	return ""
}

// converter converts the files of one call.
type converter struct {
	files     string
	resources []*resource
	workloads []*workload
	documents []Document
	notes     []Note
	unused    map[*resource]bool // Services, ConfigMaps and the like that nothing has asked for yet
}

func (c *converter) note(r *resource, n *node, field, reason, remedy string, warning bool) {
	c.notes = append(c.notes, Note{planner.Fault{File: r.file, Line: n.line, Column: n.column, Field: field,
		Reason: reason, Remedy: remedy, Warning: warning}, r.String()})
}
