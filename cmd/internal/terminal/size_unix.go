//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// size returns the size of the terminal f is, 0 if it is none.
func size(f *os.File) (columns, lines int) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	if w.Col == 0 { // a terminal that does not know
		return 80, 24
	}
	return int(w.Col), int(w.Row)
}
