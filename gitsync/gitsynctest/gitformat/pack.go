// Package gitformat writes what Git reads by hand, well-formed and otherwise:
// packs, objects and packets for tests.
package gitformat

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
)

// The kinds of entries in a pack.
const (
	Commit   = 1
	Tree     = 2
	Blob     = 3
	OfsDelta = 6
	RefDelta = 7
)

var kindNames = map[byte]string{Commit: "commit", Tree: "tree", Blob: "blob"}

// KindName is what git calls a kind of whole object.
func KindName(kind byte) string { return kindNames[kind] }

// Pack writes packs by hand, well-formed ones and others.
type Pack struct {
	body  bytes.Buffer
	count uint32
	// Count, if not 0, is what the header declares instead of the truth.
	Count uint32
}

// Add appends a whole object and returns its id.
func (p *Pack) Add(kind byte, data []byte) string {
	p.AddRaw(kind, len(data), nil, Deflate(data))
	return ObjectID(kind, data)
}

// AddOfsDelta appends a delta on the entry that is back bytes before it, and
// returns its offset.
func (p *Pack) AddOfsDelta(back int64, delta []byte) int64 {
	header := []byte{byte(back & 0x7f)}
	for back >>= 7; back > 0; back >>= 7 {
		back--
		header = append([]byte{0x80 | byte(back&0x7f)}, header...)
	}
	return p.AddRaw(OfsDelta, len(delta), header, Deflate(delta))
}

// AddRaw appends an entry as given: size is only declared. It returns the
// entry's offset.
func (p *Pack) AddRaw(kind byte, size int, base, deflated []byte) int64 {
	offset := p.Offset()
	first := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		p.body.WriteByte(first | 0x80)
		first = byte(size & 0x7f)
	}
	p.body.WriteByte(first)
	p.body.Write(base)
	p.body.Write(deflated)
	p.count++
	return offset
}

// Offset is where the next entry will be.
func (p *Pack) Offset() int64 { return 12 + int64(p.body.Len()) }

// Bytes is the pack with header and checksum.
func (p *Pack) Bytes() []byte {
	count := p.count
	if p.Count != 0 {
		count = p.Count
	}
	out := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), count)
	out = append(out, p.body.Bytes()...)
	sum := sha1.Sum(out)
	return append(out, sum[:]...)
}

// writers are kept: each holds a megabyte, and there are packs of thousands of
// entries.
var writers = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	return w
}}

// Deflate compresses data as objects are.
func Deflate(data []byte) []byte {
	var b bytes.Buffer
	w := writers.Get().(*zlib.Writer)
	defer writers.Put(w)
	w.Reset(&b)
	_, _ = w.Write(data) // into memory: it cannot fail
	_ = w.Close()
	return b.Bytes()
}

// ObjectID is the id git gives the object.
func ObjectID(kind byte, data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kindNames[kind], len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// TreeEntry is one entry of a tree written by hand.
func TreeEntry(mode, name, id string) []byte {
	raw, err := hex.DecodeString(id)
	if err != nil {
		panic("gitformat: bad object id " + id)
	}
	return append([]byte(mode+" "+name+"\x00"), raw...)
}

// CommitData is a commit object.
func CommitData(tree, message string, parents ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	who := "Eve Test <eve@example.com> 1700000000 +0000"
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s\n", who, who, message)
	return b.Bytes()
}

// Packet is one pkt-line.
func Packet(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }
