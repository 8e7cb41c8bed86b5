package plugin

import (
	"errors"
	"io"
	"math"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// Exec runs the command of the first message, with the streams it has.
func (s *server) Exec(stream grpc.BidiStreamingServer[pluginpb.ExecRequest, pluginpb.ExecResponse]) error {
	e, ok := s.driver.(runtime.Execer)
	if !ok {
		return lacks("Exec")
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	command := first.GetCommand()
	if command == nil {
		return status.Error(codes.InvalidArgument, "exec does not begin with a command")
	}
	var sending sync.Mutex
	send := func(r *pluginpb.ExecResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(r)
	}
	var streams runtime.Streams
	in, feed := io.Pipe()
	defer in.Close()
	if command.GetInput() {
		streams.In = in
	}
	sizes := make(chan runtime.WindowSize, 1)
	if t := command.GetTerminal(); t != nil {
		streams.Terminal = &runtime.Terminal{Size: fromWindowSize(t), Resize: sizes}
	}
	go feedCommand(stream, feed, sizes)
	if command.GetOutput() {
		streams.Out = chunks(func(p []byte) error {
			return send(&pluginpb.ExecResponse{Event: &pluginpb.ExecResponse_Output{Output: p}})
		})
	}
	if command.GetErrors() {
		streams.Err = chunks(func(p []byte) error {
			return send(&pluginpb.ExecResponse{Event: &pluginpb.ExecResponse_Errors{Errors: p}})
		})
	}
	code, err := e.Exec(stream.Context(), command.GetId(), command.GetContainer(), command.GetArgv(), streams)
	exit := &pluginpb.ExecExit{Code: int32(code)}
	if failed := new(runtime.CommandError); errors.As(err, &failed) {
		exit.Code, exit.NotRun = int32(failed.Code), cut(err.Error(), maxErrorText)
	} else if err != nil {
		return toStatus(err)
	}
	return send(&pluginpb.ExecResponse{Event: &pluginpb.ExecResponse_Exit{Exit: exit}})
}

// feedCommand passes on what is sent to a running command, until the call ends.
// Of sizes only the newest counts.
func feedCommand(stream grpc.BidiStreamingServer[pluginpb.ExecRequest, pluginpb.ExecResponse], feed *io.PipeWriter, sizes chan runtime.WindowSize) {
	for {
		r, err := stream.Recv()
		if err != nil {
			feed.CloseWithError(err) // io.EOF when the agent said all it had to say
			return
		}
		switch event := r.GetEvent().(type) {
		case *pluginpb.ExecRequest_InputEnd:
			feed.Close()
		case *pluginpb.ExecRequest_Resize:
			select {
			case <-sizes:
			default:
			}
			sizes <- fromWindowSize(event.Resize) // nobody else sends
		case *pluginpb.ExecRequest_Input:
			// Refused when the command has ended, or has no input.
			_, _ = feed.Write(event.Input)
		}
	}
}

func fromWindowSize(s *pluginpb.WindowSize) runtime.WindowSize {
	return runtime.WindowSize{Columns: uint16(min(s.GetColumns(), math.MaxUint16)), Rows: uint16(min(s.GetRows(), math.MaxUint16))}
}

// chunks is a writer that sends what it is given in pieces.
type chunks func([]byte) error

func (send chunks) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, maxChunk)
		if err := send(p[done : done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}
