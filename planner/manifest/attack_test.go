package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// The numbers are those of the project's list of attack cases.

func refusedLoad(t *testing.T, fsys fs.FS, limits Limits, want string) {
	t.Helper()
	d, err := NewLoader(limits).Load(context.Background(), fsys, ".", planner.Commit{})
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want a refusal with %q", err, want)
	}
	if len(d.Services) > 0 {
		t.Error("services of a refused commit")
	}
}

// A few objects that unfold to 10^9 files, as a Git tree can.
func TestAttack13TreeBomb(t *testing.T) {
	root := newTree(map[string]string{"fleet.yaml": goodFleet})
	level := []*tree{{name: "f.yaml", mode: 0o644, data: []byte(manifestOf("a", "w:1")), opened: root.opened}}
	for range 9 {
		dir := make([]*tree, 10)
		for i := range dir {
			dir[i] = &tree{name: fmt.Sprint("d", i), mode: fs.ModeDir, entries: level, opened: root.opened}
		}
		level = dir
	}
	root.add("bomb", fs.ModeDir, "", level...)
	refusedLoad(t, root, Limits{}, "more than 50000 manifests")
	if *root.opened > 100 {
		t.Errorf("opened %d files and folders", *root.opened)
	}
}

func TestAttack13DepthBomb(t *testing.T) {
	root := newTree(map[string]string{"fleet.yaml": goodFleet, strings.Repeat("d/", 200) + "a.yaml": ""})
	refusedLoad(t, root, Limits{}, "more than 32 folders deep")
}

func TestAttack13Entries(t *testing.T) {
	root := newTree(map[string]string{"fleet.yaml": goodFleet})
	for i := range 5000 {
		root.add(fmt.Sprintf("%04d.txt", i), 0o644, "")
	}
	refusedLoad(t, root, Limits{Entries: 4000}, "more than 4000 files and folders")
}

func TestAttack13TotalSize(t *testing.T) {
	files := map[string]string{"fleet.yaml": goodFleet}
	for i := range 20 {
		files[fmt.Sprintf("%d.yaml", i)] = manifestOf(fmt.Sprint("s", i), "w:1") + strings.Repeat("#\n", 1000)
	}
	refusedLoad(t, newTree(files), Limits{TotalBytes: 20_000}, "more than 20000 bytes")
}

func TestAttack14Names(t *testing.T) {
	rows := []struct {
		name, want string
		folder     bool
	}{
		{"..", "is named ..", true},
		{"../x.yaml", "has a slash in its name", false},
		{"/etc/x.yaml", "has a slash in its name", false},
		{`a\b.yaml`, "has a slash in its name", false},
		{".git", "is Git's own folder", true},
		{".GIT", "is Git's own folder", true},
		{".git ", "some file systems take for .git", true},
		{"git~1", "some file systems take for .git", true},
		{"a\x00.yaml", "has a control character", false},
		{"a\x1b[2J.yaml", "has a control character", false},
		{"a\nb.yaml", "has a control character", false},
		{"\xff.yaml", "is not valid UTF-8", false},
		{"a\u202elmay.yaml", "has an invisible character", false},
		{"web.yaml.", "only names ending in .yaml", false},
		{"web.yaml ", "only names ending in .yaml", false},
		{"web.YAML", "only names ending in .yaml", false},
		{"dir.", "ends in a dot or a space", true},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%q", row.name), func(t *testing.T) {
			root := newTree(map[string]string{"fleet.yaml": goodFleet, "good.yaml": manifestOf("good", "w:1")})
			evil := &tree{name: "evil.yaml", mode: 0o644, data: []byte(manifestOf("evil", "w:1")), opened: root.opened}
			if row.folder {
				root.add(row.name, fs.ModeDir, "", evil)
			} else {
				root.add(row.name, 0o644, manifestOf("evil", "w:1"))
			}
			d := load(t, root)
			if len(d.Services) != 1 || len(d.Faults) != 1 || !strings.Contains(d.Faults[0].Reason, row.want) {
				t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
			}
			if f := d.Faults[0].File; f != Printable(f) {
				t.Errorf("the fault shows %q as it is", f)
			}
		})
	}
}

func TestAttack14CaseCollision(t *testing.T) {
	d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "web.yaml": manifestOf("a", "w:1"), "Web.yaml": manifestOf("b", "w:1"), "c.yaml": manifestOf("c", "w:1")}))
	want := "Web.yaml: differs from web.yaml only in case; rename one of them\nweb.yaml: differs from Web.yaml only in case; rename one of them\n"
	if got := lines(d.Faults); got != want || len(d.Services) != 1 {
		t.Errorf("%d services, faults:\n%s", len(d.Services), got)
	}
}

