package reference

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	yaml "go.yaml.in/yaml/v3"
)

// document is one of a file: as a JSON value, and the lines it stands on.
type document struct {
	value       any
	first, last int
}

// documents reads a file as an editor does; an error says it is no YAML.
func documents(data []byte) ([]document, error) {
	var all []document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(n.Content) == 1 {
			all = append(all, document{value: jsonOf(n.Content[0]), first: n.Line})
		}
	}
	for i := range all {
		all[i].last = 1 << 30
		if i+1 < len(all) {
			all[i].last = all[i+1].first - 1
		}
	}
	if len(all) > 0 {
		all[0].first = 0
	}
	return all, nil
}

// jsonOf is a value as YAML 1.2 has it.
func jsonOf(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = jsonOf(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, jsonOf(item))
		}
		return list
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil && json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	}
	return n.Value
}

func compile(t testing.TB, o Options) *jsonschema.Schema {
	t.Helper()
	text, err := Read().Schema(o)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refusals are the field paths at which the schema refuses the value, with why.
func refusals(s *jsonschema.Schema, value any) map[string]string {
	found := map[string]string{}
	var invalid *jsonschema.ValidationError
	if err := s.Validate(value); !errors.As(err, &invalid) {
		return found
	}
	var collect func(e *jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		at := fieldPath(e.InstanceLocation)
		switch k := e.ErrorKind.(type) {
		case *kind.Required:
			for _, name := range k.Missing {
				found[strings.TrimPrefix(at+"."+name, ".")] = "is required"
			}
		case *kind.AdditionalProperties:
			for _, name := range k.Properties {
				found[strings.TrimPrefix(at+"."+name, ".")] = unknown
			}
		case *kind.PropertyNames:
			found["key "+strconv.Quote(k.Property)] = "is no key" // the validator forgets of which map
			return
		}
		if len(e.Causes) == 0 || at != "" {
			found[at] = e.Error()
		}
		for _, c := range e.Causes {
			collect(c)
		}
	}
	collect(invalid)
	return found
}

// unknown is why the schema refuses a field, with everything below it.
const unknown = "is unknown"

// fieldPath writes a place as one text, a key of a map like the name of a field.
func fieldPath(tokens []string) string {
	var b strings.Builder
	for _, token := range tokens {
		if _, err := strconv.Atoi(token); err == nil {
			b.WriteString("[" + token + "]")
		} else {
			b.WriteString("." + token)
		}
	}
	return strings.TrimPrefix(b.String(), ".")
}
