package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
	yaml "go.yaml.in/yaml/v3"
)

const convertDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1.2
        env: [{name: PORT, value: "8080"}]
        args: ["--port=$(PORT)"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}}
        volumeMounts: [{name: c, mountPath: /etc/web.conf, subPath: web.conf}]
      volumes: [{name: c, configMap: {name: web}}]
`

const convertRest = `{apiVersion: v1, kind: Service, metadata: {name: shop-web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: shop}, data: {web.conf: "workers 4;\n"}}
`

// convertInto writes files into a folder and converts them with the arguments.
func convertInto(t *testing.T, files map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return convertHere(args...)
}

func convertHere(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"convert"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// TestConvertIntoRepository: what is written is a fleet that loads, and says
// what the manifests of Kubernetes said.
func TestConvertIntoRepository(t *testing.T) {
	code, stdout, stderr := convertInto(t, map[string]string{
		"k8s/web.yaml": convertDeployment, "k8s/more/rest.yaml": convertRest, "k8s/values.yaml": "a: b\n",
		"repo/.git/HEAD": "", "repo/fleet/fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: f}\n",
	}, "k8s", "--to", "repo/fleet/shop")
	if code != 0 || !strings.Contains(stderr, "values.yaml:1: note: is neither") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	const file = "fleet/shop/files/shop/web/web/web.conf"
	if data, err := os.ReadFile(filepath.Join("repo", file)); err != nil || string(data) != "workers 4;\n" {
		t.Errorf("the file of the ConfigMap: %q, %v", data, err)
	}
	desired, err := manifest.NewLoader(manifest.Limits{}).Load(t.Context(), os.DirFS("repo"), "fleet", planner.Commit{})
	if err != nil || len(desired.Faults) > 0 {
		t.Fatalf("%v %v", err, desired.Faults)
	}
	s, ok := desired.Services[planner.ServiceID{Namespace: "shop", Name: "web"}]
	if !ok {
		t.Fatalf("got services %v", desired.Services)
	}
	c := s.Template.Containers[0]
	for what, pair := range map[string][2]any{
		"replicas":  {s.Replicas, 2},
		"image":     {c.Image, "web:1.2"},
		"arguments": {c.Args, []string{"--port=8080"}},
		"aliases":   {s.Aliases, []string{"shop-web"}},
		"port":      {s.Ports[0].Port, 80},
		"mount":     {c.VolumeMounts[0].MountPath, "/etc/web.conf"},
		"probe":     {c.ReadinessProbe.HTTPGet.Path, "/ready"},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
	// Once more, nothing is overwritten, and all that is in the way is named.
	code, _, stderr = convertHere("k8s", "--to", "repo/fleet/shop")
	if code != exitUsage || !strings.Contains(stderr, "web.yaml") || !strings.Contains(stderr, "web.conf") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestConvertExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		args []string
		code int
		want string // in what is printed
	}{
		"all converted":               {convertDeployment + "---\n" + convertRest, []string{"in.yaml"}, 0, "--to DIR writes them"},
		"a kind that is not known":    {convertDeployment + "---\n" + convertRest + "---\n{apiVersion: x/v1, kind: X, metadata: {name: a}}", []string{"in.yaml"}, 1, "in.yaml:24: not converted: X a"},
		"two of a name":               {convertDeployment + "---\n" + strings.Replace(convertDeployment, "Deployment", "StatefulSet", 1) + "---\n" + convertRest, []string{"in.yaml"}, 1, "is described also in in.yaml line 1;"},
		"a result with a fault":       {strings.Replace(convertDeployment, "web:1.2", "\"web 1\"", 1) + "---\n" + convertRest, []string{"in.yaml"}, 1, "in.yaml:12: not converted: Deployment shop/web"},
		"nothing to convert":          {"{apiVersion: v1, kind: Namespace, metadata: {name: a}}", []string{"in.yaml"}, 1, "0 services"},
		"a template":                  {"apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.x }}\n", []string{"in.yaml"}, 2, "helm template"},
		"no such file":                {"", []string{"gone.yaml"}, 2, "gone.yaml"},
		"a folder without manifests":  {"", []string{"empty"}, 2, "no files that end in"},
		"a Compose file":              {"services: {web: {image: \"web:1\"}}", []string{"in.yaml"}, 0, "imagePorts: true"},
		"a Compose file that is not":  {"services: {web: {build: .}}", []string{"in.yaml"}, 1, "in.yaml:1: not converted"},
		"Compose where it is said so": {convertDeployment, []string{"in.yaml", "--from", "compose"}, 1, "in.yaml:"},
		"no such form":                {"", []string{"in.yaml", "--from", "nomad"}, 2, "write auto or kubernetes or compose"},
		"terminal escapes":            {"{apiVersion: v1, kind: Secret, metadata: {name: \"a\\e[2J\"}}", []string{"in.yaml"}, 1, "Secret"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := convertInto(t, map[string]string{"in.yaml": test.text, "empty/x.txt": ""}, test.args...)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, test.code, test.want, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, "\x1b") {
				t.Error("an escape reaches the terminal")
			}
		})
	}
}

// TestConvertJSON has all that the other forms tell.
func TestConvertJSON(t *testing.T) {
	code, stdout, stderr := convertInto(t, map[string]string{"a.yaml": convertDeployment, "b.yaml": convertRest}, "a.yaml", "b.yaml", "-o", "json")
	var got struct {
		Services []struct {
			Namespace, Name, From string
			Files                 []struct{ Path, Text string }
			Manifest              map[string]any
		}
		Notes []struct{ Reason string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if s := got.Services; len(s) != 1 || s[0].From != "a.yaml:1" || s[0].Files[0].Text != "workers 4;\n" || s[0].Manifest["kind"] != "Service" {
		t.Errorf("got %+v", got.Services)
	}
}

// The standard input is read as files are.
func TestConvertStandardInput(t *testing.T) {
	for _, row := range []struct{ text, args, want string }{
		{convertDeployment + "---\n" + convertRest, "-", "-:1: note"},
		{"services: {web: {image: \"web:1\", network_mode: bridge}}", "-", "name: web"},
		{"services: {web: {build: .}}", "-", "-:1: not converted"},
		{"a: b", "-", "-:1: is no manifest of Kubernetes"},
		{"", "-", "0 services"},
		{convertDeployment, "- -", "named twice"},
	} {
		t.Chdir(t.TempDir())
		var out, errs bytes.Buffer
		root := newRootCommand(&out, &errs)
		root.SetIn(strings.NewReader(row.text))
		root.SetArgs(append([]string{"convert"}, strings.Fields(row.args)...))
		if err := root.ExecuteContext(t.Context()); err != nil {
			errs.WriteString(err.Error())
		}
		if !strings.Contains(out.String()+errs.String(), row.want) {
			t.Errorf("%.40q: no %q in\n%s%s", row.text, row.want, out.String(), errs.String())
		}
	}
}

// What a Compose file mounts comes along: what it says itself as files, files of
// its repository only if that is another one. Variables of an env_file are
// written out.
func TestConvertComposeFiles(t *testing.T) {
	const text = `services:
  web:
    image: web:1
    env_file: [web.env]
    environment: {GREETING: "hello ${NAME:-you}"}
    configs:
    - {source: inline, target: /etc/inline.yaml}
    - {source: given, target: /etc/given.yaml}
    secrets: [token]
    volumes: ["./site:/site:ro"]
