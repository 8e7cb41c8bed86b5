package manifest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// The types of variables.
const (
	typeString   = "string"
	typeInt      = "int"
	typeBool     = "bool"
	typeQuantity = "quantity"
)

// declaration is a variable as one fleet.yaml has it.
type declaration struct {
	name string
	kind string // "" = not said: that of the value, or of the declaration below
	node *yaml.Node
	path string // field path of the value
	at   position
}

var variableSchema = newSchema(
	text("type", oneOf(typeString, typeInt, typeBool, typeQuantity), func(w *declaration) *string { return &w.kind }).must(),
	special("value", Shape{Type: TypeScalar}, func(_ *decoder, v value, into *declaration) { into.node, into.path = v.node, v.path }),
).foreign("default", "write it as value: an environment's fleet.yaml may give another").like("{type: int, value: 3}")

// variablesShape is values by name, or their types and values.
var variablesShape = mapShape(maxVariables,
	patterned(strings.Trim(variableName.String(), "^$"), "a name of letters, digits, _ and -, beginning with a letter, up to 63 characters"),
	Shape{Type: TypeScalar}.or(Shape{Type: TypeObject, Fields: exported(variableSchema.infos())}))

// decodeVariables reads spec.variables: each is a value, or its type and value.
func decodeVariables(d *decoder, v value) []declaration {
	if !d.mapping(v, "{tag: 1.2.3, replicas: 3}") {
		return nil
	}
	if n := len(v.node.Content) / 2; n > maxVariables {
		d.wrong(v, fmt.Sprintf("has %d entries, more than the limit of %d", n, maxVariables), "remove some")
		return nil
	}
	var all []declaration
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		if d.bad[key] {
			continue
		}
		inner := v.child(key.Value, node)
		d.seen[inner.path] = d.at(node)
		if !variableName.MatchString(key.Value) {
			d.wrong(value{key, v.path}, quote(key.Value)+" is no name of a variable", "write one of letters, digits, _ and -, beginning with a letter, up to 63 characters")
			continue
		}
		w := declaration{name: key.Value, node: node, path: inner.path, at: d.at(key)}
		switch {
		case node.Kind == yaml.MappingNode:
			w.node = nil
			if decodeObject(d, inner, variableSchema, &w); w.kind == "" {
				continue // said already
			}
		case node.Kind != yaml.ScalarNode || isNull(node):
			d.wrong(inner, "must be text, a number, true or false, not "+kindOf(node), `write a value, or {type: string} for one that each environment gives`)
			continue
		}
		all = append(all, w)
	}
	return all
}

// variable is one as it is in force.
type variable struct {
	name  string
	kind  string
	value string
	given bool   // it has a value
	file  string // that has its value, or else its type
	at    position

	node     *yaml.Node
	path     string
	layer    *layer // that gave the value
	uses     []*variable
	visiting bool
	resolved bool
}

// fingerprint is of variables: what was made with them stays while it does.
type fingerprint [sha256.Size]byte

// variables are those of a fleet, resolved.
type variables struct {
	byName map[string]*variable
	names  []string // sorted
	file   string   // fleet.yaml of the fleet, for remedies
	prints map[printed]fingerprint
}

// printed is what there is a fingerprint of.
type printed struct {
	name  string
	place bool
}

// resolveVariables lays the layers' declarations over each other, in order, and
// works out their values. What is wrong is added to the layers' decoders.
func resolveVariables(layers []*layer) *variables {
	set := &variables{byName: map[string]*variable{}, prints: map[printed]fingerprint{}, file: layers[len(layers)-1].fleetPath()}
	for _, l := range layers {
		for _, w := range l.variables {
			set.declare(l, w)
		}
	}
	slices.Sort(set.names)
	for _, name := range set.names {
		set.resolve(set.byName[name], nil)
	}
	for _, v := range set.byName {
		v.layer, v.node = nil, nil // composites that are remembered may refer to v
	}
	return set
}

// declare adds a declaration. A variable keeps the type of its first.
func (s *variables) declare(l *layer, w declaration) {
	v := s.byName[w.name]
	if v == nil {
		v = &variable{name: w.name, kind: w.kind}
		if v.kind == "" {
			v.kind = typeOf(w.node)
		}
		s.byName[w.name], s.names = v, append(s.names, w.name)
	} else if w.kind != "" && w.kind != v.kind {
		l.d.fault(w.path, fmt.Sprintf("variable %s is of type %s in %s line %d", w.name, v.kind, Printable(v.file), v.at.line), "keep its type, or change it there")
		return
	}
	if w.node != nil {
		v.layer, v.node, v.path, v.given = l, w.node, w.path, true
	} else if v.given {
		return // only its type, once more
	}
	v.file, v.at = l.fleetPath(), w.at
}

// typeOf is the type of a value that stands alone.
func typeOf(n *yaml.Node) string {
	switch {
	case n.Style == 0 && n.Tag == "!!int":
		return typeInt
	case n.Style == 0 && n.Tag == "!!bool":
		return typeBool
	}
	return typeString
}

