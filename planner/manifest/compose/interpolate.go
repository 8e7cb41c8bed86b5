package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"
)

// expansion puts variables into one text, by the rules of the Compose
// specification: $NAME, ${NAME}, ${NAME:-default}, ${NAME-default},
// ${NAME:?reason}, ${NAME?reason}, ${NAME:+instead}, ${NAME+instead}, and $$ for
// a dollar. It is ours and not compose-go's because that one says on standard
// error what is missing, and takes time that grows with the square of the text.
type expansion struct {
	env   map[string]string
	left  int // bytes that may still be written, steps that may still be taken
	wrong []complaint
	used  []string // names of variables whose values are in it
}

// complaint is what is wrong with a reference.
type complaint struct{ reason, remedy string }

const (
	maxExpanded  = 64 << 10 // bytes of one text, with its variables
	maxReference = 16       // references within the default of another
)

// substitute returns text with its variables, and their names. What is wrong is a
// fault at the position.
func (l *load) substitute(text string, env map[string]string, at Position) (made string, used []string, good bool) {
	if !strings.Contains(text, "$") {
		return text, nil, true
	}
	e := &expansion{env: env, left: maxExpanded}
	out := e.text(text, 0)
	if l.budget.bytes -= len(out); l.budget.bytes < 0 && len(e.wrong) == 0 {
		e.complain("is too large: the texts of a Compose file may have 4 MiB together, with their variables", "use fewer or shorter variables")
	}
	for _, w := range e.wrong {
		l.faults.add(at.fault(w.reason, w.remedy))
	}
	return out, e.used, len(e.wrong) == 0
}

// use notes that the value of a variable counts.
func (e *expansion) use(name string) {
	if !slices.Contains(e.used, name) {
		e.used = append(e.used, name)
	}
}

func (e *expansion) complain(reason, remedy string) {
	if c := (complaint{reason, remedy}); !slices.Contains(e.wrong, c) {
		e.wrong = append(e.wrong, c)
	}
}

// spend counts what is written and looked at.
func (e *expansion) spend(n int) bool {
	if e.left < 0 {
		return false
	}
	if e.left -= n; e.left < 0 {
		e.complain(fmt.Sprintf("is longer than %d KiB with its variables", maxExpanded>>10), "use shorter variables")
		return false
	}
	return true
}

func (e *expansion) text(s string, depth int) string {
	if depth > maxReference {
		e.complain(fmt.Sprintf("has more than %d references within each other", maxReference), "define a variable for the innermost")
		return ""
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			break
		}
		if !e.spend(i + 1) {
			return ""
		}
		b.WriteString(s[:i])
		switch rest := s[i+1:]; {
		case rest[0] == '$':
			b.WriteByte('$')
			s = rest[1:]
		case rest[0] == '{':
			value, after, ok := e.braced(rest, depth)
			if !ok {
				e.complain("has "+quote(s[i:])+", which begins like a variable and is none", "write ${NAME} or ${NAME:-default}, or $$ for a dollar")
				return ""
			}
			b.WriteString(value)
			s = after
		case nameLength(rest) > 0:
			n := nameLength(rest)
			b.WriteString(e.plain(rest[:n]))
			s = rest[n:]
		default:
			b.WriteByte('$')
			s = rest
		}
	}
	if !e.spend(len(s)) {
		return ""
	}
	b.WriteString(s)
	return b.String()
}

// plain is the value of a variable that has no default.
func (e *expansion) plain(name string) string {
	value, ok := e.env[name]
	if !ok {
		e.complain("variable "+name+" is not defined", defineIt(name))
		return ""
	}
	e.use(name)
	if !e.spend(len(value)) {
		return ""
	}
	return value
}

// defineIt is the remedy for a variable that is missing.
func defineIt(name string) string {
	return "define it in spec.variables of fleet.yaml or in the .env beside the Compose file, or write ${" + name + ":-default}, or $$ for a dollar; the environment of machines is not read"
}

// braced reads a reference in braces; s begins with the first.
func (e *expansion) braced(s string, depth int) (value, rest string, ok bool) {
	n := nameLength(s[1:])
	if n == 0 || len(s) <= n+1 {
		return "", "", false
	}
	name, s := s[1:n+1], s[n+1:]
	if s[0] == '}' {
		return e.plain(name), s[1:], true
	}
	operator := s[:1]
	if s[0] == ':' && len(s) > 1 {
		operator = s[:2]
	}
	if !strings.Contains("-?+", operator[len(operator)-1:]) {
		return "", "", false
	}
	argument, rest, ok := e.argument(s[len(operator):])
	if !ok {
		return "", "", false
	}
	return e.operate(name, operator, argument, depth), rest, true
}

