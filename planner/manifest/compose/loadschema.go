package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// specification is compose-go's schema of Compose files. compose-go's own check
// tells one fault only, and which one depends on the order of a map.
var specification = sync.OnceValues(func() (*jsonschema.Schema, error) {
	content, err := jsonschema.UnmarshalJSON(strings.NewReader(schema.Schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(specificationURL, content); err != nil {
		return nil, err
	}
	c.RegisterFormat(&jsonschema.Format{Name: "duration", Validate: func(v any) error {
		text, ok := v.(string)
		if !ok {
			return errors.New("expected text")
		}
		_, err := time.ParseDuration(text)
		return err
	}})
	return c.Compile(specificationURL)
})

// specificationURL names no place: of a bare name the folder that the process
// runs in would be asked for.
const specificationURL = "urn:compose-spec"

// valid checks a document against the specification.
func (l *load) valid(cfg map[string]any, d *document) bool {
	whole := Position{File: d.file, Line: 1}
	s, err := specification()
	if err != nil {
		l.faults.add(whole.fault("cannot be checked: "+plain(err.Error()), "report it: this is a fault of Orpheus, not of the file"))
		return false
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		l.faults.add(whole.fault("has a value that is no text, number or truth value", "write it in quotes"))
		return false
	}
	var instance map[string]any
	if err := json.Unmarshal(text, &instance); err != nil {
		l.faults.add(whole.fault("cannot be checked: "+plain(err.Error()), "report it: this is a fault of Orpheus, not of the file"))
		return false
	}
	// What is wrong is taken out, so that the rest is looked at, too.
	out := map[string]bool{} // what was taken out, by its path
	for range maxRounds {
		var broken *jsonschema.ValidationError
		if err := s.Validate(instance); !errors.As(err, &broken) {
			return err == nil
		}
		v := violations{l: l, d: d, cfg: instance, out: out}
		v.collect(broken)
		for _, location := range v.found {
			key := keyAround(instance, location)
			if len(key) == 0 || len(key) == 1 && key[0] == "services" {
				return false
			}
			cut(cfg, key)
			cut(instance, key)
			out[fmt.Sprintf("%q", key)] = true
		}
		if instance["services"] == nil && instance["include"] == nil {
			return false
		}
	}
	return false
}

// maxRounds is how often a document is checked: a fault may hide another.
const maxRounds = 4

// keyAround is the path through objects to what stands at a location, or to the
// list that it is in.
func keyAround(v any, location []string) []string {
	for i, part := range location {
		m, ok := v.(map[string]any)
		if !ok {
			return location[:i]
		}
		v = m[part]
	}
	return location
}

// violations says where a document is not as the specification has it.
type violations struct {
	l     *load
	d     *document
	cfg   any
	found [][]string // locations of what was told
	out   map[string]bool
}

func (v *violations) collect(e *jsonschema.ValidationError) {
	switch e.ErrorKind.(type) {
	case *kind.OneOf, *kind.AnyOf:
		if len(e.Causes) > 0 {
			v.alternatives(e)
			return
		}
	}
	if len(e.Causes) == 0 {
		v.tell(e)
		return
	}
	for _, cause := range inOrder(e.Causes) {
		v.collect(cause)
	}
}

func inOrder(causes []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	sorted := slices.Clone(causes)
	slices.SortStableFunc(sorted, func(a, b *jsonschema.ValidationError) int {
		if n := slices.Compare(a.InstanceLocation, b.InstanceLocation); n != 0 {
			return n
		}
		return strings.Compare(a.SchemaURL, b.SchemaURL)
	})
	return sorted
}

// alternatives tells of a value that fits none of several forms: of the form
// that it has, if it has one of them.
func (v *violations) alternatives(e *jsonschema.ValidationError) {
	var want []string
	var got string
	for _, cause := range inOrder(e.Causes) {
		leaf := cause
		for len(leaf.Causes) == 1 {
			leaf = leaf.Causes[0]
		}
		t, isType := leaf.ErrorKind.(*kind.Type)
		if !isType || len(leaf.InstanceLocation) > len(e.InstanceLocation) {
			v.collect(cause)
			return
		}
		want, got = append(want, t.Want...), t.Got
	}
	v.add(e.InstanceLocation, "must be "+forms(want), formRemedy(want, got, e.InstanceLocation))
}

// forms are the types of JSON in our words.
func forms(want []string) string {
	names := map[string]string{"object": "an object", "array": "a list", "string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false", "null": "empty"}
	var all []string
	for _, w := range want {
		if name := names[w]; !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " or ")
}

// formRemedy says how a value of one of these types is written, where one of
// another type stands.
func formRemedy(want []string, got string, location []string) string {
	key := ""
	if len(location) > 0 {
		key = location[len(location)-1]
	}
	switch {
	case got == "object" && len(want) == 1 && len(location) > 1 && keyedLists[location[len(location)-2]]:
		return "write KEY=VALUE behind the dash, or KEY: VALUE without it"
	case got == "null":
		return "give it a value, or remove it"
	case slices.Contains(times, key):
		return `write a number with its unit, as "10s"`
	case slices.Contains(want, "string") && (got == "number" || got == "integer" || got == "boolean"):
		return "write it in quotes"
	case slices.Contains(want, "array") && slices.Contains(want, "object"):
		return "write it as a list, [A, B], or as an object: KEY: VALUE below it"
	case slices.Contains(want, "array"):
		return "write it as a list: [A, B]"
	case slices.Contains(want, "object"):
		return "write it as an object: KEY: VALUE below it"
	case slices.Contains(want, "string") && slices.Contains(want, "number"):
		return "write it as text or as a number"
	case slices.Contains(want, "boolean"):
		return "write true or false, without quotes"
	case slices.Contains(want, "string"):
		return "write it as text"
	}
	return "write a number, without quotes"
}

// keyedLists are the lists of KEY=VALUE that may be objects, too.
var keyedLists = map[string]bool{"annotations": true, "args": true, "environment": true, "labels": true, "sysctls": true}

// times are the keys whose values are lengths of time.
var times = []string{"delay", "interval", "monitor", "start_interval", "start_period", "stop_grace_period", "timeout", "window"}

func (v *violations) tell(e *jsonschema.ValidationError) {
	at := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		v.add(at, "must be "+forms(k.Want), formRemedy(k.Want, k.Got, at))
	case *kind.AdditionalProperties:
		slices.Sort(k.Properties)
		for _, name := range k.Properties {
			v.unknown(append(slices.Clip(at), name))
		}
	case *kind.FalseSchema:
		// Also said of every key of an object in which anything else is wrong.
		if !attributes().Matches(tree.NewPath(at...)) {
			v.unknown(at)
		}
	case *kind.Required:
		missing := slices.DeleteFunc(slices.Clone(k.Missing), func(name string) bool { return v.out[fmt.Sprintf("%q", append(slices.Clip(at), name))] })
		if len(missing) == 0 {
			v.found = append(v.found, at) // it was told what is wrong with them
			return
		}
		v.add(at, "needs "+strings.Join(missing, ", "), "add it")
	case *kind.Enum:
		var want []string
		for _, w := range k.Want {
			want = append(want, fmt.Sprint(w))
		}
		v.add(at, "must be one of "+strings.Join(want, ", "), "write one of them")
	case *kind.UniqueItems:
		v.add(append(slices.Clip(at), strconv.Itoa(k.Duplicates[1])), fmt.Sprintf("says the same as item %d", k.Duplicates[0]+1), "keep one of them")
	case *kind.Pattern:
		v.add(at, quote(k.Got)+" is not of the form that belongs here", "write what matches "+k.Want)
	case *kind.Format:
		v.add(at, quote(fmt.Sprint(k.Got))+" is no "+k.Want, "write a number with its unit, as 1m30s")
	default:
		v.add(at, plain(e.ErrorKind.LocalizedString(message.NewPrinter(language.English))), asTheSpecification)
	}
}

// attributes are the keys of the specification.
var attributes = sync.OnceValue(func() *tree.Matcher { return tree.NewMatcher(schema.AttributePaths()...) })

func (v *violations) unknown(location []string) {
	if location[len(location)-1] == "" {
		v.add(location[:len(location)-1], "has a key that is empty", "write KEY: VALUE")
		return
	}
	if len(location) == 1 && inside(mapping(mapping(v.cfg)[location[0]]), "image") != nil {
		v.add(location, "is no key of the Compose specification", "write services: above it, and indent it below that: files without are of the first version of Compose")
		return
	}
	v.add(location, "is no key of the Compose specification", "check its spelling and how far it is indented; what is meant for other tools begins with x-")
}

// add tells of the value at a location: keys, and indexes of lists.
func (v *violations) add(location []string, reason, remedy string) {
	v.found = append(v.found, location)
	field, value := "", v.cfg
	for _, part := range location {
		switch inner := value.(type) {
		case []any:
			i, _ := strconv.Atoi(part)
			field = indexed(field, i)
			value = nil
			if i < len(inner) {
				value = inner[i]
			}
		case map[string]any:
			field, value = join(field, part), inner[part]
		default:
			field, value = join(field, part), nil
		}
	}
	v.l.faults.add(v.d.position(field).fault(reason, remedy))
}
