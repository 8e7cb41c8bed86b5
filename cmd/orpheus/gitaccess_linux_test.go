package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"log/slog"

	"github.com/orpheus-cd/orpheus/planner"
)

// gitConfigured is the configuration in a file with these lines.
func gitConfigured(t *testing.T, text string) (config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err == nil {
		c.Node.Name = "node-1"
		err = c.complete()
	}
	return c, err
}

func TestGitAccess(t *testing.T) {
	const (
		repo    = "repository: {url: 'https://github.com/team/fleet.git'"
		records = "}\nrecords: {url: 'https://github.com/team/records.git'"
	)
	for _, tt := range []struct {
		name, lines string
		want        []string // none = accepted
	}{
		{"an app", repo + ", githubApp: {appID: 1, installationID: 2, privateKeyFile: /k, apiURL: 'https://ghe.example.com/api/v3'}}", nil},
		{"an app for the records", repo + records + ", githubApp: {appID: 1, installationID: 2, privateKeyFile: /k}}", nil},
		{"half an app", repo + ", githubApp: {appID: 1}}", []string{"repository.githubApp: installationID is missing", `privateKeyFile "" is not`}},
		{"an app and a token", repo + ", tokenFile: /t, githubApp: {appID: 1, installationID: 2, privateKeyFile: /k}}", []string{"repository: give githubApp, or username"}},
		{"an app for whatever fleet.yaml names", repo + "}\nrecords: {githubApp: {appID: 1, installationID: 2, privateKeyFile: /k}}",
			[]string{"records.githubApp: give records.url beside it"}},
		{"a proxy", repo + ", proxy: 'http://proxy.example.com:3128', proxyUsername: ada, proxyPasswordFile: /p}", nil},
		{"a proxy with its password", repo + ", proxy: 'socks5://ada:pl4nted@proxy.example.com'}", nil},
		{"no proxy", repo + ", proxy: none}", nil},
		{"no proxy for the records", repo + ", proxy: 'http://p:3128'" + records + ", proxy: none}", nil},
		{"half a login", repo + ", proxy: 'http://p:3128', proxyUsername: ada}", []string{"repository: give proxyUsername and proxyPasswordFile together"}},
		{"a login for nothing", repo + ", proxyUsername: ada, proxyPasswordFile: /p}", []string{"repository: proxyUsername and proxyPasswordFile are for a proxy"}},
		{"a login for the proxy of repository", repo + ", proxy: 'http://p:3128'}\nrecords: {proxyUsername: ada, proxyPasswordFile: /p}",
			[]string{"records: proxyUsername and proxyPasswordFile are for a proxy"}},
		{"a login given twice", repo + ", proxy: 'http://ada:pl4nted@p:3128', proxyUsername: ada, proxyPasswordFile: /p}", []string{"repository.proxy: ", "given twice"}},
		{"something else", repo + ", proxy: 'ftp://ada:pl4nted@p'}\nrecords: {proxy: 'ada:pl4nted@p:1'}", []string{"repository.proxy: ", "records.proxy: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gitConfigured(t, tt.lines)
			if len(tt.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v lacks %q", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "pl4nted") {
				t.Errorf("error holds the password: %v", err)
			}
		})
	}
}

// TestRecordsRoute: records go the repository's way unless they have their own,
// a proxy with its own password.
func TestRecordsRoute(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"p1": "one\n", "p2": "two\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	repo := "repository: {url: 'https://a.example.com/r.git', caFile: /repo-ca, proxy: 'http://p1:1', proxyUsername: ada, proxyPasswordFile: " + dir + "/p1}\n"
	for _, tt := range []struct{ name, records, proxy, login, ca string }{
		{"the repository's", "", "http://p1:1", "ada one", "/repo-ca"},
		{"its own CA", "records: {caFile: /own}", "http://p1:1", "ada one", "/own"},
		{"its own", "records: {proxy: 'http://p2:1', proxyUsername: bob, proxyPasswordFile: " + dir + "/p2}", "http://p2:1", "bob two", "/repo-ca"},
		{"its own without a password", "records: {proxy: 'http://p2:1'}", "http://p2:1", "", "/repo-ca"},
		{"none", "records: {proxy: none}", "none", "", "/repo-ca"},
	} {
		c, err := gitConfigured(t, repo+tt.records)
		if err != nil {
			t.Fatal(err)
		}
		b := c.board(&planner.RecordsPlace{}, nil)
		login := ""
		if b.ProxyLogin != nil {
			user, password, err := b.ProxyLogin(t.Context())
			if login = user + " " + password; err != nil {
				t.Error(err)
			}
		}
		if b.Proxy != tt.proxy || login != tt.login || b.CAFile != tt.ca {
			t.Errorf("%s: proxy %s, login %q, CA %s", tt.name, b.Proxy, login, b.CAFile)
		}
	}
}

// TestGitFiles: whatever holds a secret is kept from host paths, and what
// decides whether the repository can be reached is watched.
func TestGitFiles(t *testing.T) {
	c, err := gitConfigured(t, `
repository: {url: 'ssh://git@a.example.com/r.git', sshKeyFile: /a/key, knownHostsFile: /a/hosts, caFile: /a/ca, proxy: 'http://p:1', proxyUsername: u, proxyPasswordFile: /a/proxy}
records: {url: 'https://a.example.com/r.git', caFile: /a/ca, proxy: 'http://p:1', proxyUsername: u, proxyPasswordFile: /b/proxy, githubApp: {appID: 1, installationID: 2, privateKeyFile: /b/app}}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.gitFiles(), []string{"/a/ca", "/a/hosts", "/a/key", "/a/proxy", "/b/app", "/b/proxy"}; !slices.Equal(got, want) {
		t.Errorf("watched: %v, want %v", got, want)
	}
	for _, secret := range []string{"/a/key", "/a/proxy", "/b/app", "/b/proxy"} {
		if !slices.Contains(c.reservedPaths(), secret) {
			t.Errorf("%s may be mounted", secret)
		}
	}
}

// TestRenewedFileIsLookedAt: a file that has changed is a hint.
func TestRenewedFileIsLookedAt(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	n := &node{log: slog.New(slog.DiscardHandler), hint: make(chan struct{}, 1),
		config: config{Repository: repositoryConfig{URL: "https://a.example.com/r.git", TokenFile: token}}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.watchGitFiles(ctx)
	}()
	deadline := time.After(time.Minute)
	for i := 0; ; i++ { // the watch may not have begun
		if err := os.WriteFile(token, []byte(strings.Repeat("x", i)), 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case <-n.hint:
			cancel()
			<-done
			return
		case <-deadline:
			t.Fatal("no hint")
		case <-time.After(200 * time.Millisecond):
		}
	}
}
