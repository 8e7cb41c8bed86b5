package manifest

import "time"

// schema is the table of the fields an object may have. The decoder, the
// suggestions and the test that compares docs/manifest.md with the code all
// read it.
type schema[T any] struct {
	fields []field[T]
	byName map[string]int
	// instead gives the remedy for names people bring from elsewhere.
	instead map[string]string
	// example is one such object, for who wrote something else; "" = none.
	example string
	// one names fields of which an object has exactly one.
	one []string
}

// field is one row: how the value of a name is decoded into T.
type field[T any] struct {
	fieldInfo
	decode func(d *decoder, v value, into *T)
}

// fieldInfo is what documentation needs to know of a field.
type fieldInfo struct {
	name     string
	shape    Shape
	required bool
	restarts bool // a change changes the revision
	later    bool // known, refused by this version
	list     bool
	itself   bool        // has a meaning beyond its children's: being there
	children []fieldInfo // of the object, or of the list's items
	section  string      // the part of the documentation that has the children
}

func newSchema[T any](fields ...field[T]) *schema[T] {
	s := &schema[T]{fields: fields, byName: make(map[string]int, len(fields)), instead: map[string]string{}}
	for i, f := range fields {
		s.byName[f.name] = i
	}
	return s
}

// foreign adds remedies for names that are not ours, as name, remedy pairs.
func (s *schema[T]) foreign(pairs ...string) *schema[T] {
	for i := 0; i+1 < len(pairs); i += 2 {
		s.instead[pairs[i]] = pairs[i+1]
	}
	return s
}

// like adds the example that remedies show.
func (s *schema[T]) like(example string) *schema[T] {
	s.example = example
	return s
}

// exactlyOne says of which fields an object has exactly one. Who decodes it
// checks that.
func (s *schema[T]) exactlyOne(names ...string) *schema[T] {
	s.one = names
	return s
}

// shape is that of such an object.
func (s *schema[T]) shape() Shape { return Shape{Type: TypeObject, ExactlyOne: s.one} }

func (s *schema[T]) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

func (s *schema[T]) infos() []fieldInfo {
	infos := make([]fieldInfo, len(s.fields))
	for i, f := range s.fields {
		infos[i] = f.fieldInfo
	}
	return infos
}

func (f field[T]) must() field[T] { f.required = true; return f }

// nonEmpty marks a list that must have an item. A check of its own says so.
func (f field[T]) nonEmpty() field[T] { f.shape = f.shape.atLeast(1); return f }

// restart marks a field, and everything below it, as part of the revision.
func (f field[T]) restart() field[T] {
	f.restarts = true
	f.children = markRestarts(f.children)
	return f
}

func markRestarts(children []fieldInfo) []fieldInfo {
	marked := make([]fieldInfo, len(children))
	for i, c := range children {
		c.restarts = true
		c.children = markRestarts(c.children)
		marked[i] = c
	}
	return marked
}

// notYet marks a field that is decoded, so that faults inside are listed, and
// refused.
func (f field[T]) notYet() field[T] { f.later = true; return f }

// in names the section of the documentation that lists the field's children.
func (f field[T]) in(section string) field[T] { f.section = section; return f }

// unread is a field that is known and refused without looking inside.
func unread[T any](name string) field[T] {
	return field[T]{fieldInfo{name: name, later: true}, func(*decoder, value, *T) {}}
}

// special is a field that decodes itself. What it takes is for who cannot run
// the decoder.
func special[T any](name string, takes Shape, decode func(d *decoder, v value, into *T)) field[T] {
	return field[T]{fieldInfo{name: name, shape: takes, list: takes.Type == TypeList}, decode}
}

// lift makes the fields of a part of T fields of T itself.
func lift[T, U any](fields []field[U], part func(*T) *U) []field[T] {
	lifted := make([]field[T], len(fields))
	for i, f := range fields {
		lifted[i] = field[T]{f.fieldInfo, func(d *decoder, v value, into *T) { f.decode(d, v, part(into)) }}
	}
	return lifted
}

