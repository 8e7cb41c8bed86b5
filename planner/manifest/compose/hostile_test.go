package compose

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// laughs is a file of aliases of aliases.
func laughs() string {
	var b strings.Builder
	b.WriteString("x-a0: &a0 [l, l, l, l, l, l, l, l, l, l]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "x-a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String() + "services: {a: {image: a}}\n"
}

// Each of these ends soon, and with a fault that says why.
func TestHostileFilesEndSoon(t *testing.T) {
	const plainFile = "services: {a: {image: a}}\n"
	wide := "services:\n  a: &a {image: a, labels: {" + strings.Repeat("k%d: v, ", 0) + "x: y}}\n"
	for i := range 600 {
		wide += fmt.Sprintf("  s%d: *a\n", i)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"aliases of aliases", map[string]string{"": laughs()}, "is too large with what its aliases and merges repeat"},
		{"merges of merges", map[string]string{"": strings.ReplaceAll(strings.ReplaceAll(laughs(), "[l, l, l, l, l, l, l, l, l, l]", "{l: l}"), "[*", "[<<: *")}, ""},
		{"an alias of itself", map[string]string{"": "services: &s {a: {image: a, x-y: *s}}\n"}, "refers to itself"},
		{"a merge of itself", map[string]string{"": "services: {a: &a {image: a, <<: *a}}\n"}, "merges what is no object"},
		{"nesting", map[string]string{"": "x-a: " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\n" + plainFile}, "nested more than"},
		{"a long list", map[string]string{"": "x-a: [" + strings.Repeat("1,", 2000) + "]\n" + plainFile}, "2000 items"},
		{"many documents", map[string]string{"": strings.Repeat("---\n"+plainFile, 200)}, "more than 100 documents"},
		{"a large file", map[string]string{"": plainFile + strings.Repeat("#", 300<<10)}, "larger than 256 KiB"},
		{"many services", map[string]string{"": wide}, "more than 500 services"},
		{"ranges of ports", map[string]string{"": "services: {a: {image: a, ports: ['1-65535:1-65535', '1-65535']}}\n"}, "is one too many"},
		{"ranges of exposed ports", map[string]string{"": "services: {a: {image: a, expose: ['1-65535']}}\n"}, ""},
		{"variables that grow", map[string]string{"": "services: {a: {image: a, environment: {X: '" + strings.Repeat("$BIG", 400) + "'}}}\n", "env": "BIG=" + strings.Repeat("x", 60000)}, "is longer than 64 KiB"},
		{"many variables that grow", map[string]string{"": "services: {a: {image: a, environment: [" + strings.Repeat("'A=$BIG',", 500) + "]}}\n", "env": "BIG=" + strings.Repeat("x", 60000)}, "4 MiB together"},
		{"variables that double", map[string]string{"": plainFile, "env": "A=xxxxxxxx\n" + doubling()}, "is too large with its variables"},
		{"references in references", map[string]string{"": "services: {a: {image: '" + strings.Repeat("${A:-", 60) + strings.Repeat("}", 60) + "'}}\n"}, "references within each other"},
		{"many references", map[string]string{"": "services: {a: {image: '" + strings.Repeat("${A:-}", 20000) + "'}}\n"}, ""},
		{"open references", map[string]string{"": "services: {a: {image: '" + strings.Repeat("${A:-{", 20000) + "}'}}\n"}, "begins like a variable"},
		{"a circle of includes", map[string]string{"": "include: [b.yaml]\n" + plainFile, "b.yaml": "include: [c.yaml]\n", "c.yaml": "include: [compose.yaml]\n"}, "goes round in a circle"},
		{"includes that double", includesThatDouble(), "is one too many"},
		{"a circle of extensions", map[string]string{"": "services: {a: {extends: b}, b: {extends: c}, c: {extends: a}}\n"}, "goes round in a circle: a of"},
		{"a circle of files", map[string]string{"": "services: {a: {extends: {file: b.yaml, service: a}}}\n", "b.yaml": "services: {a: {extends: {file: compose.yaml, service: a}}}\n"}, "goes round in a circle"},
		{"itself", map[string]string{"": "services: {a: {extends: a}}\n"}, "goes round in a circle"},
		{"a circle of dependencies", map[string]string{"": "services: {a: {image: a, depends_on: [b]}, b: {image: b, depends_on: [a]}}\n"}, "services wait for each other: a, which depends on b, which depends on a"},
		{"no text", map[string]string{"": "services: \x00"}, "NUL"},
		{"no UTF-8", map[string]string{"": "services: \xff"}, "UTF-8"},
		{"a merge conflict", map[string]string{"": "services:\n<<<<<<< ours\n  a: 1\n"}, "merge conflict"},
		{"nothing", map[string]string{"": "# nothing\n"}, "holds nothing"},
		{"a list", map[string]string{"": "[1]"}, "must be an object"},
		{"null services", map[string]string{"": "services: {a: }\n"}, "services.a"},
		{"an odd key", map[string]string{"": "services: {1: {image: a}}\n"}, "key that is no text"},
		{"a key twice", map[string]string{"": "services:\n  a: {image: a}\n  a: {image: b}\n"}, "is given twice, first on line 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range c.files {
				switch name {
				case "":
					name = "compose.yaml"
				case "env":
					name = ".env"
				}
				files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
			}
			began := time.Now()
			p, faults := Load(context.Background(), Source{FS: files, Path: "compose.yaml"})
			Convert(p)
			t.Log(time.Since(began).Round(time.Millisecond))
			if text := told(faults); !strings.Contains(text, c.want) || c.want != "" && len(faults) == 0 {
				t.Errorf("faults:\n%.2000s", text)
			}
			for _, f := range faults {
				if f.Remedy == "" && !strings.HasSuffix(f.Reason, "more faults are not listed") {
					t.Errorf("%v has no remedy", f)
				}
			}
			if time.Since(began) > time.Minute {
				t.Errorf("it took %v", time.Since(began))
			}
		})
	}
}