// resolve works out a value. using are the variables on whose behalf it does.
func (s *variables) resolve(v *variable, using []string) {
	if v.resolved || !v.given {
		return
	}
	d := v.layer.d
	at := value{v.node, v.path}
	if v.visiting {
		chain := append(using[slices.Index(using, v.name):], v.name)
		d.wrong(at, "the variable uses itself: "+strings.Join(chain, ", which uses "), "give one of them a value of its own")
		return
	}
	v.visiting = true
	defer func() { v.visiting, v.resolved = false, true }()
	if v.node.Tag == "!!str" && strings.Contains(v.node.Value, "${") {
		s.compose(v, append(using, v.name))
		return
	}
	v.value = v.node.Value
	switch v.kind {
	case typeInt:
		d.number(at, minVariable, maxVariable)
	case typeBool:
		b, _ := d.boolean(at)
		v.value = fmt.Sprint(b)
	case typeQuantity:
		d.quantity(at)
	default:
		d.text(at, longText)
	}
}

// compose gives v the value that its text has with the variables it uses.
func (s *variables) compose(v *variable, using []string) {
	d, at := v.layer.d, value{v.node, v.path}
	if d.bad[v.node] {
		return
	}
	wrong := func(reason, remedy string) { d.wrong(at, reason, remedy) }
	pieces, stray := split(v.node.Value)
	if stray != "" {
		wrong(strayReference(stray))
		return
	}
	var b strings.Builder
	for _, p := range pieces {
		if !p.reference {
			b.WriteString(p.text)
			continue
		}
		other, reason, remedy := s.find(p.text)
		if reason != "" {
			wrong(reason, remedy)
			return
		}
		s.resolve(other, using)
		if !slices.Contains(v.uses, other) {
			v.uses = append(v.uses, other)
		}
		if b.WriteString(other.value); b.Len() > maxTextBytes {
			wrong(fmt.Sprintf("is longer than %d bytes with the variables it uses", maxTextBytes), "")
			return
		}
	}
	v.value = b.String()
	if kind := s.kindOf(pieces); kind != v.kind && (v.kind != typeQuantity || !quantityForm.MatchString(v.value)) {
		wrong(fmt.Sprintf("is of type %s, not %s", kind, v.kind), "write a value of type "+v.kind)
	}
}

// kindOf is the type of a text: that of the variable it names, if it is nothing
// else.
func (s *variables) kindOf(pieces []piece) string {
	if len(pieces) == 1 && pieces[0].reference {
		return s.byName[pieces[0].text].kind
	}
	return typeString
}

// find returns the variable of the name, or why there is none.
func (s *variables) find(name string) (v *variable, reason, remedy string) {
	v = s.byName[name]
	switch {
	case v == nil:
		return nil, "variable " + quote(name) + " is not defined", s.whatThereIs(name)
	case !v.given:
		return nil, fmt.Sprintf("variable %s has no value: %s line %d gives only its type", name, Printable(v.file), v.at.line), "give it one in spec.variables of " + Printable(s.file)
	}
	return v, "", ""
}

// whatThereIs is the remedy for a name that is not defined.
func (s *variables) whatThereIs(name string) string {
	const listed = 20
	remedy := "define it in spec.variables of " + Printable(s.file) + ", or write $${ for the text ${"
	if near := suggest(name, s.names); near != "" {
		remedy = near
	}
	switch n := len(s.names); {
	case n == 0:
		return remedy + " (none is defined)"
	case n > listed:
		return fmt.Sprintf("%s (defined are %s and %d more)", remedy, strings.Join(s.names[:listed], ", "), n-listed)
	}
	return remedy + " (defined are " + strings.Join(s.names, ", ") + ")"
}

// print is the fingerprint of a variable: of its value, and of its place too
// where that was told. The name "" stands for all of them and their places.
func (s *variables) print(name string, place bool) fingerprint {
	key := printed{name, place}
	if f, ok := s.prints[key]; ok {
		return f
	}
	h := sha256.New()
	names := []string{name}
	if name == "" {
		names, place = s.names, true
	}
	for _, name := range names {
		v := s.byName[name]
		if v == nil {
			continue
		}
		fmt.Fprintf(h, "%s %s %t %d %s\n", v.name, v.kind, v.given, len(v.value), v.value)
		if place {
			io.WriteString(h, tellVariables([]*variable{v}))
		}
	}
	s.prints[key] = fingerprint(h.Sum(nil))
	return s.prints[key]
}

// tellVariables tells people where the values of variables stand, and of those
// that they use.
func tellVariables(made []*variable) string {
	const listed = 4
	var told []*variable
	for next := made; len(next) > 0 && len(told) <= listed; {
		v := next[0]
		next = next[1:]
		if !slices.Contains(told, v) {
			told, next = append(told, v), slices.Concat(next, v.uses)
		}
	}
	var all []string
	for i, v := range told {
		if i == listed {
			all = append(all, "others")
			break
		}
		all = append(all, fmt.Sprintf("${%s} of %s:%d", v.name, Printable(v.file), v.at.line))
	}
	return strings.Join(all, ", ")
}

// variableName is what a variable may be called.
var variableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
