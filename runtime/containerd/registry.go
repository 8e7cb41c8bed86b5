//go:build linux

package containerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/orpheus-cd/orpheus/planner"
)

// dockerHub is what "docker.io" in a reference stands for.
const dockerHub = "registry-1.docker.io"

// registry is the place that a reference itself names.
func (d *Driver) registry(ctx context.Context, host string, r Registry) place {
	at := docker.RegistryHost{Host: host, Scheme: scheme(host, r), Path: "/v2"}
	if host == "docker.io" {
		at.Host = dockerHub
	}
	// Also if its address is that of the node itself: the node's policy has seen
	// the address.
	trusted := r.Inside || planner.InternalHost(host)
	return d.place(ctx, place{host: host, name: host}, at, r, trusted)
}

// mirror is a place that the node's configuration names: it may be anywhere.
// The same host named by an image is one like any other.
func (d *Driver) mirror(ctx context.Context, m Mirror) place {
	r := d.cfg.Registries[m.Host]
	at := docker.RegistryHost{Host: m.Host, Scheme: m.Scheme, Path: m.Path}
	if at.Scheme == "" {
		at.Scheme = scheme(m.Host, r)
	}
	return d.place(ctx, place{host: m.Host, name: m.String(), mirror: true}, at, r, true)
}

func scheme(host string, r Registry) string {
	// A CA means TLS, on loopback too.
	if local, err := docker.MatchLocalhost(host); r.PlainHTTP || r.Roots == nil && err == nil && local {
		return "http"
	}
	return "https"
}

// place adds to p what talks to at. Credentials are asked for with the pull's
// context and given to that host alone.
func (d *Driver) place(ctx context.Context, p place, at docker.RegistryHost, r Registry, trusted bool) place {
	p.login = &loginNote{}
	client, err := d.httpClient(p.host, r, trusted)
	at.Client = client
	at.Capabilities = docker.HostCapabilityPull | docker.HostCapabilityResolve
	at.Authorizer = docker.NewDockerAuthorizer(docker.WithAuthClient(at.Client), docker.WithAuthCreds(
		func(asking string) (string, string, error) {
			if d.cfg.Credentials == nil || asking != at.Host {
				return "", "", nil
			}
			l, err := d.cfg.Credentials(ctx, p.host)
			if err != nil {
				return "", "", &loginError{err}
			}
			d.doubted(p.host, l.Doubt)
			p.login.set(l)
			return l.User, l.Secret, nil
		}))
	p.resolver = docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
		return []docker.RegistryHost{at}, err
	}})
	return p
}

// doubted warns once that a host is shown nothing though there may be something
// to show, and again when it was shown what there is in between.
func (d *Driver) doubted(host string, doubt error) {
	d.mu.Lock()
	first := doubt != nil && !d.doubts[host]
	d.doubts[host] = doubt != nil
	d.mu.Unlock()
	if first {
		d.cfg.Log.Warn("registry is shown no credentials: whether there are any cannot be read", "registry", host, "err", doubt)
	}
}

// loginError says why there are no credentials although some are configured.
type loginError struct{ err error }

func (e *loginError) Error() string { return e.err.Error() }
func (e *loginError) Unwrap() error { return e.err }

// rootsError says why it cannot be known whom to trust as a registry.
type rootsError struct{ err error }

func (e *rootsError) Error() string { return e.err.Error() }
func (e *rootsError) Unwrap() error { return e.err }

// clientKey tells connections apart that must not be shared: those to a host
// that may lead anywhere, and those to the same host when it may not.
type clientKey struct {
	host    string
	trusted bool
}

// httpClient is shared by all pulls from a host, so that they share its
// connections, until its roots change.
func (d *Driver) httpClient(host string, registry Registry, trusted bool) (*http.Client, error) {
	var roots *x509.CertPool // nil = the system's
	if registry.Roots != nil {
		var err error
		if roots, err = registry.Roots(); err != nil {
			return nil, &rootsError{err}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := clientKey{host, trusted}
	c := d.httpClients[key]
	if c != nil && roots.Equal(d.roots[key]) {
		return c, nil
	}
	if c != nil {
		c.CloseIdleConnections() // pulls under way end with the old one
	}
	var tlsConfig *tls.Config
	if roots != nil {
		tlsConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	transport := docker.DefaultHTTPTransport(tlsConfig)
	if !trusted {
		guard(transport)
	}
	c = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	d.httpClients[key], d.roots[key] = c, roots
	return c, nil
}

// checkRedirect lets a registry send us on to where its blobs are, but not
// with our credentials and not out of TLS. net/http compares names without
// ports; two ports of one machine are two parties here.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	first := via[0].URL
	if first.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect from https to %s refused", req.URL.Scheme)
	}
	if req.URL.Host != first.Host {
		req.Header.Del("Authorization")
	}
	return nil
}

// resolved is a resolver whose answer is known already, and which gives no
// more bytes of a blob than its descriptor announces.
type resolved struct {
	remotes.Resolver
	desc ocispec.Descriptor
}

func (r resolved) Resolve(_ context.Context, ref string) (string, ocispec.Descriptor, error) {
	return ref, r.desc, nil
}

func (r resolved) Fetcher(ctx context.Context, ref string) (remotes.Fetcher, error) {
	f, err := r.Resolver.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	return boundedFetcher{f}, nil
}
