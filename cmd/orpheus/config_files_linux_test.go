package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRegistryRootsAreReadAtEveryUse: a file of authorities that cannot be read
// is nothing that a start fails with, nor another registry.
func TestRegistryRootsAreReadAtEveryUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	c := config{Registries: map[string]registryConfig{"a.example.com": {CAFile: file}, "b.example.com": {PlainHTTP: true}}}
	registries, err := c.registries()
	if err != nil || registries["b.example.com"].Roots != nil {
		t.Fatalf("%+v, %v", registries, err)
	}
	for _, row := range []struct{ name, text, want string }{
		{"no file", "", "registries[a.example.com].caFile: open " + file + ": no such file"},
		{"no certificate", "nonsense", "registries[a.example.com].caFile: " + file + " holds no PEM certificate"},
		{"a whole disk", strings.Repeat("x", maxCAFile+1), "registries[a.example.com].caFile: " + file + " is larger than 1024 KiB"},
		{"a certificate", testCertificate, ""},
	} {
		if row.text != "" {
			if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		roots, err := registries["a.example.com"].Roots()
		if row.want == "" && (err != nil || roots == nil) || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestSecretIsBounded: a file that goes on and on is no secret, and takes no
// memory.
func TestSecretIsBounded(t *testing.T) {
	if _, err := readSecret("/dev/zero"); err == nil || err.Error() != "/dev/zero is larger than 64 KiB" {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", maxSecretFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := readSecret(file); err != nil || len(text) != maxSecretFile {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// testCertificate is one that nobody has the key of.
const testCertificate = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUG/tvJX5zme2MOXTCNnC7lvwYjBIwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIwNzQ2NDhaGA8yMTI2MTAyOTA3NDY0
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIFi
eGJq1rjNBJy9AVT0QjMTh3khoV98UAl1CyZ/o/FzATW9efKM4aNAwIjf/+e2kNfA
Feipg72+0iMtoO12RnSjUzBRMB0GA1UdDgQWBBTCYayodkav131HDhl0tzCzChIx
PzAfBgNVHSMEGDAWgBTCYayodkav131HDhl0tzCzChIxPzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQCaarz2kOmmiR2pc5TcZfs08a4bRfMPIFHB
Y2tWBAsH2gIgS9SeuZpHTnNfx30FNNgqIGlqKQFrUveteNx3NaxCgSo=
-----END CERTIFICATE-----
`

// TestFilesMustBeAbsolute: all faults at once, whatever the field.
func TestFilesMustBeAbsolute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	text := `node: {name: a}
repository: {url: 'https://a.example.com/r.git', tokenFile: t1, caFile: c1}
records: {url: 'https://b.example.com/r.git', tokenFile: t2}
webhook: {listen: ':1', secretFile: s, certFile: c, keyFile: k}
registries: {b.example.com: {caFile: r1}, a.example.com: {caFile: r2}}
dockerConfig: d
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	err = c.complete()
	for _, field := range []string{"repository.tokenFile", "repository.caFile", "records.tokenFile", "webhook.secretFile", "webhook.certFile",
		"webhook.keyFile", "registries[a.example.com].caFile", "registries[b.example.com].caFile", "dockerConfig"} {
		if err == nil || strings.Count(err.Error(), field+": ") != 1 {
			t.Errorf("not once %s in %v", field, err)
		}
	}
}

// TestCheckReadsWhatIsNamed: a file that is there and does not hold what it
// should is a fault, as is one that is missing, and each is told once.
func TestCheckReadsWhatIsNamed(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sound := map[string]string{"token": "x", "ca": testCertificate, "registry-ca": testCertificate, "secret": strings.Repeat("s", 20), "docker.json": "{}"}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range sound {
		write(name, text)
	}
	write("agent.yaml", strings.ReplaceAll(`node: {name: a}
repository: {url: 'https://a.example.com/r.git', tokenFile: DIR/token, caFile: DIR/ca}
webhook: {listen: ':1', secretFile: DIR/secret}
registries: {b.example.com: {caFile: DIR/registry-ca}}
dockerConfig: DIR/docker.json
containerd: {address: /nonexistent}
`, "DIR", dir))
	for _, row := range []struct{ name, file, text, want string }{ // text "" = it is not there
		{"all is well", "token", "x", ""},
		{"no token", "token", "", "repository.tokenFile: open " + at("token")},
		{"no authorities", "ca", "", "repository.caFile: open " + at("ca")},
		{"no authorities in it", "ca", "nonsense", "repository: CA file " + at("ca") + " holds no PEM certificate"},
		{"no registry's authorities", "registry-ca", "", "registries[b.example.com].caFile: open " + at("registry-ca")},
		{"no registry's authorities in it", "registry-ca", "nonsense", "registries[b.example.com].caFile: " + at("registry-ca") + " holds no PEM certificate"},
		{"a short secret", "secret", "hunter2", "webhook: the webhook's secret in " + at("secret") + " has 7 bytes"},
		{"docker's is no JSON", "docker.json", "{", "dockerConfig: docker's configuration " + at("docker.json")},
	} {
		if row.text == "" {
			if err := os.Remove(at(row.file)); err != nil {
				t.Fatal(err)
			}
		} else {
			write(row.file, row.text)
		}
		code, out, errs := orpheus(t, dir, "agent", "check", "--config", "agent.yaml")
		if row.want == "" && code != 0 || row.want != "" && (code != exitFailed || !strings.Contains(errs, row.want) || strings.Count(errs, at(row.file)) != 1) {
			t.Errorf("%s: code %d\n%s%s", row.name, code, out, errs)
		}
		write(row.file, sound[row.file])
	}
	write("agent.yaml", "node: {name: a}\nrepository: {url: /srv/x.git}\nrecords: {prefix: nowhere}\n")
	if code, _, errs := orpheus(t, dir, "agent", "check", "--config", "agent.yaml"); code != exitFailed || !strings.Contains(errs, `records: prefix of the records "nowhere"`) {
		t.Errorf("the records' place: code %d\n%s", code, errs)
	}
}
