package imagetest

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is a registry of this process. What is pushed to it stays while it is
// stopped.
type Registry struct {
	// Host is address and port, as it stands in references.
	Host string
	// CA verifies it, if it speaks TLS.
	CA *x509.CertPool

	opts  RegistryOptions
	store http.Handler // without credentials and faults

	mu     sync.Mutex
	server *httptest.Server
	asked  []string // "GET /v2/…"
	hook   func(http.ResponseWriter, *http.Request) bool
}

// RegistryOptions say what the registry demands.
type RegistryOptions struct {
	TLS bool
	// User and Secret, if set, are demanded: by Basic authentication, or with
	// Bearer by a token that a service of its own gives for them.
	User, Secret string
	Bearer       bool
	// Address is host:port to listen on; "" = a free port on loopback.
	Address string
	// Dir keeps the layers, "" = in memory. Manifests and tags are in memory.
	Dir string
}

// StartRegistry runs a registry.
func StartRegistry(o RegistryOptions) (*Registry, error) {
	options := []registry.Option{registry.Logger(log.New(io.Discard, "", 0))}
	if o.Dir != "" {
		options = append(options, registry.WithBlobHandler(registry.NewDiskBlobHandler(o.Dir)))
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	r := &Registry{opts: o, store: registry.New(options...)}
	if err := r.listen(o.Address); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Registry) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("start registry: %w", err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0)}}
	if r.opts.TLS {
		s.StartTLS()
		r.CA = x509.NewCertPool()
		r.CA.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server, r.Host = s, l.Addr().String()
	return nil
}

// Stop makes the registry stop answering; Restart brings it back at the same
// address.
func (r *Registry) Stop() {
	r.mu.Lock()
	s := r.server
	r.server = nil
	r.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		s.Close()
	}
}

// Restart serves again what was pushed before.
func (r *Registry) Restart() error {
	r.Stop()
	return r.listen(r.Host)
}

// Asked lists the requests so far that contain the text, "GET /v2/…" each.
func (r *Registry) Asked(text string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, a := range r.asked {
		if strings.Contains(a, text) {
			out = append(out, a)
		}
	}
	return out
}

// Intercept sets a function that sees each request first and returns true if
// it has answered it; nil = none.
func (r *Registry) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = f
}

// Push stores an image under "repository:tag", past credentials and faults,
// and returns the full reference and the digest.
func (r *Registry) Push(repositoryTag string, img v1.Image) (ref, digest string, err error) {
	tag, err := r.tag(repositoryTag)
	if err != nil {
		return "", "", err
	}
	if err := remote.Write(tag, img, remote.WithTransport(direct{r.store})); err != nil {
		return "", "", fmt.Errorf("push %s: %w", tag, err)
	}
	d, err := img.Digest()
	return tag.String(), d.String(), err
}

// PushIndex does the same with an index of several platforms.
func (r *Registry) PushIndex(repositoryTag string, index v1.ImageIndex) (ref, digest string, err error) {
	tag, err := r.tag(repositoryTag)
	if err != nil {
		return "", "", err
	}
	if err := remote.WriteIndex(tag, index, remote.WithTransport(direct{r.store})); err != nil {
		return "", "", fmt.Errorf("push %s: %w", tag, err)
	}
	d, err := index.Digest()
	return tag.String(), d.String(), err
}

func (r *Registry) tag(repositoryTag string) (name.Tag, error) {
	tag, err := name.NewTag(r.Host+"/"+repositoryTag, name.Insecure, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("push: %w", err)
	}
	return tag, nil
}

// ServeHTTP checks credentials and faults before it serves.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked = append(r.asked, req.Method+" "+req.URL.Path)
	hook := r.hook
	r.mu.Unlock()
	if hook != nil && hook(w, req) {
		return
	}
	if req.URL.Path == "/token" {
		r.giveToken(w, req)
		return
	}
	if r.opts.User != "" && !r.allowed(req) {
		w.Header().Set("WWW-Authenticate", r.challenge(req))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.store.ServeHTTP(w, req)
}

// token is what the token service gives for the right credentials.
const token = "a-token-of-the-test-registry"

func (r *Registry) allowed(req *http.Request) bool {
	if r.opts.Bearer {
		return req.Header.Get("Authorization") == "Bearer "+token
	}
	user, secret, ok := req.BasicAuth()
	return ok && user == r.opts.User && secret == r.opts.Secret
}

func (r *Registry) challenge(req *http.Request) string {
	if !r.opts.Bearer {
		return `Basic realm="test"`
	}
	scheme := "http"
	if r.opts.TLS {
		scheme = "https"
	}
	return fmt.Sprintf(`Bearer realm="%s://%s/token",service="test",scope="repository:any:pull"`, scheme, req.Host)
}

// giveToken serves both ways clients ask for a token.
func (r *Registry) giveToken(w http.ResponseWriter, req *http.Request) {
	user, secret, ok := req.BasicAuth()
	if !ok {
		user, secret = req.FormValue("username"), req.FormValue("password")
	}
	if user != r.opts.User || secret != r.opts.Secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"token":%q,"access_token":%q,"expires_in":300}`, token, token)
}

// direct carries requests to a handler without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	served := req.Clone(context.WithoutCancel(req.Context()))
	served.RequestURI = ""
	if served.Body == nil {
		served.Body = http.NoBody
	}
	d.ServeHTTP(w, served)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}
