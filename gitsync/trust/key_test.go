package trust

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
)

func newTestKey(t testing.TB) *Key {
	t.Helper()
	key, err := LoadOrCreateKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeyStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	// Left by a crash in the middle of a first start.
	if err := os.WriteFile(path+".new", []byte("half a k"), 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if goruntime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	loaded, err := LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if made.Public() != loaded.Public() || !strings.HasPrefix(made.Public(), "ssh-ed25519 AAAA") || strings.Count(made.Public(), " ") != 1 {
		t.Errorf("made %q, loaded %q", made.Public(), loaded.Public())
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left in the folder: %v", entries)
	}
}

func TestKeyRefused(t *testing.T) {
	valid := func(t *testing.T, path string) {
		t.Helper()
		if _, err := LoadOrCreateKey(path); err != nil {
			t.Fatal(err)
		}
	}
	generate := func(arguments ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			sshKeygen(t, "", append(arguments, "-q", "-f", path)...)
		}
	}
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		// Whoever could read it may sign as this node.
		{"readable by others", func(t *testing.T, path string) {
			if goruntime.GOOS == "windows" {
				t.Skip("Windows has no such modes")
			}
			valid(t, path)
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
		// An empty file is a lost key, not a missing one: the name of the node
		// is bound to it.
		{"empty", write(""), "no private key"},
		// Nothing of a garbled file may show in the error.
		{"garbled", write("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n"), "no private key"},
		{"huge", write(strings.Repeat("x", maxKeyFile+1)), "larger than"},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"with a passphrase", generate("-t", "ed25519", "-N", "passphrase"), "passphrase"},
		{"of another kind", generate("-t", "ecdsa", "-N", ""), "not an ed25519 key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			test.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := LoadOrCreateKey(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

// A key that people made with OpenSSH's own tool serves as well.
func TestKeyOfOpenSSH(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	sshKeygen(t, "", "-t", "ed25519", "-N", "", "-C", "a comment", "-q", "-f", path)
	key, err := LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSuffix(string(public), " a comment\n"); key.Public() != want {
		t.Errorf("public key %q, want %q", key.Public(), want)
	}
}

func TestKeyIsNotLogged(t *testing.T) {
	key := newTestKey(t)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "key", key)
	shown := log.String() + fmt.Sprintf("%v %+v %#v %s", key, key, key, key)
	if want := strings.Repeat(key.Public()+" ", 4); !strings.HasSuffix(shown+" ", want) || strings.Contains(shown, "private") {
		t.Errorf("shown: %s", shown)
	}
}

// sshKeygen runs the real ssh-keygen.
func sshKeygen(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("needs ssh-keygen (package openssh-client)")
	}
	cmd := exec.Command("ssh-keygen", arguments...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen %v: %v\n%s", arguments, err, out)
	}
	return string(out)
}