func TestAttack15Modes(t *testing.T) {
	root := newTree(map[string]string{"fleet.yaml": goodFleet, "good.yaml": manifestOf("good", "w:1")})
	root.add("README", fs.ModeSymlink, "/etc/passwd") // none of our business
	root.add("link.yaml", fs.ModeSymlink, "good.yaml")
	root.add("module.yaml", fs.ModeIrregular, "has mode 160000, which is neither file nor folder")
	root.add("module", fs.ModeIrregular, "has mode 160000, which is neither file nor folder")
	root.add(`"a\x00b"`, fs.ModeIrregular, "has control characters in its name")
	root.add("device", fs.ModeIrregular, "has mode 020644, which is neither file nor folder")
	root.add("twice", fs.ModeIrregular, "stands 2 times in its folder")
	root.add("pipe.yaml", fs.ModeNamedPipe, "")
	d := load(t, root)
	want := `"a\x00b": is refused: it has control characters in its name; remove it from the repository
device: is refused: it has mode 020644, which is neither file nor folder; remove it from the repository
link.yaml: is a symbolic link: links are not followed; commit the file itself
module: is a submodule: submodules are not followed; copy its files, or list it in spec.ignore of fleet.yaml
module.yaml: is a submodule: submodules are not followed; copy its files, or list it in spec.ignore of fleet.yaml
pipe.yaml: is not a regular file; commit the file itself
twice: is refused: it stands 2 times in its folder; remove it from the repository
`
	if got := lines(d.Faults); got != want || len(d.Services) != 1 {
		t.Errorf("%d services, faults:\n%s", len(d.Services), got)
	}
	link := newTree(nil)
	link.add("fleet.yaml", fs.ModeSymlink, "elsewhere")
	refusedLoad(t, link, Limits{}, "fleet.yaml: is not a regular file")
}

func TestAttack16DuplicateEntries(t *testing.T) {
	root := newTree(map[string]string{"fleet.yaml": goodFleet, "a.yaml": manifestOf("a", "w:1")})
	root.add("a.yaml", 0o644, manifestOf("b", "w:1"))
	root.add("a.yaml", fs.ModeDir, "")
	d := load(t, root)
	if len(d.Services) != 0 || len(d.Faults) != 1 || !strings.Contains(d.Faults[0].Reason, "two entries of this name") {
		t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
	}
}

func TestAttack17YAML(t *testing.T) {
	aliases := "a: &a [x]\n"
	for c := 'b'; c <= 'z'; c++ {
		aliases += fmt.Sprintf("%c: &%c [*%c, *%c, *%c]\n", c, c, c-1, c-1, c-1)
	}
	head := "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: a}\nspec: {image: \"w:1\"}\n"
	rows := []struct{ name, data, want string }{
		{"size", head + strings.Repeat("#", 64<<10), "is larger than 64 KiB"},
		{"alias bomb", head + aliases, "anchors and aliases are not supported"},
		{"self alias", head + "a: &a [*a]\n", "anchor"},
		{"nesting", head + "a: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "nested more than 32 levels"},
		{"deepest nesting", head + "a: " + strings.Repeat("[", 60_000), "not valid YAML"},
		{"duplicate key", head + "kind: Service\n", `duplicate key "kind", first given on line 2`},
		{"documents", strings.Repeat("---\n"+head, 101), "more than 100 documents"},
		{"binary", head + "a: !!binary aGk=\n", "tags are not supported"},
		{"code", head + "a: !!python/object/apply:os.system [id]\n", "tags are not supported"},
		{"faults", head + strings.Repeat("x: 1\n", 5000), "more faults are not listed"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "x.yaml": row.data, "good.yaml": manifestOf("good", "w:1")}))
			if !strings.Contains(lines(d.Faults), row.want) {
				t.Errorf("faults:\n%s\nwant %q", lines(d.Faults), row.want)
			}
			if len(d.Faults) > 101 || len(d.Services) != 1 {
				t.Errorf("%d faults, %d services", len(d.Faults), len(d.Services))
			}
		})
	}
}

// One bad duration or number concerns its own file (the class of
// CVE-2022-39272); in fleet.yaml it refuses the commit.
func TestAttack18AbsurdNumbers(t *testing.T) {
	d := load(t, newTree(map[string]string{
		"fleet.yaml": goodFleet, "good.yaml": manifestOf("good", "w:1"),
		"bad.yaml": manifestOf("bad", "w:1") + "  replicas: 1000000000\n  terminationGracePeriodSeconds: -99999999999999999999\n",
	}))
	if len(d.Services) != 1 || len(d.Faults) != 2 {
		t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
	}
	for _, poll := range []string{"-5s", "0s", "9999999h", "5", "1ns", "forever"} {
		refusedLoad(t, newTree(map[string]string{"fleet.yaml": goodFleet + "spec: {pollInterval: " + poll + "}\n"}), Limits{}, "spec.pollInterval")
	}
}

