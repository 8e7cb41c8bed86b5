//go:build linux

package process

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/creack/pty"

	"github.com/orpheus-cd/orpheus/runtime"
)

// defaultTerm is the kind of terminal where the instance's environment says
// none; what people type at understands it.
const defaultTerm = "TERM=xterm"

// withTerm has the environment name a kind of terminal.
func withTerm(env []string) []string {
	for _, variable := range env {
		if strings.HasPrefix(variable, "TERM=") {
			return env
		}
	}
	return append(env, defaultTerm)
}

// newTerminal connects a command to a terminal of its user's.
func newTerminal(s runtime.Streams, user *syscall.Credential) (*plumbing, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	p := &plumbing{theirs: [3]*os.File{theirs, theirs, theirs}, ours: [3]*os.File{1: ours}}
	if user != nil {
		err = theirs.Chown(int(user.Uid), int(user.Gid))
	}
	if err == nil && s.Terminal.Size != (runtime.WindowSize{}) {
		err = resize(ours, s.Terminal.Size)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	out := s.Out
	if out == nil {
		out = io.Discard // else the command would wait for a reader
	}
	p.copies = append(p.copies, func() { p.output.Go(func() { _, _ = io.Copy(out, ours) }) })
	if s.In != nil {
		p.copies = append(p.copies, func() { go func() { _, _ = io.Copy(ours, s.In) }() })
	}
	done := make(chan struct{})
	p.ended = func() { close(done) }
	p.copies = append(p.copies, func() {
		go func() {
			for {
				select {
				case size, more := <-s.Terminal.Resize:
					if !more {
						return
					}
					_ = resize(ours, size) // it has ended: nobody looks
				case <-done:
					return
				}
			}
		}()
	})
	return p, nil
}

func resize(terminal *os.File, size runtime.WindowSize) error {
	return pty.Setsize(terminal, &pty.Winsize{Cols: size.Columns, Rows: size.Rows})
}
