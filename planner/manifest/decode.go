package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// decoder turns the nodes of one document into values and collects faults. A
// value it could not decode stays zero; nothing stops at the first fault.
type decoder struct {
	limits Limits
	// all accepts fields this version refuses, to compute their revisions.
	all bool
	// seen holds where each field that was given stands, by its path.
	seen map[string]position
	// bad holds nodes the lint has refused: nothing more is said about them.
	bad map[*yaml.Node]bool
	// sources says where nodes were written that are put together from several
	// files; nil = all in the file being read.
	sources map[*yaml.Node]*source
	faults  *faultList
}

// newDecoder returns a decoder for one document. sources is nil if the document
// stands in one file.
func newDecoder(limits Limits, sources map[*yaml.Node]*source) *decoder {
	return &decoder{limits: limits, seen: map[string]position{}, bad: map[*yaml.Node]bool{},
		sources: sources, faults: &faultList{limit: limits.FaultsPerFile}}
}

// value is a node and its field path.
type value struct {
	node *yaml.Node
	path string
}

func (v value) child(name string, n *yaml.Node) value {
	if v.path == "" {
		return value{n, name}
	}
	return value{n, v.path + "." + name}
}

func (v value) item(i int, n *yaml.Node) value {
	return value{n, v.path + "[" + strconv.Itoa(i) + "]"}
}

// position is a place in a file.
type position struct {
	line, column int
	from         *source // nil = the file being read
}

// source is where a value of a document that was put together was written.
type source struct {
	file      string
	variables []*variable // that the value was made with
	// interpolated tells the variables that a Compose file has put into the value;
	// "" = none.
	interpolated string
}

// at is where a node was written.
func (d *decoder) at(n *yaml.Node) position { return position{n.Line, n.Column, d.sources[n]} }

// made reports whether n is the value of a variable: its type was said, so that
// nobody can take it for another.
func (d *decoder) made(n *yaml.Node) bool {
	s := d.sources[n]
	return s != nil && len(s.variables) > 0
}

// report adds a fault at p.
func (d *decoder) report(p position, f planner.Fault) {
	f.Line, f.Column = p.line, p.column
	if p.from != nil {
		f.File = p.from.file
		f.Reason += p.from.madeWith()
	}
	d.faults.add(f)
}

// has reports whether the field at path was given.
func (d *decoder) has(path string) bool { _, ok := d.seen[path]; return ok }

