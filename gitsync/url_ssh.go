package gitsync

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"unicode"
)

// sshURL reads ssh://user@host[:port]/path.
func sshURL(raw string) (remoteURL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return remoteURL{}, errors.New("repository URL cannot be parsed; it is of the form ssh://user@host[:port]/path")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return remoteURL{}, errors.New("repository URL has a query or a fragment")
	}
	if _, given := u.User.Password(); given {
		return remoteURL{}, errors.New("repository URL holds a password: over ssh only keys are used; give a key file")
	}
	out := remoteURL{scheme: "ssh", host: strings.ToLower(u.Host), user: u.User.Username(), path: strings.TrimRight(u.Path, "/")}
	return out, out.checkSSH()
}

// scpURL reads user@host:path, git's short form of ssh. The path is relative
// to the user's home unless it begins with a slash. What is not of this form
// is not ok.
func scpURL(raw string) (u remoteURL, ok bool, err error) {
	user, rest, found := strings.Cut(raw, "@")
	if !found || strings.ContainsAny(user, ":/") {
		return remoteURL{}, false, nil
	}
	host, path, found := strings.Cut(rest, ":")
	if strings.HasPrefix(rest, "[") { // an IPv6 address
		host, path, found = strings.Cut(rest, "]:")
		host += "]"
	}
	if !found {
		return remoteURL{}, false, nil
	}
	u = remoteURL{scheme: "ssh", host: strings.ToLower(host), user: user, path: path}
	return u, true, u.checkSSH()
}

// checkSSH lets nothing through that a program on either side could take for
// an option, or that has no business in a name.
func (u remoteURL) checkSSH() error {
	host := u.hostname()
	switch {
	case host == "":
		return errors.New("repository URL names no host")
	case u.user == "":
		return errors.New("repository URL names no user; write ssh://user@host/path, the user is often git")
	case u.path == "" || u.path == "/":
		return errors.New("repository URL names no path on the host")
	}
	for _, part := range []struct{ what, text string }{{"user", u.user}, {"host", host}, {"path", strings.TrimPrefix(u.path, "/")}} {
		if strings.HasPrefix(part.text, "-") {
			return errors.New("repository URL: the " + part.what + " begins with a dash")
		}
		if strings.ContainsFunc(part.text, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
			return errors.New("repository URL: the " + part.what + " holds control characters")
		}
	}
	if net.ParseIP(host) == nil && strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
	}) {
		return errors.New("repository URL: the host is neither a name nor an address")
	}
	return nil
}

// hostname is the host without port and brackets.
func (u remoteURL) hostname() string {
	host := u.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Trim(host, "[]")
}

// sshAddress is where an SSH server listens, host:port.
func (u remoteURL) sshAddress() string {
	if _, port, err := net.SplitHostPort(u.host); err == nil && port != "" {
		return net.JoinHostPort(u.hostname(), port)
	}
	return net.JoinHostPort(u.hostname(), "22")
}

// sshCommand is what the server's shell is asked to run. Git's own servers
// (git-shell, forges) take the path apart without a shell; both read the
// quotes alike.
func (u remoteURL) sshCommand(s service) string {
	path := u.path
	if strings.HasPrefix(path, "/~") { // ssh://host/~user/path, as git does it
		path = path[1:]
	}
	return s.name() + " '" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}
