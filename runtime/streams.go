package runtime

import "io"

// Streams are the standard streams of a command run inside an instance; nil
// means none.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal, if it is not nil, is what the command gets instead of pipes: In
	// is what is typed and Out what is shown, Err is not used. The end of In is
	// none for the command, as there is none on a keyboard.
	Terminal *Terminal
}

// Terminal is the controlling terminal of a command. TERM is "xterm" where the
// instance's environment does not say otherwise.
type Terminal struct {
	Size WindowSize // at the start
	// Resize brings later sizes, until the command has ended; nil = none.
	Resize <-chan WindowSize
}

// WindowSize is the size of a terminal in characters; 0 = not known.
type WindowSize struct {
	Columns, Rows uint16
}

// Exit codes of shells for commands that could not be run.
const (
	CodeNotExecutable = 126
	CodeNoProgram     = 127
)

// CommandError is an error of Exec that lies with the command: its program is
// not there, or cannot be executed. Nothing has run.
type CommandError struct {
	Code int // CodeNoProgram or CodeNotExecutable
	Err  error
}

// Error implements error.
func (e *CommandError) Error() string { return e.Err.Error() }

// Unwrap says that trying again cannot help.
func (e *CommandError) Unwrap() []error { return []error{e.Err, ErrInvalid} }