// where finds the position of a field, or of the nearest object around it.
func (d *decoder) where(path string) position {
	for path != "" {
		if p, ok := d.seen[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return d.seen[""]
}

// fault reports something wrong with the field at path.
func (d *decoder) fault(path, reason, remedy string) {
	d.report(d.where(path), planner.Fault{Field: path, Reason: reason, Remedy: remedy})
}

// warn reports something worth saying that holds nothing back.
func (d *decoder) warn(path, reason, remedy string) {
	d.report(d.where(path), planner.Fault{Field: path, Reason: reason, Remedy: remedy, Warning: true})
}

// wrong reports that v has the wrong type, unless the lint already spoke.
func (d *decoder) wrong(v value, reason, remedy string) {
	if !d.bad[v.node] {
		d.report(d.at(v.node), planner.Fault{Field: v.path, Reason: reason, Remedy: remedy})
	}
}

// decodeObject lays the schema over a mapping.
func decodeObject[T any](d *decoder, v value, s *schema[T], into *T) {
	if !d.mapping(v, s.example) {
		return
	}
	given := map[string]bool{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		if d.bad[key] {
			given[key.Value] = true // said by the lint; not missing as well
			continue
		}
		at, ok := s.byName[key.Value]
		if !ok {
			if meant := d.unknown(v, key, s.names(), s.instead[key.Value]); meant != "" {
				// The misspelt field is not missing as well.
				given[meant] = true
				d.seen[v.child(meant, node).path] = d.at(node)
			}
			continue
		}
		f, inner := s.fields[at], v.child(key.Value, node)
		given[f.name] = true
		d.seen[inner.path] = d.at(node)
		if f.later && !d.all {
			d.wrong(value{key, inner.path}, "is not supported by this version", "remove it")
		}
		if isNull(node) && !d.bad[node] && !f.later {
			d.wrong(inner, "has no value", "give it one, or remove the line")
			continue
		}
		f.decode(d, inner, into)
	}
	for _, f := range s.fields {
		if f.required && !given[f.name] {
			d.fault(v.child(f.name, nil).path, "is required", "add it")
		}
	}
}

// unknown reports a field that is not in the table and returns the one that
// was probably meant.
func (d *decoder) unknown(v value, key *yaml.Node, names []string, remedy string) (meant string) {
	if remedy == "" {
		if meant = nearest(key.Value, names); meant != "" {
			remedy = didYouMean(meant)
		} else {
			remedy = "remove it; docs/manifest.md lists the fields there are"
		}
	}
	d.report(d.at(key), planner.Fault{Field: v.path,
		Reason: "unknown field " + quote(key.Value), Remedy: remedy})
	return meant
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// mapping reports whether v is an object. The remedy shows the example, if
// there is one.
func (d *decoder) mapping(v value, example string) bool {
	if _, ok := d.seen[v.path]; !ok {
		d.seen[v.path] = d.at(v.node)
	}
	if v.node.Kind == yaml.MappingNode {
		return true
	}
	remedy := "write its fields below it, indented"
	if example != "" {
		remedy = "write it like " + example
	}
	d.wrong(v, "must be an object, not "+kindOf(v.node), remedy)
	delete(d.seen, v.path) // nothing more is said of what it lacks
	return false
}

// items returns the values of a list, none if it is not one or too long.
// remedy is for what is no list.
func (d *decoder) items(v value, limit int, remedy string) []value {
	if v.node.Kind != yaml.SequenceNode {
		d.wrong(v, "must be a list, not "+kindOf(v.node), remedy)
		return nil
	}
	if n := len(v.node.Content); n > limit {
		d.wrong(v, fmt.Sprintf("has %d items, more than the limit of %d", n, limit), "remove some")
		return nil
	}
	items := make([]value, 0, len(v.node.Content))
	for i, n := range v.node.Content {
		item := v.item(i, n)
		d.seen[item.path] = d.at(n)
		items = append(items, item)
	}
	return items
}

func (d *decoder) textMap(v value, limit int, keyRule, valueRule rule) map[string]string {
	if !d.mapping(v, "") {
		return nil
	}
	if n := len(v.node.Content) / 2; n > limit {
		d.wrong(v, fmt.Sprintf("has %d entries, more than the limit of %d", n, limit), "remove some")
		return nil
	}
	m := make(map[string]string, len(v.node.Content)/2)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		if d.bad[key] {
			continue
		}
		inner := value{node, v.path + "[" + quote(key.Value) + "]"}
		d.seen[inner.path] = d.at(node)
		if reason, remedy := keyRule.check(key.Value); reason != "" {
			d.wrong(value{key, v.path}, "key "+quote(key.Value)+" "+reason, remedy)
			continue
		}
		if s, ok := d.text(inner, valueRule); ok {
			m[key.Value] = s
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// text returns a string, refusing whatever another YAML reader would not take
// for the same string.
func (d *decoder) text(v value, rule rule) (string, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode {
		d.wrong(v, "must be text, not "+kindOf(n), "write one value, in quotes")
		return "", false
	}
	if isNull(n) {
		d.wrong(v, "has no value", `write "" for empty text, or remove the line`)
		return "", false
	}
	if n.Tag != "!!str" && !d.made(n) || n.Style == 0 && ambiguous(n.Value) {
		d.wrong(v, fmt.Sprintf("must be text, but %s unquoted reads as %s", shorten(n.Value), scalarKind(n)), "write "+quote(n.Value)+" in quotes")
		return "", false
	}
	if reason, remedy := rule.check(n.Value); reason != "" {
		d.wrong(v, quote(n.Value)+" "+reason, remedy)
		return "", false
	}
	return n.Value, true
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

func (d *decoder) number(v value, low, high int64) (int64, bool) {
	n := v.node
	remedy := fmt.Sprintf("write a number from %d to %d", low, high)
	switch {
	case n.Kind != yaml.ScalarNode || isNull(n):
		d.wrong(v, "must be a whole number, not "+kindOf(n), remedy)
		return 0, false
	case n.Style != 0 && decimal.MatchString(n.Value):
		d.wrong(v, "must be a number, not text", "write "+shorten(n.Value)+" without quotes")
		return 0, false
	case n.Style != 0 || n.Tag != "!!int" && n.Tag != "!!float":
		d.wrong(v, "must be a whole number, not "+quote(n.Value), remedy)
		return 0, false
	case !decimal.MatchString(n.Value):
		d.wrong(v, "must be a whole number in plain decimal digits, not "+shorten(n.Value), "write it without leading zeros, signs, underscores and exponents")
		return 0, false
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || i < low || i > high {
		d.wrong(v, shorten(n.Value)+" is out of range", remedy)
		return 0, false
	}
	return i, true
}

func (d *decoder) duration(v value, low, high time.Duration) (time.Duration, bool) {
	n := v.node
	switch {
	case n.Kind != yaml.ScalarNode || isNull(n):
		d.wrong(v, "must be a duration, not "+kindOf(n), "write one like 5s or 1m30s")
		return 0, false
	case n.Tag == "!!int" && n.Style == 0 && decimal.MatchString(n.Value):
		d.wrong(v, shorten(n.Value)+" has no unit", "write one like "+shorten(n.Value)+"s or "+shorten(n.Value)+"m")
		return 0, false
	}
	s, ok := d.text(v, anyText)
	if !ok {
		return 0, false
	}
	t, err := time.ParseDuration(s)
	switch {
	case err != nil:
		d.wrong(v, quote(s)+" is not a duration", "write one like 5s or 1m30s")
		return 0, false
	case t < low || t > high:
		d.wrong(v, t.String()+" is out of range", "write a duration from "+briefly(low)+" to "+briefly(high))
		return 0, false
	}
	return t, true
}

// briefly writes a duration without its zeros: 1h, not 1h0m0s.
func briefly(t time.Duration) string {
	s := t.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func (d *decoder) boolean(v value) (result, ok bool) {
	n := v.node
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && n.Style == 0 {
		return strings.EqualFold(n.Value, "true"), true
	}
	remedy := "write true or false"
	if n.Kind == yaml.ScalarNode && n.Style != 0 {
		remedy += " without quotes"
	}
	d.wrong(v, "must be true or false, not "+kindOf(n), remedy)
	return false, false
}

// kindOf names what a node is, for people.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "empty"
		}
		return quote(n.Value)
	}
	return "this"
}

// scalarKind names what an unquoted scalar reads as.
func scalarKind(n *yaml.Node) string {
	switch n.Tag {
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	case "!!str":
		if strings.Contains(n.Value, ":") {
			return "a number to some tools"
		}
		return "true or false to some tools"
	}
	return "something else"
}

var sexagesimal = regexp.MustCompile(`^[-+]?[0-9]+(:[0-5]?[0-9])+$`)

// ambiguous reports whether YAML 1.1 reads unquoted s as something else than
// text.
func ambiguous(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return sexagesimal.MatchString(s)
}
