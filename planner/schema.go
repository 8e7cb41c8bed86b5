package planner

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// schema is how a struct is written: its json tags.
type schema struct {
	fields  []schemaField
	unknown int // index of the field of type Unknown, -1 = none
}

type schemaField struct {
	name, quoted        string
	index               int
	omitEmpty, omitZero bool
}

// schemas holds those of all types of records, made once.
var schemas = schemasOf(map[reflect.Type]schema{},
	NodeRecord{}, NodeStatus{}, LeaseDoc{}, FleetRecord{}, Fence{}, BeatMark{}, beat{})

func schemasOf(all map[reflect.Type]schema, structs ...any) map[reflect.Type]schema {
	for _, s := range structs {
		addSchemas(all, reflect.TypeOf(s))
	}
	return all
}

// addSchemas adds those of a type and of all that it is made of.
func addSchemas(all map[reflect.Type]schema, t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		addSchemas(all, t.Elem())
	case reflect.Struct:
		all[t] = makeSchema(t)
		for _, f := range all[t].fields {
			addSchemas(all, t.Field(f.index).Type)
		}
	}
}

func makeSchema(t reflect.Type) schema {
	s := schema{unknown: -1}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type == reflect.TypeFor[Unknown]() {
			s.unknown = i
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		s.fields = append(s.fields, schemaField{
			name: name, quoted: strconv.Quote(name), index: i,
			omitEmpty: options == "omitempty", omitZero: options == "omitzero",
		})
	}
	return s
}

func (s schema) find(name string) (schemaField, bool) {
	i := slices.IndexFunc(s.fields, func(f schemaField) bool { return f.name == name })
	if i < 0 {
		return schemaField{}, false
	}
	return s.fields[i], true
}
