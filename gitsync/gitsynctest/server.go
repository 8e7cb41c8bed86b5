package gitsynctest

import (
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Options say how a server listens and whom it lets in.
type Options struct {
	// Root is the folder of the repositories; it must exist.
	Root string
	TLS  bool // with a certificate of its own, see Server.WriteCA
	// Username and Password are asked for if Password is set; Token as a
	// bearer token if it is set. Both set: either will do.
	Username, Password string
	Token              string
	// Push allows pushes over HTTP, too.
	Push bool
	// Address is host:port to listen on; "" = a free port on loopback, the only
	// place that the certificate of TLS is good for.
	Address string
}

// Server serves the repositories below its root on loopback.
type Server struct {
	URL string // without a slash at the end

	opts     Options
	backend  http.Handler
	requests atomic.Int64

	mu    sync.Mutex
	http  *httptest.Server // nil = stopped
	fault Fault
}

// Start starts a server. Close ends it.
func Start(opts Options) (*Server, error) {
	execPath, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("find git http-backend: %w", err)
	}
	backend := filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		return nil, fmt.Errorf("find git http-backend: %w", err)
	}
	env := append(cleanEnv(), "GIT_PROJECT_ROOT="+opts.Root, "GIT_HTTP_EXPORT_ALL=1")
	if opts.Push {
		env = append(env, "REMOTE_USER=pusher")
	}
	s := &Server{opts: opts, backend: &cgi.Handler{Path: backend, Dir: opts.Root, Env: env, Stderr: discard{}}}
	if opts.Address == "" {
		opts.Address = "127.0.0.1:0"
	}
	if err := s.listen(opts.Address); err != nil {
		return nil, err
	}
	s.URL = s.http.URL
	return s, nil
}

func (s *Server) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("start git server: %w", err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	if s.opts.TLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.http = server
	return nil
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// Close cuts all connections and ends the server.
func (s *Server) Close() { s.Stop() }

// Stop is Close of a server that may be needed again: nobody listens at its
// address until Restart.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.http
	s.http = nil
	s.mu.Unlock()
	if server != nil {
		server.CloseClientConnections()
		server.Close()
	}
}

// Restart serves again at the same address, with the same certificate.
func (s *Server) Restart() error {
	s.Stop()
	_, address, _ := strings.Cut(s.URL, "://")
	return s.listen(address)
}

// NewRepo makes an empty repository, name ending in ".git" by custom.
func (s *Server) NewRepo(name string) (*Repo, error) {
	if name == "" || strings.ContainsAny(name, "/\\") {
		return nil, errors.New("repository name is empty or has a slash")
	}
	return NewRepo(filepath.Join(s.opts.Root, name))
}

// RepoURL is the address of a repository, without credentials.
func (s *Server) RepoURL(r *Repo) string { return s.URL + "/" + r.Name() }

// WriteCA writes the server's certificate as PEM.
func (s *Server) WriteCA(file string) error {
	if !s.opts.TLS {
		return errors.New("server does not speak TLS")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return errors.New("server is stopped")
	}
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw}
	return os.WriteFile(file, pem.EncodeToMemory(block), 0o644)
}

// Requests is the number of requests so far.
func (s *Server) Requests() int64 { return s.requests.Load() }

// SetFault makes the server misbehave from the next request on; nil ends it.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.requests.Add(1)
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	var handler http.Handler = http.HandlerFunc(s.serve)
	if fault != nil {
		handler = fault(handler)
	}
	handler.ServeHTTP(w, req)
}

func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	if !s.allowed(req) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "credentials please", http.StatusUnauthorized)
		return
	}
	s.backend.ServeHTTP(w, req)
}

func (s *Server) allowed(req *http.Request) bool {
	if s.opts.Password == "" && s.opts.Token == "" {
		return true
	}
	if token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok && s.opts.Token != "" {
		return same(token, s.opts.Token)
	}
	user, password, ok := req.BasicAuth()
	return ok && s.opts.Password != "" && same(user, s.opts.Username) && same(password, s.opts.Password)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
