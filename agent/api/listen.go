package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	maxConnections = 128 // on loopback, where any user of the machine may come
	shutdownTime   = 2 * time.Second
)

// Server is the API on its listeners.
type Server struct {
	tcp, unix net.Listener // nil = not asked for
	handler   http.Handler
	sessions  *sync.WaitGroup // that handler has begun
	log       *slog.Logger
}

// Listen opens what the options name. The caller calls Run next.
func Listen(o Options) (*Server, error) {
	answers := newServer(o)
	s := &Server{handler: answers.handler(), sessions: &answers.sessions, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if o.Address != "" {
		if s.tcp, err = listenLoopback(o.Address); err != nil {
			return nil, err
		}
	}
	if o.Socket != "" {
		if s.unix, err = listenSocket(o.Socket); err != nil {
			if s.tcp != nil {
				s.tcp.Close()
			}
			return nil, err
		}
	}
	return s, nil
}

// Addr is the loopback address that is served, "" if there is none.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Run answers until ctx ends, and has ended every request when it returns.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var done sync.WaitGroup
	errs := make(chan error, 2)
	serve := func(l net.Listener, ctx context.Context) {
		done.Go(func() {
			defer cancel()
			errs <- s.serve(ctx, l)
		})
	}
	if s.tcp != nil {
		serve(netutil.LimitListener(s.tcp, maxConnections), ctx)
	}
	if s.unix != nil {
		serve(s.unix, context.WithValue(ctx, local{}, true))
	}
	<-ctx.Done()
	done.Wait()
	s.sessions.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// Serve listens and answers until ctx ends.
func Serve(ctx context.Context, o Options) error {
	s, err := Listen(o)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// serve runs one HTTP server. Its base context ends with ctx, which ends the
// log streams; other requests get a moment.
func (s *Server) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // log streams set their own
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	err := server.Serve(l)
	if ctx.Err() == nil {
		server.Close()
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	}
	<-ended
	return nil
}

// listenLoopback opens a TCP port that only this machine can reach.
func listenLoopback(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w; write it as 127.0.0.1:7717", address, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("listen address %q is not a loopback address: the API has no authentication yet and is served on 127.0.0.1 or [::1] only; reach it over SSH", address)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	return l, nil
}
