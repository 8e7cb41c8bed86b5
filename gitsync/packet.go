package gitsync

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
)

// packets reads pkt-lines. It stands where go-git has pktline.Scanner, which
// takes the delimiter of version 2 of the protocol for an error.
type packets struct {
	r   *bufio.Reader
	buf []byte
}

func newPackets(r io.Reader) *packets { return &packets{r: bufio.NewReader(r)} }

// packetKind is what a pkt-line is.
type packetKind int

const (
	packetFlush packetKind = 0 // "0000": the end of a list
	packetDelim packetKind = 1 // "0001": between two sections
	packetEnd   packetKind = 2 // "0002": the end of a stateless answer
	packetData  packetKind = 4
)

// next returns one packet, of a line without its line feed. The bytes are good
// until the next call. A packet in which the remote gives up is its
// *pktline.ErrorLine; the end of the stream, also one that is none of the
// packets', is an error.
func (p *packets) next() ([]byte, packetKind, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return nil, 0, noEOF(err)
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	switch {
	case err != nil, n == 3, n > pktline.OversizePayloadMax+4:
		return nil, 0, fmt.Errorf("packet begins with %q: %w", printable(string(head[:]), 8), errProtocol)
	case n < 4:
		return nil, packetKind(n), nil
	}
	if p.buf == nil {
		p.buf = make([]byte, pktline.OversizePayloadMax)
	}
	line := p.buf[:n-4]
	if _, err := io.ReadFull(p.r, line); err != nil {
		return nil, 0, noEOF(err)
	}
	if text, ok := bytes.CutPrefix(line, []byte("ERR ")); ok {
		return nil, 0, &pktline.ErrorLine{Text: string(bytes.TrimSpace(text))}
	}
	return bytes.TrimSuffix(line, []byte("\n")), packetData, nil
}

// noEOF makes the end of a stream where more must come an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Encoded delimiters.
const (
	flushPacket = "0000"
	delimPacket = "0001"
)

// writePacket appends one line.
func writePacket(b *bytes.Buffer, format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	fmt.Fprintf(b, "%04x%s", len(line)+4, line)
}
