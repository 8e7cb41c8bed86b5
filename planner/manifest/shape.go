package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is what kind of value a field takes.
type Type string

const (
	TypeText    Type = "text"
	TypeNumber  Type = "number"  // a whole one
	TypeDecimal Type = "decimal" // a number with or without a fraction
	TypeBool    Type = "bool"
	TypeList    Type = "list"
	TypeMap     Type = "map" // an object whose fields have no names of ours
	TypeObject  Type = "object"
	TypeScalar  Type = "scalar" // a text, a number, true or false
)

// Shape says which values a field takes, to who cannot run the decoder. It
// allows everything that the decoder takes, and refuses as much of the rest as
// can be said so.
type Shape struct {
	Type Type
	// Low and High bound a number.
	Low, High int64
	// Pattern is a regular expression for the whole of a text, of what RE2 and
	// JavaScript read alike; "" = any text.
	Pattern string
	// Never is a pattern of what no text has, anywhere; "" = none.
	Never string
	// Words are all the texts there are; beside a Pattern the usual ones.
	Words []string
	// Says is the rule of a text in words, as the end of "must be …".
	Says string
	// Least and Limit are how few and how many items or entries there may be.
	Least, Limit int
	// Keys are those of a map, Item its values or a list's items.
	Keys, Item *Shape
	// Fields are an object's.
	Fields []Field
	// ExactlyOne names fields of an object of which it has exactly one.
	ExactlyOne []string
	// Or are other ways to write the value.
	Or []Shape
}

func (s Shape) or(others ...Shape) Shape {
	s.Or = append(s.Or[:len(s.Or):len(s.Or)], others...)
	return s
}

func (s Shape) atLeast(n int) Shape { s.Least = n; return s }

func (r rule) shape() Shape {
	return Shape{Type: TypeText, Pattern: r.pattern, Never: r.never, Words: r.words, Says: r.says}
}

func numberShape(low, high int64) Shape { return Shape{Type: TypeNumber, Low: low, High: high} }

func listShape(limit int, item Shape) Shape { return Shape{Type: TypeList, Limit: limit, Item: &item} }

func mapShape(limit int, keys, values Shape) Shape {
	return Shape{Type: TypeMap, Limit: limit, Keys: &keys, Item: &values}
}

// patterned is a text of a form that no rule says.
func patterned(pattern, says string) Shape {
	return Shape{Type: TypeText, Pattern: pattern, Says: says}
}

// anyCase is one of the words, whatever the case of its letters.
func anyCase(words ...string) Shape {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte('|')
		}
		for _, r := range w {
			if upper, lower := strings.ToUpper(string(r)), strings.ToLower(string(r)); upper != lower {
				b.WriteString("[" + upper + lower + "]")
			} else {
				b.WriteRune(r)
			}
		}
	}
	return Shape{Type: TypeText, Pattern: b.String(), Words: words, Says: strings.Join(words, " or ")}
}

// quantityShape is an amount, from 0 to high.
func quantityShape(high int64, like string) Shape {
	return patterned(strings.Trim(quantityForm.String(), "^$"), "an amount such as "+like).or(Shape{Type: TypeDecimal, High: high})
}

// amountShape is a number, or a percentage up to percent: 100 or 1000.
func amountShape(low, high, percent int64) Shape {
	first := "[1-9]"
	if low == 0 {
		first = "0|[1-9]"
	}
	digits := len(strconv.FormatInt(percent, 10))
	return numberShape(low, high).or(patterned(fmt.Sprintf("(%s[0-9]{0,%d}|%d)%%", first, digits-2, percent),
		fmt.Sprintf("a percentage from %d%% to %d%%", low, percent)))
}

var (
	boolShape     = Shape{Type: TypeBool}
	durationShape = patterned(`[+]?(([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+`, "a duration such as 5s or 1m30s")
	timeShape     = patterned(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{1,2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})`, "a time with its zone, such as 2026-12-24T18:00:00Z")
	addressShape  = patterned(octet+`(\.`+octet+`){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*`, "an IP address")
)

const octet = `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`

// Field is what there is to know of a field from the decoder's tables.
type Field struct {
	Name     string
	Required bool
	Restarts bool // a change gives the service a new revision
	Later    bool // known, and refused by this version
	// Part names the Part whose fields the value, or each of its items, has;
	// "" = they are in Shape.
	Part  string
	Shape Shape
}

// Part is a table of fields: a kind of document, or what several of them hold.
type Part struct {
	Name string
	Kind bool // of document
	// Fields, in the order of docs/manifest.md.
	Fields []Field
	// ExactlyOne names fields of which there is exactly one.
	ExactlyOne []string
}

// Parts returns the tables of all kinds of documents, and of what they hold in
// several places. A Service has the fields of a Container in its spec as well.
func Parts() []Part {
	return []Part{
		{Name: "Fleet", Kind: true, Fields: exported(fleetSchema.infos())},
		{Name: "Node", Kind: true, Fields: exported(nodeSchema.infos())},
		{Name: "Service", Kind: true, Fields: exported(serviceSchema.infos())},
		{Name: "Container", Fields: exported(containerSchema.infos())},
		{Name: "Probe", Fields: exported(markRestarts(probeSchema.infos())), ExactlyOne: probeSchema.one},
		{Name: "Hook", Fields: exported(hookSchema.infos())},
	}
}

func exported(infos []fieldInfo) []Field {
	fields := make([]Field, len(infos))
	for i, f := range infos {
		shape := f.shape
		switch {
		case f.section != "":
		case shape.Type == TypeObject:
			shape.Fields = exported(f.children)
		case shape.Type == TypeList && shape.Item != nil && shape.Item.Type == TypeObject:
			item := *shape.Item
			item.Fields = exported(f.children)
			shape.Item = &item
		}
		fields[i] = Field{Name: f.name, Required: f.required, Restarts: f.restarts, Later: f.later, Part: f.section, Shape: shape}
	}
	return fields
}
