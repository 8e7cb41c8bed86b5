package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecret(t *testing.T) {
	for _, row := range []struct {
		name, secret, want string
	}{
		{"none", "", "has 0 bytes, 16 are needed"},
		{"blanks", strings.Repeat(" ", 40), "has 0 bytes, 16 are needed"},
		{"a short one", "hunter2", "has 7 bytes, 16 are needed"},
		{"a whole file", strings.Repeat("x", 5000), "is longer than 4096 bytes"},
		{"just enough", strings.Repeat("x", 16), ""},
	} {
		err := Config{SecretFile: secretFile(t, row.secret)}.Check()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	if err := (Config{SecretFile: "/nonexistent"}).Check(); err == nil || !strings.Contains(err.Error(), "read the webhook's secret") {
		t.Errorf("no file: %v", err)
	}
}

// TestRunTriesAgain: whatever keeps the address shut is told and tried again,
// and no reason to give up.
func TestRunTriesAgain(t *testing.T) {
	dir := t.TempDir()
	secret, cert, key := filepath.Join(dir, "secret"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := New(Config{Address: taken.Addr().String(), Path: "/webhook", SecretFile: secret, CertFile: cert, KeyFile: key, Hint: func() {}})
	s.patience.pause = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan error, 100), make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, func(err error) { told <- err })
	}()
	for _, row := range []struct {
		name, want string // "" = it answers
		next       func() // what a person mends then
	}{
		{"no secret", "open " + secret, func() { err = os.WriteFile(secret, []byte(testSecret), 0o600) }},
		{"no certificate", "open " + cert, func() { writeCertificate(t, cert, key, 1) }},
		{"the port is somebody's", "address already in use", func() { err = taken.Close() }},
		{"all mended", "", func() {}},
	} {
		deadline := time.After(patient)
		for found := false; !found; {
			select {
			case got := <-told:
				found = got == nil && row.want == "" || got != nil && row.want != "" && strings.Contains(got.Error(), row.want)
				if got == nil && !found {
					t.Fatalf("%s: it answers", row.name)
				}
			case <-deadline:
				t.Fatalf("%s: not told %q", row.name, row.want)
			}
		}
		if row.next(); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := tls.Dial("tcp", taken.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // a certificate of this test
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	cancel()
	select {
	case <-ended:
	case <-time.After(patient):
		t.Fatal("it does not end")
	}
}

// TestSecretIsRenewed: a new secret counts at once, and when it cannot be read
// nobody is let in.
func TestSecretIsRenewed(t *testing.T) {
	var file string
	l := listen(t, func(c *Config) { file = c.SecretFile }, nil)
	const renewed = "a new secret that nobody has seen"
	if code, _ := l.post(t, testSecret, strings.NewReader(push), ""); code != http.StatusAccepted {
		t.Errorf("the first secret: %d", code)
	}
	if err := os.WriteFile(file, []byte(renewed), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _ := l.post(t, testSecret, strings.NewReader(push), ""); code != http.StatusUnauthorized {
		t.Errorf("the old secret: %d", code)
	}
	if code, _ := l.post(t, renewed, strings.NewReader(push), ""); code != http.StatusAccepted {
		t.Errorf("the new secret: %d", code)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, guess := range []string{renewed, "", " "} {
		if code, _ := l.post(t, guess, strings.NewReader(push), hexSum("", push)); code != http.StatusServiceUnavailable {
			t.Errorf("%q while the file is empty: %d, want 503", guess, code)
		}
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writeCertificate(t, cert, key, 1)
	l := listen(t, func(c *Config) { c.CertFile, c.KeyFile = cert, key }, nil)
	shown := func() int64 {
		conn, err := tls.Dial("tcp", l.address, &tls.Config{InsecureSkipVerify: true}) // only its number is asked for
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := shown(); n != 1 {
		t.Errorf("certificate %d is shown, want 1", n)
	}
	if err := os.WriteFile(cert, []byte("half of a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := shown(); n != 1 {
		t.Errorf("certificate %d is shown while the file is broken, want 1", n)
	}
	writeCertificate(t, cert, key, 22222)
	if n := shown(); n != 22222 {
		t.Errorf("certificate %d is shown, want the new one", n)
	}
}

func writeCertificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "node"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
