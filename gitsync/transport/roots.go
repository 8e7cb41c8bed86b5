package transport

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
)

// maxCAFile bounds a file of authorities: a system's whole bundle has a quarter
// of it.
const maxCAFile = 1 << 20

// readCAFile reads the bytes of a file of authorities.
func readCAFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err == nil && len(pem) > maxCAFile {
		err = fmt.Errorf("%s is larger than 1 MiB", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	return pem, nil
}

// newPool trusts the authorities in pem beside the system's.
func newPool(file string, pem []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no PEM certificate", file)
	}
	return pool, nil
}
