package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/githubapp"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// githubAppConfig has the node log in as an app; the zero value: it does not.
type githubAppConfig struct {
	AppID          int64  `json:"appID"`
	InstallationID int64  `json:"installationID"`
	PrivateKeyFile string `json:"privateKeyFile"`
	APIURL         string `json:"apiURL"` // "" = https://api.github.com
}

// gitLogin is what a Git server is shown. Its files are read at every use.
type gitLogin struct {
	username, passwordFile, tokenFile string
	app                               githubAppConfig
}

// gitRoute is how a Git server is reached.
type gitRoute struct {
	caFile                            string
	proxy, proxyUsername, proxyPwFile string
}

func (r repositoryConfig) login() gitLogin {
	return gitLogin{r.Username, r.PasswordFile, r.TokenFile, r.GitHubApp}
}

func (r recordsConfig) login() gitLogin {
	return gitLogin{r.Username, r.PasswordFile, r.TokenFile, r.GitHubApp}
}

func (r repositoryConfig) route() gitRoute {
	return gitRoute{r.CAFile, r.Proxy, r.ProxyUsername, r.ProxyPasswordFile}
}

// route is that of the records; a proxy and its password go together.
func (r recordsConfig) route(repo repositoryConfig) gitRoute {
	out := gitRoute{r.CAFile, r.Proxy, r.ProxyUsername, r.ProxyPasswordFile}
	if out.proxy == "" {
		out = repo.route()
	}
	out.caFile = cmp.Or(r.CAFile, repo.CAFile)
	return out
}

func (r gitRoute) options() transport.Options {
	return transport.Options{CAFile: r.caFile, Proxy: r.proxy, ProxyLogin: r.proxyLogin()}
}

// proxyLogin reads what the proxy is shown; nil = what its URL holds.
func (r gitRoute) proxyLogin() func(context.Context) (username, password string, err error) {
	if r.proxyPwFile == "" {
		return nil
	}
	return func(context.Context) (string, string, error) {
		password, err := readSecret(r.proxyPwFile)
		return r.proxyUsername, password, err
	}
}

// access is what gitsync asks for credentials, and tells of those that were
// refused; both nil = none are configured.
func (l gitLogin) access(r gitRoute) (func(context.Context) (gitsync.Credentials, error), func(gitsync.Credentials)) {
	if l.app == (githubAppConfig{}) {
		return credentials(l.username, l.passwordFile, l.tokenFile), nil
	}
	app, err := l.app.open(r)
	if err != nil { // validated
		return func(context.Context) (gitsync.Credentials, error) { return gitsync.Credentials{}, err }, nil
	}
	return app.Credentials, app.Refused
}

func (a githubAppConfig) open(r gitRoute) (*githubapp.App, error) {
	return githubapp.New(githubapp.Config{AppID: a.AppID, InstallationID: a.InstallationID,
		PrivateKeyFile: a.PrivateKeyFile, APIURL: a.APIURL, Transport: r.options()})
}

// gitFaults lists what is wrong with how Git servers are reached.
func (c *config) gitFaults() []error {
	faults := accessFaults("repository", c.Repository.login(), c.Repository.route())
	faults = append(faults, accessFaults("records", c.Records.login(), gitRoute{
		proxy: c.Records.Proxy, proxyUsername: c.Records.ProxyUsername, proxyPwFile: c.Records.ProxyPasswordFile})...)
	if c.Records.URL == "" && c.Records.GitHubApp != (githubAppConfig{}) {
		faults = append(faults, errors.New("records.githubApp: give records.url beside it: credentials are only sent to the address they are meant for"))
	}
	return faults
}

func accessFaults(section string, l gitLogin, r gitRoute) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(section+format, args...)) }
	r.caFile = "" // whoever uses it says what is wrong with it
	if _, err := transport.New(r.options()); err != nil && r.proxy != "" {
		fault(".proxy: %w", err)
	}
	switch {
	case (r.proxyUsername == "") != (r.proxyPwFile == ""):
		fault(": give proxyUsername and proxyPasswordFile together")
	case r.proxyPwFile != "" && r.proxy == "":
		fault(": proxyUsername and proxyPasswordFile are for a proxy: give its address as proxy")
	}
	if l.app == (githubAppConfig{}) {
		return faults
	}
	if l.username+l.passwordFile+l.tokenFile != "" {
		fault(": give githubApp, or username, passwordFile or tokenFile, not both")
	}
	r.proxy, r.proxyUsername, r.proxyPwFile = "", "", ""
	if _, err := l.app.open(r); err != nil {
		fault(".githubApp: %w", err)
	}
	return faults
}

// gitSecretFiles are those that hold secrets for Git servers and proxies.
func (c *config) gitSecretFiles() []string {
	r, f := c.Repository, c.Records
	return []string{r.TokenFile, r.PasswordFile, r.SSHKeyFile, r.ProxyPasswordFile, r.GitHubApp.PrivateKeyFile,
		f.TokenFile, f.PasswordFile, f.SSHKeyFile, f.ProxyPasswordFile, f.GitHubApp.PrivateKeyFile}
}

// gitFiles are all files that decide whether Git servers can be talked to.
func (c *config) gitFiles() []string {
	files := append(c.gitSecretFiles(), c.Repository.CAFile, c.Repository.KnownHostsFile, c.Records.CAFile, c.Records.KnownHostsFile)
	files = slices.DeleteFunc(files, func(file string) bool { return file == "" })
	for i, file := range files {
		if abs, err := filepath.Abs(file); err == nil {
			files[i] = abs
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// watchGitFiles has the agent look at the repository as soon as a file has
// changed with which it is reached, instead of at the end of its back-off.
func (n *node) watchGitFiles(ctx context.Context) {
	files := n.config.gitFiles()
	if len(files) == 0 {
		return
	}
	for range gitsync.WatchFiles(ctx, files...) {
		n.log.Info("a file for reaching the repository has changed: looking now")
		n.hintNow()
	}
}
