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
