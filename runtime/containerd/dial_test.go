//go:build linux

package containerd

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/orpheus-cd/orpheus/runtime"
)

// TestAttack22RegistryLeadsInside: a registry on the internet names the place of
// its tokens or of its blobs, and names an address of the node itself.
func TestAttack22RegistryLeadsInside(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		fmt.Fprint(w, `{"Token":"of the cloud"}`) // as a metadata service answers
	}))
	t.Cleanup(inside.Close)
	const host = "registry.example.com"
	for name, answer := range map[string]http.HandlerFunc{
		"tokens": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token?sig=hush",service="x"`, inside.URL))
			w.WriteHeader(http.StatusUnauthorized)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL+"/blob?sig=hush", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			// It stands for the internet: the proxy that leads to the registry, and
			// is on loopback, as proxies of a node are.
			internet := httptest.NewServer(answer)
			t.Cleanup(internet.Close)
			proxy, err := url.Parse(internet.URL)
			if err != nil {
				t.Fatal(err)
			}
			transport := docker.DefaultHTTPTransport(nil)
			transport.Proxy = func(r *http.Request) (*url.URL, error) {
				if r.URL.Hostname() == host {
					return proxy, nil
				}
				return nil, nil
			}
			guard(transport)
			t.Cleanup(transport.CloseIdleConnections)
			d := b.driver(t, func(c *Config) { c.Registries = map[string]Registry{host: {PlainHTTP: true, Inside: true}} })
			d.httpClients[clientKey{host, true}] = &http.Client{Transport: transport, CheckRedirect: checkRedirect}

			_, err = d.Prepare(t.Context(), of(host+"/app:1", ""), nil)
			if !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "registries") || strings.Contains(err.Error(), "hush") {
				t.Errorf("Prepare: %v; want ErrInvalid with the remedy and without the address's secrets", err)
			}
			if n := reached.Load(); n != 0 {
				t.Errorf("the node itself was asked %d times", n)
			}
		})
	}
}

// Who may be reached, by what the registry is.
func TestWhoLeadsInside(t *testing.T) {
	b := testBench(t)
	d := b.driver(t)
	inside := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(inside.Close)
	for _, c := range []struct {
		host      string
		described bool
		may       bool
	}{
		// One of the internet, whose name may resolve to anything.
		{"registry.example.com", false, false},
		// One that the node's configuration describes.
		{"registry.internal", true, true},
		// One on the node itself by its address, which policy has admitted.
		{"127.0.0.1:5000", false, true},
	} {
		registry := Registry{Inside: c.described}
		d.registry(t.Context(), c.host, registry)
		trusts := clientKey{c.host, true}
		if d.httpClients[trusts] == nil {
			trusts.trusted = false
		}
		answer, err := d.httpClients[trusts].Get(inside.URL)
		if err == nil {
			answer.Body.Close()
		}
		if may := err == nil; may != c.may || !may && !errors.As(err, new(internalAddress)) {
			t.Errorf("%s leads inside: %v; want %v", c.host, err, c.may)
		}
	}
}

// TestRootsAreRenewed: connections are shared until a registry is verified
// otherwise, and there are none while it is not known how.
func TestRootsAreRenewed(t *testing.T) {
	d := &Driver{httpClients: map[clientKey]*http.Client{}, roots: map[clientKey]*x509.CertPool{}}
	var roots *x509.CertPool
	var fault error
	r := Registry{Roots: func() (*x509.CertPool, error) { return roots, fault }}
	client := func() *http.Client {
		t.Helper()
		c, err := d.httpClient("a.example.com", r, true)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	trusted := func(c *http.Client) *x509.CertPool { return c.Transport.(*http.Transport).TLSClientConfig.RootCAs }
	roots = x509.NewCertPool()
	first := client()
	if client() != first || trusted(first) != roots {
		t.Error("connections are not shared, or trust others")
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots = x509.NewCertPool()
	roots.AddCert(server.Certificate())
	second := client()
	if second == first || trusted(second) != roots {
		t.Error("a renewed file changes nothing")
	}
	fault = errors.New("gone")
	if c, err := d.httpClient("a.example.com", r, true); c != nil || !errors.Is(err, fault) {
		t.Errorf("%v, %v", c, err)
	}
	if fault = nil; client() != second {
		t.Error("it is not what it was, once the file can be read")
	}
}
