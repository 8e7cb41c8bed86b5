package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// size returns the size of the terminal f is, 0 if it is none or does
// not understand escape sequences.
func size(f *os.File) (columns, lines int) {
	handle := windows.Handle(f.Fd())
	var mode uint32
	var info windows.ConsoleScreenBufferInfo
	if windows.GetConsoleMode(handle, &mode) != nil || windows.GetConsoleScreenBufferInfo(handle, &info) != nil {
		return 0, 0
	}
	if windows.SetConsoleMode(handle, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) != nil {
		return 0, 0
	}
	return int(info.Window.Right-info.Window.Left) + 1, int(info.Window.Bottom-info.Window.Top) + 1
}
