//go:build linux

package containerd

import (
	"context"
	"crypto/tls"
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

// resolver returns what talks to the registry of one pull. Credentials are
// asked for with the pull's context and given to that registry alone.
func (d *Driver) resolver(ctx context.Context, host string) remotes.Resolver {
	registry, described := d.cfg.Registries[host]
	httpClient := d.httpClient(host, registry, described)
	credentials := func(asking string) (string, string, error) {
		if registry.Credentials == nil || asking != host && !(host == "docker.io" && asking == dockerHub) {
			return "", "", nil
		}
		return registry.Credentials(ctx)
	}
	hosts := docker.ConfigureDefaultRegistries(
		docker.WithClient(httpClient),
		docker.WithPlainHTTP(func(h string) (bool, error) {
			if registry.PlainHTTP {
				return true, nil
			}
			if registry.CA != nil {
				return false, nil // a CA means TLS, on loopback too
			}
			return docker.MatchLocalhost(h)
		}),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(
			docker.WithAuthClient(httpClient), docker.WithAuthCreds(credentials))),
	)
	return docker.NewResolver(docker.ResolverOptions{Hosts: hosts})
}

// httpClient is shared by all pulls from a host, so that they share its
// connections. A registry may be on the node itself, and lead there, if the
// node's configuration describes it, or if that is what its address says: the
// node's policy has seen the address.
func (d *Driver) httpClient(host string, registry Registry, described bool) *http.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.httpClients[host]
	if c == nil {
		var tlsConfig *tls.Config
		if registry.CA != nil {
			tlsConfig = &tls.Config{RootCAs: registry.CA, MinVersion: tls.VersionTLS12}
		}
		transport := docker.DefaultHTTPTransport(tlsConfig)
		if !described && !planner.InternalHost(host) {
			guard(transport)
		}
		c = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
		d.httpClients[host] = c
	}
	return c
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
