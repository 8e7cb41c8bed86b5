package reference

import (
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v3"
)

// The schema and the decoder agree on manifests of the examples in which
// something is missing, misnamed or of another type: what one refuses, the other
// refuses, but for what no schema can say.
func TestSchemaAndDecoderAgree(t *testing.T) {
	schema := compile(t, Options{})
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	count := 0
	for _, doc := range wholeDocuments(t) {
		if faults := verdict(t, doc.text); len(faults) > 0 {
			t.Fatalf("%s: %v\n%s", doc.name, faults, doc.text)
		}
		places := 0
		each(parse(t, doc.text), func(*yaml.Node) { places++ })
		for place := range places {
			for _, how := range mutations {
				// A part is enough each time, and of the examples, which say much
				// the same, a small one.
				part := 3
				if strings.HasPrefix(doc.name, "../") || testing.Short() {
					part = 10
				}
				if random.IntN(part) > 0 {
					continue
				}
				root := parse(t, doc.text)
				how.at(root, place)
				if random.IntN(4) == 0 { // and another one elsewhere
					mutations[random.IntN(len(mutations))].at(root, random.IntN(places))
				}
				agree(t, schema, doc.name+": "+how.name, written(t, root))
				count++
			}
		}
		if t.Failed() && !testing.Verbose() {
			return // one document shows enough
		}
	}
	if count < 100 {
		t.Errorf("only %d manifests were compared: this shows little", count)
	}
}

// mutation changes one value of a document.
type mutation struct {
	name   string
	change func(parent *yaml.Node, i int)
}

func (m mutation) at(root *yaml.Node, place int) {
	n := 0
	var walk func(parent *yaml.Node) bool
	walk = func(parent *yaml.Node) bool {
		for i, c := range parent.Content {
			if parent.Kind == yaml.MappingNode && i%2 == 0 {
				continue
			}
			if n == place {
				m.change(parent, i)
				return true
			}
			n++
			if walk(c) {
				return true
			}
		}
		return false
	}
	walk(root)
}

var mutations = []mutation{
	{"left out", func(p *yaml.Node, i int) {
		if p.Kind == yaml.MappingNode {
			p.Content = slices.Delete(p.Content, i-1, i+1)
		} else {
			p.Content = slices.Delete(p.Content, i, i+1)
		}
	}},
	{"misnamed", func(p *yaml.Node, i int) {
		if p.Kind == yaml.MappingNode {
			p.Content[i-1].Value += "x"
		}
	}},
	{"in a list", func(p *yaml.Node, i int) {
		p.Content[i] = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{p.Content[i]}}
	}},
	{"twice", func(p *yaml.Node, i int) {
		if p.Kind == yaml.SequenceNode {
			p.Content = append(p.Content, copied(p.Content[i]))
		}
	}},
	{"text", as("text")}, {"number", as("7")}, {"large", as("123456789")}, {"negative", as("-1")}, {"fraction", as("1.5")}, {"truth", as("true")}, {"null", as("null")},
	{"nothing", as(`""`)}, {"empty object", as("{}")}, {"object", as("{a: b}")}, {"empty list", as("[]")}, {"list", as("[a, b]")},
}

// copied is a value of its own, with all that is in it.
func copied(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, inner := range n.Content {
		c.Content[i] = copied(inner)
	}
	return &c
}

// as puts a value in the place of what is there.
func as(text string) func(*yaml.Node, int) {
	return func(p *yaml.Node, i int) {
		var value yaml.Node
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			panic(err)
		}
		p.Content[i] = value.Content[0]
	}
}

// sample is a document that stands alone.
type sample struct{ name, text string }

// wholeDocuments are those of the examples, and those that have every field.
func wholeDocuments(t *testing.T) []sample {
	t.Helper()
	var all []sample
	for _, dir := range []string{"../../../examples", "testdata"} {
		files := manifestFiles(t, dir)
		for path, data := range files {
			if strings.Contains(path, "/envs/") {
				continue // of overlays
			}
			for i, text := range strings.Split("\n"+string(data), "\n---") {
				if dir == "testdata" {
					text = otherFiles.ReplaceAllString(text, "")
				}
				if strings.Contains(text, "apiVersion: orpheus/") && !strings.Contains(text, "${") && !otherFiles.MatchString(text) {
					all = append(all, sample{path + " " + string(rune('0'+i%10)), text})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b sample) int { return strings.Compare(a.name, b.name) })
	return all
}

// others are faults that are not about the document alone.
var others = regexp.MustCompile(`there is no service|does not exist`)

// otherFiles are fields of a fleet that name what is not there.
var otherFiles = regexp.MustCompile(`(?m)^  (base|compose): .*\n`)

// verdict are the faults that the decoder finds in a document alone.
func verdict(t *testing.T, text string) []planner.Fault {
	t.Helper()
	tree := fstest.MapFS{"fleet.yaml": {Data: []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: test}\n"), Mode: 0o644}}
	if kindOf(text) == "Fleet" {
		tree["fleet.yaml"].Data = []byte(text)
	} else {
		tree["x.yaml"] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	d, err := manifest.NewLoader(manifest.Limits{}).Load(context.Background(), tree, ".", planner.Commit{})
	var refused *manifest.RefusedError
	faults := d.Faults
	if errors.As(err, &refused) {
		faults = refused.Report().Faults
	} else if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return slices.DeleteFunc(slices.Clone(faults), func(f planner.Fault) bool { return f.Warning || others.MatchString(f.Reason) })
}

func kindOf(text string) string {
	var head struct{ Kind any }
	_ = yaml.Unmarshal([]byte(text), &head)
	kind, _ := head.Kind.(string)
	return kind
}

func agree(t *testing.T, schema *jsonschema.Schema, what string, text []byte) {
	t.Helper()
	docs, err := documents(text)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	found, faults := map[string]string{}, verdict(t, string(text))
	for _, d := range docs {
		found = refusals(schema, d.value)
	}
	switch {
	case len(found) > 0 && len(faults) == 0:
		t.Errorf("%s: the schema refuses %v\n%s", what, found, text)
	case len(found) == 0:
		for _, f := range faults {
			if !slices.ContainsFunc(unsaid, func(u struct{ reason, why string }) bool { return regexp.MustCompile(u.reason).MatchString(f.Reason) }) {
				t.Errorf("%s: the schema takes %s: %s\n%s", what, f.Field, f.Reason, text)
			}
		}
	}
}
