package planner

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSubject bounds a record's subject, in bytes.
const MaxSubject = 160

// Subject makes the subject of a record from text that may hold words of
// others: one line, printable, at most MaxSubject bytes.
func Subject(text string) string { return OneLine(text, MaxSubject) }

// OneLine makes text fit for one line of a log or terminal: everything that
// would end the line or that a terminal could act on (control characters,
// escapes, direction overrides, invalid UTF-8) becomes its Go escape, and what
// is longer than limit bytes is cut, with an ellipsis where there is room.
func OneLine(text string, limit int) string {
	const ellipsis = "…"
	var b strings.Builder
	fits := 0 // length up to which an ellipsis can follow
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		piece := text[:size]
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			quoted := strconv.Quote(piece)
			piece = quoted[1 : len(quoted)-1]
		}
		if b.Len()+len(piece) > limit {
			if limit < len(ellipsis) {
				return ""
			}
			return b.String()[:fits] + ellipsis
		}
		b.WriteString(piece)
		if b.Len()+len(ellipsis) <= limit {
			fits = b.Len()
		}
		text = text[size:]
	}
	return b.String()
}
