// Package dockerconfig reads credentials of registries from the configuration
// of docker's command line, or from the programs it names for them. Files are
// read at every use, so that what a login or a rotation changes counts at once.
package dockerconfig

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Login is what a registry is shown. Without User, Secret is an identity
// token.
type Login struct {
	User, Secret string
	// From names the file, and the program if there is one.
	From string
}

// Doubt is why it is not known whether there are credentials for a registry:
// the file cannot be used, or does not name the registry and the program for
// all others fails.
type Doubt struct{ err error }

func (d *Doubt) Error() string { return d.err.Error() }
func (d *Doubt) Unwrap() error { return d.err }

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// hub is the registry of Docker Hub in references, hubKey what docker files its
// credentials under.
const (
	hub    = "docker.io"
	hubKey = "https://index.docker.io/v1/"
)

// file is as much of the configuration as matters here.
type file struct {
	Auths map[string]struct {
		Auth          string `json:"auth"` // base64 of user:password
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// Find looks for the credentials of a registry, by its host as it stands in
// references, in the file at path: those of the program named for the registry,
// else of the one named for all, else those in the file itself. None are a zero
// Login and no error; an error that leaves open whether there are any is a
// *Doubt. No error holds anything secret.
func Find(ctx context.Context, path, host string) (Login, error) {
	f, err := read(path)
	if err != nil {
		return Login{}, &Doubt{fmt.Errorf("docker's configuration %s: %w", path, err)}
	}
	program, named := lookup(f.CredHelpers, host)
	if program == "" {
		program = f.CredsStore
		_, named = lookup(f.Auths, host) // which is what docker adds at a login
	}
	if program != "" {
		l, err := ask(ctx, program, server(host))
		if err != nil {
			err = fmt.Errorf("docker's configuration %s: %s: %w", path, programPrefix+program, err)
			if !named && ctx.Err() == nil {
				err = &Doubt{err}
			}
			return Login{}, err
		}
		if l.Secret != "" {
			l.From = programPrefix + program + " (" + path + ")"
			return l, nil
		}
	}
	return f.login(path, host)
}

func read(path string) (file, error) {
	var f file
	opened, err := os.Open(path)
	if err != nil {
		return f, withoutPath(err)
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	switch {
	case err != nil:
		return f, withoutPath(err)
	case len(data) > maxFile:
		return f, fmt.Errorf("is larger than %d bytes", maxFile)
	}
	if json.Unmarshal(data, &f) != nil {
		return f, errors.New("is no valid JSON") // the decoder's text may quote a secret
	}
	return f, nil
}

func withoutPath(err error) error {
	var inner *os.PathError
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// login is what the file itself holds.
func (f file) login(path, host string) (Login, error) {
	a, _ := lookup(f.Auths, host)
	l := Login{User: a.Username, Secret: a.Password, From: path}
	if a.Auth != "" {
		decoded, err := base64.StdEncoding.DecodeString(a.Auth)
		user, password, found := strings.Cut(strings.TrimRight(string(decoded), "\x00"), ":")
		if err != nil || !found || user == "" {
			return Login{}, fmt.Errorf("docker's configuration %s: auths: auth of %s is not the base64 of user:password", path, host)
		}
		l.User, l.Secret = user, password
	}
	if a.IdentityToken != "" {
		l.User, l.Secret = "", a.IdentityToken
	}
	if l.Secret == "" {
		return Login{}, nil
	}
	return l, nil
}

// server is what a registry is called in docker's configuration.
func server(host string) string {
	if host == hub {
		return hubKey
	}
	return host
}

// lookup finds the entry of a registry: under its name, else under an address
// of it, as older versions of docker wrote them, first by order of the text.
func lookup[V any](m map[string]V, host string) (entry V, found bool) {
	for _, key := range []string{server(host), host} {
		if v, ok := m[key]; ok {
			return v, true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if named := hostOf(key); named == host || host == hub && named == hostOf(hubKey) {
			return m[key], true
		}
	}
	return entry, false
}

func hostOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, _ := strings.Cut(key, "/")
	if path = strings.Trim(path, "/"); path != "" && path != "v1" && path != "v2" {
		return "" // of some repositories there, not of the registry
	}
	return host
}
