package manifest

import (
	"context"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func render(t testing.TB, files map[string]string, dir string, origin bool) (string, planner.Desired) {
	t.Helper()
	documents, d, err := Render(context.Background(), newTree(files), dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return writeAll(t, documents, origin), d
}

func writeAll(t testing.TB, documents []Document, origin bool) string {
	t.Helper()
	var b strings.Builder
	for i, doc := range documents {
		if i > 0 {
			b.WriteString("---\n")
		}
		if err := doc.WriteYAML(&b, origin); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestRender(t *testing.T) {
	files := overlay(map[string]string{
		"base/fleet.yaml":      fleetWith("variables: {tag: {type: string}, limit: 256Mi}"),
		"base/web.yaml":        patchOf("web", `{image: "web:${tag}", replicas: 2, args: ["no", "-c", "echo a\necho ${tag}\n"], volumes: [{name: v, local: {}}], volumeMounts: [{name: v, mountPath: /v}]}`),
		"base/api.yaml":        "",
		"base/old.yaml":        manifestOf("old", "old:1"),
		"envs/prod/fleet.yaml": fleetWith("base: ../../base", "pollInterval: 10s", "variables:", "  tag: \"1.10\""),
		"envs/prod/web.yaml":   patchOf("web", `{replicas: 5, resources: {limits: {memory: "${limit}"}}}`),
		"envs/prod/old.yaml":   "$patch: delete\n" + patchOf("old", "{}"),
	})
	got, d := render(t, files, "envs/prod", true)
	want := `# fleet test
apiVersion: orpheus/v1 # envs/prod/fleet.yaml:1
kind: Fleet # envs/prod/fleet.yaml:2
metadata:
  name: test # envs/prod/fleet.yaml:3
spec:
  pollInterval: 10s # envs/prod/fleet.yaml:6
---
# service web, revision REVISION
apiVersion: orpheus/v1 # envs/prod/web.yaml:1
kind: Service # envs/prod/web.yaml:2
metadata:
  name: web # envs/prod/web.yaml:3
spec:
  image: web:1.10 # base/web.yaml:4 (with ${tag} of envs/prod/fleet.yaml:8)
  replicas: 5 # envs/prod/web.yaml:4
  args:
  - "no" # base/web.yaml:4
  - "-c" # base/web.yaml:4
  - | # base/web.yaml:4 (with ${tag} of envs/prod/fleet.yaml:8)
    echo a
    echo 1.10
  volumes:
  - name: v # base/web.yaml:4
    local: {} # base/web.yaml:4
  volumeMounts:
  - name: v # base/web.yaml:4
    mountPath: /v # base/web.yaml:4
  resources:
    limits:
      memory: 256Mi # envs/prod/web.yaml:4 (with ${limit} of base/fleet.yaml:5)
`
	if got = strings.ReplaceAll(got, string(named(t, d, "web").Revision), "REVISION"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// What is rendered is a manifest: read back it is the same fleet, with the same
// revisions.
func TestRenderReadsBack(t *testing.T) {
	everything, err := os.ReadFile("testdata/codec/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rollout := map[string]string{}
	for _, name := range []string{"fleet.yaml", "web.yaml", "db.yaml"} {
		data, err := os.ReadFile("../../examples/rollout/" + name)
		if err != nil {
			t.Fatal(err)
		}
		rollout[name] = string(data)
	}
	const evil = `\u00a0\u202e\u2028\U000e0001é日本 # x: y`
	texts := `"no", "y", "12:30", "1e3", "0x10", "null", "~", "", " a ", "a\n", "a\n\n", "\na", " a\nb", "a \nb", "\tx\ty", "- a", "# a", "a: b", "{a}", "'", "\"", "a\tb\nc", "true", ".5", "2026-01-01", "=", "<<", "$${x}", "%", "@a", "\u2028\n"`
	rows := map[string]map[string]string{
		"texts":      withVariables("{a: x}", "{image: \"w:1\", args: ["+texts+"]}"),
		"evil texts": {"fleet.yaml": goodFleet, "a.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: a, annotations: {x: \"" + evil + "\"}}\nspec: {image: \"w:1\"}\n"},
		"everything": {"fleet.yaml": goodFleet, "a.yaml": everythingRead(string(everything)), "app.conf": "x", "node.yaml": nodeOf("n1", "{drain: true}")},
		"a rollout":  rollout,
		"an overlay": overlay(map[string]string{"fleet.yaml": goodFleet}),
	}
	for name, files := range rows {
		t.Run(name, func(t *testing.T) {
			dir := "."
			if name == "an overlay" {
				dir = "envs/prod"
			}
			text, want := render(t, files, dir, name != "texts")
			if text != harmless(text) {
				t.Errorf("lets through %q", text)
			}
			fleet, rest, _ := strings.Cut(text, "---\n")
			back := map[string]string{"fleet.yaml": fleet, "all.yaml": rest, "app.conf": "x"}
			got := load(t, newTree(back))
			if len(got.Services) != len(want.Services) || len(got.Services) == 0 || len(got.Nodes) != len(want.Nodes) {
				t.Errorf("%d services, want %d; faults:\n%s\n%s", len(got.Services), len(want.Services), lines(got.Faults), text)
			}
			for id, s := range want.Services {
				o := got.Services[id]
				o.File, o.Line, s.File, s.Line = "", 0, "", 0
				if !reflect.DeepEqual(o, s) {
					t.Errorf("%s\n%+v\nread back\n%+v\n%s", id, s, o, text)
				}
			}
		})
	}
}

func harmless(text string) string { return string(harmlessYAML([]byte(text))) }

// everythingRead is what of the codec's manifests this version reads: the
// fields it does not are left out with their documents.
func everythingRead(text string) string {
	var kept []string
	for _, doc := range strings.Split(text, "\n---\n") {
		if p := parse([]byte(doc), roleManifest, Limits{}.withDefaults(), false); !p.broken {
			kept = append(kept, doc)
		}
	}
	return strings.Join(kept, "\n---\n")
}

// What is held back is not shown as if it were in force.
func TestRenderLeavesOutWhatIsHeldBack(t *testing.T) {
	text, d := render(t, overlay(map[string]string{"envs/prod/web.yaml": patchOf("web", "{replicas: -1}")}), "envs/prod", false)
	if strings.Contains(text, "name: web") || !strings.Contains(text, "name: api") || len(d.Faults) != 1 {
		t.Errorf("%s\n%s", text, lines(d.Faults))
	}
}

func TestRenderOrigins(t *testing.T) {
	documents, _, err := Render(context.Background(), newTree(overlay(nil)), "envs/prod", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	web := documents[2]
	got := web.Origins()
	for path, want := range map[string]string{"spec.image": "base/web.yaml:4", "spec.replicas": "envs/prod/web.yaml:4", "spec.env[0].value": "envs/prod/web.yaml:4", "spec.env[1].name": "envs/prod/web.yaml:4"} {
		if got[path] != want {
			t.Errorf("%s is from %q, want %s", path, got[path], want)
		}
	}
	data, err := json.Marshal(web.Value())
	if err != nil || !strings.Contains(string(data), `"replicas":5`) {
		t.Errorf("%s, %v", data, err)
	}
}
