package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// support says what becomes of a key of the Compose specification.
type support int

const (
	supported support = iota // says has how
	partly                   // says has which values; others are refused where they are converted
	refused                  // says has the reason
	noEffect                 // left out with a warning; says has what is so instead
	silent                   // left out; says has why that changes nothing
)

// String is the word for it in docs/compose.md.
func (s support) String() string {
	return [...]string{"yes", "in part", "refused", "no effect, with a warning", "no effect"}[s]
}

// key is a row of the support matrix.
type key struct {
	// path is the key in the file: * stands for a name that people choose, [] for
	// the items of a list.
	path string
	support
	says   string
	remedy string
	// whole: the row is for all that is below the key, too.
	whole bool
	// zero: also 0, false or nothing is a value that changes something.
	zero bool
}

// matrix is every key of the Compose specification, in order of its parts.
// docs/compose.md has it as a table, made from this one.
func matrix() []key {
	return slices.Concat(
		below("", topKeys),
		below("services.*.", serviceKeys),
		below("services.*.", deployKeys),
		below("networks.*.", networkKeys),
		below("volumes.*.", volumeKeys),
		below("configs.*.", configKeys),
		below("secrets.*.", secretKeys),
	)
}

// below puts the path of what they are in before the paths of keys.
func below(path string, keys []key) []key {
	out := make([]key, len(keys))
	for i, k := range keys {
		k.path = path + k.path
		out[i] = k
	}
	return out
}

// index finds rows by their paths.
type index struct {
	rows map[string]key
	// inner tells of a path that it has rows below it: "*" where the names there
	// are people's, "." where they are keys, "[]" where it is a list.
	inner map[string]string
}

var matrixIndex = sync.OnceValue(func() index {
	x := index{map[string]key{}, map[string]string{}}
	for _, k := range matrix() {
		x.rows[k.path] = k
		parent := parentPath(k.path)
		x.inner[parent] = "."
		if base, star := strings.CutSuffix(parent, ".*"); star {
			x.inner[base] = "*"
		}
		if base, items := strings.CutSuffix(parent, "[]"); items {
			x.inner[base] = "[]"
		}
	}
	return x
})

// parentPath is the path of what holds a key, "" at the top.
func parentPath(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), 0)]
}

// checkKeys looks up every key that the file has: of services, those that are
// enabled, and of the rest what they use.
func (c *converter) checkKeys() {
	tree := c.p.Tree
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		switch name {
		case "services":
			services, _ := tree[name].(map[string]any)
			for _, s := range c.enabled {
				c.checkKey(services[s], "services.*", "services."+s)
				c.checkExtension(services[s], "services."+s)
			}
		case "networks", "volumes", "configs", "secrets":
			all, _ := tree[name].(map[string]any)
			used := c.used(name)
			for _, each := range slices.Sorted(maps.Keys(all)) {
				if used[each] {
					c.checkKey(all[each], name+".*", name+"."+each)
				}
			}
		default:
			if !strings.HasPrefix(name, "x-") {
				c.checkKey(tree[name], name, name)
			}
		}
	}
}

// checkExtension wants what x-orpheus of a service says to be fields.
func (c *converter) checkExtension(service any, at string) {
	own, _ := service.(map[string]any)
	switch over := own["x-orpheus"].(type) {
	case nil, map[string]any:
	default:
		c.fault(at+".x-orpheus", fmt.Sprintf("must be an object, not %v", quote(fmt.Sprint(over))), "write fields of spec: x-orpheus: {minReadySeconds: 10}")
	}
}

// used are the networks, volumes, configs or secrets that services use.
func (c *converter) used(kind string) map[string]bool {
	used := map[string]bool{}
	for _, name := range c.enabled {
		s := c.p.Types.Services[name]
		switch kind {
		case "networks":
			for n := range s.Networks {
				used[n] = true
			}
		case "volumes":
			for _, v := range s.Volumes {
				used[v.Source] = used[v.Source] || v.Type == "volume"
			}
		case "configs":
			for _, f := range s.Configs {
				used[f.Source] = true
			}
		case "secrets":
			for _, f := range s.Secrets {
				used[f.Source] = true
			}
		}
	}
	return used
}

// checkKey looks up what stands at a field, and all below it. path is the
// field's in the matrix.
func (c *converter) checkKey(v any, path, field string) {
	x := matrixIndex()
	row, known := x.rows[path]
	if known && !(v == nil && !row.zero) {
		switch {
		case row.support == refused && (row.zero || !isEmpty(v)):
			c.fault(field, reasonOf(row, "is not possible"), row.remedy)
		case row.support == noEffect && (row.zero || !isEmpty(v)):
			c.warn(field, reasonOf(row, "has no effect"), row.remedy)
		}
	}
	if known && (row.whole || row.support >= refused) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		c.checkMembers(v, path, field)
	case []any:
		if x.inner[path] == "[]" {
			for i, each := range v {
				c.checkKey(each, path+"[]", field+"["+strconv.Itoa(i)+"]")
			}
		}
	}
}

func (c *converter) checkMembers(v map[string]any, path, field string) {
	x := matrixIndex()
	for _, name := range slices.Sorted(maps.Keys(v)) {
		inner := field + "." + name
		switch kind := x.inner[path]; {
		case kind == "*":
			c.checkKey(v[name], path+".*", inner)
		case kind != ".":
			return // names and values of people's own
		case name == "x-orpheus" && path != "services.*":
			c.warn(inner, "is not looked at here", "write it in a service, or at the top of the file")
		case strings.HasPrefix(name, "x-"):
		default:
			if _, known := x.rows[path+"."+name]; !known {
				c.fault(inner, "is no key of the Compose specification that this version knows", "correct or remove it")
				continue
			}
			c.checkKey(v[name], path+"."+name, inner)
		}
	}
}

// reasonOf is what to say of a key, as the end of a sentence that begins with it.
func reasonOf(row key, what string) string { return what + ": " + row.says }

// isEmpty reports whether a value is what a key without value has.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == "" || v == "false"
	case int:
		return v == 0
	case int64:
		return v == 0
	case uint64:
		return v == 0
	case float64:
		return v == 0
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
