package gitsync

import (
	"compress/zlib"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
)

// The kinds of entries in a pack.
const (
	kindCommit   byte = 1
	kindTree     byte = 2
	kindBlob     byte = 3
	kindTag      byte = 4
	kindOfsDelta byte = 6
	kindRefDelta byte = 7
)

const (
	packHeaderSize  = 12
	packTrailerSize = 20
	// minEntrySize is a header byte and the shortest zlib stream.
	minEntrySize = 9
)

var errPack = errors.New("malformed pack")

// entryHeader is what stands before the compressed bytes of an entry.
type entryHeader struct {
	kind byte
	size int64         // declared: inflated bytes of the object, or of the delta
	base int64         // offset of the base, for kindOfsDelta
	ref  plumbing.Hash // id of the base, for kindRefDelta
	data int64         // offset of the compressed bytes
}

// entryReader reads entries of a pack at any offset. It hands bytes to the
// inflater one by one, so that it knows where an entry ends, and sums them
// up on the way. It is not safe for concurrent use.
type entryReader struct {
	file    io.ReaderAt
	end     int64 // entries end here
	buf     []byte
	start   int64 // offset of buf[0]
	pos     int   // next byte in buf
	crc     uint32
	crcFrom int // first byte in buf that crc lacks
	zr      io.ReadCloser
}

func newEntryReader(file io.ReaderAt, end int64) *entryReader {
	return &entryReader{file: file, end: end, buf: make([]byte, 0, 32*kibi)}
}

// seek continues at offset and starts a new sum.
func (r *entryReader) seek(offset int64) {
	if rel := offset - r.start; rel >= 0 && rel <= int64(len(r.buf)) {
		r.pos = int(rel)
	} else {
		r.start, r.buf, r.pos = offset, r.buf[:0], 0
	}
	r.crc, r.crcFrom = 0, r.pos
}

func (r *entryReader) offset() int64 { return r.start + int64(r.pos) }

// sum is the CRC-32 of everything read since seek.
func (r *entryReader) sum() uint32 {
	r.crc = crc32.Update(r.crc, crc32.IEEETable, r.buf[r.crcFrom:r.pos])
	r.crcFrom = r.pos
	return r.crc
}

func (r *entryReader) fill() error {
	r.sum()
	r.start += int64(len(r.buf))
	r.pos, r.crcFrom = 0, 0
	room := min(int64(cap(r.buf)), r.end-r.start)
	if room <= 0 {
		r.buf = r.buf[:0]
		return io.EOF
	}
	n, err := r.file.ReadAt(r.buf[:room], r.start)
	r.buf = r.buf[:n]
	if n > 0 {
		return nil
	}
	return err
}

// ReadByte implements io.ByteReader.
func (r *entryReader) ReadByte() (byte, error) {
	if r.pos == len(r.buf) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	b := r.buf[r.pos]
	r.pos++
	return b, nil
}

// Read implements io.Reader.
func (r *entryReader) Read(b []byte) (int, error) {
	if r.pos == len(r.buf) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.buf[r.pos:])
	r.pos += n
	return n, nil
}

// header reads the header of the entry at offset.
func (r *entryReader) header(offset int64) (entryHeader, error) {
	r.seek(offset)
	var h entryHeader
	b, err := r.ReadByte()
	if err != nil {
		return h, fmt.Errorf("%w: entry at %d: %w", errPack, offset, noEOF(err))
	}
	h.kind = b >> 4 & 7
	h.size = int64(b & 15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = r.ReadByte(); err != nil || shift > 53 {
			return h, fmt.Errorf("%w: entry at %d has a bad size", errPack, offset)
		}
		h.size |= int64(b&0x7f) << shift
	}
	switch h.kind {
	case kindCommit, kindTree, kindBlob, kindTag:
	case kindOfsDelta:
		back, err := r.backOffset()
		if err != nil || back <= 0 || back > offset-packHeaderSize {
			return h, fmt.Errorf("%w: entry at %d has a bad base", errPack, offset)
		}
		h.base = offset - back
	case kindRefDelta:
		if _, err := io.ReadFull(r, h.ref[:]); err != nil {
			return h, fmt.Errorf("%w: entry at %d: %w", errPack, offset, noEOF(err))
		}
	default:
		return h, fmt.Errorf("%w: entry at %d has kind %d", errPack, offset, h.kind)
	}
	h.data = r.offset()
	return h, nil
}

// backOffset reads the distance to the base of an offset delta.
func (r *entryReader) backOffset() (int64, error) {
	b, err := r.ReadByte()
	n := int64(b & 0x7f)
	for err == nil && b&0x80 != 0 {
		if n >= 1<<48 {
			return 0, errPack
		}
		b, err = r.ReadByte()
		n = (n+1)<<7 | int64(b&0x7f)
	}
	return n, err
}

// inflate writes the entry, whose header was just read, to w: exactly as many
// bytes as declared, or an error. A stream that declares less than it holds
// is stopped at the first byte too many.
func (r *entryReader) inflate(w io.Writer, size int64) error {
	if r.zr == nil {
		zr, err := zlib.NewReader(r)
		if err != nil {
			return fmt.Errorf("%w: %w", errPack, noEOF(err))
		}
		r.zr = zr
	} else if err := r.zr.(zlib.Resetter).Reset(r, nil); err != nil {
		return fmt.Errorf("%w: %w", errPack, noEOF(err))
	}
	n, err := io.Copy(w, io.LimitReader(r.zr, size+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errPack, noEOF(err))
	case n != size:
		return fmt.Errorf("%w: an object inflates to %s than the %d bytes declared", errPack,
			map[bool]string{true: "more", false: "less"}[n > size], size)
	}
	return nil
}

// read returns the inflated bytes of the entry whose header is h.
func (r *entryReader) read(h entryHeader) ([]byte, error) {
	r.seek(h.data)
	buf := fixedBuffer(make([]byte, 0, h.size))
	if err := r.inflate(&buf, h.size); err != nil {
		return nil, err
	}
	return buf, nil
}

// fixedBuffer is appended to without growing beyond its capacity: whoever
// makes it has checked the size.
type fixedBuffer []byte

func (b *fixedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), cap(*b)-len(*b))
	*b = append(*b, p[:n]...)
	return len(p), nil
}

// deltaSizes reads the two sizes a delta begins with: of its base, and of what
// it makes from it.
func deltaSizes(delta []byte) (base, target int64, err error) {
	base, rest, err := deltaSize(delta)
	if err == nil {
		target, _, err = deltaSize(rest)
	}
	return base, target, err
}

func deltaSize(b []byte) (int64, []byte, error) {
	var n int64
	for i, shift := 0, 0; i < len(b) && shift <= 49; i, shift = i+1, shift+7 {
		n |= int64(b[i]&0x7f) << shift
		if b[i]&0x80 == 0 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, fmt.Errorf("%w: bad delta", errPack)
}
