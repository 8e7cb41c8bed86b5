//go:build linux

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// field is one of the configuration, as people write it: lists end in [],
// and what a map is keyed by is HOST.
type field struct {
	path string
	leaf string // last part of path
}

// fieldsOf lists what can be written in a configuration.
func fieldsOf(path string, typ reflect.Type) []field {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Struct:
		return fieldsOf(path+".HOST", typ.Elem())
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		return append([]field{{path + "[]", ""}}, fieldsOf(path+"[]", typ.Elem())...)
	case typ.Kind() == reflect.Struct:
		var all []field
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && name == "" {
				all = append(all, fieldsOf(path, f.Type)...)
			} else {
				all = append(all, fieldsOf(strings.TrimPrefix(path+"."+name, "."), f.Type)...)
			}
		}
		return all
	}
	return []field{{path, path[strings.LastIndexByte(path, '.')+1:]}}
}

// documented reads the table of docs/agent.md: each field with its meaning. A
// name that begins with a dot goes on from the name before.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "agent.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| field | default | meaning |\n")
	if !ok {
		t.Fatal("docs/agent.md has no table of fields")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	code := regexp.MustCompile("`([^`]+)`")
	out, parent := map[string]string{}, ""
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		if len(cells) < 2 {
			continue
		}
		for _, name := range code.FindAllStringSubmatch(cells[0], -1) {
			path := name[1]
			if strings.HasPrefix(path, ".") {
				path = parent + path
			} else if parent = path; !strings.HasSuffix(path, "[]") {
				parent, _, _ = cutLast(path, ".")
			}
			out[path] = cells[len(cells)-1]
		}
	}
	return out
}

func cutLast(s, sep string) (before, after string, found bool) {
	if k := strings.LastIndex(s, sep); k >= 0 {
		return s[:k], s[k+len(sep):], true
	}
	return "", s, false
}

// TestConfigDocumented: docs/agent.md has every field of the configuration,
// and none that is not one.
func TestConfigDocumented(t *testing.T) {
	rows := documented(t)
	known := map[string]bool{}
	for _, f := range fieldsOf("", reflect.TypeFor[config]()) {
		known[f.path] = true
		if _, ok := rows[f.path]; ok {
			continue
		}
		// What a list is made of may stand in the row of the list.
		list, _, isElement := cutLast(f.path, "[].")
		if isElement && strings.Contains(rows[list+"[]"], f.leaf) {
			continue
		}
		t.Errorf("docs/agent.md does not have %s: give it a row in the table of fields, and a line in docs/agent.yaml", f.path)
	}
	for path := range rows {
		if !known[path] {
			t.Errorf("docs/agent.md has %s, which is no field", path)
		}
	}
}

// TestConfigExample: docs/agent.yaml is a configuration with which an agent
// can start, and has every field; those that exclude another one as comments.
func TestConfigExample(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "agent.yaml")
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	walkFields("", reflect.ValueOf(c), func(path string, v reflect.Value) {
		if !v.IsZero() {
			written[listIndex.ReplaceAllString(path, "[]")] = true
		}
	})
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fieldsOf("", reflect.TypeFor[config]()) {
		there := slices.ContainsFunc([]string{f.path, f.path + "[]"}, func(path string) bool {
			return written[strings.ReplaceAll(path, ".HOST", "[]")]
		})
		comment := regexp.MustCompile(`(?m)^ *#.*\b` + f.leaf + `:`)
		if f.leaf != "" && !there && !comment.Match(text) {
			t.Errorf("docs/agent.yaml does not have %s", f.path)
		}
	}
	if err := c.complete(); err != nil {
		t.Errorf("docs/agent.yaml: %v", err)
	}
}

// listIndex is what walkFields names an element of a list or a map by.
var listIndex = regexp.MustCompile(`\[[^\]]*\]`)
