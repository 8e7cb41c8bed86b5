package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// packRequest is what is asked of upload-pack: everything that wants reach,
// given that we hold all that haves reach. No thin pack is asked for: the pack
// must stand on its own.
type packRequest struct {
	wants, haves []plumbing.Hash
	// alone asks for the wanted commits only, without ancestors and trees, of
	// servers that can leave them out.
	alone bool
}

// encode writes the request as d speaks.
func (q packRequest) encode(d *dialect) (service, []byte, error) {
	var b bytes.Buffer
	if !d.v2 {
		if !d.can("side-band-64k") {
			return 0, nil, fmt.Errorf("remote lacks the capability side-band-64k: %w", errProtocol)
		}
		q.writeWants(&b, d, " side-band-64k agent=orpheus"+d.offered("no-progress", "ofs-delta", "shallow", "filter"))
		b.WriteString(flushPacket)
		q.writeHaves(&b)
		return uploadPack, b.Bytes(), nil
	}
	writePacket(&b, "command=fetch")
	writePacket(&b, "agent=orpheus")
	b.WriteString(delimPacket)
	writePacket(&b, "no-progress")
	writePacket(&b, "ofs-delta")
	q.writeWants(&b, d, "")
	q.writeHaves(&b)
	b.WriteString(flushPacket)
	return uploadPackV2, b.Bytes(), nil
}

// writeWants writes the wants, the first with the capabilities.
func (q packRequest) writeWants(b *bytes.Buffer, d *dialect, capabilities string) {
	for i, id := range q.wants {
		if i > 0 {
			capabilities = ""
		}
		writePacket(b, "want %s%s", id, capabilities)
	}
	if q.alone && d.can("shallow") {
		writePacket(b, "deepen 1")
	}
	if q.alone && d.can("filter") {
		writePacket(b, "filter tree:0")
	}
}

func (q packRequest) writeHaves(b *bytes.Buffer) {
	for _, id := range q.haves {
		writePacket(b, "have %s", id)
	}
	writePacket(b, "done")
}

// maxAcks bounds what comes before a pack: a line of 56 bytes for each of
// maxHaves, several times over, and one for each want on where the history is
// cut off.
const maxAcks = 2 * mebi

// newPackStream returns the pack inside the reply to a packRequest. It ends
// with the reply: whether the pack is whole, its checksum or its objects say.
// What the remote builds on does not matter: the pack says.
func newPackStream(r io.Reader, d *dialect) (io.Reader, error) {
	limited := &limitReader{r: r, left: maxAcks, err: fmt.Errorf("acknowledgements without end: %w", errProtocol)}
	p := newPackets(limited)
	for {
		line, kind, err := p.next()
		if err != nil {
			return nil, fmt.Errorf("read reply: %w", err)
		}
		if kind != packetData {
			continue
		}
		if d.v2 && string(line) == "packfile" {
			break
		}
		if !d.v2 && isAck(line) {
			if again, err := p.acksAgain(); err != nil {
				return nil, fmt.Errorf("read reply: %w", err)
			} else if !again {
				break
			}
		}
	}
	limited.left = math.MaxInt64 // the pack has a limit of its own
	return sideband.NewDemuxer(sideband.Sideband64k, p.r), nil
}

// acksAgain reports whether one more acknowledgement follows: some servers
// send several.
func (p *packets) acksAgain() (bool, error) {
	ahead, err := p.r.Peek(8)
	if err != nil && err != io.EOF {
		return false, err
	}
	return len(ahead) == 8 && isAck(ahead[4:]), nil
}

func isAck(line []byte) bool {
	return bytes.HasPrefix(line, []byte("NAK")) || bytes.HasPrefix(line, []byte("ACK "))
}

// transferError gives an error of reading a reply its kind. Limits and
// cancellations keep theirs; everything else may be better next time.
func transferError(ctx context.Context, what string, err error) error {
	var limit *LimitError
	var known *remoteError
	var said *pktline.ErrorLine
	switch {
	case errors.As(err, &limit), errors.As(err, &known), errors.Is(err, ErrStorage):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &said):
		err = fmt.Errorf("remote says %q", printable(said.Text, 200))
	}
	return &remoteError{kind: ErrUnreachable, text: what + ": " + printable(err.Error(), 300)}
}

// limitReader returns err, instead of the bytes beyond the limit.
type limitReader struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limitReader) Read(b []byte) (int, error) {
	if l.left <= 0 {
		// One byte more decides between "exactly at the limit" and "over it".
		var probe [1]byte
		if n, err := l.r.Read(probe[:]); n == 0 {
			return 0, err
		}
		return 0, l.err
	}
	if int64(len(b)) > l.left {
		b = b[:l.left]
	}
	n, err := l.r.Read(b)
	l.left -= int64(n)
	return n, err
}
