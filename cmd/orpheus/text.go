package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// colour is an SGR code; "" = the terminal's own.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

// screen collects the lines of one view. Text given to it is made harmless:
// most of it comes from a repository.
type screen struct {
	lines   []string
	width   int // in columns; 0 = lines may be of any length
	colours bool
}

func (s *screen) paint(c colour, text string) string {
	if !s.colours || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// newScreen fits where the output goes: a terminal's width and colours, or
// whole lines in a pipe.
func (e *env) newScreen() *screen {
	s := &screen{}
	if f, ok := e.stdout.(*os.File); ok {
		s.width, _ = terminalSize(f)
		s.colours = s.width > 0 && useColours()
	}
	return s
}

// useColours heeds what users set to have none.
func useColours() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// line adds a line as it is: its parts are harmless and fit.
func (s *screen) line(text string) { s.lines = append(s.lines, strings.TrimRight(text, " ")) }

// blank separates two blocks.
func (s *screen) blank() {
	if n := len(s.lines); n > 0 && s.lines[n-1] != "" {
		s.lines = append(s.lines, "")
	}
}

// prose adds text that is broken between words into lines of the screen's
// width, all but the first beginning with as many blanks as lead is wide.
func (s *screen) prose(lead string, leadColour, c colour, text string) {
	text = manifest.Printable(text)
	indent := columns(lead)
	for i, part := range wrap(text, s.room(indent)) {
		if i > 0 {
			lead, leadColour = strings.Repeat(" ", indent), plain
		}
		s.line(s.paint(leadColour, lead) + s.paint(c, part))
	}
}

// labelled adds a line of the block at the top: a label, and what it says.
func (s *screen) labelled(label string, c colour, text string) {
	s.prose(fmt.Sprintf("%-10s", label), bold, c, text)
}

// room is what an indent leaves of a line; 0 = no bound.
func (s *screen) room(indent int) int {
	if s.width == 0 {
		return 0
	}
	return max(minWrap, s.width-indent)
}

func (s *screen) writeTo(w io.Writer) error {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(l + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// minWrap is the narrowest column that text is broken into; a narrower screen
// gets longer lines.
const minWrap = 20

// wrap breaks text between words into lines of at most width columns, 0 = one
// line; a word longer than a line is broken too.
func wrap(text string, width int) []string {
	if width == 0 {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		for columns(word) > width {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			head := fit(word, width)
			lines, word = append(lines, head), word[len(head):]
		}
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= width:
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

// fit returns as much of the beginning of s as width columns hold.
func fit(s string, width int) string {
	used := 0
	for i, r := range s {
		if used += runeColumns(r); used > width && i > 0 {
			return s[:i]
		}
	}
	return s
}

// clip shortens s to width columns, with an ellipsis if something is missing.
func clip(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	return fit(s, max(1, width-1)) + "…"
}

// clipInside shortens s to width columns as clip does, but keeps its end: that
// of a slot's name is its number.
func clipInside(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	end := len(s)
	for end > 0 {
		_, size := utf8.DecodeLastRuneInString(s[:end])
		if columns(s[end-size:]) > width/3 {
			break
		}
		end -= size
	}
	return clip(s, width-columns(s[end:])) + s[end:]
}

// columns is how much room s takes on a terminal.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// wide lists the scripts and symbols that take two columns.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0xa4cf, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff00, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// age is a duration as people say it: 45s, 12m, 5h, 3d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
