package manifest

import (
	"maps"
	"testing"
)

// deepShop leads to files of every kind.
func deepShop() map[string]string {
	return map[string]string{
		"fleet.yaml": composeFleet,
		"shop/compose.yaml": `include: [../lib/cache.yaml]
services:
  web:
    extends: {file: ../lib/base.yml, service: base}
    env_file: [{path: web.env}, {path: maybe.env, required: false}]
    label_file: web.labels
    volumes: ["./conf:/conf:ro", "./one.txt:/one:ro"]
    configs: [file, text]
    secrets: [key]
    environment: {TAG: "${TAG:-1}"}
    depends_on: [cache]
configs: {file: {file: ./c.txt}, text: {content: "tag ${TAG:-1}"}}
secrets: {key: {file: ./key.txt}}
`,
		"lib/base.yml":         "services: {base: {image: 'registry.example.com/w:1', env_file: base.env}}\n",
		"lib/base.env":         "BASE=1\n",
		"lib/cache.yaml":       "services: {cache: {image: 'registry.example.com/c:1', command: ['${LEVEL:-low}']}}\n",
		"shop/web.env":         "A=1\n",
		"shop/web.labels":      "l=1\n",
		"shop/conf/a.txt":      "a\n",
		"shop/conf/deep/b.txt": "b\n",
		"shop/one.txt":         "1\n",
		"shop/c.txt":           "c\n",
		"shop/key.txt":         "k\n",
	}
}

// Whatever a Compose file leads to is looked at by a loader that has seen it
// before: what it finds is what one finds that has not, and where what runs is
// different, so is the revision.
func TestComposeChangesAreSeen(t *testing.T) {
	files := deepShop()
	l := NewLoader(Limits{})
	first := loadWith(t, l, newTree(files), ".")
	if len(broken(first.Faults)) > 0 {
		t.Fatalf("faults:\n%s", lines(first.Faults))
	}
	for _, change := range []struct {
		name, text string // "" = removed
		same       bool   // nothing that runs is different
		refused    bool
	}{
		{name: "shop/.env", text: "TAG=2\n"},
		{name: "shop/.env", text: "UNUSED=2\n", same: true},
		{name: "lib/.env", text: "LEVEL=high\n"}, // of what is included
		{name: "lib/cache.yaml", text: "services: {cache: {image: 'registry.example.com/c:2'}}\n"},
		{name: "lib/cache.yaml", refused: true},
		{name: "lib/base.yml", text: "services: {base: {image: 'registry.example.com/w:2'}}\n"},
		{name: "lib/base.env", text: "BASE=2\n"},
		{name: "shop/web.env", text: "A=2\n"},
		{name: "shop/maybe.env", text: "B=2\n"}, // was not there
		{name: "shop/web.labels", text: "l=2\n", same: true},
		{name: "shop/conf/a.txt", text: "a2\n"},
		{name: "shop/conf/new.txt", text: "new\n"},
		{name: "shop/conf/deep/more/c.txt", text: "c\n"},
		{name: "shop/conf/deep/b.txt"},
		{name: "shop/conf/a.txt"},
		{name: "shop/one.txt", text: "2\n"},
		{name: "shop/one.txt", refused: true},
		{name: "shop/c.txt", text: "c2\n"},
		{name: "shop/key.txt", text: "k2\n"},
		{name: "shop/compose.override.yaml", text: "services: {web: {command: other}}\n", same: true}, // a warning
		{name: "other.txt", text: "x\n", same: true},
	} {
		changed := maps.Clone(files)
		if changed[change.name] = change.text; change.text == "" {
			delete(changed, change.name)
		}
		again, fresh := loadWith(t, l, newTree(changed), "."), loadWith(t, NewLoader(Limits{}), newTree(changed), ".")
		if lines(again.Faults) != lines(fresh.Faults) {
			t.Errorf("%s: told\n%s\nby who has seen the files before, and\n%s\nby who has not", change.name, lines(again.Faults), lines(fresh.Faults))
		}
		if refused := len(broken(fresh.Faults)) > 0; refused != change.refused {
			t.Errorf("%s: refused %v:\n%s", change.name, refused, lines(fresh.Faults))
		}
		same := len(again.Services) == len(first.Services)
		for id, s := range again.Services {
			if s.Revision != fresh.Services[id].Revision {
				t.Errorf("%s: %s has revision %s by who has seen the files before, %s by who has not", change.name, id, s.Revision, fresh.Services[id].Revision)
			}
			same = same && s.Revision == first.Services[id].Revision
		}
		if same != change.same && !change.refused {
			t.Errorf("%s: the revisions are the same: %v, want %v", change.name, same, change.same)
		}
		if back := loadWith(t, l, newTree(files), "."); back.Services[web].Revision != first.Services[web].Revision {
			t.Errorf("%s: going back has another revision", change.name)
		}
	}
}

// Whether a file may be run is no part of its object, and decides whether it can
// be mounted where it is run.
func TestComposeFileMadeExecutable(t *testing.T) {
	files := map[string]string{
		"fleet.yaml":        composeFleet,
		"shop/compose.yaml": "services: {web: {image: 'registry.example.com/w:1', entrypoint: [/run.sh], volumes: ['./run.sh:/run.sh:ro']}}\n",
		"shop/run.sh":       "#!/bin/sh\n",
	}
	l, tree := NewLoader(Limits{}), newTree(files)
	if d := loadWith(t, l, tree, "."); len(broken(d.Faults)) > 0 {
		t.Fatalf("faults:\n%s", lines(d.Faults))
	}
	shop := tree.child("shop")
	shop.child("run.sh").mode = 0o755
	tree.id, shop.id = "", ""
	if d := loadWith(t, l, tree, "."); len(broken(d.Faults)) != 1 {
		t.Errorf("the mode is not seen:\n%s", lines(d.Faults))
	}
}
