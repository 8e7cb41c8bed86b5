package gitsynctest

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

// Hostile is a server that says anything: it speaks just enough of the smart
// protocol to be believed.
type Hostile struct {
	Tip string // of main
	// Refs writes further references, each a packet; nil = none.
	Refs func(io.Writer)
	// Pack writes the pack; it is put into packets. It may write without end:
	// an error means that the client is gone.
	Pack func(io.Writer)
}

// ServeHTTP implements http.Handler.
func (h *Hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/info/refs") {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = io.WriteString(w, gitformat.Packet("# service=git-upload-pack\n")+"0000"+
			gitformat.Packet(h.Tip+" refs/heads/main\x00side-band-64k ofs-delta\n"))
		if h.Refs != nil {
			h.Refs(w)
		}
		_, _ = io.WriteString(w, "0000")
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	_, _ = io.WriteString(w, gitformat.Packet("NAK\n"))
	h.Pack(bandWriter{w})
	_, _ = io.WriteString(w, "0000")
}

// bandWriter wraps what is written into packets of the band of packs.
type bandWriter struct{ w io.Writer }

func (b bandWriter) Write(p []byte) (int, error) {
	const most = 65515
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+most)]
		if _, err := fmt.Fprintf(b.w, "%04x\x01", len(part)+5); err != nil {
			return done, err
		}
		if _, err := b.w.Write(part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}
