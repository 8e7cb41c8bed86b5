package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// ExecRequest asks for a command to be run in an instance.
type ExecRequest struct {
	Target    string   `json:"target"`              // service or slot
	Container string   `json:"container,omitempty"` // "" = the first
	Argv      []string `json:"argv"`
	Input     bool     `json:"input,omitempty"` // there is a standard input
	// Terminal is the size of the terminal to run it on; nil = none.
	Terminal *runtime.WindowSize `json:"terminal,omitempty"`
	// UID is the user who asks, as the kernel tells it; -1 = it does not.
	UID int `json:"-"`
}

// Check says what is wrong with a request.
func (r ExecRequest) Check() error {
	var errs []error
	if len(r.Target) == 0 || len(r.Target) > 500 || len(r.Container) > 500 {
		errs = append(errs, errors.New("name a service or a slot"))
	}
	if len(r.Argv) == 0 || r.Argv[0] == "" {
		errs = append(errs, errors.New("name a command to run"))
	}
	if slices.ContainsFunc(r.Argv, func(a string) bool { return strings.IndexByte(a, 0) >= 0 }) {
		errs = append(errs, errors.New("an argument holds a zero byte"))
	}
	return errors.Join(errs...)
}

// The protocol of /v1/exec: the connection is upgraded, and from then on
// carries frames. The client sends the request first; then input, its end and
// sizes of its terminal. It may have sent inputWindow bytes that the agent has
// not said are taken, so that neither side ever waits to read the other. The
// agent sends output and, last, the end. Whoever closes the connection ends
// the session, and with it the command.
const (
	execProtocol = "orpheus-exec"

	maxPayload  = 32 << 10  // of a frame
	maxRequest  = 256 << 10 // of the first one
	inputWindow = 256 << 10
	requestTime = 10 * time.Second // for the first frame to come
	endTime     = 2 * time.Second  // for the last to go, when the agent ends
)

// execEnd is the payload of the last frame.
type execEnd struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
	// NotRun: the command could not be run; Code is as shells have it.
	NotRun bool `json:"notRun,omitempty"`
}

var errAgentEnds = errors.New("the agent is stopping or restarting: the session is over and its command was ended; the instance runs on")

// exec takes over the connection and serves one session on it.
func (s *server) exec(w http.ResponseWriter, r *http.Request) {
	if s.Exec == nil {
		http.Error(w, "this agent runs no commands", http.StatusNotFound)
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), execProtocol) {
		w.Header().Set("Upgrade", execProtocol)
		http.Error(w, "ask for an upgrade to "+execProtocol, http.StatusUpgradeRequired)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		http.Error(w, "too many streams are open", http.StatusServiceUnavailable)
		return
	}
	s.sessions.Add(1)
	defer s.sessions.Done()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection cannot be taken over", http.StatusInternalServerError)
		return
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(requestTime))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", execProtocol)
	if err != nil {
		return
	}
	out := &outlet{conn: conn}
	frames := newFrames(buffered.Reader, out)
	req, err := readRequest(frames)
	req.UID = peerUID(conn)
	_ = conn.SetDeadline(time.Time{})
	defer context.AfterFunc(r.Context(), out.end)()
	var end execEnd
	if err == nil {
		end.Code, err = s.session(r.Context(), req, frames, &reading)
	}
	if failed := new(runtime.CommandError); errors.As(err, &failed) {
		end.Code, end.NotRun = failed.Code, true
	}
	if err != nil {
		end.Error = err.Error()
	}
	if err := frames.writeJSON(frameEnd, end); err != nil {
		s.Log.Debug("end of a session not taken", "err", err)
	}
}

// outlet is the agent's side of a connection for writing. A client that leaves
// it unread for streamStall has gone: the connection is closed, so that whoever
// reads from it hears of that, too.
type outlet struct {
	conn net.Conn

	mu    sync.Mutex
	ended bool
}

func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	if !o.ended {
		_ = o.conn.SetWriteDeadline(time.Now().Add(streamStall))
	}
	o.mu.Unlock()
	n, err := o.conn.Write(p)
	if err != nil {
		o.conn.Close()
	}
	return n, err
}

// end leaves the connection endTime: the agent stops.
func (o *outlet) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	_ = o.conn.SetDeadline(time.Now().Add(endTime))
}

func readRequest(frames *frames) (req ExecRequest, err error) {
	kind, payload, err := frames.read(maxRequest)
	if err != nil {
		return req, fmt.Errorf("read the request: %w", err)
	}
	if kind != frameRequest || json.Unmarshal(payload, &req) != nil {
		return req, errors.New("the session does not begin with a request")
	}
	return req, req.Check()
}

// session runs a command for a client. It ends when the command has, the
// client is gone, or the agent stops; reading goes on until the connection is
// closed.
func (s *server) session(agent context.Context, req ExecRequest, frames *frames, reading *sync.WaitGroup) (int, error) {
	ctx, end := context.WithCancelCause(agent)
	defer end(nil)
	in := newInlet(func(n int) { _ = frames.writeNumber(frameTaken, uint32(n)) })
	defer in.close(nil)
	sizes := make(chan runtime.WindowSize, 1)
	reading.Go(func() { end(frames.serve(in, sizes)) })

	streams := runtime.Streams{Out: frames.writer(frameOutput), Err: frames.writer(frameErrors)}
	if req.Input {
		streams.In = in
	}
	if req.Terminal != nil {
		streams.Terminal = &runtime.Terminal{Size: *req.Terminal, Resize: sizes}
	}
	code, err := s.Exec(ctx, req, streams)
	switch {
	case err == nil:
	case agent.Err() != nil:
		err = errAgentEnds
	case ctx.Err() != nil:
		err = context.Cause(ctx) // nobody may be there to read it
	}
	return code, err
}
