package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// A fleet with bases is put together from layers: the folders that its
// fleet.yaml names in spec.base, with their own bases below them, and last its
// own folder. Each folder is one layer, however many name it. A layer may have
// a fleet.yaml of its own: what it says holds unless a later layer says
// otherwise, but for spec.base, spec.ignore and spec.compose, which are about that folder
// only. With spec.variables a fleet is read the same way, as a single layer.

// layer is one of the folders.
type layer struct {
	dir       string
	fleet     *raw     // fleet.yaml; nil = it has none
	d         *decoder // of fleet.yaml
	bases     []baseRef
	ignore    []string
	compose   []composePattern
	variables []declaration
}

func (l *layer) fleetPath() string { return path.Join(l.dir, fleetFile) }

// baseRef is a base as fleet.yaml names it.
type baseRef struct {
	value
	path string
}

// layerReader finds the layers of a fleet.
type layerReader struct {
	*walker
	layers []*layer
	open   []string // folders whose bases are being read, outermost first
}

// readLayers returns the layers, the fleet's own folder last. A base that is
// no base refuses the commit: nobody could say what the fleet is.
func (w *walker) readLayers() ([]*layer, error) {
	r := &layerReader{walker: w}
	if err := r.read(w.root); err != nil {
		return nil, err
	}
	return r.layers, r.apart()
}

func (r *layerReader) read(dir string) error {
	l, err := r.layer(dir)
	if err != nil {
		return err
	}
	r.open = append(r.open, dir)
	for _, b := range l.bases {
		target, err := r.base(l, b)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(r.layers, func(l *layer) bool { return l.dir == target }) {
			continue // read already, below this one
		}
		if err := r.read(target); err != nil {
			return err
		}
	}
	r.open = r.open[:len(r.open)-1]
	r.layers = append(r.layers, l)
	return nil
}

// layer reads the fleet.yaml of a folder, if it has one.
func (r *layerReader) layer(dir string) (*layer, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	l := &layer{dir: dir, d: newDecoder(r.limits, nil)}
	info, err := statNoFollow(r.fsys, l.fleetPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", l.fleetPath(), err)
	case !info.Mode().IsRegular():
		return nil, refuseFleet(planner.Fault{File: l.fleetPath(), Reason: "is not a regular file", Remedy: "commit the file itself"})
	}
	doc, err := r.document(l.fleetPath(), objectID(info), roleLayer)
	if err != nil {
		return nil, err
	}
	if doc.broken || len(doc.raws) != 1 {
		return nil, refuseFleet(withFile(doc.faults, l.fleetPath())...)
	}
	l.fleet = &doc.raws[0]
	l.d.bad = l.fleet.bad
	l.decode()
	return l, l.refusal()
}

