// Package compose reads Compose files as documents of kind Service.
//
// It works in two steps. Load finds out what a file says: includes, extensions,
// variables and merges, by the rules of the Compose specification, over one
// snapshot of the repository and the variables of the fleet and nothing else: no
// disk, no environment, no network. Convert says the same in the words of our own
// manifests, which package manifest then decodes and checks like any other, or
// names what cannot be said, key by key, with a remedy. Nothing is left out
// silently: support.go has a row for every key of the specification.
package compose

import (
	"io/fs"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// Source is where a Compose file is read from.
type Source struct {
	// FS is rooted at the top of the repository. Nothing else is read.
	FS fs.FS
	// Path is the file's, in FS.
	Path string
	// Variables are the fleet's: they win over those of the .env file beside the
	// Compose file, which wins over defaults in ${NAME:-default}.
	Variables map[string]string
}

// Position is where something was written.
type Position struct {
	File   string // path in the repository
	Line   int    // from 1; 0 = unknown
	Column int
	Field  string // as Compose calls it: services.web.ports[0]
	// Variables are those that the value there was made with, by name, with spaces
	// between; "" = none.
	Variables string
	// Written is the value as it stands in the file, where without quotes it is
	// none of text and reads as another: 1.10 is 1.1.
	Written string
}

// Read is a file that was looked at: if any of them differs, or one that was
// missing is there, what came out of them may differ, too.
type Read struct {
	Path string
	ID   string      // its object id; "" = unknown, or the file was not there
	Mode fs.FileMode // what it is, and whether it may be run: the id does not tell
	Gone bool
}

// Project is what a Compose file says, with everything it includes and extends.
type Project struct {
	// Name is the namespace of its services: x-orpheus.namespace, else the
	// file's name:, else the name of its folder, else default.
	Name string
	// Types is the project as compose-go reads it, with the services whose
	// profiles are not asked for in DisabledServices.
	Types *types.Project
	// Tree is the merged file before compose-go made anything of it, with
	// variables put in: what was written, key by key.
	Tree map[string]any
	// Extensions are the values of x-orpheus at the top and, by service, below
	// services.
	Extension  map[string]any
	Extensions map[string]map[string]any
	Reads      []Read
	// Files is the repository that the project was read from, for what its
	// services mount; nil = there is none. Folder is where in it the relative
	// paths of Types and Tree begin, also of what was included from elsewhere:
	// what is absolute there is a path of a node.
	Files  fs.FS
	Folder string
	// NamedAt is where Name comes from.
	NamedAt Position

	positions map[string]Position
}

// Document is a manifest of kind Service made from one service of a project.
// Its values are final: a ${ in them is text, and no variable of the fleet.
type Document struct {
	Service string // as Compose calls it
	// Root is the document: a mapping with apiVersion, kind, metadata and spec.
	Root *yaml.Node
	// Origins tells for paths of fields of Root (spec.ports[0].publish) where
	// they come from. What is below a path that is listed comes from there, too.
	Origins map[string]Position
	// Contents are files that the document mounts and the repository does not
	// have (configs with content:), by the path that Root names.
	Contents map[string][]byte
}

// Origin is where the field of a document comes from: of the nearest field
// around it that is known.
func (d Document) Origin(field string) Position {
	for {
		if p, known := d.Origins[field]; known || field == "" {
			return p
		}
		field = around(field)
	}
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

// fault is something wrong with what stands at p.
func (p Position) fault(reason, remedy string) planner.Fault {
	return planner.Fault{File: p.File, Line: p.Line, Column: p.Column, Field: p.Field, Reason: reason, Remedy: remedy}
}

// warning is worth saying of what stands at p, and holds nothing back.
func (p Position) warning(reason, remedy string) planner.Fault {
	f := p.fault(reason, remedy)
	f.Warning = true
	return f
}

// Position is where a field of the merged file was written: services.web.image,
// or the nearest around it.
func (p *Project) Position(field string) Position {
	for at := field; ; at = around(at) {
		if found, known := p.positions[at]; known || at == "" {
			found.Field = field
			return found
		}
	}
}
