package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/ssh"
)

// TLSCertificate is a certificate of the key that the key signed itself, for
// both ends of a connection between peers. It says nothing but the key, and is
// valid for good: peers compare the key with that of the node's record.
func (k *Key) TLSCertificate() (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "orpheus node"},
		// RFC 5280, 4.1.2.5: the last date says that there is none.
		NotBefore:   time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:    time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the certificate of the node's key: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read the certificate of the node's key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private, Leaf: leaf}, nil
}

// KeyOfCertificate names the key of a peer's certificate. TLS has proven that
// the peer holds it; nothing else in the certificate counts.
func KeyOfCertificate(c *x509.Certificate) (string, error) {
	public, ok := c.PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", errors.New("the peer's certificate is not one of an ed25519 key")
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("read the key of the peer's certificate: %w", err)
	}
	return authorizedKey(key), nil
}
