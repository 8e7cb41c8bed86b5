package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

const goodFleet = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: test}\n"

// manifestOf is the smallest manifest of a service.
func manifestOf(name, image string) string {
	return fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  image: %s\n", name, image)
}

func load(t testing.TB, fsys fs.FS) planner.Desired {
	t.Helper()
	return loadWith(t, NewLoader(Limits{}), fsys, ".")
}

func loadWith(t testing.TB, l *Loader, fsys fs.FS, dir string) planner.Desired {
	t.Helper()
	d, err := l.Load(context.Background(), fsys, dir, planner.Commit{Hash: "c0ffee"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func lines(faults []planner.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		if f.Warning {
			b.WriteString("warning: ")
		}
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

// The 20 good manifests move on beside the broken one, whose three faults are
// all listed with file, line, field and remedy.
func TestOneBrokenFileHoldsBackOnlyItself(t *testing.T) {
	files := map[string]string{"fleet.yaml": goodFleet}
	for i := range 20 {
		files[fmt.Sprintf("apps/s%02d.yaml", i)] = manifestOf(fmt.Sprintf("s%02d", i), "registry.example.com/web:1")
	}
	files["apps/broken.yaml"] = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: broken}\nspec:\n  imgae: web:1\n  replicas: -1\n  env:\n  - {name: PORT, value: 8080}\n"
	d := load(t, newTree(files))
	if len(d.Services) != 20 {
		t.Errorf("%d services, want 20", len(d.Services))
	}
	want := `apps/broken.yaml:5:3: spec: unknown field "imgae"; did you mean image?
apps/broken.yaml:6:13: spec.replicas: -1 is out of range; write a number from 0 to 1000
apps/broken.yaml:8:25: spec.env[0].value: must be text, but 8080 unquoted reads as a number; write "8080" in quotes
`
	if got := lines(d.Faults); got != want {
		t.Errorf("faults:\n%s\nwant:\n%s", got, want)
	}
	if d.Complete() {
		t.Error("complete in spite of a broken file")
	}
}

func TestNoFleetRefusesTheCommit(t *testing.T) {
	rows := []struct {
		name, dir, want string
		files           map[string]string
	}{
		// The path has a typo: the fleet is at the top.
		{"wrong path", "clusters/prdo", "there is no clusters/prdo/fleet.yaml; there is one in folder \".\"", map[string]string{"fleet.yaml": goodFleet}},
		// Everything was deleted.
		{"empty repository", ".", "there is no fleet.yaml; check the path", map[string]string{}},
		// A broken fleet.yaml says nothing about what to run.
		{"broken", ".", "fleet.yaml is not valid: fleet.yaml:3:18: metadata.name: ", map[string]string{"fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: Not A Name}\n"}},
		// Services are not looked for in fleet.yaml.
		{"service in it", ".", "fleet.yaml holds only the document of kind Fleet", map[string]string{"fleet.yaml": manifestOf("web", "web:1")}},
		{"two documents", ".", "more than one document", map[string]string{"fleet.yaml": goodFleet + "---\n" + goodFleet}},
		{"outside", "../x", "does not lie in the repository", map[string]string{}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d, err := NewLoader(Limits{}).Load(context.Background(), newTree(row.files), row.dir, planner.Commit{})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("error %v, want %q", err, row.want)
			}
			if len(d.Services) != 0 {
				t.Error("services of a refused commit")
			}
			var refused *RefusedError
			if row.name != "outside" && !errors.As(err, &refused) {
				t.Errorf("%T is no RefusedError", err)
			}
		})
	}
}

func TestUnchangedObjectsAreNotReadAgain(t *testing.T) {
	files := map[string]string{"fleet.yaml": goodFleet, "README.md": "hello"}
	for i := range 30 {
		files[fmt.Sprintf("team%d/s%d.yaml", i%3, i)] = manifestOf(fmt.Sprintf("s%d", i), "web:1")
	}
	root := newTree(files)
	l := NewLoader(Limits{})
	first := loadWith(t, l, root, ".")
	before := l.Stats()
	*root.opened = 0

	step := func(what string, parsed, walked uint64) {
		t.Helper()
		after := l.Stats()
		if got := after.Parsed - before.Parsed; got != parsed {
			t.Errorf("%s: parsed %d blobs, want %d", what, got, parsed)
		}
		if got := after.FoldersWalked - before.FoldersWalked; got != walked {
			t.Errorf("%s: walked %d folders, want %d", what, got, walked)
		}
		before = after
	}
	if again := loadWith(t, l, root, "."); !reflect.DeepEqual(first, again) {
		t.Error("the same tree read differently")
	}
	step("nothing changed", 0, 0)
	if *root.opened != 0 {
		t.Errorf("opened %d files", *root.opened)
	}
	loadWith(t, l, root.put("README.md", "bye"), ".")
	step("README changed", 0, 1)
	loadWith(t, l, root.put("team1/s1.yaml", manifestOf("s1", "web:2")), ".")
	step("one file changed", 1, 2)

	// A file that moves is the same blob; so is its service but for the path.
	moved := loadWith(t, l, root.remove("team1/s1.yaml").put("other/s1.yaml", manifestOf("s1", "web:2")), ".")
	step("file moved", 0, 3)
	if s := moved.Services[planner.ServiceID{Namespace: "default", Name: "s1"}]; s.File != "other/s1.yaml" {
		t.Errorf("moved service lies at %q", s.File)
	}
}

// The cache keeps what the last accepted and the last commit use, however many
// refused commits come between.
func TestCacheIsBounded(t *testing.T) {
	l := NewLoader(Limits{})
	good := newTree(map[string]string{"fleet.yaml": goodFleet, "a.yaml": manifestOf("a", "web:1")})
	loadWith(t, l, good, ".")
	for i := range 50 {
		bad := newTree(map[string]string{"fleet.yaml": fmt.Sprintf("kind: %d", i), "a.yaml": manifestOf("a", "web:1")})
		if _, err := l.Load(context.Background(), bad, ".", planner.Commit{}); err == nil {
			t.Fatal("accepted a broken fleet.yaml")
		}
	}
	before := l.Stats()
	loadWith(t, l, good, ".")
	if after := l.Stats(); after.Parsed != before.Parsed {
		t.Error("the good commit was parsed again")
	}
	for i := range 50 {
		loadWith(t, l, newTree(map[string]string{"fleet.yaml": goodFleet, "a.yaml": manifestOf("a", fmt.Sprintf("web:%d", i))}), ".")
	}
	if n := len(l.documents) + len(l.listings); n != 3 {
		t.Errorf("%d things cached, want fleet.yaml, a.yaml and their folder", n)
	}
}

func TestCancelledLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := NewLoader(Limits{}).Load(ctx, newTree(map[string]string{"fleet.yaml": goodFleet}), ".", planner.Commit{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// os.DirFS has no object ids: everything works, nothing is cached.
func TestLoadFromDisk(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) {
		if err := os.MkdirAll(dir+"/"+name[:strings.LastIndex("/"+name, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("fleet.yaml", goodFleet)
	write("a/web.yaml", manifestOf("web", "web:1"))
	write(".git/config.yaml", "not: ours")
	if err := os.Symlink("a/web.yaml", dir+"/link.yaml"); err != nil {
		t.Fatal(err)
	}
	d := load(t, os.DirFS(dir))
	if len(d.Services) != 1 {
		t.Errorf("services %v", d.Services)
	}
	if got, want := lines(d.Faults), "link.yaml: is a symbolic link: links are not followed; commit the file itself\n"; got != want {
		t.Errorf("faults %q, want %q", got, want)
	}
}

func TestFaultsAreOrdered(t *testing.T) {
	files := map[string]string{"fleet.yaml": goodFleet}
	for i := range 20 {
		files[fmt.Sprintf("z%d.yaml", i)] = "apiVersion: orpheus/v1\nkind: Service\nspec: {b: 1, a: 2}\nmetadata: {}\n"
	}
	d := load(t, newTree(files))
	if !slices.IsSortedFunc(d.Faults, planner.CompareFaults) {
		t.Errorf("not in order:\n%s", lines(d.Faults))
	}
}

var serviceGood = planner.ServiceID{Namespace: "default", Name: "good"}
