package manifest

import (
	"path"
	"strings"
)

// globs are patterns of paths relative to the fleet's folder. A segment
// matches as in [path.Match]; the segment ** matches any number of folders. A
// pattern that matches a folder matches all it holds.
type globs [][]string

func compileGlobs(patterns []string) globs {
	compiled := make(globs, len(patterns))
	for i, p := range patterns {
		compiled[i] = strings.Split(p, "/")
	}
	return compiled
}

func (g globs) match(name string) bool {
	if len(g) == 0 {
		return false
	}
	segments := strings.Split(name, "/")
	for _, pattern := range g {
		if matchSegments(pattern, segments) {
			return true
		}
	}
	return false
}

// matchSegments keeps, for each place in the pattern, whether the segments so
// far lead to it: many ** cost no more than the product of both lengths.
func matchSegments(pattern, segments []string) bool {
	at := make([]bool, len(pattern)+1)
	at[0] = true
	skip := func() {
		for i, p := range pattern {
			if p == "**" && at[i] {
				at[i+1] = true
			}
		}
	}
	skip()
	for _, s := range segments {
		if at[len(pattern)] {
			return true // the pattern matched a folder above
		}
		next := make([]bool, len(pattern)+1)
		for i, p := range pattern {
			if !at[i] {
				continue
			}
			if p == "**" {
				next[i] = true
			} else if ok, _ := path.Match(p, s); ok {
				next[i+1] = true
			}
		}
		at = next
		skip()
	}
	return at[len(pattern)]
}

// globPattern is the rule of a pattern.
var globPattern = rule{checkGlobPattern, form{pattern: "[^/].*", says: "a pattern relative to the fleet's folder"}}

func checkGlobPattern(s string) (string, string) {
	if reason, remedy := anyText.check(s); reason != "" {
		return reason, remedy
	}
	if s == "" || len(s) > 256 {
		return "must have from 1 to 256 bytes", "write one, such as shop/**"
	}
	if path.Clean(s) != s || path.IsAbs(s) || s == "." || strings.HasPrefix(s, "..") {
		return "must be a clean path relative to the fleet's folder", "write it without ./ and ../, as shop/**"
	}
	for _, segment := range strings.Split(s, "/") {
		if _, err := path.Match(segment, ""); err != nil {
			return "is not a valid pattern", "escape [ and \\ with a backslash"
		}
		if segment != "**" && strings.Contains(segment, "**") {
			return "has ** that is not a whole segment", "write **/ before it"
		}
	}
	return "", ""
}
