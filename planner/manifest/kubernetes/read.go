package kubernetes

import (
	"fmt"
	"strconv"
	"strings"
)

// value is a place in a resource. What is not there is a value, too.
type value struct {
	c    *converter
	r    *resource
	n    *node // nil = not there
	path string
	key  string // the field's name, the last of path
}

// at is the value of a field, or of a field of a field.
func (v value) at(names ...string) value {
	for _, name := range names {
		v.want("!!map", "an object")
		v = value{v.c, v.r, v.n.child(name), join(v.path, name), name}
	}
	return v
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// given reports whether something other than null is there.
func (v value) given() bool { return v.n != nil && !v.n.null() }

// want notes what is looked for, if something else is there: who reads nothing
// then has it told.
func (v value) want(tag, what string) {
	if v.given() && v.n.tag != tag {
		v.n.wanted = what
	}
}

// items are those of a list.
func (v value) items() []value {
	v.want("!!seq", "a list")
	return v.listed()
}

func (v value) listed() []value {
	if v.n == nil || v.n.tag != "!!seq" {
		return nil
	}
	all := make([]value, len(v.n.children))
	for i, item := range v.n.children {
		all[i] = value{v.c, v.r, item, v.path + "[" + strconv.Itoa(i) + "]", ""}
	}
	return all
}

// fields are the values of a mapping, in the order in which they are written.
func (v value) fields() []value {
	v.want("!!map", "an object")
	if v.n == nil || v.n.tag != "!!map" {
		return nil
	}
	all := make([]value, len(v.n.children))
	for i, name := range v.n.names {
		all[i] = v.at(name)
	}
	return all
}

// text reads a text. What is no text counts as it is written; a list or a
// mapping is none, and stays unread.
func (v value) text() string {
	if !v.given() {
		return ""
	}
	if !v.n.scalar() {
		v.n.wanted = "text"
		return ""
	}
	v.n.seen = true
	return v.n.text
}

// number reads a whole number.
func (v value) number() (int64, bool) {
	if v.want("!!int", "a whole number"); !v.given() || v.n.tag != "!!int" {
		return 0, false
	}
	n, err := strconv.ParseInt(v.n.text, 0, 64)
	if err != nil {
		return 0, false
	}
	v.n.seen = true
	return n, true
}

// truth reads a truth value.
func (v value) truth() bool {
	if v.want("!!bool", "true or false"); !v.given() || v.n.tag != "!!bool" {
		return false
	}
	v.n.seen = true
	return v.n.text == "true" || v.n.text == "True" || v.n.text == "TRUE"
}

// words reads a map of texts.
func (v value) words() map[string]string {
	all := map[string]string{}
	v.want("!!map", "an object")
	if v.n != nil && v.n.tag == "!!map" {
		for i, name := range v.n.names {
			if child := v.n.children[i]; child.scalar() && !child.null() {
				child.seen = true
				all[name] = child.text
			}
		}
	}
	return all
}

// is reports whether the value is one of the texts, which have no effect here,
// and reads it if so.
func (v value) is(texts ...string) bool {
	if !v.given() || !v.n.scalar() {
		return false
	}
	for _, text := range texts {
		if v.n.text == text {
			v.n.seen = true
			return true
		}
	}
	return false
}

// drop reads fields that mean nothing here, or are said by the conversion
// itself.
func (v value) drop(names ...string) {
	for _, name := range names {
		if f := v.at(name); f.n != nil {
			f.n.tick()
		}
	}
}

// lost notes that what is there was lost or changed.
func (v value) lost(reason, remedy string) { v.tell(reason, remedy, true) }

// failed notes that what is there was not converted although the workload may
// need it.
func (v value) failed(reason, remedy string) { v.tell(reason, remedy, false) }

func (v value) tell(reason, remedy string, warning bool) {
	if v.given() {
		v.n.tick()
		v.c.note(v.r, v.n, v.path, reason, remedy, warning)
	}
}

// hint says something of what is there, which may stay unread.
func (v value) hint(reason, remedy string) {
	if v.n != nil {
		v.c.note(v.r, v.n, v.path, reason, remedy, true)
	}
}

// unread notes what nobody has read of a resource: the largest parts of which
// nothing was.
func (c *converter) unread(r *resource) {
	var look func(v value)
	look = func(v value) {
		left, seen := census(v.n)
		switch {
		case left == 0:
		case seen == 0 && v.n.wanted != "":
			v.tell("must be "+v.n.wanted+", not "+v.n.what(), "correct it: see whether Kubernetes takes it", false)
		case seen == 0 && v.path != r.path && !v.n.holdsWanted():
			known := knownFields[plainName(v.path)]
			if r.group == configMap && (strings.HasPrefix(v.path, join(r.path, "data")) || strings.HasPrefix(v.path, join(r.path, "binaryData"))) {
				known = unusedKey
			}
			if known.reason == "" {
				known.reason = "has no counterpart in this version, or is no field of Kubernetes"
			}
			v.tell(known.reason, known.remedy, known.warning)
		default:
			if v.n.tag == "!!map" {
				for _, f := range v.fields() {
					look(f)
				}
			}
			for _, item := range v.listed() {
				look(item)
			}
			if v.n.scalar() {
				v.tell("is not what is expected here", "see whether Kubernetes takes it", true)
			}
		}
	}
	look(r.value(c))
}

// census counts the scalars that are unread, and those that are read.
func census(n *node) (left, seen int) {
	if n.scalar() {
		switch {
		case n.seen:
			return 0, 1
		case n.null():
			return 0, 0
		}
		return 1, 0
	}
	for _, c := range n.children {
		l, s := census(c)
		left, seen = left+l, seen+s
	}
	return left, seen
}

// plainName is the last name of a path.
func plainName(path string) string {
	end := len(path)
	for i := len(path) - 1; i >= 0; i-- {
		switch path[i] {
		case '[':
			end = i
		case '.':
			return path[i+1 : end]
		}
	}
	return path[:end]
}

func quote(s string) string {
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return fmt.Sprintf("%q", s)
}