func doubling() string {
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "A=$A$A$A$A # %d\n", i)
	}
	return b.String()
}

func includesThatDouble() map[string]string {
	files := map[string]string{"": "include: [i0.yaml, i0.yaml]\nservices: {a: {image: a}}\n"}
	for i := range 14 {
		files[fmt.Sprintf("i%d.yaml", i)] = fmt.Sprintf("include: [i%d.yaml, i%d.yaml]\nservices: {a%d: {image: a, command: [%s]}}\n", i+1, i+1, i, strings.Repeat("x,", 50))
	}
	files["i14.yaml"] = "services: {last: {image: a}}\n"
	return files
}

// FuzzLoad: whatever a file holds, reading it ends, panics never, and tells the
// same twice.
func FuzzLoad(f *testing.F) {
	for _, text := range leaks {
		f.Add([]byte(text), []byte("A=1"))
	}
	err := fs.WalkDir(os.DirFS("testdata/projects"), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains([]string{"compose.yaml", "stack.yml", "docker-compose.yml", "base.yaml"}, d.Name()) {
			data, err := os.ReadFile("testdata/projects/" + name)
			if err != nil {
				return err
			}
			f.Add(data, []byte("B=${A}\n"))
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, env []byte) {
		files := fstest.MapFS{"x/compose.yaml": {Data: text, Mode: 0o644}, "x/.env": {Data: env, Mode: 0o644}, "x/a.yaml": {Data: text, Mode: 0o644}}
		source := Source{FS: files, Path: "x/compose.yaml", Variables: map[string]string{"TAG": "1"}}
		p, faults := Load(context.Background(), source)
		Convert(p)
		if _, again := Load(context.Background(), source); told(again) != told(faults) {
			t.Errorf("told\n%sand then\n%s", told(faults), told(again))
		}
		for _, f := range faults {
			if f.File == "" || f.Reason == "" {
				t.Errorf("a fault without a file or a reason: %+v", f)
			}
		}
	})
}
