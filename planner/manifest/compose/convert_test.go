package compose

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// conversion is a row of a table: a Compose file and what it becomes.
type conversion struct {
	name string
	// file is a Compose file; what has no services: is the keys of service web,
	// which has an image besides.
	file  string
	files map[string]string // others of the repository
	// want are fields of web's spec, in YAML; null = there is none.
	want string
	// faults are all there are: FIELD: part of the reason; of warnings with "~ "
	// in front.
	faults []string
	// again are keys, as SERVICE.KEY, that say what is said elsewhere, too.
	again []string
}

func (row conversion) compose() string {
	if strings.Contains(row.file, "services:") {
		return row.file
	}
	text := "services:\n  web:\n"
	if !strings.Contains(row.file, "image:") && !strings.Contains(row.file, "build:") {
		text += "    image: web:1\n"
	}
	for line := range strings.Lines(row.file) {
		text += "    " + line
	}
	return text
}

func testConversions(t *testing.T, rows []conversion) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			documents, faults := convertText(t, row.compose(), row.files)
			checkFaults(t, faults, row.faults)
			if row.want != "" {
				checkSpec(t, documents, row.want)
			}
		})
	}
}

// convertText loads and converts a Compose file.
func convertText(t *testing.T, text string, files map[string]string) ([]Document, []planner.Fault) {
	t.Helper()
	project := projectOf(t, text, files)
	return Convert(project)
}

// repositoryOf has the Compose file in a folder; a name that ends in * is that of an
// executable file.
func repositoryOf(text string, files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{"shop/compose.yaml": {Data: []byte(text), Mode: 0o644}}
	for name, content := range files {
		f := &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		if trimmed, executable := strings.CutSuffix(name, "*"); executable {
			name, f.Mode = trimmed, 0o755
		}
		fsys[name] = f
	}
	return fsys
}

func checkFaults(t *testing.T, got []planner.Fault, want []string) {
	t.Helper()
	left := slices.Clone(got)
	for _, w := range want {
		warning := strings.HasPrefix(w, "~ ")
		field, reason, _ := strings.Cut(strings.TrimPrefix(w, "~ "), ": ")
		if !strings.HasPrefix(field, "services.") && !strings.Contains(field, "/") {
			field = "services.web." + field
		}
		field = strings.TrimPrefix(field, "/")
		i := slices.IndexFunc(left, func(f planner.Fault) bool {
			return f.Warning == warning && f.Field == field && strings.Contains(f.Reason, reason)
		})
		if i < 0 {
			t.Errorf("there is no fault %q", w)
			continue
		}
		if left[i].Remedy == "" {
			t.Errorf("fault %v has no remedy", left[i])
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, f := range left {
		t.Errorf("unexpected fault (warning %v): %s: %s; %s", f.Warning, f.Field, f.Reason, f.Remedy)
	}
}

func checkSpec(t *testing.T, documents []Document, want string) {
	t.Helper()
	got := map[string]any{}
	for _, d := range documents {
		if d.Service == "web" {
			got = valueOf(t, d)["spec"].(map[string]any)
		}
	}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(want), &fields); err != nil {
		t.Fatalf("read what is wanted: %v", err)
	}
	for name, value := range fields {
		if !reflect.DeepEqual(got[name], value) {
			t.Errorf("spec.%s is %s, want %s", name, inYAML(got[name]), inYAML(value))
		}
	}
}

func valueOf(t *testing.T, d Document) map[string]any {
	t.Helper()
	var v map[string]any
	if err := d.Root.Decode(&v); err != nil {
		t.Fatalf("decode document of %s: %v", d.Service, err)
	}
	return v
}

func inYAML(v any) string {
	text, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(string(text))
}
