package dockerconfig

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestFindInFile(t *testing.T) {
	path := write(t, fmt.Sprintf(`{"HttpHeaders": {"User-Agent": "x"}, "auths": {
		"https://index.docker.io/v1/": {"auth": %q},
		"registry.example.com": {"auth": %q, "email": "a@example.com"},
		"registry.example.com:5000": {"username": "u", "password": "p"},
		"https://old.example.com/v2/": {"auth": %q},
		"token.example.com": {"auth": %q, "identitytoken": "t"},
		"part.example.com/team": {"auth": %q},
		"empty.example.com": {}
	}}`, encoded("hub:p:q"), encoded("u1:p1"), encoded("u2:p2\x00"), encoded("u3:"), encoded("u4:p4")))
	for host, want := range map[string]Login{
		"docker.io":                 {User: "hub", Secret: "p:q"}, // a colon is part of the password
		"registry.example.com":      {User: "u1", Secret: "p1"},
		"registry.example.com:5000": {User: "u", Secret: "p"}, // a port is another registry
		"old.example.com":           {User: "u2", Secret: "p2"},
		"token.example.com":         {Secret: "t"}, // the token, not the empty password
		"part.example.com":          {},            // for some of its repositories only
		"empty.example.com":         {},
		"other.example.com":         {},
		"example.com":               {}, // no part of a name
	} {
		if want.Secret != "" {
			want.From = path
		}
		if got, err := Find(t.Context(), path, host); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", host, got, err, want)
		}
	}
}

// A file that cannot be used is told, and nothing of what is in it.
func TestFindFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{"auths": {"a.example.com": {"auth": "s3cret"`:        "no valid JSON",
		`{"auths": "s3cret"}`:                                  "no valid JSON",
		`{"auths": {"a.example.com": {"auth": "s3cret!"}}}`:    "not the base64",
		`{"auths": {"a.example.com": {"auth": "czNjcmV0"}}}`:   "not the base64", // without a colon
		`{"credsStore": "../../s3cret"}`:                       "no name of a program",
		`{"credsStore": "is-not-there-at-all"}`:                "no such program in the agent's PATH",
		`{"x": "` + strings.Repeat("s3cret", maxFile/6) + `"}`: "larger than",
	} {
		path := write(t, text)
		_, err := Find(t.Context(), path, "a.example.com")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) ||
			strings.Contains(strings.ReplaceAll(err.Error(), "../../s3cret", ""), "s3cret") {
			t.Errorf("%.60s: %v; want %q", text, err, want)
		}
	}
	if _, err := Find(t.Context(), "/nonexistent/config.json", "a.example.com"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestFindDoubt: only for a registry that the file names it is certain that
// there should be credentials.
func TestFindDoubt(t *testing.T) {
	program(t, "broken", "exit 3")
	for name, c := range map[string]struct {
		text  string
		doubt bool
	}{
		"not named, a program for all others":    {`{"credsStore": "broken", "auths": {"b.example.com": {}}, "credHelpers": {"c.example.com": "x"}}`, true},
		"logged in by the program for all":       {`{"credsStore": "broken", "auths": {"https://a.example.com": {}}}`, false},
		"with a program of its own":              {`{"credHelpers": {"a.example.com": "broken"}}`, false},
		"with credentials that cannot be read":   {`{"auths": {"a.example.com": {"auth": "!"}}}`, false},
		"perhaps named, in what is cut off":      {`{"auths": {"a.example.com"`, true},
		"not named, a program that is not there": {`{"credsStore": "is-not-there-at-all"}`, true},
	} {
		_, err := Find(t.Context(), write(t, c.text), "a.example.com")
		if got := errors.As(err, new(*Doubt)); err == nil || got != c.doubt {
			t.Errorf("%s: %v, a doubt: %t; want %t", name, err, got, c.doubt)
		}
	}
	if _, err := Find(t.Context(), "/nonexistent/config.json", "a.example.com"); !errors.As(err, new(*Doubt)) {
		t.Errorf("no file: %v is no doubt", err)
	}
}

// program puts a program with that name and those lines of shell in the PATH.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, programPrefix+name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFindByProgram(t *testing.T) {
	program(t, "own", `read server; printf '{"ServerURL": "%s", "Username": "own", "Secret": "%s"}' "$server" "$server"`)
	program(t, "all", `read server
case $server in
https://index.docker.io/v1/) printf '{"Username": "<token>", "Secret": "t"}';;
*) echo "credentials not found in native keychain"; exit 1;;
esac`)
	path := write(t, fmt.Sprintf(`{"credsStore": "all", "credHelpers": {"own.example.com": "own"},
		"auths": {"file.example.com": {"auth": %q}, "own.example.com": {"auth": %q}}}`, encoded("u:p"), encoded("no:no")))
	for host, want := range map[string]Login{
		"own.example.com":  {User: "own", Secret: "own.example.com", From: "docker-credential-own (" + path + ")"},
		"docker.io":        {Secret: "t", From: "docker-credential-all (" + path + ")"},
		"file.example.com": {User: "u", Secret: "p", From: path}, // the program has none
		"none.example.com": {},
	} {
		if got, err := Find(t.Context(), path, host); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", host, got, err, want)
		}
	}
}

// A program that misbehaves costs a bounded time and memory, and what it says
// is not told.
func TestFindByBadProgram(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"fails":   {`echo s3cret; echo s3cret >&2; exit 3`, "ended with exit status 3"},
		"babbles": {`echo s3cret`, "docker's format"},
		"floods":  {`while :; do echo s3crets3crets3crets3crets3cret || exit 0; done | head -c 10000000`, "more than 65536 bytes"},
	} {
		program(t, name, c.script)
		_, err := Find(t.Context(), write(t, fmt.Sprintf(`{"credsStore": %q}`, name)), "a.example.com")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	// One that hangs ends with who waits for it, and so does what it started.
	program(t, "hangs", "sleep 600 & sleep 600")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := Find(ctx, write(t, `{"credsStore": "hangs"}`), "a.example.com"); err == nil || time.Since(begin) > 20*time.Second {
		t.Errorf("hangs: %v after %v", err, time.Since(begin))
	}
}

// TestAttack04ProgramSeesNoSecrets: a program that keeps credentials is given
// nothing of the agent's environment that it does not need.
func TestAttack04ProgramSeesNoSecrets(t *testing.T) {
	t.Setenv("ORPHEUS_TOKEN", "s3cret")
	t.Setenv("GITHUB_TOKEN", "s3cret")
	t.Setenv("AWS_REGION", "eu-west-1")
	program(t, "env", `printf '{"Username": "u", "Secret": "%s"}' "$(env | tr '\n' ' ')"`)
	got, err := Find(t.Context(), write(t, `{"credsStore": "env"}`), "a.example.com")
	if err != nil || strings.Contains(got.Secret, "s3cret") || !strings.Contains(got.Secret, "AWS_REGION=eu-west-1") {
		t.Errorf("it sees %q, %v", got.Secret, err)
	}
	if env := environment([]string{"PATH=/bin", "https_proxy=x", "NOTIFY_SOCKET=/x", "PATHS=/x"}); !slices.Equal(env, []string{"PATH=/bin", "https_proxy=x"}) {
		t.Errorf("environment %q", env)
	}
}
