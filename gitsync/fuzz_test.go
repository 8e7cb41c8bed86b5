package gitsync

import (
	"bytes"
	"context"
	"crypto/sha1"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

var fuzzLimits = Limits{Object: mebi, Inflated: 4 * mebi, Objects: 1000}.withDefaults()

// samplePack has every kind of entry.
func samplePack() []byte {
	p := &gitformat.Pack{}
	at := p.Offset()
	id := p.Add(gitformat.Blob, []byte("0123456789"))
	p.AddOfsDelta(p.Offset()-at, []byte{10, 12, 0x90, 10, 2, 'a', 'b'})
	p.AddRaw(gitformat.RefDelta, 4, gitformat.TreeEntry("", "", id)[2:], gitformat.Deflate([]byte{10, 10, 0x90, 10}))
	tree := p.Add(gitformat.Tree, gitformat.TreeEntry("100644", "a", id))
	p.Add(gitformat.Commit, gitformat.CommitData(tree, "x"))
	return p.Bytes()
}

// indexed is a pack whose trailing bytes are taken for its checksum, so that
// the fuzzer gets behind it.
func indexed(ctx context.Context, data []byte) (*idxfile.MemoryIndex, error) {
	var sum plumbing.Hash
	copy(sum[:], data[max(len(data)-packTrailerSize, 0):])
	return indexPack(ctx, bytes.NewReader(data), int64(len(data)), sum, fuzzLimits)
}

// asPack puts data into a file and reads it by the index.
func asPack(t testing.TB, data []byte, index *idxfile.MemoryIndex) *pack {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.pack")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return newPack(f, int64(len(data)), index, cache.NewObjectLRU(mebi))
}

// FuzzPack: indexing never panics, and what it lets pass can be read back
// object by object under the id it was given.
func FuzzPack(f *testing.F) {
	f.Add(samplePack())
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00aaaaaaaaaaaaaaaaaaaa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		index, err := indexed(t.Context(), data)
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := writeIndex(&buf, index); err != nil {
			t.Fatal(err)
		}
		again := idxfile.NewMemoryIndex()
		if err := idxfile.NewDecoder(&buf).Decode(again); err != nil {
			t.Fatalf("index does not read back: %v", err)
		}
		p := asPack(t, data, again)
		entries, err := index.Entries()
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := entries.Next()
			if err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			size, err := p.objectSize(e.Hash)
			if err != nil {
				t.Fatalf("size of %s: %v", e.Hash, err)
			}
			o, err := p.object(e.Hash)
			if err != nil || o.Hash() != e.Hash || o.Size() != size {
				t.Fatalf("object %s of %d bytes reads back as %v, %v", e.Hash, size, o, err)
			}
		}
	})
}

// TestSamplePack: the sample is accepted whole, so that fuzzing begins deep.
func TestSamplePack(t *testing.T) {
	index, err := indexed(t.Context(), samplePack())
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := index.Count(); n != 4 { // of five entries: the second delta makes the first blob again
		t.Fatalf("%d objects", n)
	}
	id := plumbing.NewHash(gitformat.ObjectID(gitformat.Blob, []byte("0123456789ab")))
	if ok, _ := index.Contains(id); !ok {
		t.Errorf("the delta does not resolve to %s", id)
	}
}

