package manifest

import (
	"slices"
	"strings"
)

// Restarts reports whether a change of a field of a Service gives the service
// another revision, so that its instances are made anew. The path is one of
// [Document.Origins]; items in brackets may have names instead of numbers.
// Whether it does so in a given case only the revisions tell: one thing can be
// written in two ways.
func Restarts(path string) bool {
	if strings.HasPrefix(path, "metadata.annotations") {
		return strings.Contains(path, restartedAt)
	}
	infos, restarts := serviceSchema.infos(), false
	for name := range strings.SplitSeq(withoutItems(path), ".") {
		at := slices.IndexFunc(infos, func(f fieldInfo) bool { return f.name == name })
		if at < 0 {
			return restarts // the key of a map
		}
		restarts, infos = infos[at].restarts, infos[at].children
		if name == "containers" || name == "initContainers" {
			infos = containerSchema.infos() // not all of what is said of ports restarts
		}
	}
	return restarts
}

// withoutItems is a path without what it says in brackets.
func withoutItems(path string) string {
	var b strings.Builder
	depth := 0
	for _, r := range path {
		switch {
		case r == '[':
			depth++
		case r == ']' && depth > 0:
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}
