//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRegistryLogin: this configuration goes before docker's, each registry has
// its own, and files are read anew at every use.
func TestRegistryLogin(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	auths := func(secret string) string {
		entry := func(host string) string { return fmt.Sprintf(`%q: {"username": "d", "password": %q}`, host, secret) }
		return `{"auths": {` + entry("a.example.com") + "," + entry("b.example.com") + "," + entry("https://index.docker.io/v1/") + "}}"
	}
	c := config{
		Registries: map[string]registryConfig{
			"a.example.com": {Username: "u", PasswordFile: write("password", "p1\n")},
			"b.example.com": {PlainHTTP: true},
		},
		DockerConfig: write("config.json", auths("d1")),
	}
	login := func(host string) string {
		l, err := c.registryLogin(t.Context(), host)
		if err != nil {
			return "error: " + err.Error()
		}
		return strings.TrimSpace(l.User + " " + l.Secret + " " + l.From)
	}
	expect := func(host, want string) {
		t.Helper()
		if got := login(host); got != want {
			t.Errorf("%s: %q; want %q", host, got, want)
		}
	}
	expect("a.example.com", "u p1 registries[a.example.com].passwordFile")
	expect("b.example.com", "d d1 "+c.DockerConfig)
	expect("docker.io", "d d1 "+c.DockerConfig)
	expect("c.example.com", "")
	write("password", "p2")
	write("config.json", auths("d2"))
	expect("a.example.com", "u p2 registries[a.example.com].passwordFile")
	expect("b.example.com", "d d2 "+c.DockerConfig)
	// One that is gone is no reason to show another.
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	if got := login("a.example.com"); !strings.HasPrefix(got, "error: registries[a.example.com].passwordFile: open ") {
		t.Errorf("without the file: %q", got)
	}
	// Docker's is no reason to pull nothing more where none may be needed.
	write("config.json", `{"credsStore": "is-not-there-at-all", "auths": {"b.example.com": {}}}`)
	if got := login("b.example.com"); !strings.Contains(got, "docker-credential-is-not-there-at-all") {
		t.Errorf("logged in by a program that is not there: %q", got)
	}
	expect("docker.io", "")
	if err := os.Remove(c.DockerConfig); err != nil {
		t.Fatal(err)
	}
	expect("docker.io", "")
	if l, _ := c.registryLogin(t.Context(), "docker.io"); l.Doubt == nil || !strings.Contains(l.Doubt.Error(), c.DockerConfig) {
		t.Errorf("without docker's configuration: the doubt is %v", l.Doubt)
	}
	c.DockerConfig = ""
	expect("b.example.com", "")
}

// TestAttack22MirroredIsNotDescribed: that a registry has mirrors does not let
// it, or images of it, lead into the node.
func TestAttack22MirroredIsNotDescribed(t *testing.T) {
	c := config{Registries: map[string]registryConfig{
		"docker.io":            {Mirrors: []string{"mirror.example.com"}},
		"registry.example.com": {Mirrors: []string{"mirror.example.com"}, PlainHTTP: true},
		"other.example.com":    {},
	}}
	registries, err := c.registries()
	if err != nil {
		t.Fatal(err)
	}
	known := c.policy().KnownRegistries
	for host, want := range map[string]bool{"docker.io": false, "registry.example.com": true, "other.example.com": true} {
		if registries[host].Inside != want || slices.Contains(known, host) != want {
			t.Errorf("%s: inside %t, known %q; want %t", host, registries[host].Inside, known, want)
		}
	}
	if len(registries["docker.io"].Mirrors) != 1 {
		t.Errorf("mirrors are %+v", registries["docker.io"].Mirrors)
	}
}