// TestDeltaBeforeBase: a delta that names its base by id may stand first.
func TestDeltaBeforeBase(t *testing.T) {
	p := &gitformat.Pack{}
	base := []byte("0123456789")
	id := plumbing.NewHash(gitformat.ObjectID(gitformat.Blob, base))
	p.AddRaw(gitformat.RefDelta, 7, id[:], gitformat.Deflate([]byte{10, 12, 0x90, 10, 2, 'a', 'b'}))
	p.Add(gitformat.Blob, base)
	index, err := indexed(t.Context(), p.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	o, err := asPack(t, p.Bytes(), index).object(plumbing.NewHash(gitformat.ObjectID(gitformat.Blob, []byte("0123456789ab"))))
	if err != nil || o.Size() != 12 {
		t.Errorf("object %v, %v", o, err)
	}
}

// FuzzPackIndex: no index makes reading a pack panic.
func FuzzPackIndex(f *testing.F) {
	index, err := indexed(f.Context(), samplePack())
	if err != nil {
		f.Fatal(err)
	}
	var buf bytes.Buffer
	_ = writeIndex(&buf, index)
	f.Add(buf.Bytes()[:buf.Len()-sha1.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha1.Sum(body) // so that the fuzzer gets behind the checksum
		path := filepath.Join(t.TempDir(), "x.idx")
		if err := os.WriteFile(path, append(bytes.Clone(body), sum[:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		index, err := readIndex(path)
		if err != nil {
			return
		}
		p := asPack(t, samplePack(), index)
		for _, names := range index.Names {
			for ; len(names) >= sha1.Size; names = names[sha1.Size:] {
				_, _ = p.objectSize(plumbing.Hash(names[:sha1.Size]))
				_, _ = p.object(plumbing.Hash(names[:sha1.Size]))
			}
		}
	})
}

// FuzzTree: whatever a tree says, the names listed are elements of paths, in
// order, each once.
func FuzzTree(f *testing.F) {
	id := gitformat.ObjectID(gitformat.Blob, nil)
	f.Add(bytes.Join([][]byte{gitformat.TreeEntry("100644", "a", id), gitformat.TreeEntry("40000", "..", id), gitformat.TreeEntry("100644", "a", id)}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseTree(data, 100)
		if err != nil {
			return
		}
		for i, e := range entries {
			if !fs.ValidPath(e.name) || e.name == "." || bytes.ContainsRune([]byte(e.name), '/') {
				t.Fatalf("name %q", e.name)
			}
			if i > 0 && entries[i-1].name >= e.name {
				t.Fatalf("%q before %q", entries[i-1].name, e.name)
			}
			if (e.bad != "") != (e.mode == fs.ModeIrregular) {
				t.Fatalf("entry %+v", e)
			}
		}
	})
}

func FuzzAdvertisement(f *testing.F) {
	f.Add([]byte(gitformat.Packet("# service=git-upload-pack\n") + "0000" +
		gitformat.Packet("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa refs/heads/main\x00side-band-64k\n") + "0000"))
	f.Add([]byte(gitformat.Packet("version 2\n") + gitformat.Packet("ls-refs=unborn\n") + gitformat.Packet("fetch=shallow filter\n") + "0000"))
	f.Add([]byte(gitformat.Packet("shallow-info\n") + "0001" + gitformat.Packet("packfile\n") + gitformat.Packet("\x01PACK") + "0000"))
	f.Add([]byte(gitformat.Packet("\x01"+gitformat.Packet("unpack ok\n")+gitformat.Packet("ok refs/orpheus/fleet\n")+"0000") + "0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = readGreeting(bytes.NewReader(data), func(string, plumbing.Hash) error { return nil })
		for _, v2 := range []bool{false, true} {
			if pack, err := newPackStream(bytes.NewReader(data), &dialect{v2: v2}); err == nil {
				_, _ = io.Copy(io.Discard, pack)
			}
		}
		_, _ = readReport(bytes.NewReader(data), io.Discard, 1)
	})
}

// TestSHA256Repository: the error says what is wrong with it.
func TestSHA256Repository(t *testing.T) {
	data := gitformat.Packet(strings.Repeat("a", 64)+" refs/heads/main\x00side-band-64k object-format=sha256\n") + "0000"
	if _, err := readGreeting(strings.NewReader(data), func(string, plumbing.Hash) error { return nil }); err == nil || !strings.Contains(err.Error(), "only sha1") {
		t.Errorf("error %v", err)
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://u:p@example.com/x", "/srv/x", "file:///x", "git@host:x", "ext::sh"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseURL(raw)
		if err != nil {
			return
		}
		again, err := parseURL(u.String())
		if err != nil || again.credentials != (Credentials{}) || again.String() != u.String() {
			t.Fatalf("%q became %q: %v", raw, u, err)
		}
	})
}

func TestApprovalTrailers(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef01234567"
	for _, tt := range []struct {
		message string
		want    int
	}{
		{"remove db\n\nPrune-Approved: " + id + "\n", 1},
		{"remove db\n\nbody\n\nSigned-off-by: A\nprune-approved: 0123456\nPrune-Approved: " + id, 2},
		{"remove db\r\n\r\nPrune-Approved: " + id + "\r\n", 1},
		{"Prune-Approved: " + id, 0},                             // a subject, not a trailer
		{"x\n\nPrune-Approved: " + id + "\n\nlast paragraph", 0}, // quoted in the body
		{"x\n\nPrune-Approved: all", 0},
		{"x\n\nPrune-Approved: 012345", 0}, // too short to mean one commit
		{"", 0},
	} {
		if got := approvals(tt.message); len(got) != tt.want {
			t.Errorf("%q: %q, want %d", tt.message, got, tt.want)
		}
	}
}
