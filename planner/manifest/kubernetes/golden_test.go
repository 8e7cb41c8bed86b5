package kubernetes

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// unquote leaves quotes to who writes the YAML: it knows what needs them.
func unquote(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		unquote(c)
	}
}

var update = flag.Bool("update", false, "write the golden files anew; look at what changed")

// TestGolden converts the samples: what comes out, its files and all notes.
func TestGolden(t *testing.T) {
	for name, data := range samples(t) {
		t.Run(name, func(t *testing.T) {
			result, err := Convert([]File{{Name: name + ".yaml", Data: data}}, "files")
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			for _, d := range result.Documents {
				enc := yaml.NewEncoder(&b)
				enc.SetIndent(2)
				unquote(d.Root)
				if err := enc.Encode(d.Root); err != nil {
					t.Fatal(err)
				}
				for _, path := range slices.Sorted(maps.Keys(d.Contents)) {
					fmt.Fprintf(&b, "# %s: %q\n", path, d.Contents[path])
				}
				b.WriteString("---\n")
			}
			for _, n := range result.Notes {
				fmt.Fprintf(&b, "# %v %s: %s\n", n.Warning, n.Object, n.Fault)
			}
			golden := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, b.Bytes()) {
				t.Errorf("differs from %s; -update writes it anew. Now:\n%s", golden, b.Bytes())
			}
		})
	}
}
