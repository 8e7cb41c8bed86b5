package terminal

import (
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
)

// What a live view asks of a terminal, as xterm and those after it understand it.
const (
	enter  = "\x1b[?1049h\x1b[?25l\x1b[?7l" // alternate screen, no cursor, no wrapping of long lines
	leave  = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	begin  = "\x1b[?2026h\x1b[H" // hold what follows back until end; unknown to some, who ignore it
	end    = "\x1b[?2026l"
	endRow = "\x1b[K"
)

// Live draws on a terminal in place, on its alternate screen, so that nothing that
// was there is lost.
type Live struct {
	out     *os.File
	resized chan os.Signal
}

// Start begins to draw on out. Whoever starts ends, whatever happens.
func Start(out *os.File) (*Live, error) {
	l := &Live{out: out, resized: make(chan os.Signal, 1)}
	notifyResize(l.resized)
	if _, err := out.WriteString(enter); err != nil {
		signal.Stop(l.resized)
		return nil, err
	}
	return l, nil
}

// Resized tells that the terminal has another size now, where the system says so.
func (l *Live) Resized() <-chan os.Signal { return l.resized }

// Show draws lines in the place of those before, in one write: no line of the last
// ones is blank in between. What does not fit is left out, and rest, given how many
// lines that is, says so in the last line.
func (l *Live) Show(lines []string, rest func(hidden int) string) error {
	width, height := size(l.out)
	_, err := l.out.WriteString(frame(fitHeight(lines, height, rest), width, height))
	return err
}

// frame draws lines over what stands on a terminal of a size. A line that fills its
// row leaves the cursor on the last column: to erase from there would take the last
// character away.
func frame(lines []string, width, height int) string {
	var b strings.Builder
	b.WriteString(begin)
	for k, line := range lines {
		if k > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line)
		if Columns(colours.ReplaceAllString(line, "")) < width {
			b.WriteString(endRow)
		}
	}
	if len(lines) < height {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[J", len(lines)+1)
	}
	b.WriteString(end)
	return b.String()
}

// colours are the sequences that take no room.
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// fitHeight leaves of lines what a terminal of a height shows; 0 = not known.
func fitHeight(lines []string, height int, rest func(hidden int) string) []string {
	if height <= 1 || len(lines) <= height {
		return lines
	}
	shown := height - 1
	return append(append([]string{}, lines[:shown]...), rest(len(lines)-shown))
}

// End gives the terminal back as it was, and writes lines to it, to stay.
func (l *Live) End(lines []string) error {
	signal.Stop(l.resized)
	text := leave
	if len(lines) > 0 {
		text += strings.Join(lines, "\n") + "\n"
	}
	_, err := l.out.WriteString(text)
	return err
}
