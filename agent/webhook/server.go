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
	firstPause     = time.Second
	lastPause      = time.Minute
)

// Config is what New needs.
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

// Server is the address.
type Server struct {
	config    Config
	log       *slog.Logger
	looks     *looks
	strangers strangers
	calls     *prometheus.CounterVec
	patience  patience

	mu      sync.Mutex
	told    time.Time     // when the log was last told of refused calls
	gap     time.Duration // how long it is not told again
	refused int           // since then
}

// patience is how long a call may take to come, and the first pause after the
// address could not be opened; pauses double.
type patience struct{ header, request, pause time.Duration }

// New makes the server of an address. It opens nothing: Run does.
func New(c Config) *Server {
	s := &Server{config: c, log: c.Log, looks: newLooks(c.Hint), patience: patience{headerTime, requestTime, firstPause}}
	s.calls = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_webhook_calls_total",
		Help: "Calls of the webhook address, by result."}, []string{"result"})
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Collector counts the calls, for /metrics.
func (s *Server) Collector() prometheus.Collector { return s.calls }

// Run answers until ctx ends, and has ended every call when it returns. While it
// cannot, because of the secret, the certificate or the address, it tries again
// and again: told is called with why whenever it could not, and with nil when it
// does.
func (s *Server) Run(ctx context.Context, told func(error)) {
	defer s.looks.end()
	for pause := s.patience.pause; ; pause = min(2*pause, lastPause) {
		l, err := s.listen()
		if err == nil {
			told(nil)
			pause = s.patience.pause
			err = s.serve(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		told(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Check says why the address could not be opened with the files that c names.
func (c Config) Check() error {
	_, err := readSecret(c.SecretFile)
	if c.CertFile != "" {
		_, unfit := newCertificate(c.CertFile, c.KeyFile, nil)
		err = errors.Join(err, unfit)
	}
	return err
}

// listen opens the address, if secret and certificate can be used.
func (s *Server) listen() (net.Listener, error) {
	c := s.config
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
	l = netutil.LimitListener(l, maxConnections)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	return l, nil
}

// serve answers on l until ctx ends, or l does.
func (s *Server) serve(ctx context.Context, l net.Listener) error {
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
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		server.Close()
		return fmt.Errorf("answer webhooks on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	<-ended
	return nil
}
