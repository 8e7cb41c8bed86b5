//go:build linux

package containerd

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/orpheus-cd/orpheus/runtime"
)

// addTerminal has a command's process run on a terminal.
func addTerminal(p *specs.Process, size runtime.WindowSize) {
	if size != (runtime.WindowSize{}) {
		p.ConsoleSize = &specs.Box{Width: uint(size.Columns), Height: uint(size.Rows)}
	}
	if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		p.Env = append(slices.Clip(p.Env), "TERM=xterm")
	}
}

// followSize tells a running command's terminal its sizes until stop is called.
func followSize(ctx context.Context, p client.Process, t *runtime.Terminal) (stop func()) {
	if t == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		size, more := t.Size, true // again: an old runc does not heed what it was created with
		for more {
			if size != (runtime.WindowSize{}) {
				_ = p.Resize(ctx, uint32(size.Columns), uint32(size.Rows)) // it may have ended
			}
			select {
			case size, more = <-t.Resize:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// input is a command's standard input, whose end the shim has to be told: it
// holds the pipe open as well.
type input struct {
	io.Reader
	ended chan struct{}
}

// options are how the command's streams are connected.
func (i *input) options(s runtime.Streams, dir string) []cio.Opt {
	discard := func(w io.Writer) io.Writer {
		if w == nil {
			return io.Discard
		}
		return w
	}
	var in io.Reader
	if s.In != nil {
		i.ended = make(chan struct{})
		in = i
	}
	options := []cio.Opt{cio.WithStreams(in, discard(s.Out), discard(s.Err)), cio.WithFIFODir(dir)}
	if s.Terminal != nil {
		options = append(options, cio.WithTerminal)
	}
	return options
}

// Read notes the end. It is called by one goroutine, which does not call it
// again after that.
func (i *input) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if err != nil {
		close(i.ended)
	}
	return n, err
}

// endOf passes the end on to a command that was started, once it comes. What
// was read before is in the pipe, or on its way through it, and arrives.
func (i *input) endOf(ctx context.Context, p client.Process) {
	if i.ended == nil {
		return
	}
	go func() {
		select {
		case <-i.ended:
			_ = p.CloseIO(ctx, client.WithStdinCloser) // it may have ended
		case <-ctx.Done():
		}
	}()
}
