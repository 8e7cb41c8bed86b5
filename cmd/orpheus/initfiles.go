package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner/manifest/reference"
)

const (
	exampleAt = "services/hello.yaml"
	schemaAt  = ".orpheus/schema.json"
)

// modeline has editors that use the YAML language server check the file.
func modeline(p *place, name string) string {
	up := strings.Repeat("../", strings.Count(p.in(name), "/"))
	return "# yaml-language-server: $schema=" + up + schemaAt + "\n"
}

func (plan *initPlan) fleetFile(p *place, name string) string {
	var b strings.Builder
	b.WriteString(modeline(p, "fleet.yaml"))
	fmt.Fprintf(&b, `# Marks this folder as a fleet: every agent that follows it reads all manifests
# below. "orpheus explain Fleet.spec" lists what can be said here.
apiVersion: orpheus/v1
kind: Fleet
metadata:
  name: %s
`, inYAML(name))
	var spec strings.Builder
	if len(plan.found.compose) > 0 {
		spec.WriteString("  compose: [" + quotedList(plan.found.compose) + "] # their services are this fleet's: see docs/compose.md\n")
	}
	if len(plan.found.foreign) > 0 {
		spec.WriteString("  ignore: # YAML files that are no manifests\n")
		for _, name := range plan.found.foreign {
			spec.WriteString("  - " + strconv.Quote(globOf(name)) + "\n")
		}
	}
	if plan.forge != nil && plan.forge.Name == "github" {
		spec.WriteString("  budgets: {preset: github} # what all nodes together may ask of it\n")
	}
	if spec.Len() > 0 {
		b.WriteString("spec:\n" + spec.String())
	}
	return b.String()
}

// inYAML is text as a value: 001 and no need quotes.
func inYAML(text string) string {
	written, err := yaml.Marshal(text)
	if err != nil { // it never is, of text
		return strconv.Quote(text)
	}
	return strings.TrimSpace(string(written))
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
}

func exampleManifest(p *place) string {
	return modeline(p, exampleAt) + `# An example: two web servers, one after the other replaced when this changes.
# "orpheus explain Service.spec" lists what can be said here.
apiVersion: orpheus/v1
kind: Service
metadata:
  name: hello
spec:
  image: nginx:1.29-alpine
  replicas: 2
  ports:
  - name: http
    containerPort: 80
    port: 80      # other services call it http://hello
    publish: 8080 # everybody else port 8080 of any node
  readinessProbe:
    httpGet: {path: /, port: http}
  resources:
    requests: {cpu: 50m, memory: 32Mi}
    limits: {memory: 128Mi}
`
}

func schemaFile() (string, error) {
	text, err := reference.Read().Schema(reference.Options{})
	return string(text), err
}

// editorSettings name the manifests, so that one without a modeline is checked
// as well.
func editorSettings(p *place) (string, error) {
	var globs []string
	for _, name := range []string{"fleet.yaml", "services/**/*.yaml", "nodes/**/*.yaml"} {
		globs = append(globs, path.Join(p.fleet, name))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(map[string]any{"yaml.schemas": map[string]any{"./" + schemaAt: globs}})
	return b.String(), err
}

const gitIgnore = `# Every node reads this repository: keys and tokens have no place in it.
*.key
*.pem
id_ed25519*
*-token

# What editors and systems leave behind.
*~
*.swp
.DS_Store
`

func readme(p *place, name string) string {
	in := ""
	if p.fleet != "." {
		in = " " + p.fleet
	}
	return fmt.Sprintf(`# %s

The fleet %s, run by [Orpheus](https://github.com/orpheus-cd/orpheus): what is
on the branch that its nodes follow is what runs.

`+"```console"+`
$ orpheus validate%s    # every fault at once
$ orpheus plan          # what the changes here would do
$ orpheus explain Service.spec
`+"```"+`

Change it by pull request; `+"`git revert`"+` takes a change back. After an upgrade of
Orpheus renew what editors know: `+"`orpheus schema > %s`"+`.
`, name, name, in, schemaAt)
}

// labelOf makes the name of a folder that of a fleet.
func labelOf(folder string) string {
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, folder)
	if label = strings.Trim(label[:min(len(label), 63)], "-"); label == "" {
		return "fleet"
	}
	return label
}
