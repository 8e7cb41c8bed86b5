package probe

import (
	"context"
	"fmt"
	"net"
)

// dial connects to address from where the instance is. A host name is resolved
// as the node resolves names, before.
func (p Place) dial(ctx context.Context, address string) (net.Conn, error) {
	if p.NetNS == "" {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		found, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("host %s has no address", host)
		}
		host = found[0].String()
	}
	return dialIn(ctx, p.NetNS, net.JoinHostPort(host, port))
}
