package manifest

import (
	"context"
	"testing"
	"testing/fstest"
)

// TestComposeOrigins: a value of a Compose file is said to be made with the variables
// that it was made with: those of the fleet with the place of their value.
func TestComposeOrigins(t *testing.T) {
	tree := fstest.MapFS{
		"fleet.yaml": {Data: []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: home}\nspec:\n  compose: [shop/compose.yaml]\n  variables:\n    TAG: \"1.2\"\n    UNUSED: x\n")},
		"shop/.env":  {Data: []byte("REGISTRY=registry.example.com\n")},
		"shop/compose.yaml": {Data: []byte(`name: shop
services:
  web:
    image: ${REGISTRY}/web:${TAG:-latest}
    environment:
      MODE: ${MODE:-plain}
      RELEASE: "of $TAG, not $$UNUSED"
      PLAIN: ok
`)},
	}
	documents, d, err := Render(context.Background(), tree, ".", Limits{})
	if err != nil || !d.Complete() {
		t.Fatal(err, d.Faults)
	}
	var got map[string]string
	for _, doc := range documents {
		if doc.Kind == "Service" {
			got = doc.Origins()
		}
	}
	for path, want := range map[string]string{
		"spec.image":         "shop/compose.yaml:4 (with ${TAG} of fleet.yaml:7, ${REGISTRY})",
		"spec.env[0].value":  "shop/compose.yaml:6",
		"spec.env[2].value":  "shop/compose.yaml:7 (with ${TAG} of fleet.yaml:7)",
		"spec.env[1].value":  "shop/compose.yaml:8",
		"metadata.namespace": "shop/compose.yaml:1",
	} {
		if got[path] != want {
			t.Errorf("%s is from %q, want %q", path, got[path], want)
		}
	}
}
