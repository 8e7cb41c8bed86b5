package transport

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/http/httpproxy"

	"github.com/orpheus-cd/orpheus/gitsync/redact"
)

// None, in place of a proxy's URL, means that nothing goes through one.
const None = "none"

// proxies chooses a proxy for every request.
type proxies struct {
	fixed *url.URL // for everything; without credentials
	// environment decides where nothing is fixed; nil = nothing goes through a
	// proxy.
	environment func(*url.URL) (*url.URL, error)
	login       func(context.Context) (username, password string, err error)
}

func newProxies(o Options) (proxies, error) {
	switch {
	case (o.Proxy == "" || o.Proxy == None) && o.ProxyLogin != nil:
		return proxies{}, errors.New("credentials for a proxy are given, but no proxy")
	case o.Proxy == "":
		return proxies{environment: httpproxy.FromEnvironment().ProxyFunc()}, nil
	case o.Proxy == None:
		return proxies{}, nil
	}
	u, err := parseProxy(o.Proxy)
	if err != nil {
		return proxies{}, err
	}
	p := proxies{fixed: u, login: o.ProxyLogin}
	if own := u.User; own != nil {
		if p.login != nil {
			return proxies{}, errors.New("credentials for the proxy are given twice: take them out of its URL or leave the others out")
		}
		p.login = func(context.Context) (string, string, error) {
			password, _ := own.Password()
			return own.Username(), password, nil
		}
		u.User = nil
	}
	return p, nil
}

// parseProxy reads a proxy's URL. Its errors never hold the URL as written,
// for it may hold a secret.
func parseProxy(raw string) (*url.URL, error) {
	const form = "write http://HOST:PORT, https://HOST:PORT, socks5://HOST:PORT or none"
	if len(raw) > 2048 || strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return nil, errors.New("proxy URL is too long or holds control characters; " + form)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") {
		return nil, errors.New("proxy URL names no host; " + form)
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, errors.New("proxy URL is none of http, https and socks5; " + form)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return nil, errors.New("proxy URL has a path, a query or a fragment; " + form)
	}
	u.Path = ""
	return u, nil
}

// hop is the way to one target.
type hop struct {
	proxy *url.URL // as net/http wants it, with credentials; nil = straight
	// origin is where the proxy's address comes from, for people.
	origin  string
	secrets redact.Scrubber
}

// choose returns the proxy for a target, without credentials of Options.
func (p proxies) choose(target *url.URL) (hop, error) {
	switch {
	case p.fixed != nil:
		return hop{proxy: p.fixed, origin: "its address in the configuration"}, nil
	case p.environment == nil:
		return hop{}, nil
	}
	u, err := p.environment(target)
	if err != nil || u == nil {
		return hop{}, err
	}
	return hop{proxy: u, origin: "HTTPS_PROXY and HTTP_PROXY in the environment"}, nil
}

// hop is choose, with the credentials as they are now.
func (p proxies) hop(ctx context.Context, target *url.URL) (hop, error) {
	h, err := p.choose(target)
	if err != nil || h.proxy == nil {
		return h, err
	}
	if p.login != nil {
		username, password, err := p.login(ctx)
		if err != nil {
			return h, &Error{text: "read credentials for the proxy " + Shown(h.proxy) + ": " + err.Error(), err: err}
		}
		with := *h.proxy
		with.User = url.UserPassword(username, password)
		h.proxy = &with
	}
	if user := h.proxy.User; user != nil {
		password, _ := user.Password()
		h.secrets = redact.Login(user.Username(), password)
	}
	return h, nil
}

// Shown is a URL's scheme and host, which hold no secret.
func Shown(u *url.URL) string { return u.Scheme + "://" + redact.Printable(u.Host, 100) }

// address is where a proxy listens, host:port.
func address(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	if port == "" {
		port = "1080" // socks5
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}
