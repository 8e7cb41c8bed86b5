package kubernetes

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// fieldsPage is made of what becomes of each value of the samples.
const fieldsPage = "../../../docs/convert-fields.md"

// TestFieldsPage: docs/convert-fields.md says of every field that Kubernetes
// has what the samples show, and every field is in one of them.
func TestFieldsPage(t *testing.T) {
	fates := map[string]*fate{}
	known := apiFields(t)
	for name, data := range samples(t) {
		if name == "wrong-types" || name == "unfinished" {
			continue // Kubernetes would not take them
		}
		observe(t, name, data, known, fates)
	}
	var b bytes.Buffer
	b.WriteString(fieldsHead)
	heading, rows := "", []row(nil)
	for _, field := range known {
		h, name := place(field)
		if h != heading {
			writeRows(&b, rows)
			heading, rows = h, nil
			fmt.Fprintf(&b, "\n## %s\n\n| Field | becomes | and is told |\n|---|---|---|\n", heading)
		}
		f := fates[field]
		if f == nil {
			t.Errorf("no sample has %s", field)
			continue
		}
		one := row{[]string{name}, f.becomes(), f.told()}
		if strings.Contains(one.told, "or is no field of Kubernetes") {
			t.Errorf("%s is a field of Kubernetes: say what it means here", field)
		}
		if last := len(rows) - 1; last >= 0 && one.becomes == "–" && rows[last].becomes == "–" && rows[last].told == one.told {
			rows[last].fields = append(rows[last].fields, name)
		} else {
			rows = append(rows, one)
		}
	}
	writeRows(&b, rows)
	if *update {
		if err := os.WriteFile(fieldsPage, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(fieldsPage)
	if err != nil || !bytes.Equal(page, b.Bytes()) {
		t.Errorf("%s is not what the samples show: go test ./planner/manifest/kubernetes -run FieldsPage -update writes it (%v)", fieldsPage, err)
	}
}

const fieldsHead = `# Fields of Kubernetes

What ` + "`orpheus convert`" + ` makes of each field of what becomes a service ([Converting](convert.md)). It is made by its tests, of all that their samples show; those have every field of version 1.37 of Kubernetes' API.

- Fields of pods, containers and volumes are those of a Deployment's, StatefulSet's and DaemonSet's template. Init containers are as containers.
- *becomes* are fields of a ` + "`Service`" + ` of ours, ` + "`files/`" + ` files that come with it. A field of one of several containers has ` + "`spec.containers`" + ` or ` + "`spec.initContainers`" + ` before it. ` + "`–`" + ` is nothing.
- *and is told* are the notes that there may be; in bold those of what is not converted.
- What stands with nothing in either is left out: it has no meaning here, or is so anyway.
`

type row struct {
	fields        []string
	becomes, told string
}

func writeRows(b *bytes.Buffer, rows []row) {
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", strings.Join(r.fields, "`, `"), r.becomes, r.told)
	}
}

// place is the heading and the name under which a field stands.
func place(field string) (heading, name string) {
	kind, path, _ := strings.Cut(field, " ")
	for _, part := range [][2]string{{"spec.template.spec.containers.", "Containers"}, {"spec.template.spec.volumes.", "Volumes"}, {"spec.template.", "Pods"}} {
		if rest, ok := strings.CutPrefix(path, part[0]); ok {
			return part[1], rest
		}
	}
	return kind, path
}

// apiFields are the fields of the kinds that are converted, of version 1.37 of
// Kubernetes' API; those of other containers and probes, and of what is not
// converted as a whole, are left out.
func apiFields(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("testdata/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// fate is what becomes of a field.
type fate struct {
	outputs map[string]bool // fields of a service that come from it
	changes map[string]bool // parts of a service that differ with it
	notes   map[string]bool
}

var index = regexp.MustCompile(`\[\d+\]`)

// fieldOf is the field that a value belongs to, "" if it is none.
func fieldOf(v value, known []string) string {
	path := index.ReplaceAllString(strings.TrimPrefix(strings.TrimPrefix(v.path, v.r.path), "."), "")
	kind := v.r.kind
	if (kind == "StatefulSet" || kind == "DaemonSet") && strings.HasPrefix(path, "spec.template") {
		kind = "Deployment"
	}
	for ; path != ""; path = around(path) {
		if slices.Contains(known, kind+" "+path) {
			return kind + " " + path
		}
	}
	return ""
}

// observe changes each value of a sample, and sees what becomes of it.
func observe(t *testing.T, name string, data []byte, known []string, fates map[string]*fate) {
	before := readSample(t, name, data).convert()
	was := outputs(before)
	origins := map[string][]string{}
	for _, d := range before.Documents {
		for field, from := range d.origins {
			at := from.Object + " " + from.Field
			origins[at] = append(origins[at], plainField(index.ReplaceAllString(field, "")))
		}
	}
	all := leaves(readSample(t, name, data))
	changes := make([][]string, len(all))
	for i := range all {
		c := readSample(t, name, data)
		if mutate(leaves(c)[i].n) {
			changes[i] = differing(was, outputs(c.convert()))
		}
	}
	for i, v := range all {
		field := fieldOf(v, known)
		if field == "" || v.n.null() || v.r.group == unknown || v.r.group == service && v.r.value(nil).at("spec", "externalName").given() {
			continue
		}
		f := fates[field]
		if f == nil {
			f = &fate{outputs: map[string]bool{}, changes: map[string]bool{}, notes: map[string]bool{}}
			fates[field] = f
		}
		for _, out := range origins[v.r.String()+" "+v.path] {
			f.outputs[out] = true
		}
		for _, out := range changes[i] {
			f.changes[out] = true
		}
		for _, n := range before.Notes {
			if n.Object == v.r.String() && n.Field != v.r.path && (n.Field == v.path || strings.HasPrefix(v.path, n.Field) && dead(n, all, changes)) {
				f.notes[toldAs(n)] = true
			}
		}
	}
}

// dead reports whether nothing of what a note is about comes out.
func dead(n Note, all []value, changes [][]string) bool {
	for i, v := range all {
		if n.Object == v.r.String() && strings.HasPrefix(v.path, n.Field) && len(changes[i]) > 0 {
			return false
		}
	}
	return true
}

// plainField is a field of a container that is alone.
func plainField(out string) string {
	return strings.NewReplacer("spec.containers.", "spec.", "spec.initContainers.", "spec.").Replace(out)
}

// differing are the parts of services, and files, in which outputs differ.
func differing(a, b map[string]string) []string {
	all := map[string]bool{}
	for _, pair := range [][2]map[string]string{{a, b}, {b, a}} {
		for at, text := range pair[0] {
			if other, ok := pair[1][at]; ok && other == text {
				continue
			}
			_, field, isField := strings.Cut(at, " .")
			field = plainField(index.ReplaceAllString(field, ""))
			if parts := strings.SplitN(field, ".", 3); len(parts) > 2 {
				field = parts[0] + "." + parts[1]
			}
			if !isField {
				field = "files/"
			}
			if field != "" && field != "spec" && field != "metadata" {
				all[field] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// given is what a note has from the sample.
var given = regexp.MustCompile(`"[^"]*"|^[A-Z_]+: |^[A-Z]+ has|\$\([A-Z]+\)|value of [A-Z_]+|\b0\.[a-z-]+|[a-z-]+-0\.[a-z-]+|least, [0-9]+, and [0-9]+|port [0-9]+|on [0-9]+$|Deployment [a-z-]+(/[a-z-]+)?`)

func toldAs(n Note) string {
	text := given.ReplaceAllString(n.Reason, "…")
	if !n.Warning {
		return "**" + strings.TrimPrefix(text, "is not converted: ") + "**"
	}
	return text
}

// outputs are the values of all documents, by their fields.
func outputs(r Result) map[string]string {
	all := map[string]string{}
	var walk func(at string, n *yaml.Node)
	walk = func(at string, n *yaml.Node) {
		all[at] += n.Value
		for i, c := range n.Content {
			switch {
			case n.Kind != yaml.MappingNode:
				walk(fmt.Sprintf("%s[%d]", at, i), c)
			case i%2 == 1:
				walk(at+"."+n.Content[i-1].Value, c)
			}
		}
	}
	for _, d := range r.Documents {
		walk(d.ID.String()+" ", d.Root)
		for name, data := range d.Contents {
			all[name] = string(data)
		}
	}
	return all
}

// becomes are the fields of a service that a field becomes.
func (f *fate) becomes() string {
	names := f.outputs
	if len(names) == 0 {
		names = f.changes
	}
	if len(names) > 4 {
		short := map[string]bool{}
		for name := range names {
			parts := strings.SplitN(name, ".", 3)
			short[strings.Join(parts[:min(len(parts), 2)], ".")] = true
		}
		names = short
	}
	if len(names) > 8 {
		return "the whole of it"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !slices.ContainsFunc(all, func(above string) bool { return strings.HasPrefix(name, above+".") }) {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return "–"
	}
	return "`" + strings.Join(all, "`, `") + "`"
}

func (f *fate) told() string {
	switch {
	case len(f.notes) > 0:
		return strings.Join(slices.Sorted(maps.Keys(f.notes)), "; ")
	case len(f.outputs)+len(f.changes) == 0:
		return "–"
	}
	return ""
}
