package gitsync

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/go-git/go-git/v5/plumbing"
)

// packIndex finds objects of one pack by id: 28 bytes of memory an object. On
// disk it is git's version 2 .idx, so that git can read the clone, too.
type packIndex struct {
	fanout  [256]uint32 // ids up to and including this first byte
	names   []byte      // 20 bytes each, ascending
	offsets []int64
	pack    [sha1.Size]byte // trailing checksum of the pack
}

const (
	indexHeader   = "\xfftOc\x00\x00\x00\x02"
	largeOffset   = 1 << 31
	indexOverhead = len(indexHeader) + 256*4 + 2*sha1.Size
	indexPerEntry = sha1.Size + 4 + 4
)

var errIndex = errors.New("malformed pack index")

// find returns where the object is.
func (x *packIndex) find(id plumbing.Hash) (int64, bool) {
	lo := 0
	if id[0] > 0 {
		lo = int(x.fanout[id[0]-1])
	}
	hi := int(x.fanout[id[0]])
	i := lo + sort.Search(hi-lo, func(i int) bool { return bytes.Compare(x.name(lo+i), id[:]) >= 0 })
	if i < hi && bytes.Equal(x.name(i), id[:]) {
		return x.offsets[i], true
	}
	return 0, false
}

func (x *packIndex) name(i int) []byte { return x.names[i*sha1.Size : (i+1)*sha1.Size] }

// newPackIndex sorts entries by id and indexes them; crcs are in the order of
// the index.
func newPackIndex(entries []packEntry, pack [sha1.Size]byte) (x *packIndex, crcs []uint32) {
	slices.SortFunc(entries, func(a, b packEntry) int {
		return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.offset, b.offset))
	})
	x = &packIndex{pack: pack, names: make([]byte, 0, len(entries)*sha1.Size), offsets: make([]int64, 0, len(entries))}
	crcs = make([]uint32, 0, len(entries))
	for _, e := range entries {
		x.names = append(x.names, e.hash[:]...)
		x.offsets = append(x.offsets, e.offset)
		crcs = append(crcs, e.crc)
		x.fanout[e.hash[0]]++
	}
	for i := 1; i < len(x.fanout); i++ {
		x.fanout[i] += x.fanout[i-1]
	}
	return x, crcs
}

// write encodes the index.
func (x *packIndex) write(w io.Writer, crcs []uint32) error {
	sum := sha1.New()
	buf := bufio.NewWriter(io.MultiWriter(w, sum))
	buf.WriteString(indexHeader)
	word := func(n uint32) { buf.Write(binary.BigEndian.AppendUint32(nil, n)) }
	for _, n := range x.fanout {
		word(n)
	}
	buf.Write(x.names)
	for _, crc := range crcs {
		word(crc)
	}
	var large []int64
	for _, offset := range x.offsets {
		if offset > math.MaxInt32 {
			word(uint32(largeOffset | len(large)))
			large = append(large, offset)
		} else {
			word(uint32(offset))
		}
	}
	for _, offset := range large {
		buf.Write(binary.BigEndian.AppendUint64(nil, uint64(offset)))
	}
	buf.Write(x.pack[:])
	if err := buf.Flush(); err != nil { // reports the first error of all writes
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// readPackIndex decodes and checks an index for a pack of packSize bytes, with
// the checksums of its entries in the order of the index.
func readPackIndex(data []byte, packSize int64) (*packIndex, []uint32, error) {
	if len(data) < indexOverhead || string(data[:len(indexHeader)]) != indexHeader {
		return nil, nil, fmt.Errorf("%w: no version 2 header", errIndex)
	}
	body := data[:len(data)-sha1.Size]
	if sum := sha1.Sum(body); !bytes.Equal(sum[:], data[len(body):]) {
		return nil, nil, fmt.Errorf("%w: wrong checksum", errIndex)
	}
	x := &packIndex{}
	copy(x.pack[:], body[len(body)-sha1.Size:])
	rest := body[len(indexHeader) : len(body)-sha1.Size]
	last := uint32(0)
	for i := range x.fanout {
		x.fanout[i] = binary.BigEndian.Uint32(rest[i*4:])
		if x.fanout[i] < last {
			return nil, nil, fmt.Errorf("%w: counts fall", errIndex)
		}
		last = x.fanout[i]
	}
	rest = rest[len(x.fanout)*4:]
	n := int(last)
	if len(rest) < n*indexPerEntry || (len(rest)-n*indexPerEntry)%8 != 0 {
		return nil, nil, fmt.Errorf("%w: %d entries in %d bytes", errIndex, n, len(rest))
	}
	x.names = bytes.Clone(rest[:n*sha1.Size])
	crcs := make([]uint32, n)
	for i := range crcs {
		crcs[i] = binary.BigEndian.Uint32(rest[n*sha1.Size+i*4:])
	}
	return x, crcs, x.readOffsets(rest[n*(sha1.Size+4):], n, packSize)
}

// readOffsets reads n offsets and the table of large ones behind them.
func (x *packIndex) readOffsets(rest []byte, n int, packSize int64) error {
	large := rest[n*4:]
	x.offsets = make([]int64, n)
	for i := range n {
		offset := int64(binary.BigEndian.Uint32(rest[i*4:]))
		if offset&largeOffset != 0 {
			at := int(offset&^largeOffset) * 8
			if at+8 > len(large) {
				return fmt.Errorf("%w: offset out of range", errIndex)
			}
			offset = int64(binary.BigEndian.Uint64(large[at:]))
		}
		if offset < packHeaderSize || offset >= packSize-packTrailerSize {
			return fmt.Errorf("%w: offset out of range", errIndex)
		}
		x.offsets[i] = offset
	}
	return nil
}
