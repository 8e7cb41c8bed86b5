package gitsync

import (
	"bytes"
	"crypto/sha1"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

var fuzzLimits = Limits{Object: mebi, Inflated: 4 * mebi, Objects: 1000}.withDefaults()

// samplePack has every kind of entry.
func samplePack() []byte {
	p := &gitsynctest.Pack{}
	at := p.Offset()
	id := p.Add(gitsynctest.Blob, []byte("0123456789"))
	p.AddOfsDelta(p.Offset()-at, []byte{10, 12, 0x90, 10, 2, 'a', 'b'})
	p.AddRaw(gitsynctest.RefDelta, 4, gitsynctest.TreeEntry("", "", id)[2:], gitsynctest.Deflate([]byte{10, 10, 0x90, 10}))
	tree := p.Add(gitsynctest.Tree, gitsynctest.TreeEntry("100644", "a", id))
	p.Add(gitsynctest.Commit, gitsynctest.CommitData(tree, "x"))
	return p.Bytes()
}

// FuzzPack: the scanner never panics, and what it lets pass can be read back
// object by object under the id it was given.
func FuzzPack(f *testing.F) {
	f.Add(samplePack())
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00aaaaaaaaaaaaaaaaaaaa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := indexPack(t.Context(), bytes.NewReader(data), int64(len(data)), fuzzLimits)
		if err != nil {
			return
		}
		x, crcs := newPackIndex(entries, [sha1.Size]byte{})
		var buf bytes.Buffer
		if err := x.write(&buf, crcs); err != nil {
			t.Fatal(err)
		}
		y, again, err := readPackIndex(buf.Bytes(), int64(len(data)))
		if err != nil || len(again) != len(crcs) {
			t.Fatalf("index does not read back: %v", err)
		}
		for _, e := range entries {
			if _, ok := y.find(e.hash); !ok {
				t.Fatalf("object %s is not in the index", e.hash)
			}
		}
	})
}

// TestSamplePack: the sample is accepted whole, so that fuzzing begins deep.
func TestSamplePack(t *testing.T) {
	data := samplePack()
	entries, err := indexPack(t.Context(), bytes.NewReader(data), int64(len(data)), fuzzLimits)
	if err != nil || len(entries) != 5 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if got, want := entries[1].hash.String(), gitsynctest.ObjectID(gitsynctest.Blob, []byte("0123456789ab")); got != want {
		t.Errorf("delta resolves to %s, want %s", got, want)
	}
}

func FuzzPackIndex(f *testing.F) {
	data := samplePack()
	entries, _ := indexPack(f.Context(), bytes.NewReader(data), int64(len(data)), fuzzLimits)
	x, crcs := newPackIndex(entries, [sha1.Size]byte{})
	var buf bytes.Buffer
	_ = x.write(&buf, crcs)
	f.Add(buf.Bytes()[:buf.Len()-sha1.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha1.Sum(body) // so that the fuzzer gets behind the checksum
		x, _, err := readPackIndex(append(bytes.Clone(body), sum[:]...), 1000)
		if err != nil {
			return
		}
		for i := range x.offsets {
			x.find([20]byte(x.name(i)))
		}
	})
}

// FuzzTree: whatever a tree says, the names listed are elements of paths, in
// order, each once.
func FuzzTree(f *testing.F) {
	id := gitsynctest.ObjectID(gitsynctest.Blob, nil)
	f.Add(bytes.Join([][]byte{gitsynctest.TreeEntry("100644", "a", id), gitsynctest.TreeEntry("40000", "..", id), gitsynctest.TreeEntry("100644", "a", id)}, nil))
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
	f.Add([]byte(gitsynctest.Packet("# service=git-upload-pack\n") + "0000" +
		gitsynctest.Packet("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa refs/heads/main\x00side-band-64k\n") + "0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = readAdvertisement(bytes.NewReader(data), "main", fuzzLimits)
		_, _ = io.Copy(io.Discard, newPackStream(bytes.NewReader(data)))
	})
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

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "7": 7 * time.Second, "99999999999": maxRetryAfter,
		"Wed, 01 Jan 2025 00:01:00 GMT": time.Minute, "Wed, 01 Jan 2020 00:01:00 GMT": 0,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
