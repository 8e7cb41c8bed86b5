package main

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// promotedInCompose is where a service of a Compose file has what a manifest
// has in spec.update.promoted.
var promotedInCompose = []string{"x-orpheus", "update", "promoted"}

// changePromoted works out what must change in the fleet in folder of fsys so
// that the revision that a service is to have may pass its steps that wait for
// approval, up to one of them; 0 = all.
func changePromoted(ctx context.Context, fsys fs.FS, folder string, id planner.ServiceID, step int) (*fileChange, error) {
	d, err := readFleet(ctx, fsys, folder)
	if err != nil {
		return nil, err
	}
	s, known := d.Services[id]
	value := ""
	if known {
		if value, err = promotion(s, step); err != nil || value == s.Update.Promoted {
			return nil, err
		}
	} // else the next says which services there are
	c, err := changeService(ctx, fsys, folder, id, serviceEdit{
		field: "spec.update.promoted",
		set:   func(text []byte) ([]byte, error) { return setPromoted(text, id, value) },
		compose: func(text []byte, at manifest.ComposePlace) ([]byte, error) {
			return setComposePromoted(text, at, value)
		},
		byHand: byHand(promotedInCompose, value),
		over: map[string]any{
			"metadata": map[string]any{},
			"spec":     map[string]any{"update": map[string]any{"promoted": value}},
		},
		apply: func(s *planner.Service) { s.Update.Promoted = value },
	})
	if err != nil {
		return nil, err
	}
	c.subject = "promote " + id.String() + " to " + value
	c.body = fmt.Sprintf("The rollout of %s at revision %s may go on past\n%s.", id, s.Revision.Short(), passed(value))
	return c, nil
}

// passed says what a promotion lets pass.
func passed(value string) string {
	if _, last, some := strings.Cut(value, "/"); some {
		return "the steps up to step " + last + " that wait for approval"
	}
	return "all its steps that wait for approval"
}

// promotion is the value of spec.update.promoted that lets the service pass
// what waits for approval: the one it has where nothing does any more.
func promotion(s planner.Service, step int) (string, error) {
	var asks []int // the steps that wait for approval, from 1
	for k, st := range s.Update.Steps {
		if st.Approve {
			asks = append(asks, k+1)
		}
	}
	rev := s.Revision.Short()
	switch {
	case len(asks) == 0:
		return "", fmt.Errorf("no step of %s waits for approval: spec.update.steps in %s has none with approve: true", s.ID, s.File)
	case step > len(s.Update.Steps):
		return "", fmt.Errorf("%s has %s, so there is no step %d", s.ID, count(len(s.Update.Steps), "step"), step)
	case step > 0 && !s.Update.Steps[step-1].Approve:
		return "", fmt.Errorf("step %d of %s does not wait for approval; these do: %s", step, s.ID, numbers(asks))
	}
	last := asks[len(asks)-1]
	if passed := promotedTo(s); passed >= last || step > 0 && passed >= step {
		return s.Update.Promoted, nil
	}
	if step == 0 || step == last {
		return rev, nil
	}
	return fmt.Sprintf("%s/%d", rev, step), nil
}

// promotedTo is the step up to which the manifest approves of its revision; 0 =
// it does not.
func promotedTo(s planner.Service) int {
	rev, last, some := strings.Cut(s.Update.Promoted, "/")
	if len(rev) < len(s.Revision.Short()) || !strings.HasPrefix(string(s.Revision), rev) {
		return 0
	}
	if !some {
		return len(s.Update.Steps)
	}
	n, _ := strconv.Atoi(last) // what is no number is a fault of the manifest
	return n
}

func numbers(list []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}

// setPromoted sets spec.update.promoted in the service's document and leaves
// every other byte of the file as it is. Text that is no valid manifest may
// give any result: the caller reads it again.
func setPromoted(text []byte, id planner.ServiceID, value string) ([]byte, error) {
	root, err := findService(text, id)
	if err != nil {
		return nil, err
	}
	f := newTextFile(text)
	entry := "promoted: " + value
	spec, at := mapEntry(root, "spec")
	switch {
	case spec == nil && root.Style&yaml.FlowStyle != 0:
		err = f.insertInto(root, "spec: {update: {"+entry+"}}")
		return f.text(), err
	case spec == nil:
		f.insertLines(f.documentEnd(root.Line), "spec:", "  update:", "    "+entry)
		return f.text(), nil
	}
	err = f.setPath(spec, at, []string{"update", "promoted"}, value)
	return f.text(), err
}
