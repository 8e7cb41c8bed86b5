package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
)

const composeFleetYAML = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: shop}\nspec: {compose: [shop/compose.yaml]}\n"

var composeWeb = planner.ServiceID{Namespace: "shop", Name: "web"}

// webIn is a Compose file whose service web has more to say.
func webIn(more string) string {
	return "services:\n  # first of all\n  db:\n    image: registry.example.com/db:1\n  web: # by Ann\n    # the shop's face\n    image: registry.example.com/web:1 # tested\n" + more
}

// However a Compose file is written, one label changes and all else stays.
func TestSetComposeRestart(t *testing.T) {
	const value = "2026-01-02T03:04:05Z"
	const label = `orpheus/restartedAt: "` + value + `"`
	const item = `"orpheus/restartedAt=` + value + `"`
	first := strings.Replace(webIn(""), "by Ann\n", "by Ann\n    labels:\n      "+label+"\n", 1)
	for _, c := range []struct{ name, before, after string }{
		{"no labels", webIn(""), first},
		{"lines of Windows", strings.ReplaceAll(webIn(""), "\n", "\r\n"), strings.ReplaceAll(first, "\n", "\r\n")},
		{"two documents", "services: {other: {image: 'registry.example.com/o:1'}}\n---\n" + webIn(""), "services: {other: {image: 'registry.example.com/o:1'}}\n---\n" + first},
		{"other labels", webIn("    labels:\n      # why\n      a: b\n"), webIn("    labels:\n      " + label + "\n      # why\n      a: b\n")},
		{"restarted before", webIn("    labels:\n      orpheus/restartedAt: monday # on call\n"), webIn("    labels:\n      " + label + " # on call\n")},
		{"a list", webIn("    labels:\n      # why\n      - a=b\n"), webIn("    labels:\n      # why\n      - " + item + "\n      - a=b\n")},
		{"a list at the margin", webIn("    labels:\n    - a=b\n"), webIn("    labels:\n    - " + item + "\n    - a=b\n")},
		{"a list in brackets", webIn("    labels: [a=b]\n"), webIn("    labels: [" + item + ", a=b]\n")},
		{"restarted before in a list", webIn("    labels:\n      - a=b\n      - orpheus/restartedAt=monday\n"), webIn("    labels:\n      - a=b\n      - " + item + "\n")},
		{"in annotations", webIn("    labels: {a: b}\n    annotations: {orpheus/restartedAt: monday}\n"), webIn("    labels: {a: b}\n    annotations: {" + label + "}\n")},
		{"in a list of annotations", webIn("    annotations: ['orpheus/restartedAt=monday']\n"), webIn("    annotations: [" + item + "]\n")},
		{"in deploy", webIn("    deploy: {labels: {orpheus/restartedAt: monday}}\n"), webIn("    deploy: {labels: {" + label + "}}\n")},
		{"on one line", "services: {web: {image: 'registry.example.com/web:1'}}\n", "services: {web: {labels: {" + label + "}, image: 'registry.example.com/web:1'}}\n"},
		{"with an anchor", "x-a: &a {image: 'registry.example.com/web:1'}\nservices:\n  web: &web\n    <<: *a\n", "x-a: &a {image: 'registry.example.com/web:1'}\nservices:\n  web: &web\n    labels:\n      " + label + "\n    <<: *a\n"},
	} {
		fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(composeFleetYAML)}, "shop/compose.yaml": {Data: []byte(c.before)}}
		change, err := changeRestart(t.Context(), fsys, ".", composeWeb, value)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if change.path != "shop/compose.yaml" || string(change.after) != c.after {
			t.Errorf("%s: %s is\n%s\nwant\n%s", c.name, change.path, change.after, c.after)
		}
	}
	// What cannot be changed by a line is left to people, who read which.
	for name, text := range map[string]string{
		"an alias":        "x-web: &web {image: 'registry.example.com/web:1'}\nservices: {web: *web}\n",
		"labels merged":   "x-a: &a {labels: {a: b}}\nservices:\n  web:\n    <<: *a\n    image: registry.example.com/web:1\n",
		"over some lines": webIn("    labels:\n      orpheus/restartedAt: >-\n        monday\n"),
	} {
		fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(composeFleetYAML)}, "shop/compose.yaml": {Data: []byte(text)}}
		change, err := changeRestart(t.Context(), fsys, ".", composeWeb, value)
		if err == nil || !strings.HasSuffix(err.Error(), "add this below services.web by hand:\nlabels:\n  "+label) {
			t.Errorf("%s: %+v, %v", name, change, err)
		}
	}
}

// A service is known by its name in the fleet, and edited under that in the file.
func TestSetComposeOfRenamed(t *testing.T) {
	const text = "services:\n  celery_worker:\n    image: registry.example.com/web:1\n    x-orpheus: {update: {steps: [{slots: 1, approve: true}]}}\n"
	fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(composeFleetYAML)}, "shop/compose.yaml": {Data: []byte(text)}}
	id := planner.ServiceID{Namespace: "shop", Name: "celery-worker"}
	change, err := changeRestart(t.Context(), fsys, ".", id, "monday")
	if want := strings.Replace(text, "worker:\n", "worker:\n    labels:\n      orpheus/restartedAt: \"monday\"\n", 1); err != nil || string(change.after) != want {
		t.Errorf("%v:\n%+v\nwant\n%s", err, change, want)
	}
	change, err = changePromoted(t.Context(), fsys, ".", id, 0)
	if err != nil || !strings.Contains(string(change.after), "x-orpheus: {update: {promoted: r1-") {
		t.Errorf("%v: %+v", err, change)
	}
}

