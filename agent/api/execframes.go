package api

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A frame is its kind, the length of its payload in four bytes, the highest
// first, and the payload.
const (
	frameRequest  = 'r' // an ExecRequest; first
	frameInput    = 'i'
	frameInputEnd = 'z' // without payload
	frameSize     = 's' // columns and rows, two bytes each
	frameOutput   = 'o'
	frameErrors   = 'e'
	frameTaken    = 't' // of the input, so many more bytes: four bytes
	frameEnd      = 'x' // an execEnd; last
)

const frameHeader = 5

// frames carries frames over a connection. Reading is for one goroutine,
// writing for any.
type frames struct {
	r  io.Reader
	mu sync.Mutex
	w  io.Writer
}

func newFrames(r io.Reader, w io.Writer) *frames { return &frames{r: r, w: w} }

// read returns the next frame, whose payload may have so many bytes.
func (f *frames) read(most uint32) (kind byte, payload []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > most {
		return 0, nil, fmt.Errorf("a frame of %d bytes came, at most %d may", n, most)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(f.r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return head[0], payload, nil
}

func (f *frames) write(kind byte, payload []byte) error {
	frame := make([]byte, frameHeader, frameHeader+len(payload))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	frame = append(frame, payload...)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(frame)
	return err
}

func (f *frames) writeJSON(kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return f.write(kind, payload)
}

func (f *frames) writeNumber(kind byte, n uint32) error {
	return f.write(kind, binary.BigEndian.AppendUint32(nil, n))
}

func (f *frames) writeSize(s runtime.WindowSize) error {
	return f.write(frameSize, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, s.Columns), s.Rows))
}

// writer is a stream that goes out in frames of a kind.
func (f *frames) writer(kind byte) io.Writer { return frameWriter{f, kind} }

type frameWriter struct {
	frames *frames
	kind   byte
}

func (w frameWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, maxPayload)
		if err := w.frames.write(w.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

var errClientGone = errors.New("the client has gone")

// serve passes on what a client sends to a running command, until the
// connection ends, and says why. Of sizes only the newest counts.
func (f *frames) serve(in *inlet, sizes chan runtime.WindowSize) error {
	for {
		kind, payload, err := f.read(maxPayload)
		switch {
		case errors.Is(err, io.EOF):
			err = errClientGone
		case err != nil:
			err = fmt.Errorf("read from the client: %w", err)
		case kind == frameInput:
			err = in.add(payload)
		case kind == frameInputEnd:
			in.close(io.EOF)
		case kind == frameSize && len(payload) == 4:
			select {
			case <-sizes:
			default:
			}
			sizes <- runtime.WindowSize{Columns: binary.BigEndian.Uint16(payload), Rows: binary.BigEndian.Uint16(payload[2:])} // nobody else sends
		default:
			err = fmt.Errorf("the client sent a frame %q that cannot be", kind)
		}
		if err != nil {
			in.close(err)
			return err
		}
	}
}

// inlet holds input that came and was not read yet: at most inputWindow bytes,
// which is what the client may send before it is told that some were taken.
type inlet struct {
	taken func(int)

	mu    sync.Mutex
	came  sync.Cond
	bytes []byte
	err   error // what follows the bytes
}

func newInlet(taken func(int)) *inlet {
	i := &inlet{taken: taken}
	i.came.L = &i.mu
	return i
}

// add takes input in. It never waits.
func (i *inlet) add(p []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return nil // after its end: nobody reads it
	}
	if len(i.bytes)+len(p) > inputWindow {
		return fmt.Errorf("the client sent more than %d bytes ahead", inputWindow)
	}
	i.bytes = append(i.bytes, p...)
	i.came.Broadcast()
	return nil
}

// close lets the input end with err; nil = there is no reader any more.
func (i *inlet) close(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		i.bytes, err = nil, io.ErrClosedPipe
	}
	if i.err == nil || i.err == io.EOF {
		i.err = err
	}
	i.came.Broadcast()
}

// Read implements io.Reader.
func (i *inlet) Read(p []byte) (int, error) {
	i.mu.Lock()
	for len(i.bytes) == 0 && i.err == nil {
		i.came.Wait()
	}
	n := copy(p, i.bytes)
	i.bytes = i.bytes[n:]
	err := i.err
	i.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	i.taken(n)
	return n, nil
}
