package manifest

import (
	"bytes"
	"errors"
	"fmt"
)

// doubts are the subjects that a broken file may be about. What is made from
// several layers must not be run from some of them: a service whose overlay
// cannot be read keeps running as it was, like one whose manifest cannot be
// read. Only a layer that has no part in a subject yet can hide one.
type doubts struct {
	all   map[int]bool            // by layer: it may hide anything
	names map[int]map[string]bool // by layer: it mentions these
}

// about reports whether a layer may hide a part of the unit.
func (d *doubts) about(u *unit) bool {
	has := func(layer int) bool {
		for _, p := range u.parts {
			if p.layer == layer {
				return true
			}
		}
		return false
	}
	for layer := range d.all {
		if !has(layer) {
			return true
		}
	}
	for layer, names := range d.names {
		if names[u.name] && !has(layer) {
			return true
		}
	}
	return false
}

// doubts looks for names in the files that do not say what they are about.
func (c *composer) doubts() (*doubts, error) {
	d := &doubts{all: map[int]bool{}, names: map[int]map[string]bool{}}
	if len(c.layers) == 1 {
		return d, nil
	}
	for layer, barred := range c.barred {
		if barred {
			d.all[layer] = true
		}
	}
	for _, f := range c.files {
		if !f.doc.unsure || !f.doc.broken || d.all[f.layer] {
			continue
		}
		data, err := readFile(c.fsys, f.path, c.limits.FileBytes)
		var large *tooLargeError
		switch {
		case errors.As(err, &large):
			d.all[f.layer] = true
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", f.path, err)
		case hidesNames(data, f.doc.torn):
			d.all[f.layer] = true
		default:
			if d.names[f.layer] == nil {
				d.names[f.layer] = map[string]bool{}
			}
			mentions(data, d.names[f.layer])
		}
	}
	return d, nil
}

// hidesNames reports whether data may be about something that it does not
// spell out: it is no text, it is torn before any name, or it has escapes that
// could stand for letters.
func hidesNames(data []byte, torn bool) bool {
	if reason, _ := unreadable(data); reason != "" || torn && !bytes.Contains(data, []byte("name")) {
		return true
	}
	for _, escape := range []string{`\x`, `\u`, `\U`, "\\\n", "\\\r"} {
		if bytes.Contains(data, []byte(escape)) {
			return true
		}
	}
	return false
}

// mentions adds all words of a text that could be names.
func mentions(data []byte, names map[string]bool) {
	isWord := func(b byte) bool {
		return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b >= 'A' && b <= 'Z' || b == '_'
	}
	for i := 0; i < len(data); i++ {
		start := i
		for i < len(data) && isWord(data[i]) {
			i++
		}
		if word := string(data[start:i]); len(word) <= 63 && isLabel(word, false) {
			names[word] = true
		}
	}
}
