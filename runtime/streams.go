package runtime

import "io"

// Streams are the standard streams of a command run inside an instance; nil
// means none.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}
