package manifest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest/compose"
	yaml "go.yaml.in/yaml/v3"
)

// Compose files that a fleet.yaml lists in spec.compose become documents of
// their layer, beside those that are written as manifests. They go the same way
// from there: the same decoder, the same checks. What is wrong with them is
// said of the Compose file, in its own words.

// composePattern is one of spec.compose.
type composePattern struct {
	pattern string
	at      position
	field   string
}

// listedFile is a file that spec.compose of a layer matches.
type listedFile struct {
	path, id string
	layer    int
}

// composeFile is what one Compose file says, with all it leads to. It is shared
// between loads and never changed.
type composeFile struct {
	namespace string
	at        compose.Position // of its namespace
	documents []*composeDocument
	faults    []planner.Fault // with File
	broken    bool
	files     []string // it was read from
	reads     []compose.Read
	words     map[wordPlace]string
	serial    string // tells what was read at different times apart; "" = cannot be remembered
	use
}

// composeDocument is one document that a Compose file became.
type composeDocument struct {
	compose.Document
	subject
	at   position
	from *composeFile
}

// wordPlace is a place of a Compose file, which has one field of a service
// there. What services share by anchors, merges and extensions is a field of
// each; without a service it is that of one of them.
type wordPlace struct {
	file         string
	line, column int
	service      string
}

// maxComposeFiles is how many Compose files a fleet may list.
const maxComposeFiles = 200

// decodeCompose reads spec.compose of a layer.
func (l *layer) decodeCompose(v value) {
	for _, item := range l.d.items(v, maxIgnore, "write it as a list: [shop/compose.yaml]") {
		if s, ok := l.d.text(item, globPattern); ok {
			l.compose = append(l.compose, composePattern{s, l.d.at(item.node), item.path})
		}
	}
}

func (l *layer) composeGlobs() globs {
	patterns := make([]string, len(l.compose))
	for i, p := range l.compose {
		patterns[i] = p.pattern
	}
	return compileGlobs(patterns)
}

// unmatched warns of patterns that no file matches.
func (c *composer) unmatched(l *layer, matched []listedFile) {
	for _, p := range l.compose {
		one := compileGlobs([]string{p.pattern})
		if slices.ContainsFunc(matched, func(f listedFile) bool { return one.match(relativeTo(l.dir, f.path)) }) {
			continue
		}
		c.add([]planner.Fault{{File: l.fleetPath(), Line: p.at.line, Column: p.at.column, Field: p.field, Warning: true,
			Reason: quote(p.pattern) + " matches no file", Remedy: "name Compose files ending in .yaml or .yml, relative to this fleet.yaml"}})
	}
}

func relativeTo(dir, name string) string {
	if dir == "." {
		return name
	}
	return strings.TrimPrefix(name, dir+"/")
}

// readCompose reads the Compose files that layers list, and puts them among the
// files of the fleet. What they lead to is theirs, and no manifest.
func (c *composer) readCompose() error {
	if len(c.listed) > maxComposeFiles {
		return &RefusedError{Reason: fmt.Sprintf("spec.compose of fleet.yaml matches more than %d files", maxComposeFiles), Remedy: "list fewer files, and include the others in them"}
	}
	environment := c.composeVariables()
	read, theirs := make([]*composeFile, len(c.listed)), map[string]bool{}
	var unknown []string // folders of files of which nobody knows where they lead
	for i, f := range c.listed {
		var err error
		if read[i], err = c.composeFile(f.path, environment); err != nil {
			return err
		}
		if read[i].namespace == "" {
			unknown = append(unknown, strings.TrimSuffix(f.path, path.Base(f.path)))
		}
		for _, r := range read[i].reads {
			theirs[r.Path] = theirs[r.Path] || !r.Gone
		}
	}
	c.read = read
	c.files = slices.DeleteFunc(c.files, func(f found) bool {
		return len(f.doc.heads) == 0 && (theirs[f.path] || slices.ContainsFunc(unknown, func(dir string) bool { return strings.HasPrefix(f.path, dir) }))
	})
	twice := c.sameNamespace(read)
	for i, f := range c.listed {
		doc := &parsed{faults: slices.Concat(read[i].faults, twice[i]), broken: read[i].broken || len(twice[i]) > 0, torn: true}
		doc.unsure = doc.broken && len(read[i].documents) == 0
		c.bad[f.path] = c.bad[f.path] || doc.broken
		for n, d := range read[i].documents {
			doc.heads = append(doc.heads, head{subject: d.subject, at: d.at, index: n})
		}
		c.files = append(c.files, found{path: f.path, doc: doc, layer: f.layer, compose: read[i]})
	}
	return nil
}

