package reference

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

var update = flag.Bool("update", false, "write docs/schema.json anew")

// docs/schema.json and docs/schema-overlay.json are what orpheus schema prints.
func TestSchemaFiles(t *testing.T) {
	for name, o := range map[string]Options{"schema.json": {}, "schema-overlay.json": {Overlay: true}} {
		made, err := Read().Schema(o)
		if err != nil {
			t.Fatal(err)
		}
		file := "../../../docs/" + name
		if *update {
			if err := os.WriteFile(file, made, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil || string(kept) != string(made) {
			t.Errorf("docs/%s is not what is made of the tables: go test ./planner/manifest/reference -update writes it (%v)", name, err)
		}
	}
}

// manifestFiles are the YAML files below dir that fleets are made from.
func manifestFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".yml" {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "apiVersion: orpheus/") {
			files[filepath.ToSlash(path)] = data
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests below %s: %v", dir, err)
	}
	return files
}

// Every manifest of the examples is valid; those that are laid over a base by
// the schema for overlays, all others by both.
func TestExamplesAreValid(t *testing.T) {
	whole, overlay := compile(t, Options{}), compile(t, Options{Overlay: true})
	for path, data := range manifestFiles(t, "../../../examples") {
		docs, err := documents(data)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, d := range docs {
			if !strings.Contains(path, "/envs/") {
				for at, why := range refusals(whole, d.value) {
					t.Errorf("%s: %s: %s", path, at, why)
				}
			}
			for at, why := range refusals(overlay, d.value) {
				t.Errorf("%s, as an overlay: %s: %s", path, at, why)
			}
		}
	}
}

// Variables stand where they may, and documents of overlays need not be whole.
func TestSchemaTakesVariablesAndPatches(t *testing.T) {
	whole, overlay := compile(t, Options{}), compile(t, Options{Overlay: true})
	const head = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\n"
	for _, row := range []struct {
		text             string
		whole, asOverlay bool
	}{
		{"spec: {image: \"r.example.com/web:${tag}\", replicas: \"${n}\", everyNode: \"${all}\", mode: \"${mode}\"}", true, true},
		{"spec: {image: \"${image}\", update: {maxSurge: \"${n}%\"}, resources: {limits: {memory: \"${size}Mi\"}}, ports: [{containerPort: 80, publish: \"${port}\"}]}", true, true},
		// a number is a variable and nothing else
		{"spec: {image: \"web:1\", replicas: \"1${n}\"}", false, false},
		{"spec: {replicas: 3}", false, true},
		{"spec: {image: null, ports: [{containerPort: 80, publish: null}], volumes: null}", false, true},
		{"spec: {$patch: replace, env: [{$patch: replace}, {name: A, $patch: delete}]}", false, true},
		{"spec: {env: [{name: A, $patch: remove}]}", false, false},
		{"spec: {replica: 3}", false, false},
		{"$patch: delete", false, true},
	} {
		docs, err := documents([]byte(head + row.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := refusals(whole, docs[0].value); (len(got) == 0) != row.whole {
			t.Errorf("%s: %v", row.text, got)
		}
		if got := refusals(overlay, docs[0].value); (len(got) == 0) != row.asOverlay {
			t.Errorf("%s, as an overlay: %v", row.text, got)
		}
	}
	// What says which document is meant is written out.
	docs, err := documents([]byte("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: \"${name}\"}\nspec: {image: \"w:1\"}"))
	if err != nil || refusals(whole, docs[0].value)["metadata.name"] == "" {
		t.Errorf("a variable as a name: %v", err)
	}
}

// unsaid are the reasons of faults that a schema cannot find, and why.
var unsaid = []struct{ reason, why string }{
	{`unquoted reads as|plain decimal digits|anchors and aliases|merge keys|tags are not|a key must be text|duplicate key`,
		"it is in how the YAML is written, not in what it says"},
	{`exists already|is listed twice|is mounted already|is set already|a second time|has a constraint already|of the service's address exists|is wanted also by service`,
		"no keyword compares items by one of their fields"},
	{`asks for more|is longer than terminationGrace|is more than hard|must be more than|must be less than|no more than|must be \d+: what runs`,
		"no keyword compares two values"},
	{`0s is out of range|less than 1Mi|finer than a thousandth`, "no keyword bounds amounts with units"},
	{`has no port|there is no container|is an init container|there is no volume|belongs to an instance|names a step|is the service itself|is the service's own name`,
		"it names something else in the document"},
	{`there is no service|closes a circle|is an alias of|is the name of service|a second Fleet`, "it is about other documents"},
	{`is 0, and so is|is not possible with order|cannot be kept at 0|two instances of a slot cannot|is not possible on disk|than the init of a container|and there are others|and C libraries take`,
		"several fields together have no sense, each has"},
	{`a damaged public key|is not the address of a|is another machine for`, "it takes an understanding of the value"},
}

// The schema refuses every fault of the corpus that one document alone shows,
// at the field that the fault names.
func TestFaultCorpusIsRefused(t *testing.T) {
	schema := compile(t, Options{})
	needed := map[string]bool{}
	for path, data := range manifestFiles(t, "../testdata/faults") {
		docs, err := documents(data)
		if err != nil {
			continue // no YAML: every editor says so
		}
		for i, d := range docs {
			found := refusals(schema, d.value)
			for _, f := range faultsOf(t, data) {
				if f.Line < d.first || f.Line > d.last || refused(found, f) {
					continue
				}
				at := slices.IndexFunc(unsaid, func(u struct{ reason, why string }) bool {
					return regexp.MustCompile(u.reason).MatchString(f.Reason)
				})
				if at < 0 {
					t.Errorf("%s, document %d, line %d: the schema takes %s: %s", filepath.Base(path), i, f.Line, f.Field, f.Reason)
					continue
				}
				needed[unsaid[at].reason] = true
			}
		}
	}
	for _, u := range unsaid {
		if !needed[u.reason] {
			t.Errorf("no fault is left out for %q: remove the row", u.reason)
		}
	}
}

// refused reports whether the schema refuses the field, or what it stands in
// as a whole.
func refused(found map[string]string, f planner.Fault) bool {
	if f.Field == "" { // the document: it says by two fields what it is
		return found[""] != "" || found["apiVersion"] != "" || found["kind"] != ""
	}
	at := strings.NewReplacer(`["`, ".", `"]`, "").Replace(f.Field)
	for key := range found {
		if strings.HasPrefix(key, "key ") && strings.HasPrefix(f.Reason, key+" ") {
			return true
		}
	}
	if found[at] != "" {
		return true
	}
	for above := at; above != ""; above = above[:max(0, strings.LastIndexByte(above, '.'))] {
		if found[above] == unknown {
			return true
		}
	}
	return false
}

// faultsOf are those of a file beside a fleet without any.
func faultsOf(t testing.TB, data []byte) []planner.Fault {
	t.Helper()
	tree := fstest.MapFS{
		"fleet.yaml": {Data: []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: test}\n"), Mode: 0o644},
		"x.yaml":     {Data: data, Mode: 0o644},
	}
	d, err := manifest.NewLoader(manifest.Limits{}).Load(context.Background(), tree, ".", planner.Commit{})
	var refused *manifest.RefusedError
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	return slices.DeleteFunc(d.Faults, func(f planner.Fault) bool { return f.Warning })
}
