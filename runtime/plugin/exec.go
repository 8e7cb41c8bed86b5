//go:build linux

package plugin

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// Exec implements runtime.Execer. A read of streams.In that is under way when
// the command ends goes on until it returns.
func (d *Driver) Exec(ctx context.Context, id, container string, argv []string, streams runtime.Streams) (int, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream in any case
	defer cancel()
	command := &pluginpb.ExecCommand{
		Id: id, Container: container, Argv: argv,
		Input: streams.In != nil, Output: streams.Out != nil, Errors: streams.Err != nil,
	}
	if t := streams.Terminal; t != nil {
		command.Terminal = toWindowSize(t.Size)
	}
	code := 0
	err := d.call(ctx, "exec in "+id, func(rpc pluginpb.DriverClient) error {
		stream, err := rpc.Exec(ctx)
		if err != nil {
			return err
		}
		// An error of Send is told better by Recv.
		out := &requests{stream: stream}
		_ = out.send(&pluginpb.ExecRequest{Event: &pluginpb.ExecRequest_Command{Command: command}})
		if streams.In != nil {
			go sendInput(out, streams.In)
		}
		if streams.Terminal != nil {
			go sendSizes(ctx, out, streams.Terminal.Resize)
		}
		code, err = receiveOutput(stream, streams)
		return err
	})
	return code, err
}

// requests are what is sent to a running command, one at a time.
type requests struct {
	mu     sync.Mutex
	stream grpc.BidiStreamingClient[pluginpb.ExecRequest, pluginpb.ExecResponse]
}

func (r *requests) send(request *pluginpb.ExecRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stream.Send(request)
}

func sendInput(to *requests, in io.Reader) {
	_, err := io.CopyBuffer(struct{ io.Writer }{chunks(func(p []byte) error {
		return to.send(&pluginpb.ExecRequest{Event: &pluginpb.ExecRequest_Input{Input: p}})
	})}, struct{ io.Reader }{in}, make([]byte, maxChunk))
	if err == nil {
		_ = to.send(&pluginpb.ExecRequest{Event: &pluginpb.ExecRequest_InputEnd{InputEnd: &pluginpb.ExecInputEnd{}}})
	}
}

func sendSizes(ctx context.Context, to *requests, sizes <-chan runtime.WindowSize) {
	for {
		select {
		case size, more := <-sizes:
			if !more || to.send(&pluginpb.ExecRequest{Event: &pluginpb.ExecRequest_Resize{Resize: toWindowSize(size)}}) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func toWindowSize(s runtime.WindowSize) *pluginpb.WindowSize {
	return &pluginpb.WindowSize{Columns: uint32(s.Columns), Rows: uint32(s.Rows)}
}

// receiveOutput passes output on until the exit code comes.
func receiveOutput(stream grpc.BidiStreamingClient[pluginpb.ExecRequest, pluginpb.ExecResponse], streams runtime.Streams) (int, error) {
	for {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return 0, broken("it ran a command without a result")
		case err != nil:
			return 0, err
		case r.GetExit() != nil:
			code := int(r.GetExit().GetCode())
			if code < 0 || code > 255 {
				return 0, broken("exit code %d", code)
			}
			if why := r.GetExit().GetNotRun(); why != "" {
				return 0, &runtime.CommandError{Code: code, Err: errors.New(cut(why, maxErrorText))}
			}
			return code, nil
		case r.GetOutput() != nil && streams.Out != nil:
			_, err = streams.Out.Write(r.GetOutput())
		case r.GetErrors() != nil && streams.Err != nil:
			_, err = streams.Err.Write(r.GetErrors())
		}
		if err != nil {
			return 0, outputError{err}
		}
	}
}

// outputError is an error of the caller's own writer.
type outputError struct{ err error }

func (e outputError) Error() string { return "write output: " + e.err.Error() }
func (e outputError) Unwrap() error { return e.err }
