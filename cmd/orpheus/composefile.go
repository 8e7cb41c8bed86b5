package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// byHand is what people add to a Compose file themselves, below the service.
func byHand(path []string, value string) string {
	var b strings.Builder
	for i, key := range path {
		fmt.Fprintf(&b, "\n%s%s:", strings.Repeat("  ", i), key)
	}
	return b.String() + " " + value
}

// findComposeService returns the value and the key of a service in a Compose
// file.
func findComposeService(text []byte, at manifest.ComposePlace) (service, key *yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil, nil, errNotEditable
		} else if err != nil {
			return nil, nil, err
		}
		if len(doc.Content) != 1 {
			continue
		}
		services, _ := mapEntry(doc.Content[0], "services")
		if services == nil {
			continue
		}
		if service, key = mapEntry(services, at.Service); key != nil && key.Line == at.Line && key.Column == at.Column {
			return service, key, nil
		}
	}
}

// setComposeRestart sets the label that restarts a service, where its labels
// are, and leaves every other byte of the file as it is. Text that is no
// Compose file may give any result: the caller reads it again.
func setComposeRestart(text []byte, at manifest.ComposePlace, value string) ([]byte, error) {
	service, key, err := findComposeService(text, at)
	if err != nil {
		return nil, err
	}
	f := newTextFile(text)
	path := []string{"labels", restartedAt}
	deploy, _ := mapEntry(service, "deploy")
	for _, c := range []struct {
		in   *yaml.Node
		path []string
	}{
		// What counts more comes first.
		{service, []string{"annotations", restartedAt}},
		{service, path},
		{deploy, []string{"deploy", "labels", restartedAt}},
	} {
		if c.in == nil {
			continue
		}
		labels, _ := mapEntry(c.in, c.path[len(c.path)-2])
		if labels == nil {
			continue
		}
		if item := labelItem(labels, restartedAt); item != nil {
			return f.replaced(item, `"`+restartedAt+"="+value+`"`)
		}
		if old, _ := mapEntry(labels, restartedAt); old != nil {
			path = c.path
			break
		}
	}
	if labels, _ := mapEntry(service, "labels"); path[0] == "labels" && labels != nil && labels.Kind == yaml.SequenceNode {
		return f.withItem(labels, `"`+restartedAt+"="+value+`"`)
	}
	err = f.setPath(service, key, path, `"`+value+`"`)
	return f.text(), err
}

// labelItem is the item of a list NAME=value for a name, nil if there is none.
func labelItem(list *yaml.Node, name string) *yaml.Node {
	if list.Kind != yaml.SequenceNode {
		return nil
	}
	i := slices.IndexFunc(list.Content, func(n *yaml.Node) bool {
		key, _, _ := strings.Cut(n.Value, "=")
		return n.Kind == yaml.ScalarNode && key == name
	})
	if i < 0 {
		return nil
	}
	return list.Content[i]
}

// setComposePromoted sets x-orpheus.update.promoted of the service.
func setComposePromoted(text []byte, at manifest.ComposePlace, value string) ([]byte, error) {
	service, key, err := findComposeService(text, at)
	if err != nil {
		return nil, err
	}
	f := newTextFile(text)
	err = f.setPath(service, key, promotedInCompose, value)
	return f.text(), err
}

// setPath sets a value below a mapping, at being the mapping's key, and writes
// the mappings in between that are not there.
func (f *textFile) setPath(m, at *yaml.Node, path []string, value string) error {
	for len(path) > 1 {
		inner, key := mapEntry(m, path[0])
		if inner == nil {
			break
		}
		m, at, path = inner, key, path[1:]
	}
	switch {
	case len(path) == 1:
		return f.setEntry(m, at, path[0], value)
	case m.Kind != yaml.MappingNode || m.Alias != nil:
		return errNotEditable
	case m.Style&yaml.FlowStyle != 0:
		last := len(path) - 1
		return f.insertInto(m, strings.Join(path[:last], ": {")+": {"+path[last]+": "+value+strings.Repeat("}", last))
	case len(m.Content) == 0:
		return errNotEditable
	}
	var lines []string
	indent := strings.Repeat(" ", m.Content[0].Column-1)
	for _, key := range path {
		lines = append(lines, indent+key+":")
		indent += "  "
	}
	lines[len(lines)-1] += " " + value
	f.insertLines(at.Line, lines...)
	return nil
}

// withItem puts an item first into a list.
func (f *textFile) withItem(list *yaml.Node, item string) ([]byte, error) {
	if list.Style&yaml.FlowStyle != 0 || len(list.Content) == 0 {
		err := f.insertBehind('[', list, item)
		return f.text(), err
	}
	// The dash stands where the list begins.
	line, at, err := f.offset(list)
	if err != nil || line[at] != '-' || len(bytes.TrimLeft(line[:at], " ")) > 0 {
		return nil, errNotEditable
	}
	f.insertLines(list.Line-1, string(line[:at])+"- "+item)
	return f.text(), nil
}

func (f *textFile) replaced(n *yaml.Node, value string) ([]byte, error) {
	err := f.replace(n, value)
	return f.text(), err
}
