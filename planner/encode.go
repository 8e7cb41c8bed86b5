package planner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// encode is the body of a record: see codec.go.
func encode(record any) string {
	var b strings.Builder
	b.WriteString("{")
	for i, f := range fieldsOf(reflect.ValueOf(record)) {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  " + f.name + ": ")
		if f.value.Kind() == reflect.Slice && f.value.Type().Elem().Kind() == reflect.Struct {
			b.WriteString("[")
			for j := range f.value.Len() {
				if j > 0 {
					b.WriteString(",")
				}
				b.WriteString("\n    " + compact(f.value.Index(j)))
			}
			b.WriteString("\n  ]")
			continue
		}
		if f.value.Kind() == reflect.Map && f.value.Type().Elem().Kind() == reflect.Struct {
			b.WriteString("{")
			for j, key := range keysOf(f.value) {
				if j > 0 {
					b.WriteString(",")
				}
				b.WriteString("\n    " + encodeLeaf(key.String()) + ": " + compact(f.value.MapIndex(key)))
			}
			b.WriteString("\n  }")
			continue
		}
		b.WriteString(compact(f.value))
	}
	b.WriteString("\n}")
	return escapeUnprintable(b.String())
}

// keysOf lists the keys of a map of values by name, in order.
func keysOf(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// compact is a value on one line.
func compact(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return compact(v.Elem())
	case v.Kind() == reflect.Struct:
		var parts []string
		for _, f := range fieldsOf(v) {
			parts = append(parts, f.name+": "+compact(f.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, compact(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return encodeLeaf(v.Interface())
}

// encodeLeaf leaves "<", ">" and "&" as they are; keys of maps are sorted.
func encodeLeaf(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("planner: record does not encode: " + err.Error()) // plain data always does
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// encodedField is one field that is written.
type encodedField struct {
	name  string // quoted
	value reflect.Value
}

// fieldsOf lists the fields of a struct that are written, in their order, then
// those it holds in Unknown.
func fieldsOf(v reflect.Value) []encodedField {
	var fields []encodedField
	for _, f := range schemas[v.Type()].fields {
		value := v.Field(f.index)
		if f.omitEmpty && isEmpty(value) || f.omitZero && value.IsZero() {
			continue
		}
		fields = append(fields, encodedField{f.quoted, value})
	}
	return append(fields, unknownFields(v)...)
}

// unknownFields are those that a value was read with and that it has no place
// for.
func unknownFields(v reflect.Value) []encodedField {
	schema := schemas[v.Type()]
	if schema.unknown < 0 || v.Field(schema.unknown).Len() == 0 {
		return nil
	}
	tree, err := parseJSON(v.Field(schema.unknown).String())
	if err != nil {
		return nil // not what decode put there
	}
	var fields []encodedField
	for _, key := range sortedKeys(tree) {
		if _, known := schema.find(key); !known {
			fields = append(fields, encodedField{encodeLeaf(key), reflect.ValueOf(raw(encodeLeaf(tree[key])))})
		}
	}
	return fields
}

// raw is JSON text already.
type raw string

// MarshalJSON returns the text.
func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// isEmpty is the meaning of omitempty.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// escapeUnprintable writes characters that a terminal could act on as JSON
// escapes. Outside of strings JSON has none but line ends.
func escapeUnprintable(text string) string {
	bad := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if !strings.ContainsFunc(text, bad) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !bad(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
