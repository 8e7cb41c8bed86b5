package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
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
