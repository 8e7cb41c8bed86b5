//go:build linux

package containerd

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// Mirror is a place that has the images of a registry, too. Its name in
// Config.Registries is its Host.
type Mirror struct {
	Scheme string // "http", "https"; "" = as Registries[Host] says
	Host   string // with the port, if it is not the usual one
	Path   string // of its API: "/v2", or below that
}

// ParseMirror reads a mirror as people write it: a host, or a URL. As in
// containerd's hosts.toml, "/v2" is put behind a path that does not begin with
// it, and each request says in "ns" whose image is meant.
func ParseMirror(text string) (Mirror, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "//" + text
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		// Not its text: that holds the URL, and with it what may be a password.
		return Mirror{}, fmt.Errorf("it is no host and no URL; write one such as mirror.example.com or https://mirror.example.com/v2/hub")
	case u.User != nil:
		return Mirror{}, fmt.Errorf("a mirror's URL holds no credentials; give registries.%s a username and a passwordFile", u.Host)
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return Mirror{}, fmt.Errorf("mirror %q: scheme %s is neither http nor https", text, u.Scheme)
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return Mirror{}, fmt.Errorf("mirror %q: write a host or a URL such as https://mirror.example.com/v2/hub", text)
	}
	m := Mirror{Scheme: u.Scheme, Host: u.Host, Path: path.Clean("/" + u.Path)}
	if m.Path == "/" {
		m.Path = ""
	}
	if m.Path != "/v2" && !strings.HasPrefix(m.Path, "/v2/") {
		m.Path += "/v2"
	}
	return m, nil
}

func (m Mirror) String() string { return m.Host + strings.TrimPrefix(m.Path, "/v2") }
