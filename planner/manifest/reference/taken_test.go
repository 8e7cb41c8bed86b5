package reference

import (
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v3"
)

// spellings are values that some field takes in an unusual form, or that look
// as if one did.
var spellings = []string{
	"0", "1", "-1", "0.5", "65535", "128", "1000", `""`, `"0"`, `"1"`, "1.5", "007", "1e3",
	"true", "false", "True", `"true"`, "yes", "null", "~", "{}", "[]", "[a]", "[1]", "{a: b}", "{db: ready}",
	"a", "A", "Memory", "host", "node", "tcp", "Udp", "sigterm", "hup", "ALL", "cap_chown", "Chown",
	"10%", "100%", "1000%", "0%", "07%", "5s", "1h30m", "+5s", ".5h", "100ms", "1m", "128Mi", "1e2", "2G", "500m", ".5",
	"/", "/a", "/a/", "/a//b", "/a/../b", "a/b", "./a", "../a", "a/.git/b", ".gitignore", "/dev/null", "/dev/net/tun",
	"web:1", "web", "Web:1", "localhost:5000/web", "registry.example.com/team/web:1.2.3", "r.example.com/w@sha256:" + sum, sum,
	"[fd00::1]:5000/web:1", "docker.io/web", "127.0.0.1", "::1", "::ffff:10.0.0.1", "10.0.0.256", "01.2.3.4", "fe80::1%eth0",
	"2026-12-24T18:00:00Z", "2026-12-24", "2026-12-24T18:00:00+01:00", "r1-0123abcd", "r1-0123abcd/2",
	"orpheus/node", "example.com/key", "kubernetes.io/hostname", "example.com/*", `"*"`, "a_b", "a.b", "-a", "https://git.example.com/a.git", "git@example.com:a", "refs/orpheus/",
	`"a\tb"`, `"a\nb"`, `"a\u0085b"`, "ünï", `"a b"`, "a=b", "a:b", "Always", "NoExecute", "HTTPS", "Exists", "ClientIP", "dnsrr", "stopFirst", "observe", "10.0.0.0/16", "fd00::/112",
	strings.Repeat("a", 15), strings.Repeat("a", 16), strings.Repeat("a", 58), strings.Repeat("a", 63), strings.Repeat("a", 64),
}

var sum = strings.Repeat("0123456789abcdef", 4)

// Whatever is written in the place of any value of good documents: what the
// decoder takes, the schema takes.
func TestSchemaTakesWhatIsTaken(t *testing.T) {
	schema := compile(t, Options{})
	data, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		if !takes(t, schema, []byte(doc)) {
			t.Fatalf("%s\nhas faults: %v", doc, faultsOf(t, []byte(doc)))
		}
		for _, root := range parts(t, schema, doc) {
			each(root, func(n *yaml.Node) {
				was := *n
				for i, s := range spellings {
					if testing.Short() && (i+taken)%5 > 0 {
						continue
					}
					*n = *parse(t, s)
					if takes(t, schema, written(t, root)) {
						taken++
					}
				}
				*n = was
			})
		}
	}
	if taken < 200 {
		t.Errorf("only %d documents were taken: this shows little", taken)
	}
}

// parts are a document with each of the fields of its spec alone, beside the
// image; and, for those that make no sense alone, as a whole. Large documents
// take long.
func parts(t *testing.T, schema *jsonschema.Schema, doc string) []*yaml.Node {
	whole := parse(t, doc)
	spec := whole.Content[len(whole.Content)-1]
	if spec.Content[0].Value != "image" {
		return []*yaml.Node{whole}
	}
	image, rest := spec.Content[:2:2], []*yaml.Node{}
	var all []*yaml.Node
	for i := 2; i < len(spec.Content); i += 2 {
		field := spec.Content[i : i+2]
		alone := parse(t, doc)
		alone.Content[len(alone.Content)-1].Content = append(image, field...)
		if takes(t, schema, written(t, alone)) {
			all = append(all, alone)
		} else {
			rest = append(rest, field...)
		}
	}
	spec.Content = append(image, rest...)
	return append(all, whole)
}

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) != 1 {
		t.Fatalf("%q is no YAML: %v", text, err)
	}
	return n.Content[0]
}

func written(t *testing.T, n *yaml.Node) []byte {
	t.Helper()
	text, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The documents of testdata have every field.
func TestEverythingIsThere(t *testing.T) {
	there := map[string]bool{}
	var note func(at string, v any)
	note = func(at string, v any) {
		there[at] = true
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				note(at+"."+name, inner)
			}
		case []any:
			for _, inner := range v {
				note(at, inner)
			}
		}
	}
	schema := compile(t, Options{})
	for _, file := range []string{"testdata/everything.yaml", "testdata/fleet.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := documents(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			for at, why := range refusals(schema, d.value) {
				t.Errorf("%s: %s: %s", file, at, why)
			}
			note(d.value.(map[string]any)["kind"].(string), d.value)
		}
	}
	var look func(e *Entry)
	look = func(e *Entry) {
		if e.Later {
			return
		}
		if e.Part == "" && !there[e.Path] && !strings.Contains(e.Path, "[") && !there[strings.Replace(e.Path, ".spec.", ".spec.containers.", 1)] {
			t.Errorf("%s is in no document", e.Path)
		}
		if e.Part == "" {
			for _, f := range e.Fields {
				look(f)
			}
		}
	}
	for _, k := range Read().Kinds {
		look(k)
	}
}

// each calls f for every value below n, those of maps and lists included.
func each(n *yaml.Node, f func(*yaml.Node)) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		each(c, f)
		f(c)
	}
}

// takes reports whether the decoder takes all documents of a file, and fails
// the test if the schema does not then.
func takes(t testing.TB, schema *jsonschema.Schema, text []byte) bool {
	t.Helper()
	for _, f := range faultsOf(t, text) {
		if !strings.Contains(f.Reason, "there is no service") && !strings.Contains(f.Reason, "does not exist") {
			return false
		}
	}
	docs, err := documents(text)
	if err != nil {
		return false
	}
	for _, d := range docs {
		for at, why := range refusals(schema, d.value) {
			t.Errorf("the schema refuses %s: %s\n%s", at, why, text)
			return true
		}
	}
	return true
}

// FuzzSchema looks for manifests that the decoder takes and the schema does not.
func FuzzSchema(f *testing.F) {
	for _, s := range []string{"replicas: 2", "update: {maxSurge: 25%}", "command: [a]\n  driver: process", "ports: [{containerPort: 80, publish: 80}]"} {
		f.Add("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  image: web:1\n  " + s + "\n")
	}
	schema := compile(f, Options{})
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "kind: Service") || strings.Contains(text, "kind: Node") {
			takes(t, schema, []byte(text))
		}
	})
}
