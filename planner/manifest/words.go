package manifest

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quoted is how much of a value from the repository a message repeats.
const quoted = 80

// quote repeats text from the repository so that it cannot act on a terminal
// or break out of a line.
func quote(s string) string { return strconv.Quote(clip(s)) }

// shorten repeats a plain scalar without quotes, made harmless.
func shorten(s string) string { return Printable(clip(s)) }

func clip(s string) string {
	if len(s) <= quoted {
		return s
	}
	cut := quoted
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// Printable replaces everything in s that a terminal could act on or that
// would end a line (control characters, escapes, direction overrides, invalid
// UTF-8) by its Go escape.
func Printable(s string) string {
	clean := true
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			q := strconv.Quote(s[i : i+size])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// suggest is the remedy for a misspelt word, "" if none of the words is near.
func suggest(word string, words []string) string { return didYouMean(nearest(word, words)) }

func didYouMean(word string) string {
	if word == "" {
		return ""
	}
	return "did you mean " + word + "?"
}

// Nearest is the word that was probably meant, "" if none is near.
func Nearest(word string, words []string) string { return nearest(word, words) }

// nearest is the word that was probably meant, "" if none is near.
func nearest(word string, words []string) string {
	if len(word) > 64 {
		return ""
	}
	best, distance := "", 3
	for _, w := range words {
		if strings.EqualFold(w, word) {
			return w
		}
		// Short words are all near each other.
		if n := editDistance(strings.ToLower(word), strings.ToLower(w)); n < distance && n*2 < len(w) {
			best, distance = w, n
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b.
func editDistance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, prev[j]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
