package review

import (
	"html"
	"strings"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// Text from a repository or a record stands in a comment only as code: a span, a
// fenced block, or an HTML element of that name. There neither markdown nor HTML,
// links, mentions, references or commands of a forge have a meaning.

// span is text as a code span of one line, whatever backticks it has.
func span(text string) string {
	text = manifest.Printable(text)
	if text == "" {
		text = " "
	}
	fence := strings.Repeat("`", longestRun(text, '`')+1)
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") || strings.TrimSpace(text) == "" {
		text = " " + text + " "
	}
	return fence + text + fence
}

// cellSpan is span within a table, where a bar would end the cell.
func cellSpan(text string) string { return span(strings.ReplaceAll(text, "|", "¦")) }

// block is lines as a fenced block that none of them ends.
func block(lang string, lines []string) string {
	var b strings.Builder
	longest := 2
	for i, l := range lines {
		lines[i] = manifest.Printable(l)
		longest = max(longest, longestRun(lines[i], '`'))
	}
	fence := strings.Repeat("`", longest+1)
	b.WriteString(fence + lang + "\n")
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	b.WriteString(fence + "\n")
	return b.String()
}

// element is text as an HTML element of code, for where markdown is not read.
func element(text string) string {
	return "<code>" + strings.ReplaceAll(html.EscapeString(manifest.Printable(text)), "@", "&#64;") + "</code>"
}

// longestRun is the length of the longest run of c.
func longestRun(text string, c byte) int {
	longest, run := 0, 0
	for i := range len(text) {
		if text[i] == c {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}
