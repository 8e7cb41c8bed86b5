package gitsync

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxPacket is the longest pkt-line of the protocol, length included.
const maxPacket = 65520

var errProtocol = errors.New("remote does not speak the Git protocol")

// packetReader reads pkt-lines: four hexadecimal digits of length, counting
// themselves, and the payload.
type packetReader struct {
	r   *bufio.Reader
	buf [maxPacket]byte
}

func newPacketReader(r io.Reader) *packetReader {
	return &packetReader{r: bufio.NewReaderSize(r, 32*kibi)}
}

// next returns the payload of the next line, valid until the next call; nil
// is a flush packet. io.EOF only comes between lines.
func (p *packetReader) next() ([]byte, error) {
	if _, err := io.ReadFull(p.r, p.buf[:4]); err != nil {
		return nil, err
	}
	var raw [2]byte
	if _, err := hex.Decode(raw[:], p.buf[:4]); err != nil {
		return nil, fmt.Errorf("%w: bad packet length", errProtocol)
	}
	n := int(raw[0])<<8 | int(raw[1])
	switch {
	case n == 0:
		return nil, nil
	case n < 4 || n > maxPacket:
		return nil, fmt.Errorf("%w: bad packet length", errProtocol)
	}
	payload := p.buf[:n-4]
	if _, err := io.ReadFull(p.r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return payload, nil
}

// packet appends one pkt-line to b.
func packet(b *strings.Builder, text string) {
	fmt.Fprintf(b, "%04x%s", len(text)+4, text)
}

// serverText is what the server said, fit to be shown; the caller takes the
// secrets out.
func serverText(payload []byte) string {
	return printable(strings.TrimPrefix(string(payload), "ERR "), 200)
}
