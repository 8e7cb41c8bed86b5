package gitsync_test

import (
	"crypto/rand"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// TestAttack05SSHPaths: what means something to a shell is part of the name.
func TestAttack05SSHPaths(t *testing.T) {
	root := t.TempDir()
	srv := newSSHD(t, gitsynctest.SSHDOptions{Root: root})
	for _, name := range []string{
		"it's.git",
		"'$(touch pwned)'.git",
		"`touch pwned`; touch pwned #.git",
		"\"!1\" \\'; touch pwned; echo '.git",
	} {
		repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(root, name)))(t)
		id := commit(t, repo, map[string]string{"a": "1"})
		config := sshConfig(srv, repo)
		config.URL = strings.TrimSuffix(config.URL, repo.Dir) + (&url.URL{Path: repo.Dir}).EscapedPath()
		wantTip(t, open(t, config), id, map[string]string{"a": "1"})
	}
	if _, err := os.Stat(filepath.Join(root, "pwned")); err == nil {
		t.Error("a path was run as a command")
	}
}

// TestAttack06HostKeys: a server that is not known, or not the one that was
// known, is told apart before anything is asked, and nothing is learned from
// it.
func TestAttack06HostKeys(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	host := knownhosts.Normalize(srv.Address)
	known, err := os.ReadFile(srv.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	_, entry, _ := strings.Cut(strings.TrimSpace(string(known)), " ")
	changed := knownhosts.Line([]string{host}, newSigner(t).PublicKey())
	for _, tt := range []struct {
		name, hosts string
		want        []string // nil = let in
	}{
		// The server's first key is of another kind than the one known.
		{"known", string(known), nil},
		{"known by its hash", knownhosts.HashHostname(host) + " " + entry + "\n", nil},
		{"known beside an old key", changed + "\n" + string(known), nil},
		{"nobody known", "# empty\n", []string{host + " is not in ", "SHA256:", "ssh-keyscan"}},
		{"another host known", "other.example.com " + entry + "\n", []string{host + " is not in "}},
		{"the same host on another port", "127.0.0.1 " + entry + "\n", []string{host + " is not in "}},
		{"changed", "# old\n" + changed + "\n", []string{"the host key of " + host + " is not the one in ", "hosts:2", "in between", "SHA256:"}},
		{"revoked", string(known) + "@revoked * " + entry + "\n", []string{host, "hosts:2 revokes"}},
		{"signed by an authority it is not", "@cert-authority " + changed + "\n", []string{"the host key of " + host}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hosts")
			if err := os.WriteFile(file, []byte(tt.hosts), 0o600); err != nil {
				t.Fatal(err)
			}
			config := sshConfig(srv, repo)
			config.KnownHostsFile = file
			r := open(t, config)
			if tt.want == nil {
				wantTip(t, r, id, map[string]string{"a": "1"})
				return
			}
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, gitsync.ErrUnauthorized) || !gitsync.Stalled(err) {
				t.Fatalf("error %v", err)
			}
			for _, want := range append(tt.want, file) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v lacks %q", err, want)
				}
			}
			after, readErr := os.ReadFile(file)
			if readErr != nil || string(after) != tt.hosts {
				t.Errorf("the file of known hosts was changed: %q, %v", after, readErr)
			}
			// A person mends the file: nothing is started anew.
			if err := os.WriteFile(file, known, 0o600); err != nil {
				t.Fatal(err)
			}
			wantTip(t, r, id, map[string]string{"a": "1"})
		})
	}
}

// TestSSHHostCertificate: a host whose key a known authority signed is let in,
// one whose key another authority signed is not.
func TestSSHHostCertificate(t *testing.T) {
	authority, host := newSigner(t), newSigner(t)
	certificate := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signed, err := ssh.NewCertSigner(certificate, host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return nil, errors.New("nobody is let in")
	}}
	server.AddHostKey(host)
	server.AddHostKey(signed)
	var served sync.WaitGroup
	defer served.Wait()
	defer listener.Close()
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _, _, _ = ssh.NewServerConn(conn, server) // it lets nobody in
			conn.Close()
		}
	})
	for _, tt := range []struct {
		authority ssh.Signer
		want      string
	}{
		{authority, "does not let user git in"}, // it got that far
		{newSigner(t), "the host key of "},
	} {
		dir := t.TempDir()
		hosts, key := filepath.Join(dir, "hosts"), filepath.Join(dir, "key")
		line := "@cert-authority " + knownhosts.Line([]string{knownhosts.Normalize(listener.Addr().String())}, tt.authority.PublicKey()) + "\n"
		if err := errors.Join(os.WriteFile(hosts, []byte(line), 0o600), os.WriteFile(key, []byte(newKey(t, "")), 0o600)); err != nil {
			t.Fatal(err)
		}
		r := open(t, gitsync.Config{URL: "ssh://git@" + listener.Addr().String() + "/fleet.git", KnownHostsFile: hosts, SSHKeyFile: key})
		if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnauthorized) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(newKey(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	return signer
}
