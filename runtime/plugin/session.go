//go:build linux

package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

const (
	// answerPatience is how long a plugin that was found or started may take
	// to answer its first call.
	answerPatience = 10 * time.Second
	// endPatience is how long one may take to end when it is asked to.
	endPatience = 5 * time.Second
)

// session is the connection to one process of the plugin.
type session struct {
	record record
	client *goplugin.Client
	conn   *grpc.ClientConn
	rpc    pluginpb.DriverClient
	since  time.Time
	ended  chan struct{} // closed when the process has ended
	detach context.CancelFunc
}

// connect connects to the process of the record, which must be that of the
// socket, and makes its acquaintance.
func connect(ctx context.Context, r record) (*session, error) {
	s, err := attach(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	_, err = s.rpc.Info(ctx, &pluginpb.InfoRequest{})
	err = fromStatus(ctx, err)
	if answer := new(driverError); err != nil && !errors.As(err, &answer) {
		s.close()
		return nil, fmt.Errorf("the plugin's first call: %w", err)
	}
	return s, nil // a backend that is down is said by later calls
}

// attach lets go-plugin connect. The process was started by an agent, this
// one or another: it is attached to in the same way.
func attach(r record) (*session, error) {
	ctx, detach := context.WithCancel(context.Background())
	s := &session{record: r, since: time.Now(), ended: make(chan struct{}), detach: detach}
	s.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          goplugin.PluginSet{service: &grpcDriver{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Reattach: &goplugin.ReattachConfig{
			Protocol: goplugin.ProtocolGRPC, ProtocolVersion: r.Protocol, Pid: r.Process.PID,
			Addr:         &net.UnixAddr{Net: "unix", Name: r.Socket},
			ReattachFunc: func() (runner.AttachedRunner, error) { return &attached{r.Process, ctx}, nil },
		},
		Logger: hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(r.dial),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse), grpc.MaxCallSendMsgSize(maxRequest)),
			grpc.WithMaxHeaderListSize(64 << 10),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: answerPatience / 2,
			}),
		},
	})
	protocol, err := s.client.Client()
	if err != nil {
		detach()
		return nil, fmt.Errorf("connect to the plugin: %w", err)
	}
	s.conn = protocol.(*goplugin.GRPCClient).Conn
	driver, err := protocol.Dispense(service)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("connect to the plugin: %w", err)
	}
	s.rpc = driver.(pluginpb.DriverClient)
	go func() {
		if r.Process.await(ctx) == nil {
			close(s.ended)
		}
	}()
	return s, nil
}

// dial connects to the plugin's socket, and to no other process than the
// recorded one.
func (r record) dial(ctx context.Context, _ string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", r.Socket)
	if err != nil {
		return nil, err
	}
	peer, err := peerOf(conn.(*net.UnixConn))
	if err == nil && (int(peer.Pid) != r.Process.PID || !r.Process.alive()) {
		err = fmt.Errorf("process %d listens on %s, not the plugin", peer.Pid, r.Socket)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// peerOf is the process that listens on the other end.
func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return peer, peerErr
}

// over reports whether the process has ended.
func (s *session) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// close lets go of the plugin, which goes on.
func (s *session) close() {
	s.detach()
	if s.conn != nil {
		s.conn.Close()
	}
}

// end asks the plugin to end and, when it does not, ends it.
func (s *session) end() error {
	defer s.close()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		s.client.Kill() // go-plugin's way: ask, wait two seconds, kill
	}()
	s.await(endPatience)
	err := s.record.Process.kill()
	s.await(endPatience)
	s.detach()
	<-asked
	return err
}

// await waits for the end of the process, but not for ever.
func (s *session) await(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}

// attached is what go-plugin knows of the process.
type attached struct {
	identity
	detached context.Context
}

var _ runner.AttachedRunner = (*attached)(nil)

// Wait implements runner.AttachedRunner; it also returns when the session ends.
func (a *attached) Wait(context.Context) error { return a.await(a.detached) }

// Kill implements runner.AttachedRunner.
func (a *attached) Kill(context.Context) error { return a.kill() }

// ID implements runner.AttachedRunner.
func (a *attached) ID() string { return strconv.Itoa(a.PID) }

// PluginToHost implements runner.AttachedRunner: both see the same files.
func (a *attached) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.AttachedRunner.
func (a *attached) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// end ends the process of a record, if it runs: asked to where it can be.
func end(ctx context.Context, r record) error {
	if !r.Process.alive() {
		return nil
	}
	if r.Socket != "" {
		if s, err := attach(r); err == nil {
			if err := s.end(); err != nil {
				return fmt.Errorf("end the plugin: %w", err)
			}
		}
	}
	if err := r.Process.kill(); err != nil {
		return fmt.Errorf("end the plugin: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	if err := r.Process.await(ctx); err != nil {
		return fmt.Errorf("end the plugin: process %d is still there: %w: %w", r.Process.PID, err, runtime.ErrUnavailable)
	}
	return nil
}
