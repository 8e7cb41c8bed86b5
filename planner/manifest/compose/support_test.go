package compose

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
)

var update = flag.Bool("update", false, "rewrite the table in docs/compose.md")

// specificationKeys are the keys that compose-go's schema knows, in the form of
// paths of the matrix.
func specificationKeys(t *testing.T) map[string]bool {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(schema.Schema), &root); err != nil {
		t.Fatalf("read the schema of the Compose specification: %v", err)
	}
	definitions, _ := root["$defs"].(map[string]any)
	if definitions == nil {
		definitions, _ = root["definitions"].(map[string]any)
	}
	keys := map[string]bool{}
	var walk func(n any, path string, under []string)
	walk = func(n any, path string, under []string) {
		m, _ := n.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			name := ref[strings.LastIndexByte(ref, '/')+1:]
			if !slices.Contains(under, name) {
				walk(definitions[name], path, append(slices.Clone(under), name))
			}
		}
		for _, way := range []string{"oneOf", "anyOf", "allOf"} {
			list, _ := m[way].([]any)
			for _, each := range list {
				walk(each, path, under)
			}
		}
		properties, _ := m["properties"].(map[string]any)
		for name, each := range properties {
			keys[join(path, name)] = true
			walk(each, join(path, name), under)
		}
		patterns, _ := m["patternProperties"].(map[string]any)
		for pattern, each := range patterns {
			if pattern != "^x-" {
				walk(each, join(path, "*"), under)
			}
		}
		if _, isSchema := m["additionalProperties"].(map[string]any); isSchema {
			walk(m["additionalProperties"], join(path, "*"), under)
		}
		if items, isSchema := m["items"].(map[string]any); isSchema {
			walk(items, path+"[]", under)
		}
	}
	walk(root, "", nil)
	if len(keys) < 200 {
		t.Fatalf("found only %d keys in the schema", len(keys))
	}
	return keys
}

// Every key of the specification has a row, its own or that of a key it is below,
// and no row is for a key that the specification does not have.
func TestMatrixHasEveryKeyOfTheSpecification(t *testing.T) {
	keys := specificationKeys(t)
	rows := matrixIndex().rows
	covered := func(path string) bool {
		if _, ok := rows[path]; ok {
			return true
		}
		for at := path; at != ""; {
			at = parentPath(at)
			row, ok := rows[strings.TrimSuffix(at, "[]")]
			if ok && row.whole {
				return true
			}
		}
		return false
	}
	for path := range keys {
		if !covered(path) {
			t.Errorf("the matrix has no row for %s", path)
		}
	}
	seen := map[string]bool{}
	for _, row := range matrix() {
		if !keys[row.path] {
			t.Errorf("row %s: the specification has no such key", row.path)
		}
		if seen[row.path] {
			t.Errorf("row %s is there twice", row.path)
		}
		seen[row.path] = true
		if row.says == "" {
			t.Errorf("row %s says nothing", row.path)
		}
		if (row.support == refused || row.support == noEffect) && row.remedy == "" {
			t.Errorf("row %s has no remedy", row.path)
		}
	}
}

const (
	docsFile   = "../../../docs/compose.md"
	tableBegin = "<!-- begin: support -->\n"
	tableEnd   = "<!-- end: support -->\n"
)

// The table in docs/compose.md is the matrix: -update writes it.
func TestDocsHaveTheMatrix(t *testing.T) {
	doc, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatalf("read the documentation: %v", err)
	}
	before, rest, ok := strings.Cut(string(doc), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", docsFile, tableBegin, tableEnd)
	}
	table := supportTable()
	if *update {
		if err := os.WriteFile(docsFile, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
			t.Fatalf("write the documentation: %v", err)
		}
		return
	}
	if old != table {
		t.Errorf("the table of %s is not the matrix: run go test ./planner/manifest/compose -run TestDocsHaveTheMatrix -update", docsFile)
	}
}

// supportTable is the matrix in markdown, one table for each part of a file.
func supportTable() string {
	var b bytes.Buffer
	for _, part := range []struct{ title, prefix string }{
		{"The file", ""}, {"Services", "services.*."}, {"Services: deploy", "services.*.deploy"},
		{"Networks", "networks.*."}, {"Volumes", "volumes.*."}, {"Configs", "configs.*."}, {"Secrets", "secrets.*."},
	} {
		fmt.Fprintf(&b, "\n### %s\n\n| Key | Read | |\n|---|---|---|\n", part.title)
		for _, row := range matrix() {
			if partOf(row.path) != part.prefix {
				continue
			}
			name := "`" + strings.TrimPrefix(row.path, strings.TrimSuffix(part.prefix, "deploy")) + "`"
			if row.whole {
				name += " and all below it"
			}
			says := row.says
			if row.remedy != "" {
				says += "; " + row.remedy
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, row.support, strings.ReplaceAll(says, "|", `\|`))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// partOf is the part of the table that has a row.
func partOf(path string) string {
	if strings.HasPrefix(path, "services.*.deploy") {
		return "services.*.deploy"
	}
	for _, prefix := range []string{"services.*.", "networks.*.", "volumes.*.", "configs.*.", "secrets.*."} {
		if strings.HasPrefix(path, prefix) {
			return prefix
		}
	}
	return ""
}
