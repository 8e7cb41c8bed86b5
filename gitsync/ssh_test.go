package gitsync_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// newSSHD starts an SSH server, or skips the test where there is none.
func newSSHD(t *testing.T, opts gitsynctest.SSHDOptions) *gitsynctest.SSHD {
	t.Helper()
	if opts.Root == "" {
		opts.Root = t.TempDir()
	}
	opts.Dir = t.TempDir()
	s, err := gitsynctest.StartSSHD(opts)
	if errors.Is(err, gitsynctest.ErrNoSSHD) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Log("sshd: " + s.Log())
		}
	})
	return s
}

func sshConfig(s *gitsynctest.SSHD, r *gitsynctest.Repo) gitsync.Config {
	return gitsync.Config{URL: s.RepoURL(r), SSHKeyFile: s.KeyFile, KnownHostsFile: s.KnownHosts}
}

// TestFetchOverSSH looks, downloads and looks again over one connection, from
// a server that speaks version 2 and from one that does not.
func TestFetchOverSSH(t *testing.T) {
	for _, only0 := range []bool{false, true} {
		srv := newSSHD(t, gitsynctest.SSHDOptions{OnlyVersion0: only0})
		repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
		id := commit(t, repo, map[string]string{"a": "1", "b/c": "2"})
		r := open(t, sshConfig(srv, repo))
		wantTip(t, r, id, map[string]string{"a": "1", "b/c": "2"})
		id = commit(t, repo, map[string]string{"a": "changed"})
		wantTip(t, r, id, map[string]string{"a": "changed", "b/c": "2"})
		wantTip(t, r, id, map[string]string{"a": "changed", "b/c": "2"})
		if n := srv.Connections(); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
	}
}

// TestSSHConnectionIsMadeAnew after it broke, between requests and in one.
func TestSSHConnectionIsMadeAnew(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	r := open(t, sshConfig(srv, repo))
	wantTip(t, r, id, map[string]string{"a": "1"})
	srv.CutConnections()
	wantTip(t, r, id, map[string]string{"a": "1"})
	if n := srv.Connections(); n != 2 {
		t.Errorf("%d connections, want two", n)
	}
	// Cut at every answer: an error, not a hang, and well again after it.
	srv.SetCut(func(d gitsynctest.Direction, _ []byte) bool { return d == gitsynctest.ToClient })
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	srv.SetCut(nil)
	wantTip(t, r, id, map[string]string{"a": "1"})
}

// TestSSHFilesAreReadAgain: a connection is no longer used once the files that
// it was let in with have changed; what is under way on it is not disturbed.
func TestSSHFilesAreReadAgain(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	hosts := string(gitsynctest.Must(os.ReadFile(srv.KnownHosts))(t))
	key := string(gitsynctest.Must(os.ReadFile(srv.KeyFile))(t))
	r := open(t, sshConfig(srv, repo))
	wantTip(t, r, id, map[string]string{"a": "1"})
	for _, tt := range []struct{ name, file, spoilt, right, want string }{
		{"host no longer known", srv.KnownHosts, "# nobody\n", hosts, " is not in "},
		{"host revoked", srv.KnownHosts, hosts + "@revoked * " + strings.SplitN(hosts, " ", 2)[1], hosts, "revokes"},
		{"another key", srv.KeyFile, newKey(t, ""), key, "does not let user"},
		{"key gone", srv.KeyFile, "", key, "holds no private key"},
	} {
		writeFile(t, tt.file, tt.spoilt)
		if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnauthorized) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
		writeFile(t, tt.file, tt.right)
		wantTip(t, r, id, map[string]string{"a": "1"})
	}
	before := srv.Connections()
	wantTip(t, r, id, map[string]string{"a": "1"})
	if n := srv.Connections() - before; n != 0 {
		t.Errorf("%d connections more, though no file has changed", n)
	}
	// In the middle of a download.
	id = commit(t, repo, map[string]string{"a": strings.Repeat("2", 1000)})
	var once sync.Once
	srv.SetCut(func(d gitsynctest.Direction, b []byte) bool {
		if d == gitsynctest.ToClient {
			once.Do(func() { writeFile(t, srv.KnownHosts, hosts+"# changed\n") })
		}
		return false
	})
	wantTip(t, r, id, map[string]string{"a": strings.Repeat("2", 1000)})
}

