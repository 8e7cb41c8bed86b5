// Package terminal is what the command line knows of terminals: how large one is,
// whether it wants colours, how much room a text takes on it and how it is cut to
// less, how far something has come as a bar, and a view that is drawn in place
// again and again. It makes no text harmless: what it is given has to be.
package terminal

import (
	"io"
	"os"
)

// Is reports whether w is a terminal.
func Is(w io.Writer) bool {
	columns, _ := SizeOf(w)
	return columns > 0
}

// SizeOf is the size of the terminal w is, 0 if it is none.
func SizeOf(w io.Writer) (columns, lines int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	return size(f)
}

// CanMove reports whether w is a terminal that can be drawn on, not only written
// to line by line.
func CanMove(w io.Writer) bool { return Is(w) && os.Getenv("TERM") != "dumb" }

// Colours reports whether what is written to w is to have colours: on terminals,
// unless NO_COLOR is set (no-color.org) or TERM is dumb; elsewhere only if
// CLICOLOR_FORCE is set to anything but 0 (bixense.com/clicolors).
func Colours(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return CanMove(w)
}