// The label goes into the file that has the service, or into a manifest of the
// fleet's own where that file is not.
func TestSetComposeRestartInFiles(t *testing.T) {
	const overBase = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: prod}\nspec: {base: ../base}\n"
	listed := strings.ReplaceAll(composeFleetYAML, "shop/compose", "compose")
	for _, c := range []struct {
		name   string
		files  map[string]string
		folder string
		path   string // or what is wrong
	}{
		{"included", map[string]string{"fleet.yaml": composeFleetYAML, "shop/compose.yaml": "include: [more/web.yaml]\n", "shop/more/web.yaml": webIn("")}, ".", "shop/more/web.yaml"},
		{"extended", map[string]string{"fleet.yaml": composeFleetYAML, "shop/web.yml": webIn(""), "shop/compose.yaml": "services:\n  web:\n    extends: {file: web.yml, service: web}\n"}, ".", "shop/compose.yaml"},
		{"of a base", map[string]string{"base/fleet.yaml": composeFleetYAML, "base/shop/compose.yaml": webIn(""), "prod/fleet.yaml": overBase}, "prod", "prod/shop/web.yaml"},
		{"of a base, with an overlay", map[string]string{"base/fleet.yaml": composeFleetYAML, "base/shop/compose.yaml": webIn(""), "prod/fleet.yaml": overBase,
			"prod/more.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {replicas: 3}\n"}, "prod", "prod/more.yaml"},
		{"over a base", map[string]string{"base/fleet.yaml": strings.Replace(fleetYAML, "test", "base", 1), "prod/shop/compose.yaml": webIn(""), "prod/fleet.yaml": strings.Replace(overBase, "../base", "../base, compose: [shop/compose.yaml]", 1),
			"base/web.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {minReadySeconds: 3}\n"}, "prod", "prod/shop/compose.yaml"},
		{"included from elsewhere", map[string]string{"shop/fleet.yaml": listed, "shop/compose.yaml": "include: [../lib/web.yaml]\n", "lib/web.yaml": webIn("")}, "shop",
			"lib/web.yaml is not changed: it lies outside the fleet's folder and may be part of other fleets; add this below services.web by hand:\nlabels:\n  orpheus/restartedAt: \"monday\""},
	} {
		fsys := fstest.MapFS{}
		for name, text := range c.files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		change, err := changeRestart(t.Context(), fsys, c.folder, composeWeb, "monday")
		if err != nil {
			if err.Error() != c.path {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		fsys[change.path] = &fstest.MapFile{Data: change.after}
		after, err := readFleet(t.Context(), fsys, c.folder)
		web := after.Services[composeWeb]
		if change.path != c.path || err != nil || web.Template.RestartedAt != "monday" || web.Template.Containers[0].Image != "registry.example.com/web:1" {
			t.Errorf("%s: %s makes %+v of it, %v\n%s", c.name, change.path, web, err, change.after)
		}
	}
}

// A service of a Compose file is promoted in its x-orpheus.
func TestSetComposePromoted(t *testing.T) {
	const steps = "steps: [{slots: 1, approve: true}]"
	for _, c := range []struct{ name, before, after string }{
		{"in lines", webIn("    x-orpheus:\n      update: # slowly\n        " + steps + "\n"), webIn("    x-orpheus:\n      update: # slowly\n        promoted: REV\n        " + steps + "\n")},
		{"in braces", webIn("    x-orpheus: {update: {" + steps + "}}\n"), webIn("    x-orpheus: {update: {promoted: REV, " + steps + "}}\n")},
		{"promoted before", webIn("    x-orpheus: {update: {promoted: r1-0123456789, " + steps + "}}\n"), webIn("    x-orpheus: {update: {promoted: REV, " + steps + "}}\n")},
		{"extended", "services:\n  base: {x-orpheus: {update: {" + steps + "}}, image: 'registry.example.com/web:1'}\n  web:\n    extends: base\n",
			"services:\n  base: {x-orpheus: {update: {" + steps + "}}, image: 'registry.example.com/web:1'}\n  web:\n    x-orpheus:\n      update:\n        promoted: REV\n    extends: base\n"},
	} {
		fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(composeFleetYAML)}, "shop/compose.yaml": {Data: []byte(c.before)}}
		d, err := readFleet(t.Context(), fsys, ".")
		if err != nil || len(d.Services[composeWeb].Update.Steps) != 1 {
			t.Errorf("%s: %+v, %v, %v", c.name, d.Services[composeWeb], d.Faults, err)
			continue
		}
		change, err := changePromoted(t.Context(), fsys, ".", composeWeb, 0)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if want := strings.Replace(c.after, "REV", d.Services[composeWeb].Revision.Short(), 1); string(change.after) != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, change.after, want)
		}
	}
}
