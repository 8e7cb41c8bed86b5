package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestAttack17HostileYAML: what cannot be read, or would grow without bounds, is
// refused with the line and the remedy.
func TestAttack17HostileYAML(t *testing.T) {
	bomb := "apiVersion: v1\nkind: ConfigMap\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	const head = "apiVersion: v1\nkind: ConfigMap\n"
	for name, test := range map[string]struct {
		data string
		line int
		want string
	}{
		"aliases that grow":           {bomb, 0, "too large"},
		"an alias of itself":          {head + "a: &a [*a]\n", 3, "itself"},
		"a merge of itself":           {head + "a: &a\n  <<: *a\n", 0, "itself"},
		"depth":                       {head + "a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), 0, "levels"},
		"a key twice":                 {head + "data: {a: 1,\n  a: 2}\n", 4, "twice"},
		"a key that is a mapping":     {head + "? {a: b}\n: c\n", 3, "key"},
		"a tag that needs a program":  {head + "a: !!python/object:os.system x\n", 0, ""},
		"no text":                     {head + "a: \xff\n", 1, "UTF-8"},
		"too large":                   {head + strings.Repeat("#", MaxFileBytes), 1, "larger"},
		"cut off":                     {head + "a: [1, 2\n", 0, "not valid YAML"},
		"a template":                  {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.name }}\n", 4, "template"},
		"a template with blocks":      {"{{- if .Values.on }}\napiVersion: v1\n{{- end }}\n", 1, "template"},
		"a template in quotes":        {"apiVersion: v1\nkind: Service\nmetadata: {name: \"{{ include \\\"x\\\" . }}\"}\n", 3, "template"},
		"neither kind nor apiVersion": {"a: b\n", 1, "no manifest of Kubernetes"},
		"a list":                      {"- a\n", 1, "no manifest of Kubernetes"},
		"a text":                      {"hello\n", 1, "no manifest of Kubernetes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Convert([]File{{Name: "in.yaml", Data: []byte(test.data)}}, "files")
			var refused *InputError
			if test.want == "" {
				if err != nil {
					t.Fatalf("got %v, want it read as it is written", err)
				}
				return
			}
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			f := refused.Faults[0]
			if f.File != "in.yaml" || f.Line < 1 || test.line > 0 && f.Line != test.line {
				t.Errorf("at %s:%d, want line %d", f.File, f.Line, test.line)
			}
		})
	}
}

// TestAttack14FileNames: a key of a ConfigMap never names a file outside of the
// folder for files, nor one that is read as a manifest.
func TestAttack14FileNames(t *testing.T) {
	for _, key := range []string{"../../fleet.yaml", "a/../../b", "..", ".", "/etc/passwd", "a\\b", "fleet.YAML", "x.yml", "C:x", "a\x1b[2J"} {
		text := fmt.Sprintf(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "../w", "namespace": "../.."}, "spec": {"template": {"spec": {
			"containers": [{"name": "a", "image": "b:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
			"volumes": [{"name": "v", "configMap": {"name": ".."}}]}}}}
---
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "..", "namespace": "../.."}, "data": {%q: "x"}}`, key)
		if key == "a\x1b[2J" {
			text = strings.ReplaceAll(text, `\x1b`, `\u001b`)
		}
		result, err := Convert([]File{{Name: "in", Data: []byte(text)}}, "fleet/files")
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		for _, d := range result.Documents {
			for path := range d.Contents {
				lower := strings.ToLower(path)
				if !strings.HasPrefix(path, "fleet/files/") || strings.Contains(path, "/..") || strings.HasSuffix(lower, ".yaml") || strings.HasSuffix(lower, ".yml") || strings.ContainsAny(path, "\\:\x1b") {
					t.Errorf("%q became file %q", key, path)
				}
			}
		}
	}
}

// TestSecretsStayOut: nothing of a Secret is in what comes out.
func TestSecretsStayOut(t *testing.T) {
	data := `{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {a: canary-1}}, data: {k: canary-2}, stringData: {k: canary-3}}`
	result, err := Convert([]File{{Name: "in", Data: []byte(data)}}, "files")
	if err != nil || strings.Contains(told(result), "canary") || len(result.Notes) != 1 || result.Notes[0].Warning {
		t.Errorf("got %s, %v", told(result), err)
	}
}

// FuzzConvert: no input is a panic, an endless loop, a field lost in silence or
// a file in a place of its own choice.
func FuzzConvert(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]\n"))
	f.Add([]byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: [x]\nspec: {template: {spec: {containers: [1, {env: {a: b}, ports: x}]}}}\n"))
	for _, data := range samples(&testing.T{}) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &converter{files: "files", unused: map[*resource]bool{}}
		if c.read([]File{{Name: "in", Data: data}}) != nil {
			return
		}
		result := c.convert()
		for _, r := range c.resources {
			if left, _ := census(r.root); left > 0 {
				t.Errorf("%s: %d values are lost in silence", r, left)
			}
		}
		for _, d := range result.Documents {
			for path := range d.Contents {
				if !strings.HasPrefix(path, "files/") || strings.Contains(path, "/../") {
					t.Errorf("file %q", path)
				}
			}
		}
	})
}
