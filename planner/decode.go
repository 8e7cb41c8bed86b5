package planner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what is read.
const (
	maxBody   = MaxRecordBytes - 4<<10 // leaves room for the commit, the subject and the signatures
	maxDepth  = 16
	maxString = 4 << 10 // bytes, of any string or key
	maxItems  = 4 << 10 // of one list or object
)

// object is a JSON object as read: values are object, []any, string,
// json.Number, bool or nil.
type object map[string]any

// parseJSON reads text that is one JSON object and nothing else.
func parseJSON(text string) (object, error) {
	switch {
	case len(text) > MaxRecordBytes:
		return nil, fmt.Errorf("%d bytes are more than %d", len(text), MaxRecordBytes)
	case !utf8.ValidString(text):
		return nil, errors.New("not UTF-8")
	}
	p := treeParser{json.NewDecoder(strings.NewReader(text))}
	p.UseNumber()
	value, err := p.value(0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	tree, ok := value.(object)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the JSON object")
	}
	return tree, nil
}

type treeParser struct{ *json.Decoder }

func (p treeParser) value(depth int) (any, error) {
	token, err := p.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, fmt.Errorf("nested more than %d deep", maxDepth)
		}
		if token == '{' {
			return p.object(depth + 1)
		}
		return p.list(depth + 1)
	case string:
		return token, boundString(token)
	}
	return token, nil
}

func (p treeParser) object(depth int) (object, error) {
	tree := object{}
	for p.More() {
		token, err := p.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, errors.New("a key is not a string")
		}
		if err := boundString(key); err != nil {
			return nil, err
		}
		if _, twice := tree[key]; twice {
			return nil, fmt.Errorf("key %s is given twice", quote(key))
		}
		if len(tree) == maxItems {
			return nil, fmt.Errorf("an object has more than %d keys", maxItems)
		}
		if tree[key], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.Token() // the end
	return tree, err
}

func (p treeParser) list(depth int) ([]any, error) {
	var list []any
	for p.More() {
		if len(list) == maxItems {
			return nil, fmt.Errorf("a list has more than %d items", maxItems)
		}
		item, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	_, err := p.Token() // the end
	return list, err
}

func boundString(s string) error {
	if len(s) > maxString {
		return fmt.Errorf("a string is longer than %d bytes", maxString)
	}
	return nil
}

// quote shows text of others in an error.
func quote(s string) string { return `"` + OneLine(s, 64) + `"` }

// later reports whether the format of a record is above what is read here.
func later(tree object) (format int, ok bool) {
	n, isNumber := tree["format"].(json.Number)
	if !isNumber {
		return 0, false
	}
	format, err := strconv.Atoi(n.String())
	return format, err == nil && format > MaxFormat
}

// decode fills the struct that into points to. Fields that it does not know
// are kept in a field of type Unknown, where there is one. null is the same as
// no value.
func decode(tree object, into any) error {
	return decoder{}.fields(tree, reflect.ValueOf(into).Elem())
}

// decodeSome fills those fields of the struct that can be read.
func decodeSome(tree object, into any) {
	_ = decoder{lenient: true}.fields(tree, reflect.ValueOf(into).Elem())
}

type decoder struct {
	// lenient leaves a field zero that cannot be read.
	lenient bool
}

func (d decoder) fields(tree object, into reflect.Value) error {
	schema := schemas[into.Type()]
	unknown := object{}
	for _, key := range sortedKeys(tree) {
		f, known := schema.find(key)
		if !known {
			unknown[key] = tree[key]
			continue
		}
		field := into.Field(f.index)
		if err := d.value(tree[key], field); err != nil {
			if !d.lenient {
				return in(key, err)
			}
			field.SetZero()
		}
	}
	if schema.unknown >= 0 && len(unknown) > 0 {
		into.Field(schema.unknown).SetString(encodeLeaf(unknown))
	}
	return nil
}

func (d decoder) value(from any, into reflect.Value) error {
	if from == nil {
		return nil
	}
	wrong := fmt.Errorf("not %s", kindWord(into.Kind()))
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return d.value(from, into.Elem())
	case reflect.Struct:
		if tree, ok := from.(object); ok {
			return d.fields(tree, into)
		}
	case reflect.Map:
		if tree, ok := from.(object); ok {
			return d.entries(tree, into)
		}
	case reflect.Slice, reflect.Array:
		if list, ok := from.([]any); ok {
			return d.items(list, into)
		}
	case reflect.String:
		if s, ok := from.(string); ok {
			into.SetString(s)
			return nil
		}
	case reflect.Bool:
		if b, ok := from.(bool); ok {
			into.SetBool(b)
			return nil
		}
	default:
		if n, ok := from.(json.Number); ok {
			return number(n.String(), into)
		}
	}
	return wrong
}

// number takes whole numbers that fit, in full precision.
func number(text string, into reflect.Value) error {
	if into.CanUint() {
		n, err := strconv.ParseUint(text, 10, into.Type().Bits())
		if err != nil {
			return fmt.Errorf("%s is not a whole number from 0 to 2^%d-1", quote(text), into.Type().Bits())
		}
		into.SetUint(n)
		return nil
	}
	n, err := strconv.ParseInt(text, 10, into.Type().Bits())
	if err != nil {
		return fmt.Errorf("%s is not a whole number of %d bits", quote(text), into.Type().Bits())
	}
	into.SetInt(n)
	return nil
}

func (d decoder) items(list []any, into reflect.Value) error {
	if into.Kind() == reflect.Array {
		if len(list) != into.Len() {
			return fmt.Errorf("not %d values", into.Len())
		}
	} else if len(list) > 0 {
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
	}
	for i, item := range list {
		if err := d.value(item, into.Index(i)); err != nil {
			return in("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

func (d decoder) entries(tree object, into reflect.Value) error {
	t := into.Type()
	into.Set(reflect.MakeMapWithSize(t, len(tree)))
	for _, key := range sortedKeys(tree) {
		value := reflect.New(t.Elem()).Elem()
		if err := d.value(tree[key], value); err != nil {
			return in(key, err)
		}
		into.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
	}
	return nil
}

func kindWord(k reflect.Kind) string {
	switch k {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// fieldError is what is wrong, and where: leases[3].token.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// in puts the name of a field or "[index]", if there is one, before the path
// of an error. No error stays none.
func in(name string, err error) error {
	if err == nil || name == "" {
		return err
	}
	path := OneLine(name, 64)
	if inner, ok := err.(*fieldError); ok {
		if !strings.HasPrefix(inner.path, "[") {
			path += "."
		}
		return &fieldError{path + inner.path, inner.err}
	}
	return &fieldError{path, err}
}

func sortedKeys(tree object) []string {
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
