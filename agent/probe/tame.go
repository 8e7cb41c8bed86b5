package probe

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tame makes text of others fit to be shown: at most limit bytes of it, on one
// line, and everything a terminal could act on written as its Go escape.
func Tame(s string, limit int) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		part := s[:size]
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			q := strconv.Quote(part)
			part = q[1 : len(q)-1]
		}
		if b.Len()+len(part) > limit {
			return b.String() + "…"
		}
		b.WriteString(part)
		s = s[size:]
	}
	return b.String()
}
