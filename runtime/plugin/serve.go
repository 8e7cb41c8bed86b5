//go:build linux

package plugin

import (
	"os"
	"sync"

	"context"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Serve makes this program a driver plugin. It serves the driver to the agent
// that started the program and to every later one, until an agent asks it to
// end, and returns then: main should too. What the driver runs must stay.
//
// Each optional ability of package runtime that the driver implements is
// served. Before Serve stdout belongs to the start of the plugin: print
// nothing there. stderr is a file that the agent keeps, stdout goes there too
// once the agent is connected.
//
// Started by a person, it says what the program is and ends it.
func Serve(d runtime.Driver) {
	if os.Getenv(handshake.MagicCookieKey) == handshake.MagicCookieValue {
		awaitGo()
	}
	settle := sync.OnceFunc(keepStreams(os.Stdout, os.Stderr))
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: handshake,
		VersionedPlugins: map[int]goplugin.PluginSet{
			ProtocolVersion: {service: &grpcDriver{server: &server{driver: d}}},
		},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options,
				grpc.MaxRecvMsgSize(maxRequest),
				grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
					settle()
					return handle(ctx, request)
				}),
				grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
					settle()
					return handle(srv, stream)
				}))...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	})
}

// awaitGo waits until the agent has written down which process it started. One
// that dies before closes the pipe: a plugin that nobody knows of must not
// stay.
func awaitGo() {
	if n, _ := os.Stdin.Read(make([]byte, 1)); n != 1 {
		os.Exit(1)
	}
}

// keepStreams returns what undoes, at the first call from the agent, what
// go-plugin did to the standard streams. It sends them to the agent through a
// pipe that nobody empties while there is no agent: the plugin would hang at
// its next words. And the real stdout is a pipe to the agent that started it:
// the plugin would die of it.
func keepStreams(stdout, stderr *os.File) func() {
	return func() {
		os.Stdout, os.Stderr = stdout, stderr
		unix.Dup3(int(stderr.Fd()), int(stdout.Fd()), 0)
		if null, err := os.Open(os.DevNull); err == nil {
			unix.Dup3(int(null.Fd()), int(os.Stdin.Fd()), 0)
			null.Close()
		}
	}
}
