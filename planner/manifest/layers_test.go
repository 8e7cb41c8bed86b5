package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// fleetWith is a fleet.yaml with the given lines in spec.
func fleetWith(spec ...string) string {
	if len(spec) == 0 {
		return goodFleet
	}
	return goodFleet + "spec:\n  " + strings.Join(spec, "\n  ") + "\n"
}

// patchOf is a document about a service with the given spec.
func patchOf(name, spec string) string {
	return "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// overlay is a repository with a base, an environment that uses it, and
// another environment that is none of its business.
func overlay(more map[string]string) map[string]string {
	files := map[string]string{
		"base/fleet.yaml":         fleetWith(),
		"base/web.yaml":           patchOf("web", `{image: "web:1", replicas: 2, env: [{name: LEVEL, value: info}]}`),
		"base/api.yaml":           patchOf("api", `{image: "api:1"}`),
		"envs/prod/fleet.yaml":    fleetWith("base: ../../base"),
		"envs/prod/web.yaml":      patchOf("web", `{replicas: 5, env: [{name: LEVEL, value: warn}, {name: REGION, value: eu}]}`),
		"envs/staging/fleet.yaml": fleetWith("base: ../../base"),
		"envs/staging/bad.yaml":   "not: ours",
	}
	maps.Copy(files, more)
	for name, data := range files {
		if data == "" {
			delete(files, name)
		}
	}
	return files
}

func loadProd(t testing.TB, files map[string]string) planner.Desired {
	t.Helper()
	return loadWith(t, NewLoader(Limits{}), newTree(files), "envs/prod")
}

func named(t testing.TB, d planner.Desired, name string) planner.Service {
	t.Helper()
	s, ok := d.Services[planner.ServiceID{Namespace: planner.DefaultNamespace, Name: name}]
	if !ok {
		t.Fatalf("no service %s; faults:\n%s", name, lines(d.Faults))
	}
	return s
}

// names of the services, sorted.
func serviceNames(d planner.Desired) string {
	var names []string
	for id := range d.Services {
		names = append(names, id.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestOverlay(t *testing.T) {
	d := loadProd(t, overlay(map[string]string{"envs/prod/extra.yaml": manifestOf("extra", "extra:1")}))
	if len(d.Faults) > 0 || serviceNames(d) != "api extra web" {
		t.Fatalf("services %s; faults:\n%s", serviceNames(d), lines(d.Faults))
	}
	web := named(t, d, "web")
	want := []planner.EnvVar{{Name: "LEVEL", Value: "warn"}, {Name: "REGION", Value: "eu"}}
	if c := web.Template.Containers[0]; c.Image != "web:1" || web.Replicas != 5 || !reflect.DeepEqual(c.Env, want) {
		t.Errorf("%+v", web)
	}
	if web.File != "envs/prod/web.yaml" || web.Line != 3 {
		t.Errorf("web lies at %s:%d", web.File, web.Line)
	}
	if api := named(t, d, "api"); api.File != "base/api.yaml" {
		t.Errorf("api lies at %s", api.File)
	}
	// The same service written out is the same revision.
	plain := load(t, newTree(map[string]string{"fleet.yaml": goodFleet,
		"web.yaml": patchOf("web", `{image: "web:1", replicas: 5, env: [{name: LEVEL, value: warn}, {name: REGION, value: eu}]}`)}))
	if a, b := web.Revision, named(t, plain, "web").Revision; a != b {
		t.Errorf("revision %s, written out %s", a, b)
	}
}

// What fleet.yaml says of the fleet is laid over what the bases' say; base and
// ignore belong to each folder.
func TestOverlayOfFleet(t *testing.T) {
	d := loadProd(t, overlay(map[string]string{
		"base/fleet.yaml":         fleetWith("pollInterval: 30s", "ignore: [values.yaml]", "nodes: [a, b]", "budgets: {preset: github}"),
		"base/values.yaml":        "not: ours",
		"envs/prod/fleet.yaml":    strings.Replace(fleetWith("base: [../../base]", "nodes: [c]", "budgets: null", "ignore: [x]"), "test", "prod", 1),
		"envs/prod/x/values.yaml": "not: ours",
	}))
	if len(d.Faults) > 0 || len(d.Services) != 2 {
		t.Fatalf("faults:\n%s", lines(d.Faults))
	}
	f := d.Fleet
	if f.Name != "prod" || f.Poll().Seconds() != 30 || !reflect.DeepEqual(f.Nodes, []planner.NodeName{"c"}) || f.Budgets != (planner.Budgets{}) || !reflect.DeepEqual(f.Ignore, []string{"x"}) {
		t.Errorf("%+v", f)
	}
}

// Bases of bases, several bases, and one that two others share: each folder is
// one layer, and a later one wins.
func TestLayersAreOrdered(t *testing.T) {
	files := map[string]string{
		"root/web.yaml": patchOf("web", `{image: "root:1", hostname: root, workingDir: /root}`),
		"a/fleet.yaml":  fleetWith("base: ../root"), "a/web.yaml": patchOf("web", `{hostname: a, workingDir: /a}`),
		"b/fleet.yaml": fleetWith("base: ../root"), "b/web.yaml": patchOf("web", `{workingDir: /b}`),
		"prod/fleet.yaml": fleetWith("base: [../a, ../b]"),
	}
	d := loadWith(t, NewLoader(Limits{}), newTree(files), "prod")
	got := named(t, d, "web").Template
	if c := got.Containers[0]; c.Image != "root:1" || got.Hostname != "a" || c.WorkingDir != "/b" {
		t.Errorf("%+v", got)
	}
	files["prod/fleet.yaml"] = fleetWith("base: [../b, ../a]")
	d = loadWith(t, NewLoader(Limits{}), newTree(files), "prod")
	if c := named(t, d, "web").Template.Containers[0]; c.WorkingDir != "/a" {
		t.Errorf("%+v", c)
	}
}

// A fleet that names no base reads what lies below it, as it always did: base
// and environments are its folders like others.
func TestFleetAtTheTopReadsAllBelow(t *testing.T) {
	d := load(t, newTree(overlay(map[string]string{"fleet.yaml": goodFleet})))
	got := lines(d.Faults)
	for _, want := range []string{
		"base/fleet.yaml:2:7: kind: a second Fleet",
		"envs/prod/fleet.yaml:2:7: kind: a second Fleet",
		"envs/prod/web.yaml:4:7: spec.image: is required",
		"envs/staging/bad.yaml:1:1: is not a manifest",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	// Or nothing below it, if it says so.
	d = load(t, newTree(overlay(map[string]string{"fleet.yaml": fleetWith("ignore: [base, envs]"), "top.yaml": manifestOf("top", "top:1")})))
	if len(d.Faults) > 0 || serviceNames(d) != "top" {
		t.Errorf("services %s; faults:\n%s", serviceNames(d), lines(d.Faults))
	}
}

// An environment reads its own folder and those of its bases, and opens no
// other.
func TestOverlayReadsNoSibling(t *testing.T) {
	root := newTree(overlay(nil))
	secret := &tree{name: "secret", mode: fs.ModeDir, opened: new(int), entries: []*tree{{name: "x.yaml", mode: 0o644, opened: root.opened}}}
	root.child("envs").child("staging").entries = append(root.child("envs").child("staging").entries, secret)
	if d := loadWith(t, NewLoader(Limits{}), root, "envs/prod"); len(d.Faults) > 0 {
		t.Errorf("faults:\n%s", lines(d.Faults))
	}
	if *secret.opened > 0 {
		t.Error("a sibling was read")
	}
}

// Attack case 20: bases are folders of the same repository, reached without
// links, and a bounded number of them.
func TestAttack20Bases(t *testing.T) {
	deep := map[string]string{}
	for i := range 20 {
		deep[fmt.Sprintf("d%d/fleet.yaml", i)] = fleetWith(fmt.Sprintf("base: ../d%d", i+1))
	}
	wide := map[string]string{}
	var list []string
	for i := range 16 {
		wide[fmt.Sprintf("d%d/fleet.yaml", i)] = goodFleet
		list = append(list, fmt.Sprintf("../../d%d", i))
	}
	rows := []struct {
		name, base, want string
		files            map[string]string
	}{
		{"https", `"https://example.com/team/base.git"`, "there are no remote bases", nil},
		{"ssh", `"ssh://git@example.com/base"`, "there are no remote bases", nil},
		{"scp", `"git@example.com:team/base"`, "there are no remote bases", nil},
		{"a helper of git", `"ext::sh -c id"`, "there are no remote bases", nil},
		{"kustomize's form", `github.com/team/base//overlay?ref=v1`, "there are no remote bases", nil},
		{"kustomize's short form", `github.com/team/base`, "there are no remote bases", nil},
		{"a file URL", `"file:///etc"`, "there are no remote bases", nil},
		{"absolute", `/etc`, "is an absolute path", nil},
		{"climbing", `../../../etc`, "leads out of the repository", nil},
		{"climbing after all", `../../base/../../etc`, "leads out of the repository", nil},
		{"backslashes", `..\..\base`, "has a backslash", nil},
		{"Git's own folder", `../../.git/x`, "leads into Git's own folder", nil},
		{"a name that lies", `../../git~1`, "some file systems take for .git", nil},
		{"not there", `../../bsae`, `"../../bsae" does not exist: there is no "bsae"`, nil},
		{"a file", `../../base/web.yaml`, `is no folder: "base/web.yaml" is a file`, nil},
		{"itself", `.`, "is this folder itself", nil},
		{"below itself", `./base`, "lie in each other", map[string]string{"envs/prod/base/fleet.yaml": goodFleet}},
		{"above itself", `..`, "lie in each other", map[string]string{"envs/x.yaml": manifestOf("x", "x:1")}},
		{"the top", `../..`, `lie in each other`, map[string]string{"x.yaml": manifestOf("x", "x:1")}},
		{"one in the other", `[../../base, ../../base/more]`, "lie in each other", map[string]string{"base/more/x.yaml": manifestOf("x", "x:1")}},
		{"a circle", `../../base`, `closes a circle: envs/prod is made from base is made from envs/prod`, map[string]string{"base/fleet.yaml": fleetWith("base: ../envs/prod")}},
		{"too deep", `../../d0`, "more than 8 bases of bases", deep},
		{"too many", "[" + strings.Join(list, ", ") + "]", "at most 16", wide},
		{"empty text", `""`, "must have from 1", nil},
		{"no text", `1`, "must be text", nil},
		{"nothing", ``, "has no value", nil},
		{"no manifest", `../../docs`, `base "docs" holds no manifest`, map[string]string{"docs/README.md": "x"}},
		{"a broken one", `../../base`, "base/fleet.yaml:3:18: metadata.name", map[string]string{"base/fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: A B}\n"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			files := overlay(row.files)
			files["envs/prod/fleet.yaml"] = goodFleet + "spec:\n  base: " + row.base + "\n"
			if row.name == "a broken one" {
				files["envs/prod/fleet.yaml"] = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {}\nspec: {base: ../../base}\n"
			}
			d, err := NewLoader(Limits{}).Load(context.Background(), newTree(files), "envs/prod", planner.Commit{})
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want a refusal with %q", err, row.want)
			}
			if len(d.Services) > 0 {
				t.Error("services of a refused commit")
			}
		})
	}
}

// Neither a base nor a folder on the way to it may be a link or a submodule.
func TestAttack20BaseBehindALink(t *testing.T) {
	for _, base := range []string{"../../link", "../../link/base", "../../module"} {
		root := newTree(overlay(map[string]string{"envs/prod/fleet.yaml": fleetWith("base: " + base)}))
		root.add("link", fs.ModeSymlink, "/etc")
		root.add("module", fs.ModeIrregular, "has mode 160000")
		_, err := NewLoader(Limits{}).Load(context.Background(), root, "envs/prod", planner.Commit{})
		if err == nil || !strings.Contains(err.Error(), "is not followed") {
			t.Errorf("%s: error %v", base, err)
		}
	}
}

// What is made from a bad file keeps running as it was; the rest goes on. A
// service is never run from its base alone because its overlay is broken.
func TestBadFilesOfLayers(t *testing.T) {
	rows := []struct {
		name  string
		files map[string]string
		left  string // services that go on
		want  string // in the faults
	}{
		{"a bad base document", map[string]string{"base/web.yaml": patchOf("web", `{image: "web:1", replica: 2}`)}, "api",
			`base/web.yaml:4:24: spec: unknown field "replica"`},
		{"a bad value in the overlay", map[string]string{"envs/prod/web.yaml": patchOf("web", `{replicas: -1}`)}, "api",
			"envs/prod/web.yaml:4:18: spec.replicas: -1 is out of range"},
		{"an unknown field in the overlay", map[string]string{"envs/prod/web.yaml": patchOf("web", `{replica: 1}`)}, "api",
			`envs/prod/web.yaml:4:8: spec: unknown field "replica"`},
		{"what lint refuses", map[string]string{"envs/prod/web.yaml": patchOf("web", `&a {replicas: 1}`)}, "api", "anchors"},
		// Nobody can say what the rest of these would have been about.
		{"an overlay that is no YAML", map[string]string{"envs/prod/web.yaml": "kind: Service\nmetadata: {name: web\n"}, "api", "is not valid YAML"},
		{"an overlay without a kind", map[string]string{"envs/prod/web.yaml": "apiVersion: orpheus/v1\nmetadata: {name: web}\n"}, "api", "kind: is required"},
		{"an overlay of a misspelt kind", map[string]string{"envs/prod/web.yaml": strings.Replace(patchOf("web", "{}"), "Service", "Servce", 1)}, "api", "did you mean Service?"},
		{"an overlay with a merge conflict", map[string]string{"envs/prod/web.yaml": "<<<<<<< a\n" + patchOf("web", "{}")}, "api", "merge conflict"},
		{"an emptied overlay", map[string]string{"envs/prod/web.yaml": "\n"}, "", "holds no document"},
		{"an overlay that is cut off", map[string]string{"envs/prod/web.yaml": "apiVersion: orpheus/v1\nkind: [Serv"}, "", "is not valid YAML"},
		{"what is no overlay at all", map[string]string{"envs/prod/values.yaml": "replicas: 3"}, "api web", "envs/prod/values.yaml:1:1: is not a manifest of Orpheus"},
		{"an overlay in LFS", map[string]string{"envs/prod/web.yaml": lfsPointer}, "", "LFS"},
		{"an overlay with an escape", map[string]string{"envs/prod/web.yaml": "kind: Service\nmetadata: {name: \"\\x77eb\"\n"}, "", "is not valid YAML"},
		{"an overlay that is too large", map[string]string{"envs/prod/web.yaml": strings.Repeat("#", 65<<10)}, "", "larger than 64 KiB"},
		// Nor from its overlay alone, even if that could stand by itself.
		{"a base that is no YAML", map[string]string{"base/web.yaml": "name: web\n\t- x", "envs/prod/web.yaml": patchOf("web", `{image: "web:1"}`)}, "api", "is not valid YAML"},
		{"two in one layer", map[string]string{"envs/prod/web2.yaml": patchOf("web", "{}")}, "api",
			"envs/prod/web.yaml:3:18: metadata.name: service web is described also in envs/prod/web2.yaml line 3; keep one of them, or choose another name or namespace\n"},
		{"a file that is not there", map[string]string{"envs/prod/web.yaml": patchOf("web", `{volumes: [{name: a, file: nowhere}], volumeMounts: [{name: a, mountPath: /a}]}`)}, "api",
			`envs/prod/web.yaml:4:34: spec.volumes[0].file: "nowhere" does not exist`},
		{"a port of another", map[string]string{
			"base/api.yaml":      patchOf("api", `{image: "api:1", ports: [{name: a, containerPort: 1, publish: 80}]}`),
			"base/web.yaml":      patchOf("web", `{image: "web:1", ports: [{name: a, containerPort: 1, publish: 81}]}`),
			"base/other.yaml":    manifestOf("other", "other:1"),
			"envs/prod/web.yaml": patchOf("web", `{ports: [{name: a, publish: 80}]}`)}, "other",
			"envs/prod/web.yaml:4:35: spec.ports[0].publish: port 80/tcp of the node is wanted also by service api in base/api.yaml line 4"},
		// A document whose partner is missing is a new one.
		{"a patch of nothing", map[string]string{"envs/prod/wbe.yaml": patchOf("wbe", `{replicas: 1}`)}, "api web", "envs/prod/wbe.yaml:4:7: spec.image: is required"},
		{"a null in a patch of nothing", map[string]string{"envs/prod/wbe.yaml": patchOf("wbe", `{image: "a:1", hostname: null}`)}, "api web", "spec.hostname: has no value"},
		{"a deletion of nothing", map[string]string{"envs/prod/wbe.yaml": "$patch: delete\n" + patchOf("wbe", `{image: "a:1"}`)}, "api web", "envs/prod/wbe.yaml:1:1: $patch: changes nothing: no base describes this"},
		// A broken file of an environment says nothing about another.
		{"a broken sibling", map[string]string{"envs/staging/web.yaml": "name: web\n\t"}, "api web", ""},
		{"a file that is none of ours, ignored", map[string]string{"envs/prod/fleet.yaml": fleetWith("base: ../../base", "ignore: [values.yaml]"), "envs/prod/values.yaml": "a: b"}, "api web", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := loadProd(t, overlay(row.files))
			if got := serviceNames(d); got != row.left {
				t.Errorf("services %q, want %q", got, row.left)
			}
			got := lines(d.Faults)
			if !strings.Contains(got, row.want) || (row.want == "") != (got == "") {
				t.Errorf("faults:\n%s\nwant %s", got, row.want)
			}
			if d.Complete() != (row.want == "") {
				t.Error("wrong about being complete")
			}
		})
	}
}

// Something that is refused by its name may hide any overlay.
func TestLinkAmongOverlays(t *testing.T) {
	root := newTree(overlay(nil))
	root.child("envs").child("prod").add("api.yaml", fs.ModeSymlink, "../elsewhere")
	d := loadWith(t, NewLoader(Limits{}), root, "envs/prod")
	if serviceNames(d) != "web" {
		t.Errorf("services %s", serviceNames(d))
	}
}

// A commit costs what it changes: unchanged documents are neither parsed nor
// put together again, and a variable concerns who uses it.
func TestLayersAreNotReadAgain(t *testing.T) {
	files := overlay(map[string]string{"envs/prod/fleet.yaml": fleetWith("base: ../../base", "variables: {a: x, b: w}")})
	for i := range 50 {
		files[fmt.Sprintf("base/s%02d.yaml", i)] = patchOf(fmt.Sprintf("s%02d", i), `{image: "s:1", args: ["${`+string("ab"[i%2])+`}"]}`)
	}
	root, l := newTree(files), NewLoader(Limits{})
	first := loadWith(t, l, root, "envs/prod")
	if len(first.Faults) > 0 || len(first.Services) != 52 {
		t.Fatalf("%d services; faults:\n%s", len(first.Services), lines(first.Faults))
	}
	before := l.Stats()
	step := func(what string, parsed, composed uint64) planner.Desired {
		t.Helper()
		d := loadWith(t, l, root, "envs/prod")
		after := l.Stats()
		if p, c := after.Parsed-before.Parsed, after.Composed-before.Composed; p != parsed || c != composed {
			t.Errorf("%s: parsed %d and composed %d, want %d and %d", what, p, c, parsed, composed)
		}
		before = after
		return d
	}
	if again := step("nothing", 0, 0); !reflect.DeepEqual(first, again) {
		t.Error("the same tree read differently")
	}
	root.put("base/s07.yaml", patchOf("s07", `{image: "s:2"}`))
	step("a base document", 1, 1)
	root.put("envs/prod/web.yaml", patchOf("web", `{replicas: 7}`))
	step("an overlay", 1, 1)
	root.put("envs/prod/fleet.yaml", "# moved\n"+fleetWith("base: ../../base", "variables: {b: z, a: x}"))
	d := step("one variable", 2, 24) // 25 use b, s07 no more
	changed := 0
	for id, s := range d.Services {
		if first.Services[id].Revision != s.Revision {
			changed++
		}
	}
	if changed != 26 { // 24, s07 and web
		t.Errorf("%d revisions changed", changed)
	}
	root.put("envs/prod/fleet.yaml", fleetWith("base: ../../base", "variables: {a: x}"))
	if d = step("a variable less", 2, 24); len(d.Services) != 28 {
		t.Errorf("%d services", len(d.Services))
	}
	step("the same fault", 0, 0)
	if n := len(l.composites); n != 52 {
		t.Errorf("%d composites cached", n)
	}
}

// Read as layers, a fleet without bases and variables is what it is, and what
// is wrong with it is said in the same words.
func TestLayersOfPlainFleets(t *testing.T) {
	for _, dir := range []string{"examples/hello", "examples/pod", "examples/postgres", "examples/process", "examples/fleet", "examples/rollout"} {
		plain, layered := bothWays(t, repositoryFS(), dir)
		if !reflect.DeepEqual(plain, layered) {
			t.Errorf("%s: plain\n%+v\nlayered\n%+v", dir, plain, layered)
		}
	}
	names, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, name := range names {
		if filepath.Base(name) == "node.yaml" {
			continue // a document without a name is not read further: it may belong to any other
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		plain, layered := bothWays(t, newTree(map[string]string{"fleet.yaml": goodFleet, "x.yaml": string(data), "good.yaml": manifestOf("good", "w:1")}), ".")
		if p, l := lines(plain.Faults), lines(layered.Faults); p != l || !reflect.DeepEqual(plain.Services, layered.Services) {
			t.Errorf("%s: plain\n%s\nlayered\n%s", name, p, l)
		}
	}
}

// bothWays reads a fleet as it is, and as if it were put together.
func bothWays(t *testing.T, fsys fs.FS, dir string) (plain, layered planner.Desired) {
	t.Helper()
	plain = loadWith(t, NewLoader(Limits{}), fsys, dir)
	plain.Commit = planner.Commit{}
	w, err := NewLoader(Limits{}).walker(context.Background(), fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.composer()
	if err != nil {
		t.Fatal(err)
	}
	c.vars = nil
	if layered, err = c.load(); err != nil {
		t.Fatal(err)
	}
	return plain, layered
}

func repositoryFS() fs.FS { return os.DirFS("../..") }
