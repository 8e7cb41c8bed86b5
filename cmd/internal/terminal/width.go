package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Ellipsis stands for what was left out of a text.
const Ellipsis = "…"

// Columns is how much room s takes on a terminal: never less than it does there,
// for text of printable runes.
func Columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	const emoji = 0xfe0f // has what is before it drawn as wide as two
	switch {
	case r < 0x300 || r == emoji:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Fit returns as much of the beginning of s as n columns hold, at least one rune.
func Fit(s string, n int) string {
	used := 0
	for i, r := range s {
		if used += runeColumns(r); used > n && i > 0 {
			return s[:i]
		}
	}
	return s
}

// Clip shortens s to n columns, with an ellipsis if something is missing.
func Clip(s string, n int) string {
	if Columns(s) <= n {
		return s
	}
	return Fit(s, max(1, n-1)) + Ellipsis
}

// ClipInside shortens s to n columns as Clip does, but keeps its end: names differ
// there, and that of a slot is its number.
func ClipInside(s string, n int) string {
	if Columns(s) <= n {
		return s
	}
	end := len(s)
	for end > 0 {
		_, size := utf8.DecodeLastRuneInString(s[:end])
		if Columns(s[end-size:]) > n/3 {
			break
		}
		end -= size
	}
	return Clip(s, n-Columns(s[end:])) + s[end:]
}

// Wrap breaks text between words into lines of at most n columns, 0 = one line; a
// word longer than a line is broken too.
func Wrap(text string, n int) []string {
	if n == 0 {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		for Columns(word) > n {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			head := Fit(word, n)
			lines, word = append(lines, head), word[len(head):]
		}
		switch {
		case line == "":
			line = word
		case Columns(line)+1+Columns(word) <= n:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}
