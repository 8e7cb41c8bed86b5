package compose

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner"
)

// fleetVariables are those that all projects of testdata are read with.
var fleetVariables = map[string]string{"TAG": "1.2.3", "LEVEL": "warn"}

// projectsOf are the projects of testdata, by name: the file to read.
func projectsOf(t testing.TB) map[string]string {
	all := map[string]string{}
	for _, pattern := range []string{"compose.yaml", "docker-compose.yml", "stack.yml"} {
		found, err := fs.Glob(os.DirFS("testdata/projects"), "*/shop/"+pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			all[strings.Split(name, "/")[0]] = "shop/" + pattern
		}
	}
	return all
}

// compose-go's own loader, given the same files on a disk and the same
// environment, reads the same.
func TestLoadAsComposeDoes(t *testing.T) {
	all := projectsOf(t)
	if len(all) < 15 {
		t.Fatalf("only %d projects", len(all))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata/projects", name))); err != nil {
				t.Fatal(err)
			}
			got, faults := Load(context.Background(), Source{FS: os.DirFS(root), Path: all[name], Variables: fleetVariables})
			if slices.ContainsFunc(faults, func(f planner.Fault) bool { return !f.Warning }) || got == nil || got.Types == nil {
				t.Fatalf("faults:\n%s", told(faults))
			}
			want := byComposeGo(t, root, all[name], got.Name, got.Types.Profiles)
			shop := filepath.Join(root, "shop")
			relative := strings.NewReplacer(shop+"/", "", `"`+shop+`"`, `"."`, root+"/", "../")
			if w, g := relative.Replace(jsonOf(t, want)), jsonOf(t, got.Types); w != g {
				t.Errorf("compose-go reads\n%s\nand we\n%s", w, g)
			}
		})
	}
}

func byComposeGo(t *testing.T, root, file, name string, profiles []string) *types.Project {
	dir := filepath.Dir(filepath.Join(root, file))
	env := types.Mapping(maps.Clone(fleetVariables))
	if _, err := os.Stat(filepath.Join(dir, ".env")); err == nil {
		more, err := dotenv.GetEnvFromFile(env, []string{filepath.Join(dir, ".env")})
		if err != nil {
			t.Fatal(err)
		}
		env = env.Merge(more)
	}
	dotenv.RegisterFormat("raw", func(r io.Reader, _ string, vars map[string]string, _ func(string) (string, bool)) error {
		text, err := io.ReadAll(r) // as the docker command registers it
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok && line[0] != '#' {
				vars[key] = value
			}
		}
		return err
	})
	details := types.ConfigDetails{WorkingDir: dir, Environment: env, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, file)}}}
	project, err := loader.LoadWithContext(context.Background(), details, func(o *loader.Options) { o.SetProjectName(name, true) }, loader.WithProfiles(profiles))
	if err != nil {
		t.Fatalf("compose-go: %v", err)
	}
	return project
}

// jsonOf is all of a project that compose-go writes, and what it leaves out.
func jsonOf(t *testing.T, p *types.Project) string {
	t.Helper()
	text, err := json.MarshalIndent(map[string]any{"project": p, "disabled": p.DisabledServices, "environment": p.Environment, "extensions": p.Extensions, "profiles": p.Profiles}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
