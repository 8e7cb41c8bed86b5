package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxLine is where a longer line is cut into records.
	maxLine = 16 << 10
	// placeMark is how many bytes a place in a log is recognised by.
	placeMark = 64
	// freshPart is how old the newest rotated part can be when its copying is
	// the reason why a log has become shorter.
	freshPart = 10 * time.Second
)

// logTail is the place a stream has reached in one container's log.
//
// Logs are rotated by copying them to NAME.1 and truncating them, since their
// writer holds them open: a log that is shorter than the place reached has its
// missed lines in NAME.1, and so has one that has grown past that place again
// but does not hold the same text before it.
type logTail struct {
	name            string // relative to the folder of all logs
	slot, container string

	info    fs.FileInfo // of the file offset belongs to; nil = none yet
	offset  int64
	before  []byte // the last bytes up to offset
	pending []byte // of a line without end, below maxLine
	quiet   int    // polls since the last growth
}

// begin emits the last lines of what is kept and finds the place to go on.
func (t *logTail) begin(root *os.Root, tail int, emit func(LogLine) error) error {
	parts, err := openParts(root, t.name)
	if err != nil {
		return err
	}
	defer closeParts(parts)
	from := make([]int64, len(parts))
	first := len(parts) - 1
	for i, p := range parts {
		if tail < 0 {
			break
		}
		lines, offset, err := lastLines(p.file, p.info.Size(), tail)
		if err != nil {
			return fmt.Errorf("read log %s: %w", t.name, err)
		}
		from[i] = offset
		if tail -= lines; tail == 0 {
			first = i
			break
		}
	}
	for i := first; i >= 0; i-- {
		if err := t.copy(parts[i], from[i], emit); err != nil {
			return err
		}
	}
	if len(parts) > 0 {
		t.mark(parts[0])
	}
	return nil
}

// mark remembers that a part was read to the size it had.
func (t *logTail) mark(p logPart) {
	t.info, t.offset = p.info, p.info.Size()
	t.before = textBefore(p.file, t.offset)
}

// textBefore returns the bytes by which a place is recognised; fewer if the
// file has become shorter, which is recognised too.
func textBefore(r io.ReaderAt, offset int64) []byte {
	text := make([]byte, min(offset, placeMark))
	n, _ := r.ReadAt(text, offset-int64(len(text))) // what there is
	return text[:n]
}

// poll emits what has been written since the last time.
func (t *logTail) poll(root *os.Root, emit func(LogLine) error) error {
	info, err := root.Lstat(t.name)
	if err != nil || !info.Mode().IsRegular() {
		t.info = nil // should it come back, it is another
		return nil
	}
	if t.info != nil && os.SameFile(info, t.info) && info.Size() == t.offset {
		if t.quiet++; t.quiet == quietly && len(t.pending) > 0 {
			return t.line(true, emit)
		}
		return nil
	}
	t.quiet = 0
	f, info, err := openLog(root, t.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read log %s: %w", t.name, err)
	}
	defer f.Close()
	switch {
	case t.info == nil || !os.SameFile(info, t.info):
		t.offset = 0
	case !bytes.Equal(textBefore(f, t.offset), t.before):
		if err := t.missed(root, emit); err != nil {
			return err
		}
		t.offset = 0
	}
	part, from := logPart{f, info}, t.offset
	t.mark(part)
	return t.copy(part, from, emit)
}

// missed emits what was written between the last poll and a rotation.
func (t *logTail) missed(root *os.Root, emit func(LogLine) error) error {
	f, info, err := openLog(root, t.name+".1")
	if err != nil {
		return nil // truncated by hand
	}
	defer f.Close()
	if time.Since(info.ModTime()) > freshPart {
		return nil
	}
	return t.copy(logPart{f, info}, t.offset, emit)
}

// copy emits the lines of a part from an offset to the size it had when it was
// opened: a log that grows while it is read keeps no other waiting.
func (t *logTail) copy(p logPart, from int64, emit func(LogLine) error) error {
	r := io.NewSectionReader(p.file, from, max(0, p.info.Size()-from))
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Read(buffer)
		if emitErr := t.feed(buffer[:n], emit); emitErr != nil {
			return emitErr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log %s: %w", t.name, err)
		}
	}
}

// feed cuts what was read into lines.
func (t *logTail) feed(data []byte, emit func(LogLine) error) error {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		room := maxLine - len(t.pending)
		if end < 0 && len(data) < room {
			t.pending = append(t.pending, data...)
			return nil
		}
		long := end < 0 || end > room
		if long {
			for end = room; end > room-utf8.UTFMax && end > 0 && end < len(data) && !utf8.RuneStart(data[end]); {
				end--
			}
		}
		t.pending = append(t.pending, data[:end]...)
		if data = data[end:]; !long {
			data = data[1:] // the line's end
		}
		if err := t.line(long, emit); err != nil {
			return err
		}
	}
	return nil
}

// line emits what is pending.
func (t *logTail) line(more bool, emit func(LogLine) error) error {
	text := t.pending
	if !more {
		text = bytes.TrimSuffix(text, []byte{'\r'})
	}
	l := LogLine{Slot: t.slot, Container: t.container, Line: strings.ToValidUTF8(string(text), "\uFFFD"), More: more}
	t.pending = t.pending[:0]
	return emit(l)
}

// logPart is one file of a log.
type logPart struct {
	file *os.File
	info fs.FileInfo
}

// openParts opens a log and its rotated parts, newest first, all before any is
// read, so that a rotation in between moves nothing away.
func openParts(root *os.Root, name string) ([]logPart, error) {
	var parts []logPart
	for n := range maxParts {
		part := name
		if n > 0 {
			part = fmt.Sprintf("%s.%d", name, n)
		}
		f, info, err := openLog(root, part)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			closeParts(parts)
			return nil, fmt.Errorf("read log %s: %w", part, err)
		}
		parts = append(parts, logPart{f, info})
	}
	return parts, nil
}

func closeParts(parts []logPart) {
	for _, p := range parts {
		p.file.Close()
	}
}

// lastLines finds where the last n lines begin, and how many there are up to
// n. A last line without end counts.
func lastLines(r io.ReaderAt, size int64, n int) (lines int, offset int64, err error) {
	if n == 0 || size == 0 {
		return 0, size, nil
	}
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		begin := max(0, end-int64(len(block)))
		b := block[:end-begin]
		if _, err := r.ReadAt(b, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			at := begin + int64(i)
			if b[i] != '\n' || at == size-1 {
				continue
			}
			if lines++; lines == n {
				return lines, at + 1, nil
			}
		}
		end = begin
	}
	return lines + 1, 0, nil
}