// argument cuts off what stands between an operator and its closing brace: the
// first that closes all before, or else the last on the line.
func (e *expansion) argument(s string) (argument, rest string, ok bool) {
	line, _, _ := strings.Cut(s, "\n")
	last := strings.LastIndexByte(line, '}')
	if last < 0 || !e.spend(min(len(line), 256)) {
		return "", "", false
	}
	open := 1
	for i := 0; i <= last; i++ {
		switch line[i] {
		case '}':
			if open--; open == 0 {
				return s[:i], s[i+1:], true
			}
		case '{':
			open++
			i++ // as compose-go does: what follows begins a name
		}
	}
	return s[:last], s[last+1:], true
}

// operate is the value of a reference that says what to do without a variable,
// or with one.
func (e *expansion) operate(name, operator, argument string, depth int) string {
	value, ok := e.env[name]
	usable := ok && (len(operator) == 1 || value != "")
	if ok {
		e.use(name)
	}
	switch operator[len(operator)-1] {
	case '-':
		if !usable {
			return e.text(argument, depth+1)
		}
	case '+':
		if usable {
			return e.text(argument, depth+1)
		}
		return value // "" or nothing at all
	case '?':
		if !usable {
			reason := "variable " + name + " is required"
			if why := (&expansion{env: e.env, left: maxFileBytes}).text(argument, depth+1); why != "" {
				reason += ": " + quote(why)
			}
			e.complain(reason, "define it in spec.variables of fleet.yaml or in the .env beside the Compose file")
			return ""
		}
	}
	if !e.spend(len(value)) {
		return ""
	}
	return value
}

// nameLength is how much of s is the name of a variable. Two letters that are
// s and k but for their case count, as in compose-go's expression.
func nameLength(s string) int {
	for i, c := range s {
		switch {
		case c == '_', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '\u017f', c == '\u212a':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return i
		}
	}
	return len(s)
}

// casts say which texts become numbers or truth values once their variables
// are in. They are compose-go's.
var casts = loader.ToOptions(&types.ConfigDetails{}, nil).Interpolate.TypeCastMapping

// castsBySize has those that can fit a path of so many parts: most values have
// none.
var castsBySize = func() map[int][]cast {
	sorted := map[int][]cast{}
	for _, p := range slices.Sorted(maps.Keys(casts)) {
		n := len(p.Parts())
		sorted[n] = append(sorted[n], cast{p, casts[p]})
	}
	return sorted
}()

type cast struct {
	path tree.Path
	to   interpolation.Cast
}

func castFor(p tree.Path) interpolation.Cast {
	for _, c := range castsBySize[len(p.Parts())] {
		if p.Matches(c.path) {
			return c.to
		}
	}
	return nil
}

// interpolated is a copy of the document's values with variables put in.
func (l *load) interpolated(d *document, env map[string]string) map[string]any {
	in := interpolator{l, d, env}
	out := make(map[string]any, len(d.tree))
	for _, key := range slices.Sorted(maps.Keys(d.tree)) {
		out[key] = in.value(d.tree[key], key, tree.NewPath(key))
	}
	return out
}

type interpolator struct {
	l   *load
	d   *document
	env map[string]string
}

func (in interpolator) value(v any, field string, p tree.Path) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out[key] = in.value(v[key], join(field, key), p.Next(key))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = in.value(item, field+"["+strconv.Itoa(i)+"]", p.Next(tree.PathMatchList))
		}
		return out
	case string:
		return in.text(v, field, p)
	}
	return v
}

func (in interpolator) text(v, field string, p tree.Path) any {
	at := in.d.position(field)
	text, used, ok := in.l.substitute(v, in.env, at)
	if !ok {
		return text
	}
	if len(used) > 0 {
		if in.d.made == nil {
			in.d.made = map[string]string{}
		}
		in.d.made[field] = strings.Join(used, " ")
	}
	to := castFor(p)
	if to == nil {
		return text
	}
	made, err := to(text)
	if err != nil {
		remedy := "write a number, or true or false, as the Compose specification has it"
		if p.Matches("services.*.ulimits.*") {
			remedy = "write one number for both, or {soft: 20000, hard: 40000}"
		}
		in.l.faults.add(at.fault(quote(text)+" is not of the type that belongs here", remedy))
		return text
	}
	return made
}