// sameNamespace says of Compose files that another has their namespace, too.
func (c *composer) sameNamespace(read []*composeFile) [][]planner.Fault {
	faults := make([][]planner.Fault, len(read))
	for i, f := range read {
		for j, other := range read {
			if i == j || f.namespace == "" || f.namespace != other.namespace {
				continue
			}
			faults[i] = append(faults[i], planner.Fault{File: c.listed[i].path, Line: f.at.Line, Column: f.at.Column, Field: f.at.Field,
				Reason: "namespace " + quote(f.namespace) + " is that of " + Printable(c.listed[j].path) + ", too",
				Remedy: "give one of them another name: at the top, or include one in the other"})
			break
		}
	}
	return faults
}

// composeVariables are the fleet's variables, as Compose files see them.
func (c *composer) composeVariables() map[string]string {
	all := map[string]string{}
	if c.vars == nil {
		return all
	}
	for _, name := range c.vars.names {
		if v := c.vars.byName[name]; v.given {
			all[name] = v.value
		}
	}
	return all
}

// composeFile returns what a Compose file says, read now or before.
func (c *composer) composeFile(name string, variables map[string]string) (*composeFile, error) {
	key := composeKey(name, variables)
	if known := c.composeFiles[key]; known != nil && sameReads(c.fsys, known.reads) {
		known.last = c.generation
		c.stats.ComposedKept++
		return known, nil
	}
	if err := c.ctx.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	c.stats.Parsed++
	watched := &watchedFS{FS: c.fsys}
	project, faults := compose.Load(c.ctx, compose.Source{FS: watched, Path: name, Variables: variables})
	f := &composeFile{words: map[wordPlace]string{}}
	if project.Types != nil {
		f.namespace, f.at = project.Name, project.NamedAt
		documents, more := compose.Convert(project)
		faults = append(faults, besides(more, faults)...)
		for _, d := range documents {
			f.add(d, project.Name)
		}
	}
	if err := errors.Join(c.ctx.Err(), watched.err); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	f.faults, f.reads = faults, project.Reads
	f.broken = slices.ContainsFunc(faults, func(f planner.Fault) bool { return !f.Warning })
	for _, r := range f.reads {
		if !r.Gone {
			f.files = append(f.files, r.Path)
		}
	}
	if remembered(f.reads) {
		f.serial, f.last = name+" "+strconv.FormatUint(c.stats.Parsed, 10), c.generation
		c.composeFiles[key] = f
	}
	return f, nil
}

// besides are the faults of places of which nothing was said yet: one leads to
// others.
func besides(more, told []planner.Fault) []planner.Fault {
	return slices.DeleteFunc(more, func(f planner.Fault) bool {
		return slices.ContainsFunc(told, func(t planner.Fault) bool {
			return !t.Warning && t.File == f.File && t.Line == f.Line && t.Field == f.Field
		})
	})
}

// add takes in a document, and the words of the Compose file for its fields.
func (f *composeFile) add(d compose.Document, namespace string) {
	origin := d.Origin("metadata.name")
	doc := &composeDocument{Document: d, from: f, at: placeOf(origin),
		subject: subject{kind: "Service", namespace: namespace, name: scalarOf(lookup(d.Root, "metadata"), "name")}}
	f.documents = append(f.documents, doc)
	for _, field := range slices.Sorted(maps.Keys(d.Origins)) {
		p := d.Origins[field]
		for _, place := range []wordPlace{{p.File, p.Line, p.Column, doc.name}, {p.File, p.Line, p.Column, ""}} {
			if known, ok := f.words[place]; !ok || len(p.Field) < len(known) {
				f.words[place] = p.Field
			}
		}
	}
}

// place is where people find the service of the document.
func (doc *composeDocument) place() ComposePlace {
	p := doc.Origin("metadata.name")
	return ComposePlace{p.File, doc.Service, p.Line, p.Column}
}

func placeOf(p compose.Position) position {
	return position{p.Line, p.Column, &source{file: p.File}}
}

// composeKey identifies a Compose file and what it may refer to.
func composeKey(name string, variables map[string]string) string {
	h := sha256.New()
	for _, n := range slices.Sorted(maps.Keys(variables)) {
		fmt.Fprintf(h, "%q %q\n", n, variables[n])
	}
	return name + "\x00" + string(h.Sum(nil))
}

// remembered reports whether it can be told that files are what they were.
func remembered(reads []compose.Read) bool {
	return !slices.ContainsFunc(reads, func(r compose.Read) bool { return !r.Gone && r.ID == "" })
}

// sameReads reports whether all files are what they were, and those that were
// missing are still.
func sameReads(fsys fs.FS, reads []compose.Read) bool {
	for _, r := range reads {
		info, err := statNoFollow(fsys, r.Path)
		gone := errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() && !info.IsDir()
		switch {
		case r.Gone && !gone, !r.Gone && (err != nil || objectID(info) != r.ID || info.Mode() != r.Mode):
			return false
		}
	}
	return true
}

