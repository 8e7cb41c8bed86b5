package compose

import (
	"context"
	"testing"
)

// projectOf loads a Compose file of a repository, in whose fleet FROM_FLEET is a
// variable.
func projectOf(t *testing.T, text string, files map[string]string) *Project {
	t.Helper()
	project, faults := Load(context.Background(), Source{FS: repositoryOf(text, files), Path: "shop/compose.yaml", Variables: map[string]string{"FROM_FLEET": "fleet"}})
	for _, f := range faults {
		if !f.Warning {
			t.Fatalf("load: %s: %s", f.Field, f.Reason)
		}
	}
	return project
}
