package gitsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/redact"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// Config says which commit of which repository to follow and where to keep the
// clone.
type Config struct {
	// URL is https://…, http://… (without credentials, or to this machine),
	// ssh://user@host[:port]/…, its short form user@host:path, or an absolute
	// path or file:// of a repository on this machine. Credentials in it
	// (https://user:token@host/…) are used as if Credentials had returned
	// them.
	URL string
	// Branch, Tag, Semver and Commit say which commit is followed: see Selection.
	Branch string
	Tag    string
	Semver string
	Commit string
	// Dir is the clone's folder. It belongs to this package, which makes it,
	// locks it, and throws away what it does not like in it.
	Dir string

	// Credentials is called once per look; nil = none. Its error counts as
	// ErrUnauthorized unless it is an ErrUnreachable.
	Credentials func(context.Context) (Credentials, error)
	// Refused is told when the remote did not accept what Credentials returned;
	// nil = nobody wants to know.
	Refused func(Credentials)
	// CAFile holds PEM certificates that are trusted beside the system's. It is
	// read for every request.
	CAFile string
	// Proxy is http://, https:// or socks5://[USER:PASSWORD@]HOST[:PORT]:
	// everything goes through it, ssh too. "none": nothing does. "": https and
	// http go as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
	Proxy string
	// ProxyLogin returns what the proxy is shown, anew for every request; nil =
	// what Proxy holds.
	ProxyLogin func(context.Context) (username, password string, err error)
	// SSHKeyFile is the private key to log in with over ssh: without a
	// passphrase, and readable by its owner only. "" = the keys of the ssh-agent
	// at SSH_AUTH_SOCK.
	SSHKeyFile string
	// KnownHostsFile holds the keys of SSH servers. Others are never talked to.
	// "" = ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.
	KnownHostsFile string
	Limits         Limits
	Log            *slog.Logger // nil = discard
}

// Credentials are what the remote is shown. Give Username and Password (most
// hosts take a token as the password), or a Token alone, which is sent as a
// bearer token.
type Credentials struct {
	Username string
	Password string
	Token    string
}

// String never shows a secret.
func (c Credentials) String() string {
	if c == (Credentials{}) {
		return "no credentials"
	}
	return "credentials " + redact.Mark
}

// GoString never shows a secret.
func (c Credentials) GoString() string { return c.String() }

// LogValue never shows a secret.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names what is followed and the repository, without credentials.
func (c Config) String() string { return c.selection().String() + " of " + shownURL(c.URL) }

// shownURL is a repository's address without credentials.
func shownURL(raw string) string {
	u, err := parseURL(raw)
	if err != nil {
		return "an unusable URL"
	}
	return u.String()
}

func (c Config) selection() Selection {
	return Selection{Branch: c.Branch, Tag: c.Tag, Semver: c.Semver, Commit: c.Commit}
}

// GoString is String: the URL may hold credentials.
func (c Config) GoString() string { return c.String() }

// LogValue is String: the URL may hold credentials.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Via names the proxy that the remote is reached through, without credentials;
// "" = none.
func (c Config) Via() string {
	s, err := c.validateRemote()
	if err != nil {
		return ""
	}
	return s.route.Proxy(&url.URL{Scheme: s.remote.scheme, Host: s.remote.host})
}

// settings is a Config that was found to be sound.
type settings struct {
	Config
	by     selector // of the selection
	remote remoteURL
	route  *transport.Route
}

// validate lists everything wrong with c, without a secret in any text.
func (c Config) validate() (settings, error) {
	s, err := c.validateRemote()
	faults := []error{err}
	if s.by, err = c.selection().parse(); err != nil {
		faults = append(faults, err)
	}
	if !filepath.IsAbs(c.Dir) {
		faults = append(faults, fmt.Errorf("clone folder %q is not an absolute path", c.Dir))
	}
	return s, errors.Join(faults...)
}

// validateRemote is validate for what says how the remote is reached.
func (c Config) validateRemote() (settings, error) {
	s := settings{Config: c}
	var faults []error
	var err error
	if s.remote, err = parseURL(c.URL); err != nil {
		faults = append(faults, err)
	} else if err := s.checkCredentials(); err != nil {
		faults = append(faults, err)
	}
	if err := c.Limits.validate(); err != nil {
		faults = append(faults, err)
	}
	s.Limits = c.Limits.withDefaults()
	if s.route, err = transport.New(c.transport()); err != nil {
		faults = append(faults, err)
	} else if err := s.checkRoute(); err != nil {
		faults = append(faults, err)
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return s, errors.Join(faults...)
}

// checkCredentials settles where credentials come from and that they never
// cross a network in clear.
func (s *settings) checkCredentials() error {
	own := s.remote.credentials
	if own != (Credentials{}) {
		if s.Credentials != nil {
			return errors.New("credentials are given twice: take them out of the URL or leave the others out")
		}
		s.Credentials = func(context.Context) (Credentials, error) { return own, nil }
	}
	if s.Credentials != nil && s.remote.scheme == "ssh" {
		return fmt.Errorf("%s: user names and tokens are for https; over ssh give a key file", s.remote)
	}
	if s.Credentials != nil && s.remote.scheme == "http" && !s.remote.loopback() {
		return fmt.Errorf("%s: credentials over plain http can be read on the way; use https", s.remote)
	}
	return nil
}

// checkRoute keeps credentials for this machine from a proxy elsewhere.
func (s *settings) checkRoute() error {
	if s.Credentials == nil || s.remote.scheme != "http" {
		return nil
	}
	proxy, err := url.Parse(s.route.Proxy(&url.URL{Scheme: "http", Host: s.remote.host}))
	if err == nil && proxy.Host != "" && !(remoteURL{host: proxy.Host}).loopback() {
		return fmt.Errorf("%s: credentials over plain http would go to the proxy %s in clear; use https", s.remote, transport.Shown(proxy))
	}
	return nil
}

// transport says how the remote is reached.
func (c Config) transport() transport.Options {
	idle := cmp.Or(max(c.Limits.Idle, 0), c.Limits.withDefaults().Idle)
	return transport.Options{Proxy: c.Proxy, ProxyLogin: c.ProxyLogin, CAFile: c.CAFile,
		Patience: min(10*time.Second, idle), Answer: idle}
}

// checkBranch follows git's rules for reference names.
func checkBranch(name string) error {
	switch {
	case name == "":
		return errors.New("branch is missing")
	case strings.HasPrefix(name, "refs/"), !goodRefName(name):
		return fmt.Errorf("branch %q is not a branch name such as main or release/2", printable(name, 80))
	}
	return nil
}

// goodRefName reports whether git takes the name for a reference, or a part
// of one.
func goodRefName(name string) bool {
	if name == "" || len(name) > 200 ||
		strings.HasPrefix(name, "-") || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") ||
		strings.HasSuffix(name, ".") || name == "@" ||
		strings.Contains(name, "..") || strings.Contains(name, "//") || strings.Contains(name, "@{") ||
		strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return false
	}
	for _, part := range strings.Split(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}