// text is a string that obeys the rule.
func text[T any](name string, rule rule, at func(*T) *string) field[T] {
	return field[T]{fieldInfo{name: name, shape: rule.shape()}, func(d *decoder, v value, into *T) {
		if s, ok := d.text(v, rule); ok {
			*at(into) = s
		}
	}}
}

// number is a whole number from low to high.
func number[T any, N int | int64](name string, low, high int64, at func(*T) *N) field[T] {
	return field[T]{fieldInfo{name: name, shape: numberShape(low, high)}, func(d *decoder, v value, into *T) {
		if n, ok := d.number(v, low, high); ok {
			*at(into) = N(n)
		}
	}}
}

// optional is a whole number for which "not given" is not zero.
func optional[T any](name string, low, high int64, at func(*T) **int64) field[T] {
	return field[T]{fieldInfo{name: name, shape: numberShape(low, high)}, func(d *decoder, v value, into *T) {
		if n, ok := d.number(v, low, high); ok {
			*at(into) = &n
		}
	}}
}

// duration is a length of time with its unit, from low to high.
func duration[T any](name string, low, high time.Duration, at func(*T) *time.Duration) field[T] {
	return field[T]{fieldInfo{name: name, shape: durationShape}, func(d *decoder, v value, into *T) {
		if t, ok := d.duration(v, low, high); ok {
			*at(into) = t
		}
	}}
}

// boolean is true or false.
func boolean[T any](name string, at func(*T) *bool) field[T] {
	return field[T]{fieldInfo{name: name, shape: boolShape}, func(d *decoder, v value, into *T) {
		if b, ok := d.boolean(v); ok {
			*at(into) = b
		}
	}}
}

// texts is a list of strings that obey the rule. A broken item is "" and keeps
// its place.
func texts[T any](name string, limit int, rule rule, at func(*T) *[]string) field[T] {
	return field[T]{fieldInfo{name: name, shape: listShape(limit, rule.shape()), list: true}, func(d *decoder, v value, into *T) {
		for _, item := range d.items(v, limit, "write it as a list: [first, second]") {
			s, _ := d.text(item, rule)
			*at(into) = append(*at(into), s)
		}
	}}
}

// textMap is an object of strings.
func textMap[T any](name string, limit int, key, val rule, at func(*T) *map[string]string) field[T] {
	return field[T]{fieldInfo{name: name, shape: mapShape(limit, key.shape(), val.shape())}, func(d *decoder, v value, into *T) {
		*at(into) = d.textMap(v, limit, key, val)
	}}
}

// object is a nested object.
func object[T, U any](name string, s *schema[U], at func(*T) *U) field[T] {
	return field[T]{fieldInfo{name: name, shape: s.shape(), children: s.infos()}, func(d *decoder, v value, into *T) {
		decodeObject(d, v, s, at(into))
	}}
}

// pointer is a nested object whose presence matters.
func pointer[T, U any](name string, s *schema[U], at func(*T) **U) field[T] {
	return field[T]{fieldInfo{name: name, shape: s.shape(), itself: true, children: s.infos()}, func(d *decoder, v value, into *T) {
		inner := new(U)
		decodeObject(d, v, s, inner)
		*at(into) = inner
	}}
}

// objects is a list of objects. A broken item keeps its place, so that paths
// of later checks fit.
func objects[T, U any](name string, limit int, s *schema[U], at func(*T) *[]U) field[T] {
	return field[T]{fieldInfo{name: name, shape: listShape(limit, s.shape()), list: true, children: s.infos()}, func(d *decoder, v value, into *T) {
		remedy := "start each item with a dash"
		if s.example != "" {
			remedy = "write a list with items like - " + s.example
		}
		items := d.items(v, limit, remedy)
		if len(items) == 0 {
			return
		}
		decoded := make([]U, len(items))
		for i, item := range items {
			decodeObject(d, item, s, &decoded[i])
		}
		*at(into) = decoded
	}}
}