// There are no templates and includes, and without spec.variables and
// spec.base no variables: what looks like one stays text.
func TestAttack19And20NothingExpands(t *testing.T) {
	s := serviceOf(t, body(`env: [{name: A, value: "${A}$(A){{ .A }}"}], args: ["$(include /etc/passwd)"]`))
	if c := s.Template.Containers[0]; c.Env[0].Value != "${A}$(A){{ .A }}" || c.Args[0] != "$(include /etc/passwd)" {
		t.Errorf("expanded: %+v", c)
	}
}

func TestAttack23Injection(t *testing.T) {
	faults := []planner.Fault{{File: "a\n::error::b,c:d%.yaml", Line: 3, Column: 7, Field: "spec.\x1b[31m", Reason: "x\r\n::set-env name=PATH::evil\x1b]0;t\a\u202e\u009b", Remedy: "100%"}}
	r := Report{Faults: faults}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"text":   func(b *bytes.Buffer) error { return WriteText(b, r) },
		"github": func(b *bytes.Buffer) error { return WriteGitHub(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(b.String(), "\n") {
			if line != Printable(line) {
				t.Errorf("%s lets through %q", name, line)
			}
			if name == "github" && strings.HasPrefix(line, "::set-env") {
				t.Errorf("a workflow command of the repository: %q", line)
			}
		}
		if name == "github" {
			want := `::error file=a\n%3A%3Aerror%3A%3Ab%2Cc%3Ad%25.yaml,line=3,col=7,title=spec.\x1b[31m::x\r\n::set-env name=PATH::evil\x1b]0;t\a\u202e\u009b; 100%25` + "\n"
			if b.String() != want {
				t.Errorf("got  %s\nwant %s", b.String(), want)
			}
		}
	}
}

// Both files name each other and are held back; the third goes on.
func TestAttack24Clashes(t *testing.T) {
	svc := func(name, spec string) string {
		return "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {image: \"w:1\", " + spec + "}\n"
	}
	const onNode = "{port: 80, mode: node}"
	publish := func(p string) string { return "ports: [{containerPort: 80, publish: " + p + "}]" }
	rows := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"same service", map[string]string{"a.yaml": svc("web", ""), "b.yaml": svc("web", "")},
			"a.yaml:3:18: metadata.name: service web is described also in b.yaml line 3; keep one of them, or choose another name or namespace\n" +
				"b.yaml:3:18: metadata.name: service web is described also in a.yaml line 3; keep one of them, or choose another name or namespace\n"},
		{"same service in one file", map[string]string{"a.yaml": svc("web", "") + "---\n" + svc("web", "")},
			"a.yaml:3:18: metadata.name: service web is described also on line 8; keep one of them, or choose another name or namespace\n" +
				"a.yaml:8:18: metadata.name: service web is described also on line 3; keep one of them, or choose another name or namespace\n"},
		{"same port", map[string]string{"a.yaml": svc("a", publish("80")), "b.yaml": svc("b", publish("{port: 80, address: 127.0.0.1}"))},
			"a.yaml:4:59: spec.ports[0].publish: port 80/tcp of the node is wanted also by service b in b.yaml line 4; choose another port, or nodeSelectors that exclude each other\n" +
				"b.yaml:4:59: spec.ports[0].publish: port 80/tcp of the node is wanted also by service a in a.yaml line 4; choose another port, or nodeSelectors that exclude each other\n"},
		{"same port twice in one service", map[string]string{"a.yaml": svc("a", "ports: [{containerPort: 80, publish: 80}, {containerPort: 81, publish: 80}]")},
			"a.yaml:4:59: spec.ports[0].publish: port 80/tcp of the node is wanted also by service a on line 4; choose another port, or nodeSelectors that exclude each other\n" +
				"a.yaml:4:93: spec.ports[1].publish: port 80/tcp of the node is wanted also by service a on line 4; choose another port, or nodeSelectors that exclude each other\n"},
		{"the host's network", map[string]string{"a.yaml": svc("a", publish("80")), "b.yaml": svc("b", "network: host, ports: [{containerPort: 80}]")},
			"a.yaml:4:59: spec.ports[0].publish: port 80/tcp of the node is wanted also by service b in b.yaml line 4; choose another port, or nodeSelectors that exclude each other\n" +
				"b.yaml:4:61: spec.ports[0].containerPort: port 80/tcp of the node is wanted also by service a in a.yaml line 4; choose another port, or nodeSelectors that exclude each other\n"},
		{"other protocol", map[string]string{"a.yaml": svc("a", publish("80")), "b.yaml": svc("b", "ports: [{containerPort: 80, protocol: UDP, publish: 80}]")}, ""},
		{"other address", map[string]string{"a.yaml": svc("a", publish("{port: 80, address: 127.0.0.2}")), "b.yaml": svc("b", publish("{port: 80, address: 127.0.0.1}"))}, ""},
		{"other nodes", map[string]string{"a.yaml": svc("a", "nodeSelector: {zone: a}, "+publish(onNode)), "b.yaml": svc("b", "nodeSelector: {zone: b}, "+publish(onNode))}, ""},
		// Nodes that share no leases serve both, each its own.
		{"every node", map[string]string{"a.yaml": svc("a", "nodeSelector: {zone: a}, "+publish("80")), "b.yaml": svc("b", "nodeSelector: {zone: b}, "+publish(onNode))},
			"warning: a.yaml:4:84: spec.ports[0].publish: mode: fleet opens port 80/tcp on every node, and service b in b.yaml line 4 wants it as well: only one of them gets it where nodes share leases; write publish: {port: 80, mode: node} in both, or choose another port\n" +
				"warning: b.yaml:4:84: spec.ports[0].publish: mode: fleet"},
		{"every node and another's own network", map[string]string{"a.yaml": svc("a", "nodeSelector: {zone: a}, "+publish("80")), "b.yaml": svc("b", "nodeSelector: {zone: b}, network: host, ports: [{containerPort: 80}]")},
			"warning: b.yaml:4:"},
		{"every node, other address", map[string]string{"a.yaml": svc("a", "nodeSelector: {zone: a}, "+publish("{port: 80, address: 127.0.0.2}")), "b.yaml": svc("b", "nodeSelector: {zone: b}, "+publish("{port: 80, address: \"fd00::1\"}"))}, ""},
		{"every node by default and one's own", map[string]string{"a.yaml": svc("a", publish("{port: 80, mode: fleet}")), "b.yaml": svc("b", publish(onNode))}, "80/tcp of the node is wanted also by service b"},
		{"perhaps the same node", map[string]string{"a.yaml": svc("a", "nodeSelector: {zone: a}, "+publish("80")), "b.yaml": svc("b", "nodeSelector: {disk: b}, "+publish("80"))}, "wanted also by"},
		{"other namespace", map[string]string{"a.yaml": svc("web", ""), "b.yaml": svc("web, namespace: b", "")}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			files := maps.Clone(row.files)
			files["fleet.yaml"], files["z.yaml"] = goodFleet, manifestOf("other", "w:1")
			d := load(t, newTree(files))
			got := lines(d.Faults)
			if (row.want == "") != (got == "") || !strings.Contains(got, row.want) {
				t.Errorf("faults:\n%s\nwant:\n%s", got, row.want)
			}
			want := 1 // z.yaml
			if d.Complete() {
				want += len(row.files)
			}
			if len(d.Services) != want {
				t.Errorf("%d services, want %d", len(d.Services), want)
			}
		})
	}
}

