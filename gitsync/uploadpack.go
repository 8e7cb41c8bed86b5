package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// remote is the smart protocol's two requests, stateless: both transports
// speak it, over HTTP or to a fresh git-upload-pack process. Errors are one of
// the package's sentinels, or of the context.
type remote interface {
	// advertise returns the list of references.
	advertise(ctx context.Context, c Credentials) (io.ReadCloser, error)
	// uploadPack sends what we want and have, and returns the reply.
	uploadPack(ctx context.Context, c Credentials, request string) (io.ReadCloser, error)
	// close lets idle connections go.
	close()
}

// packRequest asks for want, given that we hold everything reachable from
// haves. No thin pack is asked for: the pack must stand on its own.
func packRequest(adv advertisement, want plumbing.Hash, haves []plumbing.Hash) (string, error) {
	if _, ok := adv.capabilities["side-band-64k"]; !ok {
		return "", fmt.Errorf("remote lacks the capability side-band-64k: %w", errProtocol)
	}
	caps := []string{"side-band-64k", "no-progress", "agent=orpheus"}
	if _, ok := adv.capabilities["ofs-delta"]; ok {
		caps = append(caps, "ofs-delta")
	}
	var b strings.Builder
	packet(&b, "want "+want.String()+" "+strings.Join(caps, " ")+"\n")
	b.WriteString("0000")
	for _, have := range haves {
		packet(&b, "have "+have.String()+"\n")
	}
	packet(&b, "done\n")
	return b.String(), nil
}

// packStream is the pack inside the reply to a packRequest.
type packStream struct {
	p       *packetReader
	pending []byte
	started bool
	done    bool
}

func newPackStream(r io.Reader) *packStream { return &packStream{p: newPacketReader(r)} }

// Read returns bytes of the pack; io.EOF only after the closing flush packet.
func (s *packStream) Read(b []byte) (int, error) {
	for len(s.pending) == 0 {
		if s.done {
			return 0, io.EOF
		}
		line, err := s.p.next()
		if err != nil {
			return 0, fmt.Errorf("read pack: %w", noEOF(err))
		}
		if err := s.take(line); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.pending)
	s.pending = s.pending[n:]
	return n, nil
}

// take sorts one line of the reply: acknowledgements come first, then packets
// of band 1 (pack), 2 (progress) and 3 (fatal error).
func (s *packStream) take(line []byte) error {
	switch {
	case line == nil:
		s.done = s.started
		return nil
	case bytes.HasPrefix(line, []byte("ERR ")):
		return fmt.Errorf("remote says %q", serverText(line))
	case !s.started && (bytes.HasPrefix(line, []byte("NAK")) || bytes.HasPrefix(line, []byte("ACK "))):
		return nil
	case len(line) == 0:
		return nil
	}
	s.started = true
	switch line[0] {
	case 1:
		s.pending = line[1:]
	case 2:
	case 3:
		return fmt.Errorf("remote says %q", serverText(line[1:]))
	default:
		return fmt.Errorf("read pack: %w", errProtocol)
	}
	return nil
}

// transferError gives an error of reading a reply its kind. Limits and
// cancellations keep theirs; everything else may be better next time.
func transferError(ctx context.Context, what string, err error) error {
	var limit *LimitError
	var known *remoteError
	switch {
	case errors.As(err, &limit), errors.As(err, &known), errors.Is(err, ErrStorage):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &remoteError{kind: ErrUnreachable, text: what + ": " + err.Error()}
}
