package plugin

import (
	"context"
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// ProtocolVersion is that of driver.proto, the only one so far.
const ProtocolVersion = 1

// What both sides must have in common. The cookie is no secret: it tells a
// person who runs a plugin by hand what it is.
var handshake = goplugin.HandshakeConfig{
	MagicCookieKey:   "ORPHEUS_DRIVER_PLUGIN",
	MagicCookieValue: "a driver for an orpheus agent",
}

// service is the name of the driver among what a plugin serves.
const service = "driver"

// The sizes that both sides keep to, in bytes.
const (
	// maxRequest bounds what a plugin accepts. A workload is mostly its
	// environment and arguments, of which the kernel takes less.
	maxRequest = 4 << 20
	// maxResponse bounds what an agent accepts at once: one instance of a
	// listing, a few sentences of Info, a piece of output.
	maxResponse = 256 << 10
	// maxChunk is a piece of a stream.
	maxChunk = 32 << 10
	// maxErrorText bounds the text of an error.
	maxErrorText = 4 << 10
)

// grpcDriver is what go-plugin makes client and server of a driver with.
type grpcDriver struct {
	goplugin.NetRPCUnsupportedPlugin
	server pluginpb.DriverServer // nil on the host
}

var _ goplugin.GRPCPlugin = (*grpcDriver)(nil)

// GRPCServer implements goplugin.GRPCPlugin.
func (g *grpcDriver) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	if g.server == nil {
		return errors.New("no driver to serve")
	}
	pluginpb.RegisterDriverServer(s, g.server)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin.
func (g *grpcDriver) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pluginpb.NewDriverClient(conn), nil
}
