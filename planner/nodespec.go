package planner

import "strings"

// ReservedDomain begins the keys of labels and annotations that have a meaning
// to Orpheus itself. No node gives itself one.
const ReservedDomain = "orpheus/"

// MayOwn reports whether the node may give itself a label of this key. What it
// may not counts as absent: a node must not move itself to where the secrets
// are.
func (s NodeSpec) MayOwn(key string) bool {
	if strings.HasPrefix(key, ReservedDomain) {
		return false
	}
	if s.OwnLabels == nil {
		return true
	}
	for _, pattern := range s.OwnLabels {
		if matchKey(pattern, key) {
			return true
		}
	}
	return false
}

// matchKey reports whether the key fits the pattern, in which * stands for any
// text, also none. It costs no more than the product of both lengths.
func matchKey(pattern, key string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == key
	}
	key, ok := strings.CutPrefix(key, head)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		_, after, found := strings.Cut(key, part)
		if !found {
			return false
		}
		key = after
	}
	return strings.HasSuffix(key, last)
}
