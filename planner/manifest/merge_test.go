package manifest

import (
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// flow writes a tree on one line.
func flow(t testing.TB, n *yaml.Node) string {
	t.Helper()
	if n == nil {
		return "nothing"
	}
	var style func(n *yaml.Node)
	style = func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode {
			n.Style = yaml.FlowStyle
		}
		for _, c := range n.Content {
			style(c)
		}
	}
	style(n)
	data, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(data), "\n", ""))
}

// mergeText lays one document over another.
func mergeText(t testing.TB, base, patch string) (string, *faultList) {
	t.Helper()
	d := newDecoder(Limits{}.withDefaults(), map[*yaml.Node]*source{})
	read := func(text, file string) *yaml.Node {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		return merger{d}.own(n.Content[0], &source{file: file}, nil)
	}
	got := merger{d}.merge(read(base, "base"), read(patch, "patch"), "", "")
	return flow(t, got), d.faults
}

func TestMerge(t *testing.T) {
	rows := []struct{ name, base, patch, want string }{
		// Objects: field by field, as deep as they go; order is the base's.
		{"field", `{a: 1, b: 2}`, `{b: 3, c: 4}`, `{a: 1, b: 3, c: 4}`},
		{"deep", `{spec: {resources: {limits: {cpu: 1, memory: 1Gi}}}}`, `{spec: {resources: {limits: {cpu: 2}}}}`, `{spec: {resources: {limits: {cpu: 2, memory: 1Gi}}}}`},
		{"null deletes", `{a: 1, b: 2}`, `{a: null}`, `{b: 2}`},
		{"null of nothing", `{b: 2}`, `{a: null}`, `{b: 2}`},
		{"null in what is new", `{}`, `{a: {b: null, c: 1}}`, `{a: {c: 1}}`},
		{"quoted null is text", `{a: 1}`, `{a: "null"}`, `{a: "null"}`},
		{"replace", `{a: {b: 1, c: 2}}`, `{a: {$patch: replace, d: 3}}`, `{a: {d: 3}}`},
		{"delete", `{a: {b: 1}, c: 2}`, `{a: {$patch: delete}}`, `{c: 2}`},
		{"delete all", `{a: 1}`, `{$patch: delete}`, `nothing`},
		{"replace all", `{a: 1}`, `{$patch: replace, b: 1}`, `{b: 1}`},
		{"object over text", `{publish: 80}`, `{publish: {port: 81}}`, `{publish: {port: 81}}`},
		{"text over object", `{publish: {port: 81}}`, `{publish: 80}`, `{publish: 80}`},
		// Lists without a key are replaced.
		{"args", `{args: [a, b]}`, `{args: [c]}`, `{args: [c]}`},
		{"tolerations", `{tolerations: [{key: a}]}`, `{tolerations: [{key: b}]}`, `{tolerations: [{key: b}]}`},
		{"an empty list", `{args: [a]}`, `{args: []}`, `{args: []}`},
		{"an empty list that merges", `{env: [{name: A}]}`, `{env: []}`, `{env: [{name: A}]}`},
		// Lists with a key: item by item, new ones at the end.
		{"env", `{env: [{name: A, value: a}, {name: B, value: b}]}`, `{env: [{name: C, value: c}, {name: B, value: x}]}`, `{env: [{name: A, value: a}, {name: B, value: x}, {name: C, value: c}]}`},
		{"env deleted", `{env: [{name: A}, {name: B}]}`, `{env: [{name: A, $patch: delete}]}`, `{env: [{name: B}]}`},
		{"an item replaced", `{env: [{name: A, value: a}]}`, `{env: [{name: A, $patch: replace}]}`, `{env: [{name: A}]}`},
		{"a list replaced", `{env: [{name: A}, {name: B}]}`, `{env: [{name: C}, {$patch: replace}]}`, `{env: [{name: C}]}`},
		{"a list emptied", `{env: [{name: A}]}`, `{env: [{$patch: replace}]}`, `{env: []}`},
		{"from one kind of value to another", `{env: [{name: A, value: a}]}`, `{env: [{name: A, value: null, valueFrom: {secretKeyRef: {name: a}}}]}`, `{env: [{name: A, valueFrom: {secretKeyRef: {name: a}}}]}`},
		{"containers", `{containers: [{name: a, image: "a:1"}, {name: b}]}`, `{containers: [{name: a, env: [{name: X}]}]}`, `{containers: [{name: a, image: "a:1", env: [{name: X}]}, {name: b}]}`},
		{"initContainers", `{initContainers: [{name: a, image: "a:1"}]}`, `{initContainers: [{name: a, image: "a:2"}]}`, `{initContainers: [{name: a, image: "a:2"}]}`},
		{"volumes", `{volumes: [{name: v, local: {}}]}`, `{volumes: [{name: v, local: null, emptyDir: {}}]}`, `{volumes: [{name: v, emptyDir: {}}]}`},
		{"volumeMounts", `{volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b}]}`, `{volumeMounts: [{mountPath: /b, name: c}]}`, `{volumeMounts: [{name: a, mountPath: /a}, {name: c, mountPath: /b}]}`},
		{"spread", `{topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1}]}`, `{topologySpreadConstraints: [{topologyKey: zone, maxSkew: 2}]}`, `{topologySpreadConstraints: [{topologyKey: zone, maxSkew: 2}]}`},
		{"of two the one in force", `{env: [{name: A, value: a}, {name: A, value: b}]}`, `{env: [{name: A, value: c}]}`, `{env: [{name: A, value: a}, {name: A, value: c}]}`},
		// Ports are known by their name, or else by their number.
		{"ports by name", `{ports: [{name: a, containerPort: 1}, {name: b, containerPort: 2}]}`, `{ports: [{name: b, publish: 80}]}`, `{ports: [{name: a, containerPort: 1}, {name: b, containerPort: 2, publish: 80}]}`},
		{"another number", `{ports: [{name: a, containerPort: 1}]}`, `{ports: [{name: a, containerPort: 2}]}`, `{ports: [{name: a, containerPort: 2}]}`},
		{"ports by number", `{ports: [{name: a, containerPort: 1}]}`, `{ports: [{containerPort: 1, publish: 80}]}`, `{ports: [{name: a, containerPort: 1, publish: 80}]}`},
		{"another name", `{ports: [{name: a, containerPort: 1}]}`, `{ports: [{name: b, containerPort: 1}]}`, `{ports: [{name: b, containerPort: 1}]}`},
		{"protocols", `{ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}]}`, `{ports: [{containerPort: 53, protocol: udp, publish: 53}]}`, `{ports: [{containerPort: 53}, {containerPort: 53, protocol: udp, publish: 53}]}`},
		{"no protocol is TCP", `{ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53}]}`, `{ports: [{containerPort: 53, publish: 53}]}`, `{ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, publish: 53}]}`},
		{"no protocol where there is one only", `{ports: [{containerPort: 53, protocol: UDP}]}`, `{ports: [{containerPort: 53, publish: 53}]}`, `{ports: [{containerPort: 53, protocol: UDP, publish: 53}]}`},
		{"another protocol", `{ports: [{containerPort: 53}]}`, `{ports: [{containerPort: 53, protocol: UDP}]}`, `{ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}]}`},
		{"ports deleted", `{ports: [{name: a, containerPort: 1}, {containerPort: 2}]}`, `{ports: [{name: a, $patch: delete}, {containerPort: 2, $patch: delete}]}`, `{ports: []}`},
		// What has no key is left to the decoder.
		{"no key", `{env: [{name: A}]}`, `{env: [{value: x}, y]}`, `{env: [{name: A}, {value: x}, y]}`},
		// A map that is named like a list is none.
		{"labels", `{labels: {env: a, ports: b}}`, `{labels: {env: c}}`, `{labels: {env: c, ports: b}}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, faults := mergeText(t, row.base, row.patch)
			if got != row.want || len(faults.list()) > 0 {
				t.Errorf("%s\nover %s\ngives %s\nwant  %s\n%s", row.patch, row.base, got, row.want, lines(faults.list()))
			}
		})
	}
}

func TestMergeFaults(t *testing.T) {
	rows := []struct{ name, base, patch, want string }{
		{"an unknown directive", `{a: {b: 1}}`, `{a: {$patch: merge}}`, `patch:1:14: a: $patch cannot be "merge"; write $patch: replace or $patch: delete`},
		{"another of Kubernetes'", `{env: [{name: A}]}`, `{$setElementOrder/env: [{name: A}]}`, `patch:1:2: "$setElementOrder/env" is not supported; write $patch: replace or $patch: delete`},
		{"a deletion without a name", `{env: [{name: A}]}`, `{env: [{$patch: delete}]}`, `patch:1:8: env[0]: does not say which item to delete; add the field that names it, or write $patch: replace to empty the list`},
		{"a deletion of nothing", `{env: [{name: A}]}`, `{env: [{name: B, $patch: delete}]}`, `warning: patch:1:8: env[0]: deletes nothing: no base has such an item; remove it`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, faults := mergeText(t, row.base, row.patch)
			if got := lines(faults.list()); got != row.want+"\n" {
				t.Errorf("got  %swant %s", got, row.want)
			}
		})
	}
}

// Every list of objects that a manifest may have is merged or replaced on
// purpose.
func TestEveryListIsMergedOrReplaced(t *testing.T) {
	replaced := map[string]bool{"taints": true, "tolerations": true, "httpHeaders": true, "steps": true}
	seen := map[string]bool{}
	var walk func(infos []fieldInfo)
	walk = func(infos []fieldInfo) {
		for _, f := range infos {
			if f.list && len(f.children) > 0 {
				seen[f.name] = true
				if key := mergeKeys[f.name]; key == "" && !replaced[f.name] {
					t.Errorf("%s is neither in mergeKeys nor meant to be replaced", f.name)
				}
			}
			walk(f.children)
		}
	}
	walk(fleetSchema.infos())
	walk(nodeSchema.infos())
	walk(serviceSchema.infos())
	for name := range mergeKeys {
		if !seen[name] {
			t.Errorf("there is no list %s", name)
		}
	}
}

// FuzzMerge lays any YAML over any other: no panic, no node shared with what
// was read, every node with its source, nothing deeper than both were, and
// merging nothing changes nothing.
func FuzzMerge(f *testing.F) {
	f.Add(`{a: {b: 1, c: [x]}}`, `{a: {$patch: replace, d: null}}`)
	f.Add(`{env: [{name: A, value: a}]}`, `{env: [{name: A, $patch: delete}, {$patch: replace}]}`)
	f.Add(`{ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}]}`, `{ports: [{containerPort: 53, publish: 53}]}`)
	f.Add("a: &a [*a]", "$patch: delete")
	f.Fuzz(func(t *testing.T, base, patch string) {
		read := func(text string) *yaml.Node {
			var n yaml.Node
			if len(text) > 4096 || yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
				t.Skip()
			}
			d := newDecoder(Limits{}.withDefaults(), nil)
			if !d.lint(n.Content[0]) {
				t.Skip()
			}
			return n.Content[0]
		}
		b, p := read(base), read(patch)
		d := newDecoder(Limits{}.withDefaults(), map[*yaml.Node]*source{})
		m := merger{d}
		first, second := flow(t, m.own(b, &source{file: "b"}, nil)), flow(t, m.own(p, &source{file: "p"}, nil))
		merged := m.merge(m.own(b, &source{file: "b"}, nil), m.own(p, &source{file: "p"}, nil), "", "")
		if flow(t, m.own(b, nil, nil)) != first || flow(t, m.own(p, nil, nil)) != second {
			t.Fatal("what was read was changed")
		}
		var check func(n *yaml.Node, depth int)
		check = func(n *yaml.Node, depth int) {
			if d.sources[n] == nil || depth > d.limits.Nesting {
				t.Fatalf("%+v at depth %d", n, depth)
			}
			for _, c := range n.Content {
				check(c, depth+1)
			}
		}
		if merged != nil {
			check(merged, 1)
		}
		if same := flow(t, m.merge(m.own(b, &source{file: "b"}, nil), &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}, "", "")); same != first {
			t.Fatalf("nothing over\n%s\ngave\n%s", first, same)
		}
	})
}
