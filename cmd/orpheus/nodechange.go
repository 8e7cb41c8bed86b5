package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// fieldChange is one truth value of a node's spec to set.
type fieldChange struct {
	field string // "drain", "unschedulable" or "abandoned"
	value bool
}

// fileChange is what one commit does to one file.
type fileChange struct {
	path   string // in the repository, with slashes
	before []byte // nil = there was no file
	after  []byte
	// subject and body of the commit, where only the change tells them; "" = the
	// verb's.
	subject, body string
}

// changeNode works out what must change in the fleet in folder of fsys so that
// the node is as want says; nil if it is already. want is given the node as
// the manifests describe it, zero if they do not.
func changeNode(ctx context.Context, fsys fs.FS, folder string, name planner.NodeName, want func(planner.NodeSpec) []fieldChange) (*fileChange, error) {
	before, err := readFleet(ctx, fsys, folder)
	if err != nil {
		return nil, err
	}
	spec, described := before.Nodes[name]
	if !described {
		if err := checkNewNode(fsys, before, name); err != nil {
			return nil, err
		}
	}
	changes := want(spec)
	if len(changes) == 0 {
		return nil, nil
	}
	if !described || !lies(spec.File, folder) {
		return newNodeDocument(fsys, folder, name, changes)
	}
	c := &fileChange{path: spec.File}
	if c.before, err = fs.ReadFile(fsys, c.path); err != nil {
		return nil, fmt.Errorf("read the manifest of node %s: %w", name, err)
	}
	c.after = c.before
	for _, ch := range changes {
		if c.after, err = setNodeField(c.after, name, ch.field, ch.value); err != nil {
			return nil, fmt.Errorf("change %s: %w; set spec.%s to %t by hand", c.path, err, ch.field, ch.value)
		}
		set(&spec, ch)
	}
	after, err := readFleet(ctx, edited{fsys, c.path, c.after}, folder)
	if err != nil {
		return nil, err
	}
	if before.Nodes[name] = spec; !sameFleet(before, after) {
		return nil, fmt.Errorf("change %s: %w; edit it by hand", c.path, errNotEditable)
	}
	return c, nil
}

func set(spec *planner.NodeSpec, c fieldChange) {
	switch c.field {
	case "drain":
		spec.Drain = c.value
	case "unschedulable":
		spec.Unschedulable = c.value
	case "abandoned":
		spec.Abandoned = c.value
	}
}

// readFleet reads the manifests as an agent would.
func readFleet(ctx context.Context, fsys fs.FS, folder string) (planner.Desired, error) {
	d, err := manifest.NewLoader(manifest.Limits{}).Load(ctx, fsys, folder, planner.Commit{})
	var refused *manifest.RefusedError
	if errors.As(err, &refused) {
		return d, fmt.Errorf("agents refuse the fleet as it is here, and a change of it as well: %s", refused.Why())
	}
	if err != nil {
		return d, fmt.Errorf("read the manifests: %w", err)
	}
	return d, nil
}

// checkNewNode refuses to describe a node that may be misspelt, or described
// already where it cannot be read.
func checkNewNode(fsys fs.FS, d planner.Desired, name planner.NodeName) error {
	if listed := d.Fleet.Nodes; len(listed) > 0 && !slices.Contains(listed, name) {
		var names []string
		for _, n := range listed {
			names = append(names, string(n))
		}
		return fmt.Errorf("there is no node %s: fleet.yaml lists %s", name, strings.Join(names, ", "))
	}
	last := ""
	for _, f := range d.Faults {
		if f.Warning || f.File == "" || f.File == last {
			continue
		}
		last = f.File
		if text, err := fs.ReadFile(fsys, f.File); err == nil && bytes.Contains(text, []byte(name)) {
			return fmt.Errorf("%s has faults and may describe node %s; correct it first: %s", f.File, name, f)
		}
	}
	return nil
}

// lies reports whether a file lies in the fleet's folder. What a base says of
// a node holds for other fleets too: it is not changed, but laid over.
func lies(name, folder string) bool { return folder == "." || strings.HasPrefix(name, folder+"/") }

// newNodeDocument makes nodes/NAME.yaml.
func newNodeDocument(fsys fs.FS, folder string, name planner.NodeName, changes []fieldChange) (*fileChange, error) {
	c := &fileChange{path: path.Join(folder, "nodes", string(name)+".yaml")}
	if _, err := fs.Stat(fsys, c.path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s exists and does not describe node %s; correct it first", c.path, name)
	}
	var err error
	if c.after, err = newNodeFile(name, changes[0].field); err != nil {
		return nil, err
	}
	for _, ch := range changes {
		if c.after, err = setNodeField(c.after, name, ch.field, ch.value); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// sameFleet reports whether two readings differ in nothing but where in their
// files things stand.
func sameFleet(a, b planner.Desired) bool {
	if len(a.Nodes) != len(b.Nodes) || len(a.Services) != len(b.Services) || a.Complete() != b.Complete() {
		return false
	}
	for name, x := range a.Nodes {
		y := b.Nodes[name]
		y.Line = x.Line
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	for id, x := range a.Services {
		y := b.Services[id]
		y.Line = x.Line
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// edited is a tree in which one file has another content.
type edited struct {
	fs.FS
	name string
	data []byte
}

var _ fs.ReadLinkFS = edited{}

func (e edited) Open(name string) (fs.File, error) {
	if name != e.name {
		return e.FS.Open(name)
	}
	info, err := e.Lstat(name)
	if err != nil {
		return nil, err
	}
	return editedFile{bytes.NewReader(e.data), info}, nil
}

func (e edited) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(e.FS, name)
	if name == e.name && err == nil {
		info = editedInfo{info, int64(len(e.data))}
	}
	return info, err
}

func (e edited) ReadLink(name string) (string, error) { return fs.ReadLink(e.FS, name) }

type editedFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f editedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f editedFile) Close() error               { return nil }

type editedInfo struct {
	fs.FileInfo
	size int64
}

func (i editedInfo) Size() int64 { return i.size }
func (i editedInfo) Sys() any    { return nil } // no object id: it has another content
