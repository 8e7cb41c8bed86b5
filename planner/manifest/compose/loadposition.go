package compose

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// candidate is a part of a document that may have become a part of the model.
type candidate struct {
	rank  int // higher counts more
	value any
	d     *document
	field string // in d
}

func (c candidate) position(field string) Position {
	p := c.d.position(c.field)
	p.Field = field
	return p
}

// locator finds where the values of a model were written.
type locator struct {
	m    *model
	into map[string]Position
}

// positions are those of all that m says as it was written: through includes,
// extensions and merges. file is where the whole stands.
func (m *model) positions(file string) map[string]Position {
	l := locator{m, map[string]Position{}}
	l.value(m.raw, "", nil)
	l.into[""] = Position{File: file, Line: 1}
	return l.into
}

// value notes the place of v, which stands at field and comes from one of the
// candidates, highest first.
func (l locator) value(v any, field string, candidates []candidate) {
	for rank, t := range l.m.traces {
		if t.to == field {
			candidates = append(candidates, candidate{rank, t.value, t.d, t.from})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return b.rank - a.rank })
	if len(candidates) > 0 && field != "" {
		best := candidates[0]
		if i := slices.IndexFunc(candidates, func(c candidate) bool { return same(c.value, v) }); i >= 0 && mapping(v) == nil {
			best = candidates[i]
		}
		l.into[field] = best.position(field)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			l.value(v[key], join(field, key), entries(candidates, key))
		}
	case []any:
		for i, item := range v {
			at := field + "[" + strconv.Itoa(i) + "]"
			found := items(candidates, item, i)
			l.value(item, at, found)
			// Lists of NAME=value are found by their names, too.
			if key, ok := keyOf(item); ok && len(found) > 0 && isKeyed(field) {
				l.into[join(field, key)] = found[0].position(join(field, key))
			}
		}
	}
}

// same compares values that may be of any kind.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// entries are the candidates for the value of a key: of an object, or of a list
// of NAME=value.
func entries(candidates []candidate, key string) []candidate {
	var found []candidate
	for _, c := range candidates {
		switch v := c.value.(type) {
		case map[string]any:
			if inner, ok := v[key]; ok {
				found = append(found, candidate{c.rank, inner, c.d, join(c.field, key)})
			}
		case []any:
			for i, item := range v {
				if name, ok := keyOf(item); ok && name == key {
					found = append(found, candidate{c.rank, item, c.d, c.field + "[" + strconv.Itoa(i) + "]"})
				}
			}
		}
	}
	return found
}

// items are the candidates for an item of a list.
func items(candidates []candidate, item any, index int) []candidate {
	var found []candidate
	for _, c := range candidates {
		switch v := c.value.(type) {
		case []any:
			i := index
			if i >= len(v) || !same(v[i], item) {
				i = slices.IndexFunc(v, func(e any) bool { return same(e, item) })
			}
			if i >= 0 {
				found = append(found, candidate{c.rank, v[i], c.d, c.field + "[" + strconv.Itoa(i) + "]"})
			}
		case map[string]any:
			if key, ok := keyOf(item); ok {
				if inner, ok := v[key]; ok {
					found = append(found, candidate{c.rank, inner, c.d, join(c.field, key)})
				}
			}
		case string:
			if same(v, item) {
				found = append(found, c)
			}
		}
	}
	if len(found) == 0 && len(candidates) > 0 {
		found = append(found, candidate{candidates[0].rank, nil, candidates[0].d, candidates[0].field})
	}
	return found
}

// keyOf is the name that an item of a list of NAME=value has.
func keyOf(item any) (string, bool) {
	s, ok := item.(string)
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(s, "=")
	return name, name != ""
}

// isKeyed reports whether a field is an object that may be written as a list of
// NAME=value.
func isKeyed(field string) bool {
	switch field[strings.LastIndexByte(field, '.')+1:] {
	case "environment", "labels", "annotations", "sysctls", "args", "extra_hosts", "depends_on", "networks":
		return true
	}
	return false
}
