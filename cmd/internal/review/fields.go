package review

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// head are fields that say what a document is about: they change with nothing else.
var head = []string{"apiVersion", "kind", "metadata.name", "metadata.namespace"}

// maxValue bounds what is kept of one value, in bytes.
const maxValue = 4 << 10

// document is a manifest as it is compared.
type document struct {
	value   any
	origins map[string]string
}

func newDocument(d *manifest.Document) document {
	if d == nil {
		return document{}
	}
	return document{d.Value(), d.Origins()}
}

// changedFields compares two documents, value by value: nil = there is none. They
// are in the order of the paths.
func changedFields(before, after *manifest.Document) []Field {
	c := comparison{old: newDocument(before), new: newDocument(after)}
	c.compare(at{}, c.old.value, c.new.value)
	slices.SortStableFunc(c.fields, func(a, b Field) int { return strings.Compare(a.Field, b.Field) })
	return c.fields
}

// comparison collects the fields that differ.
type comparison struct {
	old, new document
	fields   []Field
}

// at is a place in both documents: shown to people, and as each document counts
// its items.
type at struct{ shown, old, new string }

func (p at) field(name string) at {
	dot := func(path string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	return at{dot(p.shown), dot(p.old), dot(p.new)}
}

// item is an item of a list, by its name; -1 = a document does not have it.
func (p at) item(name string, old, new int) at {
	return at{p.shown + "[" + name + "]", p.old + "[" + strconv.Itoa(old) + "]", p.new + "[" + strconv.Itoa(new) + "]"}
}

func (c *comparison) compare(p at, old, new any) {
	oldMap, oldIs := old.(map[string]any)
	newMap, newIs := new.(map[string]any)
	switch {
	case (oldIs || old == nil) && (newIs || new == nil) && len(oldMap)+len(newMap) > 0:
		c.maps(p, oldMap, newMap)
		return
	}
	oldList, newList := objects(old), objects(new)
	if (oldList != nil || old == nil) && (newList != nil || new == nil) && len(oldList)+len(newList) > 0 {
		c.lists(p, oldList, newList)
		return
	}
	a, b := shown(old), shown(new)
	if a == b || slices.Contains(head, p.shown) {
		return
	}
	f := Field{Field: p.shown, Old: a, New: b, Restarts: manifest.Restarts(p.shown), From: c.new.origins[p.new]}
	if list, ok := new.([]any); ok && len(list) > 0 {
		f.From = c.new.origins[p.new+"[0]"]
	}
	if new == nil {
		f.From = c.old.origins[p.old]
		if list, ok := old.([]any); ok && len(list) > 0 {
			f.From = c.old.origins[p.old+"[0]"]
		}
	}
	c.fields = append(c.fields, f)
}

func (c *comparison) maps(p at, old, new map[string]any) {
	keys := slices.Collect(maps.Keys(old))
	for key := range new {
		if _, both := old[key]; !both {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		c.compare(p.field(key), old[key], new[key])
	}
}

// lists compares lists of objects item by item: by their names where all have
// one, else by their places.
func (c *comparison) lists(p at, old, new []map[string]any) {
	key, oldNames, newNames := names(old, new)
	if key == "" {
		for i := range max(len(old), len(new)) {
			c.compare(p.item(strconv.Itoa(i), i, i), itemAt(old, i), itemAt(new, i))
		}
		return
	}
	inOld, inNew := places(oldNames), places(newNames)
	var both, still []string // the names that both have, in the order of each
	for i, name := range oldNames {
		j, there := inNew[name]
		if !there {
			j = -1
		} else {
			both = append(both, name)
		}
		if j < 0 {
			c.compare(p.item(name, i, j), unnamed(old[i], key), nil)
		} else {
			c.compare(p.item(name, i, j), old[i], new[j])
		}
	}
	for j, name := range newNames {
		if _, there := inOld[name]; there {
			still = append(still, name)
		} else {
			c.compare(p.item(name, -1, j), nil, unnamed(new[j], key))
		}
	}
	if !slices.Equal(both, still) {
		c.fields = append(c.fields, Field{Field: p.shown + " (order)", Old: shown(oldNames), New: shown(newNames), Restarts: manifest.Restarts(p.shown)})
	}
}

// places is where in a list each name stands.
func places(names []string) map[string]int {
	out := make(map[string]int, len(names))
	for i, name := range names {
		out[name] = i
	}
	return out
}

// unnamed is an item without its name, which its path has, if it says anything else.
func unnamed(item map[string]any, key string) map[string]any {
	if len(item) < 2 {
		return item
	}
	item = maps.Clone(item)
	delete(item, key)
	return item
}

func itemAt(list []map[string]any, i int) any {
	if i < 0 || i >= len(list) {
		return nil
	}
	return list[i]
}

// objects is a list of objects; nil = it is something else, or empty.
func objects(v any) []map[string]any {
	list, _ := v.([]any)
	var out []map[string]any
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return nil
		}
		out = append(out, object)
	}
	return out
}

// names finds a field by which the items of both lists are called, in each list
// each by another name; key "" = there is none.
func names(old, new []map[string]any) (key string, oldNames, newNames []string) {
	for _, key := range []string{"name", "mountPath", "containerPort", "topologyKey", "service", "ip", "key"} {
		oldNames, oldAll := called(old, key)
		newNames, newAll := called(new, key)
		if oldAll && newAll {
			return key, oldNames, newNames
		}
	}
	return "", nil, nil
}

func called(list []map[string]any, key string) (names []string, all bool) {
	seen := map[string]bool{}
	for _, item := range list {
		name := fmt.Sprint(item[key])
		if item[key] == nil || seen[name] {
			return nil, false
		}
		names, seen[name] = append(names, name), true
	}
	return names, true
}

// shown is a value as JSON, cut where it is long; nil is "".
func shown(v any) string {
	if v == nil {
		return ""
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v) // plain values always encode
	}
	text := strings.TrimRight(b.String(), "\n")
	if len(text) > maxValue {
		return strings.ToValidUTF8(text[:maxValue], "") + fmt.Sprintf("… (%d bytes)", len(text))
	}
	return text
}
