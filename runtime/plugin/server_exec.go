package plugin

import (
	"io"
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
	if command.GetInput() {
		in, feed := io.Pipe()
		defer in.Close()
		go feedInput(stream, feed)
		streams.In = in
	}
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
	if err != nil {
		return toStatus(err)
	}
	return send(&pluginpb.ExecResponse{Event: &pluginpb.ExecResponse_Exit{Exit: &pluginpb.ExecExit{Code: int32(code)}}})
}

// feedInput passes standard input on until it ends, or the call does.
func feedInput(stream grpc.BidiStreamingServer[pluginpb.ExecRequest, pluginpb.ExecResponse], feed *io.PipeWriter) {
	for {
		r, err := stream.Recv()
		if err != nil {
			feed.CloseWithError(err) // io.EOF when the agent said all it had to say
			return
		}
		if r.GetInputEnd() != nil {
			feed.Close()
			return
		}
		if _, err := feed.Write(r.GetInput()); err != nil {
			return
		}
	}
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
