package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"
)

// Two peers name each other by the keys of their records, over a real
// connection.
func TestCertificateOfPeers(t *testing.T) {
	a, b := newTestKey(t), newTestKey(t)
	for _, test := range []struct {
		name   string
		expect string // what the client knows of the server
		ok     bool
	}{
		{"the right key", b.Public(), true},
		{"another node's key", a.Public(), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := tls.Listen("tcp", "127.0.0.1:0", pinned(t, b, a.Public()))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			served := make(chan error, 1)
			go func() {
				conn, err := listener.Accept()
				if err == nil {
					err = conn.(*tls.Conn).Handshake()
					_ = conn.Close()
				}
				served <- err
			}()
			dialer := &net.Dialer{Timeout: 10 * time.Second}
			conn, err := tls.DialWithDialer(dialer, "tcp", listener.Addr().String(), pinned(t, a, test.expect))
			if (err == nil) != test.ok {
				t.Errorf("client: %v", err)
			}
			if err := <-served; (err == nil) != test.ok {
				t.Errorf("server: %v", err)
			}
			if conn != nil {
				_ = conn.Close()
			}
		})
	}
}

// pinned is the configuration of one end that takes only a certain key.
func pinned(t *testing.T, own *Key, other string) *tls.Config {
	certificate, err := own.TLSCertificate()
	if err != nil {
		t.Error(err)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{certificate},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // the key is compared instead
		VerifyConnection: func(s tls.ConnectionState) error {
			key, err := KeyOfCertificate(s.PeerCertificates[0])
			if err == nil && key != other {
				err = errors.New("another key")
			}
			return err
		},
	}
}

func TestKeyOfCertificate(t *testing.T) {
	key := newTestKey(t)
	certificate, err := key.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := KeyOfCertificate(certificate.Leaf); err != nil || got != key.Public() {
		t.Errorf("key %q, %v", got, err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := KeyOfCertificate(&x509.Certificate{PublicKey: &other.PublicKey}); err == nil {
		t.Error("a key of another kind was taken")
	}
}
