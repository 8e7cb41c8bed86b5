package manifest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

const composeFleet = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: test}\nspec:\n  compose: [\"**/compose.yaml\"]\n"

const shopFile = `services:
  web:
    image: registry.example.com/web:${TAG:-1}
    ports: ["8080:80"]
    command: [serve, "$${HOME}", "$$x"]
    volumes: ["./conf/web.yaml:/etc/web.yaml:ro"]
    depends_on: [db]
    configs: [{source: inline, target: /etc/inline}]
  db:
    image: registry.example.com/db:16
    volumes: ["data:/data"]
configs:
  inline: {content: "level = 1"}
volumes: {data: {}}
`

func shop(more map[string]string) map[string]string {
	files := map[string]string{"fleet.yaml": composeFleet, "shop/compose.yaml": shopFile, "shop/conf/web.yaml": "just: configuration\n"}
	maps.Copy(files, more)
	return files
}

func broken(faults []planner.Fault) []planner.Fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f planner.Fault) bool { return f.Warning })
}

func namesOf(d planner.Desired) string {
	var names []string
	for id := range d.Services {
		names = append(names, id.String())
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

var web = planner.ServiceID{Namespace: "shop", Name: "web"}

// The services of a Compose file stand beside native ones. What it mounts is no
// manifest, what it includes neither, and needs no spec.ignore.
func TestComposeFileBecomesServices(t *testing.T) {
	d := load(t, newTree(shop(map[string]string{"native.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: other, namespace: shop}\nspec:\n  image: registry.example.com/o:1\n  args: [\"${HOME}\"]\n"})))
	if len(broken(d.Faults)) > 0 {
		t.Fatalf("faults:\n%s", lines(d.Faults))
	}
	if got := namesOf(d); got != "shop/db shop/other shop/web" {
		t.Fatalf("services %s", got)
	}
	s := d.Services[web]
	if s.File != "shop/compose.yaml" || s.Line != 2 || s.Template.Containers[0].Image != "registry.example.com/web:1" {
		t.Errorf("web is %+v", s)
	}
	if args := s.Template.Containers[0].Args; !slices.Equal(args, []string{"serve", "${HOME}", "$x"}) {
		t.Errorf("arguments %q", args)
	}
	if len(s.Files) != 2 || string(s.Files[0].Data)+string(s.Files[1].Data) != "just: configuration\nlevel = 1" && string(s.Files[1].Data)+string(s.Files[0].Data) != "just: configuration\nlevel = 1" {
		t.Errorf("files %+v", s.Files)
	}
}

// Variables of the fleet are Compose's environment; what they leave is text and
// is not looked at again.
func TestComposeFileWithFleetVariables(t *testing.T) {
	files := shop(nil)
	files["fleet.yaml"] += "  variables: {TAG: 2.7.0, HOME: /never}\n"
	d := load(t, newTree(files))
	if len(broken(d.Faults)) > 0 {
		t.Fatalf("faults:\n%s", lines(d.Faults))
	}
	c := d.Services[web].Template.Containers[0]
	if c.Image != "registry.example.com/web:2.7.0" || !slices.Equal(c.Args, []string{"serve", "${HOME}", "$x"}) {
		t.Errorf("container %+v", c)
	}
}

// One fault holds back the services of its Compose file and no others, and is
// said in the words of that file.
func TestComposeFaultsAreInItsOwnWords(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"a value that our decoder refuses", "image: registry.example.com/db:16", "image: REGISTRY/x y", `shop/compose.yaml:10:12: services.db.image: `},
		{"an undefined variable", "${TAG:-1}", "${TAG}", `shop/compose.yaml:3:12: services.web.image: variable TAG is not defined`},
		{"a port twice", `["8080:80"]`, `["8080:80", "8080:81"]`, `shop/compose.yaml:4:`},
		{"a missing file", "./conf/web.yaml:", "./conf/gone.yaml:", `shop/compose.yaml:6:15: services.web.volumes[0]`},
		{"no YAML", "services:", "services: [", `shop/compose.yaml:`},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := shop(map[string]string{"other/compose.yaml": "services: {a: {image: 'registry.example.com/a:1'}}", "native.yaml": manifestOf("native", "registry.example.com/n:1")})
			files["shop/compose.yaml"] = strings.Replace(shopFile, c.from, c.to, 1)
			d := load(t, newTree(files))
			if got := namesOf(d); got != "native other/a" {
				t.Errorf("services %s", got)
			}
			if bad := broken(d.Faults); len(bad) == 0 || !strings.HasPrefix(bad[0].String(), c.want) {
				t.Errorf("faults:\n%s", lines(d.Faults))
			}
			for _, f := range d.Faults {
				if strings.HasPrefix(f.Field, "spec.") || strings.HasPrefix(f.Field, "metadata.") {
					t.Errorf("it speaks of a manifest: %s", f)
				}
			}
		})
	}
}

