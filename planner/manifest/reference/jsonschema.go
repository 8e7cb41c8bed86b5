package reference

import (
	"bytes"
	"encoding/json"
)

// schema is a JSON Schema, draft 7: what editors understand best. Fields are in
// the order in which they are written.
type schema struct {
	Schema  string `json:"$schema,omitempty"`
	Comment string `json:"$comment,omitempty"`
	Title   string `json:"title,omitempty"`
	Ref     string `json:"$ref,omitempty"`
	// MarkdownDescription and PatternErrorMessage are read by the YAML language
	// server; others pass over them.
	Description         string `json:"description,omitempty"`
	MarkdownDescription string `json:"markdownDescription,omitempty"`

	Type    types `json:"type,omitempty"`
	Const   any   `json:"const,omitempty"`
	Enum    []any `json:"enum,omitempty"`
	Default any   `json:"default,omitempty"`

	Minimum             *int64 `json:"minimum,omitempty"`
	Maximum             *int64 `json:"maximum,omitempty"`
	Pattern             string `json:"pattern,omitempty"`
	PatternErrorMessage string `json:"patternErrorMessage,omitempty"`

	MinItems int     `json:"minItems,omitempty"`
	MaxItems int     `json:"maxItems,omitempty"`
	Items    *schema `json:"items,omitempty"`

	Required             []string   `json:"required,omitempty"`
	Properties           properties `json:"properties,omitempty"`
	PropertyNames        *schema    `json:"propertyNames,omitempty"`
	AdditionalProperties any        `json:"additionalProperties,omitempty"` // a *schema, or refused
	MaxProperties        int        `json:"maxProperties,omitempty"`

	AllOf []*schema `json:"allOf,omitempty"`
	AnyOf []*schema `json:"anyOf,omitempty"`
	OneOf []*schema `json:"oneOf,omitempty"`
	Not   *schema   `json:"not,omitempty"`
	If    *schema   `json:"if,omitempty"`
	Then  *schema   `json:"then,omitempty"`

	Definitions properties `json:"definitions,omitempty"`
}

// types are names of JSON's types; one is written without a list.
type types []string

func (t types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

func (t types) with(name string) types {
	for _, have := range t {
		if have == name {
			return t
		}
	}
	return append(t, name)
}

// property is one of properties. A nil schema refuses every value.
type property struct {
	name string
	*schema
}

// properties keep their order, which is the documentation's.
type properties []property

func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, prop := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := encode(prop.name)
		if err != nil {
			return nil, err
		}
		value := []byte("false")
		if prop.schema != nil {
			if value, err = encode(prop.schema); err != nil {
				return nil, err
			}
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode is JSON as people read it: < and > stay what they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// required is a schema that only asks for a field.
func required(name string) *schema { return &schema{Required: []string{name}} }

// given is a schema that only asks for a field with one value.
func given(name string, value any) *schema {
	return &schema{Required: []string{name}, Properties: properties{{name, &schema{Const: value}}}}
}