// own copies the document for a decoder, with each value where the Compose file
// has it. Where there are variables its texts are kept from being taken for
// references to them: they are in it already.
func (doc *composeDocument) own(d *decoder, vars *variables) *yaml.Node {
	return doc.copy(d, value{doc.Root, ""}, vars)
}

func (doc *composeDocument) copy(d *decoder, v value, vars *variables) *yaml.Node {
	p := doc.Origin(v.path)
	n := v.node
	c := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: p.Line, Column: p.Column}
	d.sources[c] = &source{file: p.File, interpolated: vars.tell(p.Variables)}
	if vars != nil && n.Kind == yaml.ScalarNode {
		c.Value = strings.ReplaceAll(n.Value, "${", "$${")
	}
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			c.Content = append(c.Content, doc.copy(d, v.item(i, child), vars))
		case i%2 == 0:
			at := v.child(child.Value, child)
			key := doc.copy(d, at, nil)
			c.Content = append(c.Content, key, doc.copy(d, v.child(child.Value, n.Content[i+1]), vars))
		}
	}
	return c
}

// tell names variables that a Compose file was made with, separated by spaces: those
// of the fleet with the place of their value, the others are of a .env.
func (v *variables) tell(names string) string {
	var ours []*variable
	var others []string
	for name := range strings.FieldsSeq(names) {
		if v != nil && v.byName[name] != nil && v.byName[name].given {
			ours = append(ours, v.byName[name])
		} else {
			others = append(others, "${"+name+"}")
		}
	}
	if len(ours) > 0 {
		others = slices.Insert(others, 0, tellVariables(ours))
	}
	if len(others) == 0 {
		return ""
	}
	return " (with " + strings.Join(others, ", ") + ")"
}

// inWords says faults and the places of a service in the words of the Compose
// files that it was made from.
func (m *composite) inWords(files []*composeFile) {
	m.faults = slices.Clone(m.faults)
	word := func(field *string, file string, line, column int) {
		for _, f := range files {
			w, ok := f.words[wordPlace{file, line, column, m.subject.name}]
			if !ok {
				w, ok = f.words[wordPlace{file, line, column, ""}]
			}
			if ok {
				*field = w
				return
			}
		}
	}
	for i := range m.faults {
		word(&m.faults[i].Field, m.faults[i].File, m.faults[i].Line, m.faults[i].Column)
	}
	for _, f := range files {
		m.faults = besides(m.faults, f.faults)
	}
	if m.service == nil {
		return
	}
	at := func(field *string, p position) {
		if p.from != nil {
			word(field, p.from.file, p.line, p.column)
		}
	}
	s := m.service
	for i := range s.claims {
		at(&s.claims[i].field, s.claims[i].at)
	}
	for i := range s.files {
		at(&s.files[i].field, s.files[i].at)
	}
	for i := range s.depends {
		at(&s.depends[i].field, s.depends[i].at)
	}
	for i := range s.aliases {
		at(&s.aliases[i].field, s.aliases[i].at)
	}
}

// inComposeWords says what was found in comparing documents in the words of
// the Compose files that they came from.
func (c *composer) inComposeWords(faults []planner.Fault) {
	for i := range faults {
		f := &faults[i]
		if !strings.HasPrefix(f.Field, "metadata.") && !strings.HasPrefix(f.Field, "spec.") {
			continue
		}
		for _, file := range c.read {
			if w, ok := file.words[wordPlace{f.File, f.Line, f.Column, ""}]; ok {
				f.Field = w
				break
			}
		}
	}
}

// watchedFS notes whether anything could not be read, other than that it is
// not there: that says nothing about the commit.
type watchedFS struct {
	fs.FS
	err error
}

var _ fs.ReadLinkFS = (*watchedFS)(nil)

func (w *watchedFS) note(err error) error {
	if err != nil && w.err == nil && !errors.Is(err, fs.ErrNotExist) {
		w.err = err
	}
	return err
}

func (w *watchedFS) Open(name string) (fs.File, error) {
	f, err := w.FS.Open(name)
	if w.note(err) != nil {
		return nil, err
	}
	if dir, ok := f.(fs.ReadDirFile); ok {
		return dir, nil
	}
	return watchedFile{f, w}, nil
}

func (w *watchedFS) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(w.FS, name)
	return info, w.note(err)
}

func (w *watchedFS) ReadLink(name string) (string, error) { return fs.ReadLink(w.FS, name) }

type watchedFile struct {
	fs.File
	fs *watchedFS
}

func (f watchedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.fs.note(err)
	}
	return n, err
}
