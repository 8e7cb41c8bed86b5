package compose_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
	"github.com/orpheus-cd/orpheus/planner/manifest/compose"
	yaml "go.yaml.in/yaml/v3"
)

// What comes out of a Compose file is manifests: package manifest finds no fault
// in them.
func TestDocumentsAreManifests(t *testing.T) {
	for _, row := range compose.Rows() {
		if !row.Refused {
			t.Run(row.Name, func(t *testing.T) {
				checkManifests(t, row.Files, "shop/compose.yaml", map[string]string{"FROM_FLEET": "fleet"})
			})
		}
	}
	for name, file := range compose.ProjectNames(t) {
		if name == "aliases" {
			continue // its services publish one port
		}
		t.Run(name, func(t *testing.T) {
			checkManifests(t, os.DirFS(filepath.Join("testdata/projects", name)), file, map[string]string{"TAG": "1.2.3", "LEVEL": "warn"})
		})
	}
}

func checkManifests(t *testing.T, repository fs.FS, file string, variables map[string]string) {
	t.Helper()
	project, _ := compose.Load(context.Background(), compose.Source{FS: repository, Path: file, Variables: variables})
	documents, faults := compose.Convert(project)
	if slices.ContainsFunc(faults, func(f planner.Fault) bool { return !f.Warning }) {
		for _, f := range faults {
			t.Log(f.String())
		}
		t.Skip("the file is refused")
	}
	fleet := fstest.MapFS{"fleet/fleet.yaml": {Data: []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: f}\n")}}
	copyFiles(t, repository, fleet)
	var all bytes.Buffer
	for _, d := range documents {
		text, err := yaml.Marshal(d.Root)
		if err != nil {
			t.Fatalf("write the document of %s: %v", d.Service, err)
		}
		all.WriteString("---\n")
		all.Write(text)
		for name, data := range d.Contents {
			fleet[name] = &fstest.MapFile{Data: data, Mode: 0o644}
		}
	}
	fleet["fleet/all.yaml"] = &fstest.MapFile{Data: all.Bytes(), Mode: 0o644}
	desired, err := manifest.NewLoader(manifest.Limits{}).Load(context.Background(), fleet, "fleet", planner.Commit{})
	if err != nil {
		t.Fatalf("load the fleet: %v\n%s", err, all.Bytes())
	}
	for _, f := range desired.Faults {
		if !f.Warning {
			t.Errorf("%s\n%s", f, all.Bytes())
		}
	}
	if len(desired.Services) != len(documents) {
		t.Errorf("%d services of %d documents", len(desired.Services), len(documents))
	}
}

func copyFiles(t *testing.T, from fs.FS, to fstest.MapFS) {
	t.Helper()
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(from, name)
		to[name] = &fstest.MapFile{Data: data, Mode: 0o644}
		return err
	})
	if err != nil {
		t.Fatalf("copy the repository: %v", err)
	}
}
