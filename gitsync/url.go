package gitsync

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"unicode"
)

// remoteURL is a repository's address, split from the credentials it was
// written with.
type remoteURL struct {
	scheme      string // "https", "http", "ssh" or "file"
	host        string // with port, if one was given; "" for file
	user        string // whom to log in as; ssh only
	path        string // absolute (for ssh also relative to the user's home); as written for http
	credentials Credentials
}

// String is the address without credentials.
func (u remoteURL) String() string {
	switch {
	case u.scheme == "file":
		return u.path
	case u.scheme == "ssh" && !strings.HasPrefix(u.path, "/"):
		return u.user + "@" + u.host + ":" + u.path
	case u.scheme == "ssh":
		return "ssh://" + u.user + "@" + u.host + u.path
	}
	return u.scheme + "://" + u.host + u.path
}

// loopback reports whether the address is of this machine by its name alone.
func (u remoteURL) loopback() bool {
	host := u.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// parseURL accepts the addresses this version can follow. Its errors never
// hold the address as written, for it may hold a secret.
func parseURL(raw string) (remoteURL, error) {
	const forms = "use https://host/path, ssh://user@host/path, user@host:path or an absolute local path"
	switch {
	case raw == "":
		return remoteURL{}, errors.New("repository URL is missing; " + forms)
	case len(raw) > 2048:
		return remoteURL{}, errors.New("repository URL is longer than 2048 bytes")
	case strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return remoteURL{}, errors.New("repository URL holds control characters")
	case strings.HasPrefix(raw, "-"):
		return remoteURL{}, errors.New("repository URL begins with a dash; " + forms)
	case filepath.IsAbs(raw):
		return localURL(raw)
	}
	scheme, _, found := strings.Cut(raw, "://")
	if !found {
		if u, ok, err := scpURL(raw); ok {
			return u, err
		}
		return remoteURL{}, errors.New("repository URL has no scheme, and is no absolute path; " + forms)
	}
	switch strings.ToLower(scheme) {
	case "https", "http":
		return networkURL(raw)
	case "file":
		u, err := url.Parse(raw)
		if err != nil || u.Host != "" && u.Host != "localhost" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return remoteURL{}, errors.New("repository URL is not of the form file:///absolute/path")
		}
		return localURL(filepath.FromSlash(u.Path))
	case "ssh":
		return sshURL(raw)
	}
	return remoteURL{}, fmt.Errorf("repository URL: scheme %q is not allowed; %s", printable(scheme, 20), forms)
}

func localURL(path string) (remoteURL, error) {
	if !filepath.IsAbs(path) || strings.ContainsFunc(path, unicode.IsControl) {
		return remoteURL{}, errors.New("repository path is not an absolute path without control characters")
	}
	return remoteURL{scheme: "file", path: filepath.Clean(path)}, nil
}

func networkURL(raw string) (remoteURL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return remoteURL{}, errors.New("repository URL cannot be parsed; percent-encode special characters in user name and password")
	}
	switch {
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-"):
		return remoteURL{}, errors.New("repository URL names no host")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return remoteURL{}, errors.New("repository URL has a query or a fragment")
	}
	out := remoteURL{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host), path: strings.TrimRight(u.EscapedPath(), "/")}
	if u.User != nil {
		password, _ := u.User.Password()
		out.credentials = Credentials{Username: u.User.Username(), Password: password}
	}
	return out, nil
}
