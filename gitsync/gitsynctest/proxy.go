package gitsynctest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
)

// ProxyOptions say what a proxy does.
type ProxyOptions struct {
	Username, Password string // asked for if Password is set
	// To is host:port where all connections end, whatever was asked for; "" = as
	// asked. So names that exist nowhere can be used.
	To  string
	TLS bool // speaks TLS itself, with a certificate of its own
}

// Proxy is a forward proxy on loopback: at its URL one for HTTP, with CONNECT,
// at its SOCKS another for SOCKS5.
type Proxy struct {
	URL   string // http://HOST:PORT or https://HOST:PORT
	SOCKS string // socks5://HOST:PORT

	opts   ProxyOptions
	http   *httptest.Server
	socks  net.Listener
	served sync.WaitGroup
	used   atomic.Int64

	mu     sync.Mutex
	login  string // user:password
	refuse http.Handler
	conns  map[net.Conn]bool
	closed bool
}

// NewProxy starts a proxy that ends with the test.
func NewProxy(t TB, opts ProxyOptions) *Proxy {
	t.Helper()
	p := &Proxy{opts: opts, login: opts.Username + ":" + opts.Password, conns: map[net.Conn]bool{}}
	if opts.Password == "" {
		p.login = ""
	}
	var err error
	if p.socks, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatalf("start proxy: %v", err)
	}
	p.SOCKS = "socks5://" + p.socks.Addr().String()
	p.http = httptest.NewUnstartedServer(p)
	if opts.TLS {
		p.http.StartTLS()
	} else {
		p.http.Start()
	}
	p.URL = p.http.URL
	p.served.Go(p.serveSOCKS)
	t.Cleanup(p.close)
	return p
}

// Used is how many requests and connections it has passed on.
func (p *Proxy) Used() int64 { return p.used.Load() }

// Refuse has every further request to the HTTP proxy, CONNECT or not, answered
// by h; nil ends it.
func (p *Proxy) Refuse(h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = h
}

// SetPassword is what it asks for from now on.
func (p *Proxy) SetPassword(password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.login = p.opts.Username + ":" + password
}

// Cut ends what goes through it now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// WriteCA writes the certificate of a proxy that speaks TLS as PEM.
func (p *Proxy) WriteCA(file string) error {
	block := &pem.Block{Type: "CERTIFICATE", Bytes: p.http.Certificate().Raw}
	return os.WriteFile(file, pem.EncodeToMemory(block), 0o644)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.socks.Close()
	p.Cut()
	p.http.CloseClientConnections()
	p.http.Close()
	p.served.Wait()
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	refuse, login := p.refuse, p.login
	p.mu.Unlock()
	switch {
	case refuse != nil:
		refuse.ServeHTTP(w, r)
	case login != "" && !same(r.Header.Get("Proxy-Authorization"), "Basic "+base64.StdEncoding.EncodeToString([]byte(login))):
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		http.Error(w, "who are you? not "+r.Header.Get("Proxy-Authorization"), http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.IsAbs():
		p.forward(w, r)
	default:
		http.Error(w, "this is a proxy", http.StatusBadRequest)
	}
}

// end is where a connection for target goes.
func (p *Proxy) end(target string) string {
	if p.opts.To != "" {
		return p.opts.To
	}
	return target
}

// forward passes one request in plain http on.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	p.used.Add(1)
	body, _ := io.ReadAll(r.Body) // what is missing shows at the server
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.URL.Host = p.end(r.Host)
	out.Header.Del("Proxy-Authorization")
	res, err := http.DefaultTransport.(*http.Transport).RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	for key, values := range res.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body) // ends with either side
}

func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	server, err := net.Dial("tcp", p.end(r.Host))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		server.Close()
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n") // an error shows in pass
	p.pass(client, buffered.Reader, server)
}

// pass joins two connections until either ends.
func (p *Proxy) pass(client net.Conn, buffered *bufio.Reader, server net.Conn) {
	p.used.Add(1)
	p.mu.Lock()
	p.conns[client] = true
	if p.closed {
		client.Close()
	}
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, buffered)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
	client.Close()
	<-done
	p.mu.Lock()
	delete(p.conns, client)
	p.mu.Unlock()
}

func (p *Proxy) serveSOCKS() {
	for {
		conn, err := p.socks.Accept()
		if err != nil {
			return
		}
		p.served.Go(func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			if server, err := p.greetSOCKS(conn, r); err == nil {
				p.pass(conn, r, server)
			}
		})
	}
}

// greetSOCKS speaks what comes first in SOCKS5 (RFC 1928, 1929), as far as
// clients here use it, and connects.
func (p *Proxy) greetSOCKS(w io.Writer, r *bufio.Reader) (net.Conn, error) {
	p.mu.Lock()
	login := p.login
	p.mu.Unlock()
	methods, err := field(r, 1)
	if err != nil {
		return nil, err
	}
	method := byte(0)
	if login != "" {
		method = 2
	}
	if !bytes.Contains(methods, []byte{method}) {
		_, err := w.Write([]byte{5, 0xff})
		return nil, errors.Join(errors.New("no common method"), err)
	}
	if _, err := w.Write([]byte{5, method}); err != nil {
		return nil, err
	}
	if method == 2 {
		if err := socksLogin(w, r, login); err != nil {
			return nil, err
		}
	}
	target, err := socksTarget(r)
	if err != nil {
		return nil, err
	}
	server, err := net.Dial("tcp", p.end(target))
	status := byte(0)
	if err != nil {
		status = 5 // connection refused
	}
	if _, werr := w.Write([]byte{5, status, 0, 1, 0, 0, 0, 0, 0, 0}); werr != nil {
		return nil, werr
	}
	return server, err
}

// socksLogin asks for user name and password.
func socksLogin(w io.Writer, r *bufio.Reader, login string) error {
	user, err := field(r, 1)
	if err != nil {
		return err
	}
	password, err := field(r, 0)
	if err != nil {
		return err
	}
	if string(user)+":"+string(password) != login {
		_, err := w.Write([]byte{1, 1})
		return errors.Join(errors.New("wrong password"), err)
	}
	_, err = w.Write([]byte{1, 0})
	return err
}

// field reads a length and so many bytes, after skip bytes.
func field(r *bufio.Reader, skip int) ([]byte, error) {
	if _, err := r.Discard(skip); err != nil {
		return nil, err
	}
	n, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// socksTarget reads where a client wants to go, host:port.
func socksTarget(r *bufio.Reader) (string, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	var host []byte
	var err error
	switch head[3] {
	case 1:
		host = make([]byte, 4)
		_, err = io.ReadFull(r, host)
		host = []byte(net.IP(host).String())
	case 3:
		host, err = field(r, 0)
	default:
		return "", fmt.Errorf("address of kind %d", head[3])
	}
	if err != nil {
		return "", err
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(r, port); err != nil {
		return "", err
	}
	return net.JoinHostPort(string(host), fmt.Sprint(int(port[0])<<8|int(port[1]))), nil
}
