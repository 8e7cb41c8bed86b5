package terminal

import (
	"os"
	"os/signal"
	"strings"
)

// What a live view asks of a terminal, as xterm and those after it understand it.
const (
	enter  = "\x1b[?1049h\x1b[?25l\x1b[?7l" // alternate screen, no cursor, no wrapping of long lines
	leave  = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	begin  = "\x1b[?2026h\x1b[H" // hold what follows back until end; unknown to some, who ignore it
	end    = "\x1b[J\x1b[?2026l"
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
	_, height := size(l.out)
	lines = fitHeight(lines, height, rest)
	_, err := l.out.WriteString(begin + strings.Join(lines, endRow+"\r\n") + endRow + end)
	return err
}

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
