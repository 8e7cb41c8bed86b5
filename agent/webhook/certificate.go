package webhook

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is what the address shows, read again when its files change. One
// that cannot be read leaves the last one in place.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	from   [2]stamp
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.from = c.stamps() // before: a pair that changes now is read again
	loaded, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the webhook's certificate: %w", err)
	}
	c.loaded = &loaded
	return c, nil
}

func (c *certificate) stamps() (s [2]stamp) {
	for k, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			s[k] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.stamps()
	if now == c.from {
		return c.loaded, nil
	}
	loaded, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	c.from = now // a pair that does not fit is told once, and tried when it changes
	if err != nil {
		c.log.Warn("the webhook's new certificate cannot be read, the last one stays", "err", err)
		return c.loaded, nil
	}
	c.loaded = &loaded
	return c.loaded, nil
}
