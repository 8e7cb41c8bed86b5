package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// serviceEdit is one value of a service that a verb sets.
type serviceEdit struct {
	field string // for people, who may have to set it by hand
	// set puts the value into the service's document and leaves every other byte
	// of the file as it is.
	set func(text []byte) ([]byte, error)
	// In a Compose file the value goes below the service's key, by compose at
	// path; byHand is what people write there themselves.
	compose func(text []byte, at manifest.ComposePlace) ([]byte, error)
	byHand  string
	// over is a document of that value alone, but for its head: it is laid over
	// what bases say of the service. It has metadata.
	over map[string]any
	// apply makes of the service as it was read what it is to be.
	apply func(*planner.Service)
}

// changeService works out what must change in the fleet in folder of fsys so
// that one value of a service does, and nothing else. The value goes where it
// counts: into the last document that the service is made from, or, where only
// bases describe it, which may be those of other fleets too, into one that is
// laid over them.
func changeService(ctx context.Context, fsys fs.FS, folder string, id planner.ServiceID, edit serviceEdit) (*fileChange, error) {
	before, err := readFleet(ctx, fsys, folder)
	if err != nil {
		return nil, err // says what is wrong with a fleet that is refused
	}
	documents, _, err := manifest.Render(ctx, fsys, folder, manifest.Limits{})
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	found, err := oneService(documents, id.String())
	if err != nil {
		return nil, err
	}
	c := &fileChange{path: found[0].Files[len(found[0].Files)-1]}
	if !lies(c.path, folder) {
		return newServiceDocument(fsys, folder, id, edit)
	}
	remedy := "set " + edit.field + " by hand"
	if place := found[0].Compose; place.File != "" {
		c.path, remedy = place.File, fmt.Sprintf("add this below services.%s by hand:%s", place.Service, edit.byHand)
		if !lies(c.path, folder) { // the fleet's file includes it, and those of other fleets may
			return nil, fmt.Errorf("%s is not changed: it lies outside the fleet's folder and may be part of other fleets; %s", c.path, remedy)
		}
		edit.set = func(text []byte) ([]byte, error) { return edit.compose(text, place) }
	}
	if c.before, err = fs.ReadFile(fsys, c.path); err == nil {
		c.after, err = edit.set(c.before)
	}
	if err != nil {
		return nil, fmt.Errorf("change %s: %w; %s", c.path, err, remedy)
	}
	after, err := readFleet(ctx, edited{fsys, c.path, c.after}, folder)
	if err != nil {
		return nil, err
	}
	s := before.Services[id]
	s.File = after.Services[id].File
	edit.apply(&s)
	before.Services[id] = s
	if !sameFleet(before, after) {
		return nil, fmt.Errorf("change %s: %w; %s", c.path, errNotEditable, remedy)
	}
	return c, nil
}

// newServiceDocument makes one that is laid over what bases say of a service.
func newServiceDocument(fsys fs.FS, folder string, id planner.ServiceID, edit serviceEdit) (*fileChange, error) {
	c := &fileChange{path: path.Join(folder, id.Name+".yaml")}
	meta := edit.over["metadata"].(map[string]any)
	meta["name"] = id.Name
	if id.Namespace != planner.DefaultNamespace {
		c.path = path.Join(folder, id.Namespace, id.Name+".yaml")
		meta["namespace"] = id.Namespace
	}
	if _, err := fs.Stat(fsys, c.path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s exists and is not about service %s; write a document of it with %s by hand", c.path, id, edit.field)
	}
	text, err := yaml.Marshal(edit.over) // it knows which names need quotes
	if err != nil {
		return nil, err
	}
	c.after = append([]byte("apiVersion: orpheus/v1\nkind: Service\n"), text...)
	return c, nil
}

// findService returns the root of the document that describes the service.
func findService(text []byte, id planner.ServiceID) (*yaml.Node, error) {
	return findDocument(text, "Service", "service "+id.String(), func(meta *yaml.Node) bool {
		name, _ := mapEntry(meta, "name")
		namespace, _ := mapEntry(meta, "namespace")
		in := planner.DefaultNamespace
		if namespace != nil {
			in = namespace.Value
		}
		return name != nil && name.Value == id.Name && in == id.Namespace
	})
}

// setEntry sets an entry of a mapping, at being its key in the document.
func (f *textFile) setEntry(m, at *yaml.Node, key, value string) error {
	if m.Kind != yaml.MappingNode || m.Alias != nil {
		return errNotEditable
	}
	switch old, _ := mapEntry(m, key); {
	case old != nil:
		return f.replace(old, value)
	case m.Style&yaml.FlowStyle != 0:
		return f.insertInto(m, key+": "+value)
	case len(m.Content) == 0:
		return errNotEditable
	}
	// Below its key, above what may be a comment of the first entry.
	f.insertLines(at.Line, strings.Repeat(" ", m.Content[0].Column-1)+key+": "+value)
	return nil
}