// Claims that are told apart by one label are compared in linear time; those
// that nothing tells apart are refused before they cost more than a second.
func TestAttack24ManyClaims(t *testing.T) {
	files := map[string]string{"fleet.yaml": goodFleet}
	for i := range 3000 {
		files[fmt.Sprintf("%d.yaml", i)] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: s%d}\nspec: {image: \"w:1\", nodeSelector: {host: h%d}, ports: [{containerPort: 80, publish: 80}]}\n", i, i)
	}
	if d := load(t, newTree(files)); len(d.Services) != 3000 {
		t.Errorf("%d services:\n%s", len(d.Services), lines(d.Faults[:min(len(d.Faults), 3)]))
	}
	for i := range 3000 {
		files[fmt.Sprintf("%d.yaml", i)] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: s%d}\nspec: {image: \"w:1\", ports: [{containerPort: 80, publish: {port: 80, address: 10.0.%d.%d}}]}\n", i, i/250, i%250)
	}
	refusedLoad(t, newTree(files), Limits{}, "too many services want port 80")
}

func TestAttack25NothingLeft(t *testing.T) {
	refusedLoad(t, newTree(nil), Limits{}, "there is no fleet.yaml")
	// A broken file hides whether its services are still wanted.
	d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "a.yaml": ""}))
	if d.Complete() {
		t.Error("an empty file counts as complete")
	}
	// An empty fleet is a legal wish: how much of it is carried out is the
	// planner's to decide.
	if d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet})); !d.Complete() || len(d.Services) != 0 {
		t.Errorf("%+v", d)
	}
}
