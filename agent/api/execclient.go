package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Exec runs a command in an instance and returns its exit code. It ends with
// the command, or with ctx, which ends the command. A *runtime.CommandError is
// a command that could not be run. A read of streams.In that is under way when
// the command ends goes on until it returns.
func (c *Client) Exec(ctx context.Context, req ExecRequest, streams runtime.Streams) (int, error) {
	req.Input = streams.In != nil
	if streams.Terminal != nil {
		req.Terminal = &streams.Terminal.Size
	}
	if err := req.Check(); err != nil {
		return 0, err
	}
	conn, err := c.upgrade(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ended := make(chan struct{})
	defer close(ended)
	s := &execSession{frames: newFrames(conn, conn), streams: streams, window: newWindow(inputWindow)}
	defer s.window.close()
	_ = s.frames.writeJSON(frameRequest, req) // reading tells an error better
	if streams.In != nil {
		go s.sendInput()
	}
	if streams.Terminal != nil {
		go s.sendSizes(ended)
	}
	code, err := s.receive()
	var closed *connectionError
	switch {
	case errors.As(err, &closed) && ctx.Err() != nil:
		return 0, ctx.Err()
	case closed != nil:
		return 0, fmt.Errorf("the connection to the agent at %s has ended, and the session with it; the instance is not touched: run this again (%w)", c.address, err)
	}
	return code, err
}

// upgrade opens a connection for a session.
func (c *Client) upgrade(ctx context.Context) (io.ReadWriteCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/exec", nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent at %s: %w", c.address, err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", execProtocol)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if err := c.expect(res, http.StatusSwitchingProtocols); err != nil {
		res.Body.Close()
		return nil, err
	}
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		res.Body.Close()
		return nil, fmt.Errorf("the agent at %s does not speak %s", c.address, execProtocol)
	}
	return conn, nil
}

// execSession is the client's end of a session.
type execSession struct {
	frames  *frames
	streams runtime.Streams
	window  *window
}

// connectionError: the connection ended before the session did.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// receive passes output on until the end comes.
func (s *execSession) receive() (int, error) {
	for {
		kind, payload, err := s.frames.read(maxPayload)
		if err != nil {
			return 0, &connectionError{err}
		}
		switch kind {
		case frameOutput:
			err = writeTo(s.streams.Out, payload)
		case frameErrors:
			err = writeTo(s.streams.Err, payload)
		case frameTaken:
			if len(payload) == 4 {
				s.window.open(int(binary.BigEndian.Uint32(payload)))
			}
		case frameEnd:
			return readEnd(payload)
		}
		if err != nil {
			return 0, fmt.Errorf("write output: %w", err)
		}
	}
}

func writeTo(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

func readEnd(payload []byte) (int, error) {
	var end execEnd
	if err := json.Unmarshal(payload, &end); err != nil {
		return 0, fmt.Errorf("read the end of the session: %w", err)
	}
	switch {
	case end.NotRun:
		return 0, &runtime.CommandError{Code: end.Code, Err: errors.New(end.Error)}
	case end.Error != "":
		return 0, errors.New(end.Error)
	}
	return end.Code, nil
}

// sendInput passes input on as the agent takes it.
func (s *execSession) sendInput() {
	buffer := make([]byte, maxPayload)
	for {
		n, err := s.streams.In.Read(buffer)
		if n > 0 && (!s.window.take(n) || s.frames.write(frameInput, buffer[:n]) != nil) {
			return
		}
		if err != nil {
			_ = s.frames.write(frameInputEnd, nil)
			return
		}
	}
}

func (s *execSession) sendSizes(ended <-chan struct{}) {
	for {
		select {
		case size, more := <-s.streams.Terminal.Resize:
			if !more || s.frames.writeSize(size) != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// window is how much may be sent before the other side has taken some.
type window struct {
	mu     sync.Mutex
	opened sync.Cond
	free   int
	closed bool
}

func newWindow(n int) *window {
	w := &window{free: n}
	w.opened.L = &w.mu
	return w
}

// take waits for room for n bytes; false = none will come.
func (w *window) take(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.free < n && !w.closed {
		w.opened.Wait()
	}
	w.free -= n
	return !w.closed
}

func (w *window) open(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free += n
	w.opened.Broadcast()
}

func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.opened.Broadcast()
}