// What services share by an anchor is told as the field of the one that it is
// about.
func TestComposeFaultsOfSharedValues(t *testing.T) {
	d := load(t, newTree(map[string]string{"fleet.yaml": composeFleet, "shop/compose.yaml": `services:
  web: &web
    image: registry.example.com/web:1
    ports: ["8080:80"]
    stop_signal: NONE
  worker:
    <<: *web
`}))
	for _, want := range []string{"services.web.stop_signal: ", "services.worker.stop_signal: "} {
		if !strings.Contains(lines(d.Faults), want) {
			t.Errorf("want %q, faults:\n%s", want, lines(d.Faults))
		}
	}
	d = load(t, newTree(map[string]string{"fleet.yaml": composeFleet, "shop/compose.yaml": `services:
  web: &web
    image: registry.example.com/web:1
    ports: ["8080:80"]
  worker:
    <<: *web
`}))
	for _, want := range []string{
		"services.web.ports[0]: port 8080/tcp of the node is wanted also by service shop/worker",
		"services.worker.ports[0]: port 8080/tcp of the node is wanted also by service shop/web",
	} {
		if !strings.Contains(lines(d.Faults), want) {
			t.Errorf("want %q, faults:\n%s", want, lines(d.Faults))
		}
	}
}

// A namespace belongs to one Compose file; a service to one document.
func TestComposeNamespaces(t *testing.T) {
	d := load(t, newTree(shop(map[string]string{"b/compose.yaml": "name: shop\nservices: {a: {image: 'registry.example.com/a:1'}}"})))
	if len(d.Services) > 0 || !strings.Contains(lines(d.Faults), "b/compose.yaml:1:7: name: namespace \"shop\" is that of shop/compose.yaml, too") || len(broken(d.Faults)) != 2 {
		t.Errorf("services %s, faults:\n%s", namesOf(d), lines(d.Faults))
	}
	d = load(t, newTree(shop(map[string]string{"n.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {image: 'registry.example.com/o:1'}\n"})))
	if len(d.Services) > 0 || len(broken(d.Faults)) != 2 || !strings.Contains(lines(d.Faults), "shop/compose.yaml:9:3: services.db: service shop/db is described also in n.yaml line 3") {
		t.Errorf("services %s, faults:\n%s", namesOf(d), lines(d.Faults))
	}
}

// A commit that changes nothing of a Compose file does not read it again; one
// that changes what it leads to does.
func TestComposeFilesAreRemembered(t *testing.T) {
	files := shop(map[string]string{"native.yaml": manifestOf("native", "registry.example.com/n:1"), "shop/.env": "OTHER=1"})
	tree, l := newTree(files), NewLoader(Limits{})
	loadWith(t, l, tree, ".")
	parsed := func() uint64 { return l.Stats().Parsed }
	before := parsed()
	tree.put("native.yaml", manifestOf("native", "registry.example.com/n:2"))
	if loadWith(t, l, tree, "."); parsed() != before+1 {
		t.Errorf("%d files parsed for one that changed", parsed()-before)
	}
	for name, text := range map[string]string{
		"shop/.env":          "TAG=3",
		"shop/compose.yaml":  strings.Replace(shopFile, "[serve", "[serve2", 1),
		"shop/conf/web.yaml": "other: configuration\n",
	} {
		was, before := loadWith(t, l, tree, ".").Services[web], parsed()
		tree.put(name, text)
		if is := loadWith(t, l, tree, ".").Services[web]; is.Revision == was.Revision || parsed() == before {
			t.Errorf("%s: the change is not seen", name)
		}
	}
	before = parsed()
	tree.put("fleet.yaml", files["fleet.yaml"]+"  variables: {TAG: v9}\n")
	if is := loadWith(t, l, tree, ".").Services[web]; is.Template.Containers[0].Image != "registry.example.com/web:v9" || parsed() == before {
		t.Error("a new variable is not seen")
	}
}

