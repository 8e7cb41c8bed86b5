//go:build linux

package containerd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// internalAddress is the error of a registry that leads where only registries
// may lead that the node's configuration describes.
type internalAddress struct{ address string }

func (e internalAddress) Error() string {
	return fmt.Sprintf("leads to %s, an address of the node itself or its link: only a registry that the node's configuration describes (registries) may", e.address)
}

// guard keeps the transport to a registry away from the node itself, its link
// and the metadata service of clouds: names resolve to what their owner likes,
// and a registry names the places of its blobs and of its tokens.
func guard(t *http.Transport) {
	const timeout = 30 * time.Second
	var proxies sync.Map // addresses; the node's own choice, and they decide what is reached
	if choose := t.Proxy; choose != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			proxy, err := choose(r)
			if proxy != nil {
				proxies.Store(addressOf(proxy), true)
			}
			return proxy, err
		}
	}
	plain := &net.Dialer{Timeout: timeout, KeepAlive: timeout}
	guarded := &net.Dialer{Timeout: timeout, KeepAlive: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		if planner.InternalHost(address) {
			return internalAddress{address}
		}
		return nil
	}}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ours := proxies.Load(address); ours {
			return plain.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// addressOf is what a transport dials for a URL.
func addressOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
