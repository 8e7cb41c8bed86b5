package terminal

import "os"

// notifyResize tells nothing: Windows has no signal for it, and the next look
// finds the new size.
func notifyResize(chan<- os.Signal) {}
