//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

type repositoryConfig struct {
	URL          string `json:"url"`
	Branch       string `json:"branch"` // "" = main, where neither Tag nor Semver is given
	Tag          string `json:"tag"`
	Semver       string `json:"semver"` // a range of versions: the highest among the tags
	Commit       string `json:"commit"` // a full id
	Floor        string `json:"floor"`  // full id of a commit that all that is followed must come after
	Path         string `json:"path"`   // "" = the top of the repository
	Username     string `json:"username"`
	PasswordFile string `json:"passwordFile"`
	TokenFile    string `json:"tokenFile"`
	CAFile       string `json:"caFile"`

	SSHKeyFile     string `json:"sshKeyFile"`
	KnownHostsFile string `json:"knownHostsFile"`

	GitHubApp         githubAppConfig `json:"githubApp"`
	Proxy             string          `json:"proxy"` // URL; "" = as the environment says, "none" = none
	ProxyUsername     string          `json:"proxyUsername"`
	ProxyPasswordFile string          `json:"proxyPasswordFile"`
}

// recordsConfig says where the fleet's records are and how to write them.
// Empty fields are what fleet.yaml says, else what repository says.
type recordsConfig struct {
	URL            string `json:"url"`
	Prefix         string `json:"prefix"`
	Username       string `json:"username"`
	PasswordFile   string `json:"passwordFile"`
	TokenFile      string `json:"tokenFile"`
	CAFile         string `json:"caFile"`
	SSHKeyFile     string `json:"sshKeyFile"`
	KnownHostsFile string `json:"knownHostsFile"`

	GitHubApp         githubAppConfig `json:"githubApp"`
	Proxy             string          `json:"proxy"`
	ProxyUsername     string          `json:"proxyUsername"`
	ProxyPasswordFile string          `json:"proxyPasswordFile"`
}

// git is the part of the configuration that gitsync needs.
func (c *config) git(log *slog.Logger) gitsync.Config {
	r := c.Repository
	out := gitsync.Config{
		URL: r.URL, Branch: r.Branch, Tag: r.Tag, Semver: r.Semver, Commit: r.Commit, CAFile: r.CAFile, Log: log,
		SSHKeyFile: r.SSHKeyFile, KnownHostsFile: r.KnownHostsFile,
		Dir: filepath.Join(c.StateDir, "git"),
	}
	out.Proxy, out.ProxyLogin = r.Proxy, r.route().proxyLogin()
	out.Credentials, out.Refused = r.login().access(r.route())
	return out
}

// credentials reads what a Git server is shown anew at every use; nil = none
// are configured.
func credentials(username, passwordFile, tokenFile string) func(context.Context) (gitsync.Credentials, error) {
	if tokenFile == "" && passwordFile == "" {
		return nil
	}
	return func(context.Context) (gitsync.Credentials, error) {
		if tokenFile != "" && username == "" {
			token, err := readSecret(tokenFile)
			return gitsync.Credentials{Token: token}, err
		}
		password, err := readSecret(passwordFile + tokenFile)
		return gitsync.Credentials{Username: username, Password: password}, err
	}
}

// board is how the records are reached. What the agent's configuration says
// goes before fleet.yaml; credentials are never sent to another place than
// they were given for.
func (c *config) board(place *planner.RecordsPlace, log *slog.Logger) gitsync.BoardConfig {
	var inFleet planner.RecordsPlace
	if place != nil {
		inFleet = *place
	}
	r, repo := c.Records, c.Repository
	route := r.route(repo)
	out := gitsync.BoardConfig{
		URL: cmp.Or(r.URL, inFleet.URL, repo.URL), Prefix: cmp.Or(r.Prefix, inFleet.Prefix), Log: log,
		CAFile: route.caFile, Proxy: route.proxy, ProxyLogin: route.proxyLogin(), SSHKeyFile: cmp.Or(r.SSHKeyFile, repo.SSHKeyFile),
		KnownHostsFile: cmp.Or(r.KnownHostsFile, repo.KnownHostsFile),
	}
	out.Credentials, out.Refused = r.login().access(route)
	if out.URL == repo.URL && repo.Commit == "" {
		out.Branch = repo.Branch // with a look at the records its tip is seen too
	}
	if out.Credentials == nil && (out.URL == repo.URL || r.URL != "") {
		out.Credentials, out.Refused = repo.login().access(route)
	}
	return out
}

const (
	maxSecretFile = 64 << 10
	maxCAFile     = 1 << 20
)

// readSecret reads a secret from its file at every use, so that it can be
// renewed without a restart.
func readSecret(path string) (string, error) {
	data, err := readBounded(path, maxSecretFile)
	return string(bytes.TrimSpace(data)), err
}

// readBounded reads a file of at most limit bytes, which must be a multiple of
// 1 KiB.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%s is larger than %d KiB", path, limit>>10)
	}
	return data, nil
}
