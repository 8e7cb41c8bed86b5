package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// restartedAt is the annotation whose change restarts a service.
const restartedAt = "orpheus/restartedAt"

// changeRestart works out what must change in the fleet in folder of fsys so
// that a service restarts, and nothing else happens. The value goes where it
// counts: into the last document that the service is made from, or, where only
// bases describe it, which may be those of other fleets too, into one that is
// laid over them.
func changeRestart(ctx context.Context, fsys fs.FS, folder string, id planner.ServiceID, value string) (*fileChange, error) {
	if _, err := readFleet(ctx, fsys, folder); err != nil {
		return nil, err // says what is wrong with a fleet that is refused
	}
	documents, before, err := manifest.Render(ctx, fsys, folder, manifest.Limits{})
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	found, err := oneService(documents, id.String())
	if err != nil {
		return nil, err
	}
	c := &fileChange{path: found[0].Files[len(found[0].Files)-1]}
	if !lies(c.path, folder) {
		return newRestartDocument(fsys, folder, id, value)
	}
	if c.before, err = fs.ReadFile(fsys, c.path); err == nil {
		c.after, err = setRestart(c.before, id, value)
	}
	if err != nil {
		return nil, fmt.Errorf("change %s: %w; set metadata.annotations[%s] by hand", c.path, err, restartedAt)
	}
	after, err := readFleet(ctx, edited{fsys, c.path, c.after}, folder)
	if err != nil {
		return nil, err
	}
	if !restarts(before, after, id, value) {
		return nil, fmt.Errorf("change %s: %w; set metadata.annotations[%s] by hand", c.path, errNotEditable, restartedAt)
	}
	return c, nil
}

// restarts reports whether the one difference of two readings is that the
// service is restarted. It may change the first.
func restarts(before, after planner.Desired, id planner.ServiceID, value string) bool {
	s := before.Services[id]
	s.File = after.Services[id].File
	s.Annotations = maps.Clone(s.Annotations)
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[restartedAt], s.Template.RestartedAt = value, value
	s.Revision = planner.RevisionOf(s.Template)
	before.Services[id] = s
	return sameFleet(before, after)
}

// newRestartDocument makes one that is laid over what bases say of a service.
func newRestartDocument(fsys fs.FS, folder string, id planner.ServiceID, value string) (*fileChange, error) {
	c := &fileChange{path: path.Join(folder, id.Name+".yaml")}
	meta := map[string]any{"name": id.Name, "annotations": map[string]string{restartedAt: value}}
	if id.Namespace != planner.DefaultNamespace {
		c.path = path.Join(folder, id.Namespace, id.Name+".yaml")
		meta["namespace"] = id.Namespace
	}
	if _, err := fs.Stat(fsys, c.path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s exists and is not about service %s; write a document of it with metadata.annotations[%s] by hand", c.path, id, restartedAt)
	}
	text, err := yaml.Marshal(map[string]any{"metadata": meta}) // it knows which names need quotes
	if err != nil {
		return nil, err
	}
	c.after = append([]byte("apiVersion: orpheus/v1\nkind: Service\n"), text...)
	return c, nil
}

// setRestart sets the annotation in the service's document and leaves every
// other byte of the file as it is. Text that is no valid manifest may give any
// result: the caller reads it again.
func setRestart(text []byte, id planner.ServiceID, value string) ([]byte, error) {
	root, err := findDocument(text, "Service", "service "+id.String(), func(meta *yaml.Node) bool {
		name, _ := mapEntry(meta, "name")
		namespace, _ := mapEntry(meta, "namespace")
		in := planner.DefaultNamespace
		if namespace != nil {
			in = namespace.Value
		}
		return name != nil && name.Value == id.Name && in == id.Namespace
	})
	if err != nil {
		return nil, err
	}
	f := newTextFile(text)
	quoted := `"` + value + `"`
	entry := restartedAt + ": " + quoted
	meta, _ := mapEntry(root, "metadata")
	annotations, at := mapEntry(meta, "annotations")
	if annotations == nil {
		_, name := mapEntry(meta, "name")
		if meta.Style&yaml.FlowStyle != 0 {
			err = f.insertInto(meta, "annotations: {"+entry+"}")
		} else {
			indent := strings.Repeat(" ", name.Column-1)
			f.insertLines(name.Line, indent+"annotations:", indent+"  "+entry)
		}
		return f.text(), err
	}
	if annotations.Kind != yaml.MappingNode || annotations.Alias != nil {
		return nil, errNotEditable
	}
	switch old, _ := mapEntry(annotations, restartedAt); {
	case old != nil:
		err = f.replace(old, quoted)
	case annotations.Style&yaml.FlowStyle != 0:
		err = f.insertInto(annotations, entry)
	default:
		// Below "annotations:", above what may be a comment of the first one.
		f.insertLines(at.Line, strings.Repeat(" ", annotations.Content[0].Column-1)+entry)
	}
	return f.text(), err
}
