package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
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
	all     bool // nothing is left out because it is fine
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
	width, _ := terminal.SizeOf(e.stdout)
	return &screen{width: width, colours: terminal.Colours(e.stdout)}
}

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
	indent := terminal.Columns(lead)
	if s.width > 0 && s.width-indent < minWrap && strings.TrimSpace(lead) != "" {
		// Too little is left beside the lead: below it.
		s.line(s.paint(leadColour, lead))
		lead, leadColour, indent = narrowLead, plain, len(narrowLead)
	}
	for i, part := range terminal.Wrap(text, s.room(indent)) {
		if i > 0 {
			lead, leadColour = strings.Repeat(" ", indent), plain
		}
		s.line(s.paint(leadColour, lead) + s.paint(c, part))
	}
}

// narrowLead is what text begins with that has no room beside its own lead.
const narrowLead = "    "

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

// count is a number of things: "1 slot", "3 slots".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