// decode reads what a fleet.yaml says of its own folder.
func (l *layer) decode() {
	root := l.fleet.root
	l.d.seen[""] = l.d.at(root)
	spec := lookup(root, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(spec.Content); i += 2 {
		v := value{spec, "spec"}.child(spec.Content[i].Value, spec.Content[i+1])
		if !isOwn(spec.Content[i].Value) {
			continue
		}
		l.d.seen[v.path] = l.d.at(v.node)
		switch {
		case isNull(v.node):
			l.d.wrong(v, "has no value", "give it one, or remove the line")
		case v.path == "spec.base":
			l.decodeBases(v)
		case v.path == "spec.ignore":
			for _, item := range l.d.items(v, maxIgnore, "write it as a list: [first, second]") {
				if s, ok := l.d.text(item, globPattern); ok {
					l.ignore = append(l.ignore, s)
				}
			}
		case v.path == "spec.compose":
			l.decodeCompose(v)
		case v.path == "spec.variables":
			l.variables = decodeVariables(l.d, v)
		}
	}
}

// isOwn reports whether a field of spec is read for each layer by itself.
func isOwn(field string) bool {
	return field == "base" || field == "ignore" || field == "compose" || field == "variables"
}

// decodeBases takes a path, or a list of paths.
func (l *layer) decodeBases(v value) {
	items := []value{v}
	if v.node.Kind == yaml.SequenceNode {
		items = l.d.items(v, maxLayers, "")
	}
	for _, item := range items {
		if s, ok := l.d.text(item, basePath); ok {
			l.bases = append(l.bases, baseRef{item, s})
		}
	}
}

// basePath allows relative paths, which may climb.
var basePath = rule{checkBasePath, form{
	pattern: "[^/?@][^?@]*",
	says:    "a folder of the repository, relative to this fleet.yaml",
}}

func checkBasePath(s string) (reason, remedy string) {
	const folder = "copy its files into a folder of this repository, and name that folder"
	switch {
	case strings.Contains(s, "://") || strings.Contains(s, "::") || scpForm.MatchString(s) || strings.ContainsAny(s, "?@"):
		return "is not a folder of this repository: there are no remote bases", folder
	case strings.HasPrefix(s, "github.com/") || strings.HasPrefix(s, "gitlab.com/"):
		return "is not a folder of this repository: there are no remote bases", folder
	case s == "" || len(s) > maxPathBytes:
		return fmt.Sprintf("must have from 1 to %d bytes", maxPathBytes), ""
	case path.IsAbs(s):
		return "is an absolute path", "write it relative to this fleet.yaml, as ../../base"
	case strings.Contains(s, `\`):
		return "has a backslash", "write / between folders"
	}
	return anyText.check(s)
}

// base finds the folder that a layer names as its base.
func (r *layerReader) base(l *layer, b baseRef) (dir string, err error) {
	refuse := func(reason, remedy string) error {
		l.d.wrong(b.value, quote(b.path)+" "+reason, remedy)
		return l.refusal()
	}
	dir = path.Join(l.dir, b.path)
	if dir == ".." || strings.HasPrefix(dir, "../") {
		return "", refuse("leads out of the repository", "name a folder of the repository, relative to this fleet.yaml")
	}
	if i := slices.Index(r.open, dir); i >= 0 {
		if len(r.open)-i == 1 {
			return "", refuse("is this folder itself", "name another, or remove the line")
		}
		return "", refuse("closes a circle: "+strings.Join(append(slices.Clone(r.open[i:]), dir), " is made from "), "remove one of the bases")
	}
	if len(r.open) > maxBaseDepth {
		return "", refuse(fmt.Sprintf("lies below more than %d bases of bases", maxBaseDepth), "name its folders directly")
	}
	if len(r.layers)+len(r.open) >= maxLayers {
		return "", refuse(fmt.Sprintf("is one folder too many: a fleet is made from at most %d", maxLayers), "put some together")
	}
	if dir == "." {
		return dir, nil // refused as it holds all others
	}
	if reason, remedy := checkRepositoryPath(dir); reason != "" {
		return "", refuse(reason, remedy)
	}
	reason, err := notFolder(r.fsys, dir)
	if err != nil {
		return "", fmt.Errorf("read base %s: %w", dir, err)
	}
	if reason != "" {
		return "", refuse(reason, "name a folder of the repository, relative to this fleet.yaml")
	}
	return dir, nil
}

// notFolder says why dir is no folder of the tree, without following links
// anywhere on the way; "" = it is one.
func notFolder(fsys fs.FS, dir string) (reason string, err error) {
	for i := range len(dir) + 1 {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		part := dir[:i]
		info, err := statNoFollow(fsys, part)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "does not exist: there is no " + quote(part), nil
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink != 0:
			return "is not followed: " + quote(part) + " is a symbolic link", nil
		case info.Mode()&fs.ModeIrregular != 0:
			return "is not followed: " + quote(part) + " is a submodule", nil
		case !info.IsDir():
			return "is no folder: " + quote(part) + " is a file", nil
		}
	}
	return "", nil
}

// apart refuses layers that lie in each other: their files would be read
// twice, or those of another environment with them.
func (r *layerReader) apart() error {
	for _, l := range r.layers {
		for _, b := range l.bases {
			for _, other := range r.layers {
				dir := path.Join(l.dir, b.path)
				if dir == other.dir || !within(dir, other.dir) && !within(other.dir, dir) {
					continue
				}
				l.d.wrong(b.value, fmt.Sprintf("%s and %s, which belongs to this fleet too, lie in each other", quote(b.path), folderName(other.dir)),
					"keep base and environments in folders side by side, as base and envs/prod")
				return l.refusal()
			}
		}
	}
	return nil
}

func within(dir, name string) bool { return dir == "." || strings.HasPrefix(name, dir+"/") }

func folderName(dir string) string {
	if dir == "." {
		return "the top of the repository"
	}
	return "folder " + quote(dir)
}

// refusal refuses the commit if something is wrong with a layer's fleet.yaml.
func (l *layer) refusal() error {
	if !l.d.faults.broken {
		return nil
	}
	return refuseFleet(withFile(l.d.faults.list(), l.fleetPath())...)
}

func refuseFleet(faults ...planner.Fault) error {
	return &RefusedError{Reason: "fleet.yaml is not valid", Faults: faults}
}

// mergedFleet puts the documents of all fleet.yamls together and decodes the
// result. It returns the document as well, and where its values were written.
func (w *walker) mergedFleet(layers []*layer) (*planner.Fleet, *yaml.Node, map[*yaml.Node]*source, error) {
	top := layers[len(layers)-1]
	d := newDecoder(w.limits, map[*yaml.Node]*source{})
	m := merger{d}
	var root *yaml.Node
	for _, l := range layers {
		if l.fleet == nil {
			continue
		}
		own := m.own(l.fleet.root, &source{file: l.fleetPath()}, l.fleet.bad)
		withoutOwn(own)
		if root == nil {
			root = own
		} else {
			root = m.merge(root, own, "", "")
		}
	}
	if root == nil {
		return nil, nil, nil, refuseFleet(planner.Fault{File: top.fleetPath(), Line: 1, Reason: "deletes the fleet", Remedy: "remove $patch"})
	}
	d.seen[""] = d.at(root)
	fleet, _, _ := decodeFleet(d, value{root, ""})
	faults := d.faults.list()
	if d.faults.broken {
		return nil, nil, nil, refuseFleet(faults...)
	}
	w.faults = append(w.faults, faults...)
	fleet.Ignore = top.ignore
	return fleet, root, d.sources, nil
}

// withoutOwn removes what each layer says for itself.
func withoutOwn(root *yaml.Node) {
	spec := lookup(root, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(spec.Content); i += 2 {
		if !isOwn(spec.Content[i].Value) {
			kept = append(kept, spec.Content[i], spec.Content[i+1])
		}
	}
	spec.Content = kept
}