// TestSSHSilence: a server that says nothing more ends the look, soon.
func TestSSHSilence(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	config := sshConfig(srv, repo)
	config.Limits.Idle = 300 * time.Millisecond
	r := open(t, config)
	wantTip(t, r, id, map[string]string{"a": "1"})
	silent := make(chan struct{})
	srv.SetCut(func(gitsynctest.Direction, []byte) bool { <-silent; return true })
	begin := time.Now()
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	srv.SetCut(nil)
	close(silent)
	wantTip(t, r, id, map[string]string{"a": "1"})
}

// TestSSHAgent logs in with a key that an ssh-agent holds.
func TestSSHAgent(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	pem, err := os.ReadFile(srv.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	defer served.Wait()
	defer listener.Close()
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, conn) // until we have logged in
			conn.Close()
		}
	})
	t.Setenv("SSH_AUTH_SOCK", socket)
	config := sshConfig(srv, repo)
	config.SSHKeyFile = ""
	r := open(t, config)
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnauthorized) || !strings.Contains(err.Error(), "holds no key") {
		t.Errorf("error %v", err)
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	wantTip(t, r, id, map[string]string{"a": "1"})
}

func TestSSHErrors(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	commit(t, repo, map[string]string{"a": "1"})
	good := sshConfig(srv, repo)
	key, err := os.ReadFile(good.SSHKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, tt := range []struct {
		name   string
		change func(*gitsync.Config)
		kind   error
		want   string
	}{
		{"no such repository", func(c *gitsync.Config) { c.URL += "x" }, gitsync.ErrRepositoryNotFound, "does not appear to be a git repository"},
		{"another user", func(c *gitsync.Config) { c.URL = strings.Replace(c.URL, srv.User+"@", "nobody-here@", 1) }, gitsync.ErrUnauthorized, "does not let user nobody-here in with the key in "},
		{"no key", func(c *gitsync.Config) { c.SSHKeyFile = "" }, gitsync.ErrUnauthorized, "name a key file"},
		{"no such key file", func(c *gitsync.Config) { c.SSHKeyFile = filepath.Join(dir, "none") }, gitsync.ErrUnauthorized, "no such file"},
		{"key others can read", func(c *gitsync.Config) { c.SSHKeyFile = write("open", string(key), 0o644) }, gitsync.ErrUnauthorized, "chmod 600"},
		{"public key", func(c *gitsync.Config) { c.SSHKeyFile = write("public", "ssh-ed25519 AAAA x", 0o600) }, gitsync.ErrUnauthorized, "name the file of the private one"},
		{"no key in it", func(c *gitsync.Config) { c.SSHKeyFile = write("junk", "planted-secret", 0o600) }, gitsync.ErrUnauthorized, "no private key"},
		{"key with a passphrase", func(c *gitsync.Config) { c.SSHKeyFile = write("locked", newKey(t, "no"), 0o600) }, gitsync.ErrUnauthorized, "has a passphrase"},
		{"nobody listens", func(c *gitsync.Config) { c.URL = "ssh://git@127.0.0.1:1/fleet.git" }, gitsync.ErrUnreachable, "refused"},
		{"no known hosts", func(c *gitsync.Config) { c.KnownHostsFile = filepath.Join(dir, "none") }, gitsync.ErrUnauthorized, "read known_hosts"},
		{"damaged known hosts", func(c *gitsync.Config) { c.KnownHostsFile = write("hosts", "x y z\n", 0o600) }, gitsync.ErrUnauthorized, "hosts:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := good
			tt.change(&config)
			_, err := open(t, config).Fetch(t.Context())
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %v with %q", err, tt.kind, tt.want)
			}
			wantNoSecret(t, err, "planted-secret", string(bytes.TrimSpace(key)))
		})
	}
}

// newKey is a new private key, locked if a passphrase is given.
func newKey(t *testing.T, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}
