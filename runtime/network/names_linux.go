package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// domain is what the names of all services end with.
const domain = "orpheus.internal"

func (n *Network) names(id string) string { return filepath.Join(n.cfg.RunDir, "etc", id) }

// writeNames makes the instance's hosts and resolv.conf.
func (n *Network) writeNames(id string, names runtime.Names, r record) error {
	dir := n.names(id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make name files: %w", err)
	}
	resolv, err := n.resolvConf(names, r)
	if err != nil {
		return err
	}
	for name, body := range map[string]string{"hosts": n.hosts(names, r), "resolv.conf": resolv} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			return fmt.Errorf("write name file: %w", err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask is
			return fmt.Errorf("write name file: %w", err)
		}
	}
	return n.writeServers(names.DNS.Servers, r)
}

func (n *Network) hasNames(id string, names runtime.Names, r record) bool {
	files := []string{filepath.Join(n.names(id), "hosts"), filepath.Join(n.names(id), "resolv.conf")}
	if len(names.DNS.Servers) > 0 && !n.cfg.NoNames {
		files = append(files, n.serverFiles(r)...)
	}
	return !slices.ContainsFunc(files, func(name string) bool {
		st, err := os.Lstat(name)
		return err != nil || !st.Mode().IsRegular()
	})
}

func (n *Network) removeNames(id string) error {
	r, known, err := n.pool.get(id)
	if err == nil && known {
		err = n.writeServers(nil, r)
	}
	if err != nil {
		return fmt.Errorf("remove name files: %w", err)
	}
	if err := os.RemoveAll(n.names(id)); err != nil {
		return fmt.Errorf("remove name files: %w", err)
	}
	return nil
}

// hosts makes an instance's /etc/hosts: what it is called itself, then what its
// manifest adds.
func (n *Network) hosts(names runtime.Names, r record) string {
	body := "127.0.0.1\tlocalhost\n"
	if r.Address6.IsValid() {
		body += "::1\tlocalhost ip6-localhost ip6-loopback\n"
	}
	body += fmt.Sprintf("%s\t%s\n", r.Address, names.Hostname)
	if r.Address6.IsValid() {
		body += fmt.Sprintf("%s\t%s\n", r.Address6, names.Hostname)
	}
	for _, alias := range names.Aliases {
		addresses := []string{alias.IP}
		if alias.IP == planner.NodeHost {
			addresses[0] = n.cfg.gateway().String()
			if r.Address6.IsValid() {
				addresses = append(addresses, n.cfg.gateway6().String())
			}
		}
		for _, address := range addresses {
			body += address + "\t" + strings.Join(alias.Hostnames, " ") + "\n"
		}
	}
	return body
}

// resolvConf makes an instance's resolv.conf: it asks the name server on the
// bridge, or, where none is to run, those of the host's that it can reach. What
// the manifest says of domains and options stands in the place of the host's.
func (n *Network) resolvConf(names runtime.Names, r record) (string, error) {
	dns := names.DNS
	own, host, err := n.resolver(names, r)
	if err != nil {
		return "", err
	}
	if dns.Search != nil {
		host.search = dns.Search
	}
	own.addSearch(host.search)
	if dns.Options != nil {
		own.options = slices.DeleteFunc(own.options, func(o string) bool { return named(dns.Options, o) })
		host.options = dns.Options
	}
	for _, o := range host.options {
		if !named(own.options, o) {
			own.options = append(own.options, o)
		}
	}
	return own.String(), nil
}

// resolver is what every instance of a namespace has, and what the host says
// beside.
func (n *Network) resolver(names runtime.Names, r record) (own, host resolver, err error) {
	if n.cfg.NoNames {
		host, own.servers, err = n.reachable(r.Address6.IsValid())
		if len(names.DNS.Servers) > 0 {
			own.servers = addresses(names.DNS.Servers)
		}
		return own, host, err
	}
	if host, err = n.hostResolver(); err != nil {
		return own, host, err
	}
	host.options = slices.DeleteFunc(host.options, func(o string) bool { return !harmless(o) })
	own = resolver{servers: []netip.Addr{n.cfg.gateway()}, search: []string{domain}, options: []string{"ndots:1"}}
	if r.Address6.IsValid() {
		own.servers = append(own.servers, n.cfg.gateway6())
	}
	if names.Namespace != "" {
		own.search = slices.Insert(own.search, 0, names.Namespace+"."+domain)
	}
	return own, host, nil
}

// harmless are options that mean the same to an instance as to the host. Not
// among them: trust-ad, for it is not the host's validating resolver that
// answers, and ndots, which would send the names of services elsewhere first.
func harmless(option string) bool {
	switch optionName(option) {
	case "timeout", "attempts", "rotate", "edns0", "single-request", "single-request-reopen", "use-vc", "no-tld-query":
		return true
	}
	return false
}

// Upstream returns the host's name servers as the host itself asks them
// ("192.0.2.53:53"), also those on loopback, for the name server on the
// bridge; never that one. None are known where the host's resolv.conf cannot be
// read: Info says so.
func (n *Network) Upstream() []string {
	var all []string
	host, _ := n.hostResolver()
	for _, server := range host.servers {
		if server != n.cfg.gateway() && server != n.cfg.gateway6() {
			all = append(all, netip.AddrPortFrom(server, 53).String())
		}
	}
	return all
}

// hostResolver is the host's resolv.conf, or systemd-resolved's where there is
// none.
func (n *Network) hostResolver() (resolver, error) {
	for _, path := range []string{n.cfg.ResolvConf, n.cfg.UpstreamResolvConf} {
		host, err := readResolver(path)
		if !errors.Is(err, os.ErrNotExist) {
			return host, err
		}
	}
	return resolver{}, nil
}

// reachable finds the host's name servers that an instance reaches, in the
// first file that has any; without one it returns what the first file says
// otherwise.
func (n *Network) reachable(ipv6 bool) (body resolver, servers []netip.Addr, err error) {
	first := true
	for _, path := range []string{n.cfg.ResolvConf, n.cfg.UpstreamResolvConf} {
		host, err := readResolver(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return resolver{}, nil, err
		}
		servers := slices.DeleteFunc(slices.Clone(host.servers), func(a netip.Addr) bool {
			return a.IsLoopback() || a.Is6() && (!ipv6 || a.IsLinkLocalUnicast())
		})
		if len(servers) > 0 {
			return host, servers, nil
		}
		if first {
			body, first = host, false
		}
	}
	return body, nil, nil
}

// nameNote says which names instances cannot resolve; "" = none.
func (n *Network) nameNote() (string, error) {
	if n.cfg.NoNames {
		_, servers, err := n.reachable(n.cfg.Subnet6.IsValid())
		if err != nil || len(servers) > 0 {
			return "", err
		}
		return fmt.Sprintf("instances resolve no names: neither %s nor %s names a name server that they reach (one on loopback is another one inside them)", n.cfg.ResolvConf, n.cfg.UpstreamResolvConf), nil
	}
	if _, err := n.hostResolver(); err != nil || len(n.Upstream()) > 0 {
		return "", err
	}
	return fmt.Sprintf("instances resolve the names of services only: %s names no name server", n.cfg.ResolvConf), nil
}
