package main

import (
	"context"
	"io/fs"
	"maps"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// restartedAt is the annotation whose change restarts a service.
const restartedAt = "orpheus/restartedAt"

// changeRestart works out what must change in the fleet in folder of fsys so
// that a service restarts, and nothing else happens.
func changeRestart(ctx context.Context, fsys fs.FS, folder string, id planner.ServiceID, value string) (*fileChange, error) {
	return changeService(ctx, fsys, folder, id, serviceEdit{
		field: "metadata.annotations[" + restartedAt + "]",
		set:   func(text []byte) ([]byte, error) { return setRestart(text, id, value) },
		compose: func(text []byte, at manifest.ComposePlace) ([]byte, error) {
			return setComposeRestart(text, at, value)
		},
		byHand: byHand([]string{"labels", restartedAt}, `"`+value+`"`),
		over:   map[string]any{"metadata": map[string]any{"annotations": map[string]string{restartedAt: value}}},
		apply: func(s *planner.Service) {
			s.Annotations = maps.Clone(s.Annotations)
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			s.Annotations[restartedAt], s.Template.RestartedAt = value, value
			s.Revision = planner.RevisionOf(s.Template)
			s.Hooks = maps.Clone(s.Hooks)
			for kind, h := range s.Hooks {
				h.Template.Of = s.Revision
				h.Revision = planner.RevisionOf(h.Template)
				s.Hooks[kind] = h
			}
		},
	})
}

// setRestart sets the annotation in the service's document and leaves every
// other byte of the file as it is. Text that is no valid manifest may give any
// result: the caller reads it again.
func setRestart(text []byte, id planner.ServiceID, value string) ([]byte, error) {
	root, err := findService(text, id)
	if err != nil {
		return nil, err
	}
	f := newTextFile(text)
	quoted := `"` + value + `"`
	meta, _ := mapEntry(root, "metadata")
	annotations, at := mapEntry(meta, "annotations")
	_, name := mapEntry(meta, "name")
	switch {
	case annotations != nil:
		err = f.setEntry(annotations, at, restartedAt, quoted)
	case meta.Style&yaml.FlowStyle != 0:
		err = f.insertInto(meta, "annotations: {"+restartedAt+": "+quoted+"}")
	default:
		indent := strings.Repeat(" ", name.Column-1)
		f.insertLines(name.Line, indent+"annotations:", indent+"  "+restartedAt+": "+quoted)
	}
	return f.text(), err
}
