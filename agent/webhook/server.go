package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
)

const (
	maxConnections = 64
	headerTime     = 5 * time.Second
	requestTime    = 10 * time.Second // headers and body
	answerTime     = 10 * time.Second
	idleTime       = 30 * time.Second
	maxHeaders     = 16 << 10
	shutdownTime   = 2 * time.Second
	complainEvery  = time.Minute
	complainLate   = time.Hour
)

// Config is what Listen needs.
type Config struct {
	// Address is the "host:port" to listen on.
	Address string
	// Path is the only one that is answered, such as "/webhook".
	Path string
	// SecretFile holds the secret, at least 16 bytes; it is read for every call.
	SecretFile string
	// CertFile and KeyFile make it https; read again when they change. "" = http.
	CertFile, KeyFile string
	// Hint has the node look at its repository. It must not block.
	Hint func()
	Log  *slog.Logger // nil = silent
}

// Server is the address, listened on.
type Server struct {
	config    Config
	log       *slog.Logger
	listener  net.Listener
	looks     *looks
	strangers strangers
	calls     *prometheus.CounterVec
	patience  patience

	mu      sync.Mutex
	told    time.Time     // when the log was last told of refused calls
	gap     time.Duration // how long it is not told again
	refused int           // since then
}

// patience is how long a call may take to come.
type patience struct{ header, request time.Duration }

// Listen opens the address. The caller calls Run next. A secret or certificate
// that cannot be used is an error now.
func Listen(c Config) (*Server, error) {
	s := newServer(c)
	if _, err := readSecret(c.SecretFile); err != nil {
		return nil, err
	}
	var secure *tls.Config
	if c.CertFile != "" {
		shown, err := newCertificate(c.CertFile, c.KeyFile, s.log)
		if err != nil {
			return nil, err
		}
		secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: shown.get, NextProtos: []string{"http/1.1"}}
	}
	l, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	s.listener = netutil.LimitListener(l, maxConnections)
	if secure != nil {
		s.listener = tls.NewListener(s.listener, secure)
	}
	return s, nil
}

func newServer(c Config) *Server {
	s := &Server{config: c, log: c.Log, looks: newLooks(c.Hint), patience: patience{headerTime, requestTime}}
	s.calls = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_webhook_calls_total",
		Help: "Calls of the webhook address, by result."}, []string{"result"})
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Addr is the address that is listened on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Collector counts the calls, for /metrics.
func (s *Server) Collector() prometheus.Collector { return s.calls }

// Run answers until ctx ends, and has ended every call when it returns.
func (s *Server) Run(ctx context.Context) error {
	defer s.looks.end()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.patience.header,
		ReadTimeout:       s.patience.request,
		WriteTimeout:      s.patience.request + answerTime, // counted from the end of the headers
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("answer webhooks on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer webhooks on %s: %w", s.Addr(), err)
	}
	return nil
}