configs:
  inline: {content: "for ${NAME:-you}"}
  given: {file: conf/given.yaml}
secrets:
  token: {file: conf/token}
`
	files := map[string]string{"a/.git/HEAD": "", "a/shop/compose.yaml": text, "a/shop/web.env": "FROM=file\n", "a/shop/conf/given.yaml": "a: b\n",
		"a/shop/conf/token": "0123\n", "a/shop/site/index.html": "hi\n", "b/.git/HEAD": ""}
	for to, want := range map[string]map[string]string{
		"a/fleet": {"fleet/files/web/2-configs.inline.txt": "for you", "shop/conf/given.yaml": "a: b\n", "shop/conf/token": "0123\n", "shop/site/index.html": "hi\n"},
		"b/fleet": {"fleet/files/web/2-configs.inline.txt": "for you", "fleet/files/web/3-given.yaml.txt": "a: b\n", "fleet/files/web/4-token.txt": "0123\n",
			"fleet/files/web/1-index.html.txt": "hi\n"},
	} {
		t.Run(to, func(t *testing.T) {
			code, stdout, stderr := convertInto(t, files, "a/shop/compose.yaml", "--to", to)
			if code != 0 {
				t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
			}
			if err := os.WriteFile(to+"/fleet.yaml", []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: f}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			desired, err := manifest.NewLoader(manifest.Limits{}).Load(t.Context(), os.DirFS(filepath.Dir(to)), "fleet", planner.Commit{})
			if err != nil || len(desired.Faults) > 0 {
				t.Fatalf("%v %v", err, desired.Faults)
			}
			var made struct {
				Spec struct{ Volumes []struct{ File string } }
			}
			if err := yaml.Unmarshal(readFile(t, to+"/web.yaml"), &made); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, v := range made.Spec.Volumes {
				if v.File == "" {
					continue
				}
				got[v.File] = string(readFile(t, filepath.Join(filepath.Dir(to), v.File)))
			}
			s := desired.Services[planner.ServiceID{Namespace: "shop", Name: "web"}]
			if !reflect.DeepEqual(got, want) {
				t.Errorf("mounts %q\nwant %q", got, want)
			}
			if env := fmt.Sprint(s.Template.Containers[0].Env); !strings.Contains(env, "FROM file") || !strings.Contains(env, "hello you") {
				t.Errorf("variables %s", env)
			}
		})
	}
}

// All samples of package kubernetes: what is written loads as well as was told.
// A fault that validate finds was a thing not converted.
func TestConvertedSamplesLoad(t *testing.T) {
	samples, err := filepath.Abs("../../planner/manifest/kubernetes/testdata")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(samples, "*.in.yaml"))
	if err != nil || len(names) < 20 {
		t.Fatalf("samples %v, %v", names, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, stdout, notes := convertInto(t, map[string]string{"fleet/fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: f}\n"}, name, "--to", "fleet/made")
			if stdout == "" {
				return // nothing became a service
			}
			code, stdout, stderr := orpheus(t, "fleet", "validate", "-o", "json")
			var report struct{ Faults []struct{ Reason string } }
			if err := json.Unmarshal([]byte(stdout), &report); err != nil {
				t.Fatalf("%d: %v\n%s%s", code, err, stdout, stderr)
			}
			for _, f := range report.Faults {
				told, _, _ := strings.Cut(f.Reason, " is described also in ") // by another file
				if !strings.Contains(notes, told) {
					t.Errorf("nobody was told: %s\n%s", f.Reason, notes)
				}
			}
		})
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
