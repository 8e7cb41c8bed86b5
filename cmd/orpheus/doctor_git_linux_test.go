package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDoctorGit: the proxy and the app are shown as they are, without a secret.
func TestDoctorGit(t *testing.T) {
	status := http.StatusCreated
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"token": "ghs_pl4nted", "expires_at": %q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer github.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "app.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	n := &nodeExam{file: "agent.yaml"}
	n.config.Repository = repositoryConfig{URL: "https://git.example.com/fleet.git", Branch: "main", Proxy: "none",
		GitHubApp: githubAppConfig{AppID: 123, InstallationID: 456, PrivateKeyFile: file, APIURL: github.URL}}
	look := func(name string, l level, want string) {
		t.Helper()
		for _, f := range examine(t.Context(), n.gitChecks()) {
			if f.Name != name {
				continue
			}
			if f.Level != l || !strings.Contains(f.Text, want) || strings.Contains(f.Text+f.Remedy, "pl4nted") {
				t.Errorf("%+v, want %s: %q", f, l, want)
			}
			return
		}
		t.Errorf("no finding %q", name)
	}
	look("github app", levelOK, "app 123, installation 456 at 127.0.0.1:")
	status = http.StatusNotFound
	look("github app", levelFail, "app 123 has no installation 456")
	if checks := n.gitChecks(); len(checks) != 1 {
		t.Errorf("%d checks", len(checks))
	}
	n.config.Repository.GitHubApp = githubAppConfig{}
	n.config.Repository.Proxy = "http://ada:pl4nted@proxy.example.com:3128"
	look("proxy", levelOK, "the repository is reached through http://proxy.example.com:3128")
}
