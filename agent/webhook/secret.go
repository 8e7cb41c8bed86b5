package webhook

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

const (
	// minSecret is what a secret must have, in bytes: whoever guesses it can
	// make the node look at its repository.
	minSecret = 16
	maxSecret = 4 << 10
)

// readSecret reads the secret, without the line end that editors add. It is
// read for every call, so that it can be renewed.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	defer f.Close()
	secret, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	if len(secret) > maxSecret {
		return nil, fmt.Errorf("the webhook's secret in %s is longer than %d bytes", path, maxSecret)
	}
	if secret = bytes.TrimSpace(secret); len(secret) < minSecret {
		return nil, fmt.Errorf("the webhook's secret in %s has %d bytes, %d are needed: write a random one there, such as \"openssl rand -hex 32\" prints", path, len(secret), minSecret)
	}
	return secret, nil
}
