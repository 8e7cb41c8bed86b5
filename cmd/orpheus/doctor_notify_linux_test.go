package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctorNotify: the forge is asked with the token, and neither that nor a
// webhook's address is shown.
func TestDoctorNotify(t *testing.T) {
	forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/api/v1/repos/team/fleet" || r.Header.Get("Authorization") != "token pl4nted" {
			http.Error(w, "you showed "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		}
	}))
	defer forge.Close()
	dir := t.TempDir()
	token, address := filepath.Join(dir, "token"), filepath.Join(dir, "address")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(token, "pl4nted")
	write(address, "https://hooks.example.com/pl4nted")
	n := &nodeExam{file: "agent.yaml"}
	n.config.Repository = repositoryConfig{URL: "https://git.example.com/team/fleet.git", Proxy: "none"}
	n.config.Notify = notifyConfig{
		CommitStatus: &commitStatusConfig{Kind: "gitea", API: forge.URL + "/api/v1", TokenFile: token},
		Webhooks:     []notifyHookConfig{{URLFile: address}, {URL: "https://alerts.example.com"}},
	}
	look := func(want ...string) {
		t.Helper()
		found := examine(t.Context(), n.notifyChecks())
		if len(found) != 2 {
			t.Fatalf("%+v", found)
		}
		for k, f := range found {
			text := string(f.Level) + " " + f.Text
			if !strings.HasPrefix(text, want[k]) || strings.Contains(text+f.Remedy, "pl4nted") {
				t.Errorf("%+v, want %q", f, want[k])
			}
		}
	}
	look("ok gitea at 127.0.0.1:", "ok "+address+" holds an address")
	write(token, "another-pl4nted")
	write(address, "\n")
	look("warn gitea at 127.0.0.1:", "warn "+address+" is empty")
}