// What includes and extensions lead to is no manifest; a YAML file that nobody
// asks for is a fault as ever, and a pattern without a file is told.
func TestComposeFilesAndTheRest(t *testing.T) {
	files := shop(map[string]string{
		"lib/queue.yaml":             "services: {queue: {image: 'registry.example.com/q:1'}}",
		"lib/base.yml":               "services: {base: {image: 'registry.example.com/b:1'}}",
		"stray.yaml":                 "services: {}",
		".hidden/compose.yaml":       "services: 1",
		"shop/compose.override.yaml": "services: {web: {image: x}}",
	})
	files["shop/compose.yaml"] = "include: [../lib/queue.yaml]\n" + shopFile + "  more: {}\n"
	files["shop/compose.yaml"] = strings.Replace(files["shop/compose.yaml"], "  db:\n", "  extra: {extends: {file: ../lib/base.yml, service: base}}\n  db:\n", 1)
	files["shop/compose.yaml"] = strings.Replace(files["shop/compose.yaml"], "volumes: {data: {}}\n  more: {}\n", "volumes: {data: {}}\n", 1)
	files["fleet.yaml"] = strings.Replace(composeFleet, "]", ", \"gone/*.yml\"]", 1)
	d := load(t, newTree(files))
	if got := namesOf(d); got != "shop/db shop/extra shop/queue shop/web" {
		t.Errorf("services %s", got)
	}
	text := lines(d.Faults)
	if bad := broken(d.Faults); len(bad) != 1 || bad[0].File != "stray.yaml" {
		t.Errorf("faults:\n%s", text)
	}
	for _, want := range []string{`stray.yaml:1:1: is not a manifest of Orpheus: it is a Compose file that spec.compose does not list; add its path to spec.compose`, `warning: fleet.yaml:5:32: spec.compose[1]: "gone/*.yml" matches no file`, `warning: shop/compose.yaml:1: "shop/compose.override.yaml" is not read`} {
		if !strings.Contains(text, want) {
			t.Errorf("not told: %s, but\n%s", want, text)
		}
	}
}

// A base's Compose files are documents of that base: an environment may lay
// manifests over them.
func TestComposeFilesInLayers(t *testing.T) {
	files := map[string]string{
		"base/fleet.yaml":        composeFleet,
		"base/shop/compose.yaml": strings.ReplaceAll(shopFile, `["./conf/web.yaml:/etc/web.yaml:ro"]`, "[]"),
		"prod/fleet.yaml":        "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: prod}\nspec:\n  base: [../base]\n  variables: {TAG: 5, count: 3}\n",
		"prod/web.yaml":          "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n  replicas: ${count}\n",
	}
	d := loadWith(t, NewLoader(Limits{}), newTree(files), "prod")
	s := d.Services[web]
	if len(broken(d.Faults)) > 0 || s.Replicas != 3 || s.Template.Containers[0].Image != "registry.example.com/web:5" || s.Template.Containers[0].Args[1] != "${HOME}" {
		t.Errorf("web is %+v, faults:\n%s", s, lines(d.Faults))
	}
}

// Render shows the manifests that a Compose file became, and where each value
// was written.
func TestRenderCompose(t *testing.T) {
	documents, d, err := Render(context.Background(), newTree(shop(nil)), ".", Limits{})
	if err != nil || len(documents) != 3 {
		t.Fatalf("%d documents, %v, faults:\n%s", len(documents), err, lines(d.Faults))
	}
	var b bytes.Buffer
	if err := documents[2].WriteYAML(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# service shop/web, revision " + string(d.Services[web].Revision), "image: registry.example.com/web:1 # shop/compose.yaml:3", `"${HOME}" # shop/compose.yaml:5`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	again := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "web.yaml": yamlOf(t, documents[2]), "db.yaml": yamlOf(t, documents[1]), "shop/conf/web.yaml": "just: configuration\n", "x": ""}))
	if got := again.Services[planner.ServiceID{Namespace: "shop", Name: "db"}]; got.Revision != d.Services[got.ID].Revision {
		t.Errorf("what is shown reads as another db: %s", lines(again.Faults))
	}
}

func yamlOf(t *testing.T, doc Document) string {
	var b bytes.Buffer
	if err := doc.WriteYAML(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
