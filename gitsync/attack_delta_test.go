package gitsync_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

// replaceTail is a delta that keeps an object of the size but for its last
// four bytes.
func replaceTail(size int, tail string) []byte {
	n := size - len(tail)
	delta := append(varint(size), varint(size)...)
	delta = append(delta, 0xf0, byte(n), byte(n>>8), byte(n>>16))
	return append(append(delta, byte(len(tail))), tail...)
}

// TestAttack02LongChain: 200 versions of 1 MiB of zeros in 12 KiB are accepted
// (an honest repository looks the same), and reading the last one needs no
// room for the others.
func TestAttack02LongChain(t *testing.T) {
	const size = mebi
	p := &gitformat.Pack{}
	at := p.Offset()
	p.Add(gitformat.Blob, make([]byte, size))
	for i := range 199 {
		at = p.AddOfsDelta(p.Offset()-at, replaceTail(size, string([]byte{'v', byte(i), 1, 2})))
	}
	p.AddOfsDelta(p.Offset()-at, replaceTail(size, "last"))
	last := string(make([]byte, size-4)) + "last"
	tip := oneCommit(p, gitformat.TreeEntry("100644", "a", gitformat.ObjectID(gitformat.Blob, []byte(last))))
	r := open(t, gitsync.Config{URL: serveHostile(t, packServer(tip, p))})
	fetch(t, r)
	fsys, err := r.FS(tip)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(fsys, "a"); err != nil || string(data) != last {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// TestAttack02LargeDeltas: whoever reads the end of a chain holds all its
// deltas; here they are 150 MiB in 170 KiB, each below the limit of an object.
func TestAttack02LargeDeltas(t *testing.T) {
	if testing.Short() {
		t.Skip("makes and reads 150 MiB")
	}
	p := &gitformat.Pack{}
	at, size := p.Offset(), 10
	p.Add(gitformat.Blob, []byte("0123456789"))
	insert := bytes.Repeat([]byte("\x7f"+strings.Repeat("x", 0x7f)), 30*8192)
	for range 5 {
		delta := append(varint(size), varint(30*8192*0x7f)...)
		at, size = p.AddOfsDelta(p.Offset()-at, append(delta, insert...)), 30*8192*0x7f
	}
	r := open(t, gitsync.Config{URL: serveHostile(t, packServer(oneCommit(p), p))})
	_, err := r.Fetch(t.Context())
	wantLimit(t, err, "delta memory")
}
