package event

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

const (
	maxEvents = 4096    // in memory
	maxFile   = 1 << 20 // bytes, of each of two files
	maxLine   = 64 << 10
	// retryEvery is after how many events a file that cannot be written is tried
	// again.
	retryEvery = 256
)

// Log holds the last events of a node. It may be used from any goroutine.
type Log struct {
	path string

	mu      sync.Mutex
	events  []Event // oldest first
	seq     uint64
	file    *os.File // nil = there is none, or it cannot be written
	size    int64
	closed  bool
	changed chan struct{} // closed with the next event
}

// Open reads the events of earlier runs from a file and the older one beside
// it (path + ".1"), and goes on writing there. Lines that cannot be read are
// left out. A file that cannot be written is an error, and the log goes on in
// memory. With path "" it is in memory only.
func Open(path string) (*Log, error) {
	l := &Log{path: path, changed: make(chan struct{})}
	if path == "" {
		return l, nil
	}
	for _, p := range []string{path + ".1", path} {
		if err := l.read(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return l, fmt.Errorf("read events: %w", err)
		}
	}
	if err := l.open(); err != nil {
		return l, fmt.Errorf("write events: %w", err)
	}
	return l, nil
}

func (l *Log) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 2*maxFile))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Seq > l.seq {
			l.keep(e)
			l.seq = e.Seq
		}
	}
	return nil // what is too long or torn ends what can be read
}

func (l *Log) keep(e Event) {
	if len(l.events) >= maxEvents {
		l.events = append(l.events[:0], l.events[maxEvents/4:]...)
	}
	l.events = append(l.events, e)
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// add notes an event and gives it its number. What cannot be written is in
// memory all the same.
func (l *Log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Seq = l.seq
	l.keep(e)
	close(l.changed)
	l.changed = make(chan struct{})
	if l.file == nil && l.path != "" && !l.closed && l.seq%retryEvery == 0 {
		_ = l.open() // as long as it fails, events are in memory only
	}
	if l.file == nil {
		return
	}
	line, err := json.Marshal(e)
	if err != nil || len(line) >= maxLine {
		return
	}
	if l.size > maxFile {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(append(line, '\n'))
		l.size += int64(n)
	}
}

// rotate makes the file the older one. If it cannot, what follows is in memory
// only until it can: the files stay bounded.
func (l *Log) rotate() {
	_ = l.file.Close()
	l.file = nil
	if err := os.Rename(l.path, l.path+".1"); err == nil {
		_ = l.open()
	}
}

// Close ends the writing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// After returns the events after a number, oldest first, and a channel that is
// closed when there is another.
func (l *Log) After(seq uint64) ([]Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := len(l.events)
	for from > 0 && l.events[from-1].Seq > seq {
		from--
	}
	return slices.Clone(l.events[from:]), l.changed
}
