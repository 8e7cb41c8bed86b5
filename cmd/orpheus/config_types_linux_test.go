package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigOfOtherTypes: a value that cannot stand where it does is named by
// its field, without the words of a parser.
func TestConfigOfOtherTypes(t *testing.T) {
	for text, want := range map[string]string{
		"node: x":                          "node: a value of type string does not belong there",
		"plugins: {a: b}":                  "plugins: a value of type object does not belong there",
		"registries: {a: {mirrors: true}}": "registries.mirrors: a value of type bool does not belong there",
	} {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadConfig(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}
