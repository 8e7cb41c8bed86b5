package api

import (
	"bytes"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLogRequest: whatever is asked for lies below the folder of logs, and
// means the same when it is asked for again.
func FuzzLogRequest(f *testing.F) {
	f.Add("service=shop/web&slot=0&container=main&tail=5&follow=1")
	f.Add("service=..%2f..%2fetc")
	f.Add("service=web&slot=a.b&container=.")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		l, err := parseLogRequest(q)
		if err != nil {
			return
		}
		parts := []string{l.Service.Namespace, l.Service.Name, l.Slot, l.Container}
		for _, p := range parts {
			if strings.HasPrefix(p, ".") || strings.ContainsAny(p, "/\\\x00") {
				t.Errorf("%q is a name", p)
			}
		}
		if name := path.Join(parts...); !filepath.IsLocal(name) {
			t.Errorf("%q leads out", name)
		}
		if again, err := parseLogRequest(l.values()); err != nil || again != l {
			t.Errorf("%+v becomes %+v, %v", l, again, err)
		}
	})
}

// FuzzLines: however a log is cut into reads, the lines are the same, none is
// too long, and together they are what was written.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\n\nthree"), 3)
	f.Add([]byte(strings.Repeat("ä", maxLine)+"\nend\n"), 1000)
	f.Add([]byte(strings.Repeat("x", maxLine)+"\n"), maxLine)
	f.Add(bytes.Repeat([]byte{0xbf}, 2*maxLine), 7)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		if step < 1 {
			return
		}
		tail := &logTail{}
		var joined bytes.Buffer
		lines := 0
		emit := func(l LogLine) error {
			if len(l.Line) > 3*maxLine { // a broken byte becomes three
				t.Fatalf("a record of %d bytes", len(l.Line))
			}
			joined.WriteString(l.Line)
			if !l.More {
				joined.WriteByte('\n')
				lines++
			}
			return nil
		}
		for rest := data; len(rest) > 0; {
			n := min(step, len(rest))
			if err := tail.feed(rest[:n], emit); err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; len(tail.pending) >= maxLine {
				t.Fatalf("%d bytes are held", len(tail.pending))
			}
		}
		if want := bytes.Count(data, []byte{'\n'}); lines != want {
			t.Errorf("%d lines, want %d", lines, want)
		}
		if strings.ContainsRune(string(data), '\r') || strings.ToValidUTF8(string(data), "") != string(data) {
			return // changed on purpose
		}
		joined.Write(tail.pending)
		if joined.String() != string(data) {
			t.Errorf("%d bytes become %d", len(data), joined.Len())
		}
	})
}

// FuzzLastLines compares with counting from the front.
func FuzzLastLines(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), 2)
	f.Add([]byte("\n\n"), 1)
	f.Add(bytes.Repeat([]byte("line\n"), 20_000), 15_000) // across blocks
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n < 0 || n > maxTail {
			return
		}
		lines, offset, err := lastLines(bytes.NewReader(data), int64(len(data)), n)
		if err != nil {
			t.Fatal(err)
		}
		all := bytes.SplitAfter(data, []byte{'\n'})
		if len(all[len(all)-1]) == 0 {
			all = all[:len(all)-1]
		}
		want := all[max(0, len(all)-n):]
		if lines != len(want) || !bytes.Equal(data[offset:], bytes.Join(want, nil)) {
			t.Errorf("%d lines from %d, want %d lines", lines, offset, len(want))
		}
	})
}
