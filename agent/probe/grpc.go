package probe

import (
	"context"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/orpheus-cd/orpheus/planner"
)

// grpcHealth succeeds when the health service says SERVING. As in Kubernetes
// the connection is not encrypted.
func grpcHealth(ctx context.Context, t Target, p *planner.ProbeGRPC) outcome {
	address, err := t.address("", p.Port)
	if err != nil {
		return unknown(err.Error())
	}
	var refusal atomic.Pointer[error] // of the newest connection
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := t.Place.dial(ctx, address)
		if err != nil {
			refusal.Store(&err)
		}
		return conn, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithUserAgent(userAgent), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxOutput)), grpc.WithMaxHeaderListSize(maxHeaders),
	)
	if err != nil {
		return unknown(err.Error())
	}
	defer conn.Close()
	answer, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{Service: p.Service})
	if because := refusal.Load(); err != nil && because != nil {
		return refused(*because)
	}
	if err != nil {
		s := status.Convert(err)
		return outcome{planner.CheckFailure, s.Code().String(), s.Message()}
	}
	if answer.Status != health.HealthCheckResponse_SERVING {
		return failed("says " + answer.Status.String())
	}
	return succeeded
}
