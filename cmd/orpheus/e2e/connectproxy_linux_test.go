package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// gitHost is the name of the Git server where only a proxy knows it. The
// certificate of gitsynctest's server is good for it.
const gitHost = "git.example.com"

// connectProxy is an HTTP proxy that does nothing but CONNECT to one server,
// by a name that means nothing to anybody else here.
type connectProxy struct {
	*httptest.Server
	login  string // user:password; "" = anybody may use it
	to     string // host:port of the server
	tunnel atomic.Int32
	// refuses is the status it answers instead of connecting; 0 = it connects.
	refuses atomic.Int32
	echoes  bool // it says the login back when it refuses

	mu    sync.Mutex
	conns map[net.Conn]bool // that it connected
}

// newConnectProxy starts one that goes away with the test.
func newConnectProxy(t *testing.T, to, login string) *connectProxy {
	t.Helper()
	p := &connectProxy{to: to, login: login, conns: map[net.Conn]bool{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.connect))
	t.Cleanup(func() { p.cut(); p.Close() })
	return p
}

func (p *connectProxy) connect(w http.ResponseWriter, r *http.Request) {
	status := int(p.refuses.Load())
	switch _, port, _ := net.SplitHostPort(p.to); {
	case status != 0:
	case r.Method != http.MethodConnect:
		status = http.StatusMethodNotAllowed
	case p.login != "" && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.login)):
		status = http.StatusProxyAuthRequired
	case r.Host != net.JoinHostPort(gitHost, port):
		status = http.StatusForbidden
	}
	if status != 0 {
		if p.echoes {
			w.Header().Set("Proxy-Authenticate", "Basic realm=\""+p.login+"\"")
		}
		http.Error(w, "no", status)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, "the server is away", http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	p.tunnel.Add(1)
	p.note(client, true)
	defer p.note(client, false)
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	pass := func(to net.Conn, from io.Reader) {
		_, _ = io.Copy(to, from) // an end is an end, whatever its reason
		_ = errors.Join(client.Close(), server.Close())
	}
	both.Go(func() { pass(server, buffered) })
	both.Go(func() { pass(client, server) })
	both.Wait()
}

func (p *connectProxy) note(conn net.Conn, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[conn] = open; !open {
		delete(p.conns, conn)
	}
}

// cut ends what goes through it now.
func (p *connectProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // it may have just ended
	}
}

// used is an error while nothing has gone through the proxy.
func (p *connectProxy) used() error {
	if p.tunnel.Load() == 0 {
		return fmt.Errorf("nothing went through the proxy at %s", p.URL)
	}
	return nil
}
