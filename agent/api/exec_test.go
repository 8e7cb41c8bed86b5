package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

const patience = time.Minute

// execFunc is what an agent does with a request.
type execFunc func(context.Context, api.ExecRequest, runtime.Streams) (int, error)

func serveExec(t *testing.T, run execFunc) *world {
	t.Helper()
	return serve(t, func(o *api.Options) { o.Exec = run })
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
}

func TestExec(t *testing.T) {
	var got api.ExecRequest
	w := serveExec(t, func(_ context.Context, req api.ExecRequest, s runtime.Streams) (int, error) {
		got = req
		_, _ = io.WriteString(s.Err, "beside")
		_, err := io.Copy(s.Out, s.In)
		return 42, err
	})
	long := strings.Repeat("0123456789abcdef", 128<<10) // eight windows
	var out, errs bytes.Buffer
	code, err := w.client.Exec(t.Context(), api.ExecRequest{Target: "web-0", Container: "main", Argv: []string{"cat", "-"}},
		runtime.Streams{In: strings.NewReader(long), Out: &out, Err: &errs})
	if err != nil || code != 42 || out.String() != long || errs.String() != "beside" {
		t.Errorf("code %d, %v, %d of %d bytes, %q", code, err, out.Len(), len(long), errs.String())
	}
	if got.Target != "web-0" || got.Container != "main" || len(got.Argv) != 2 || !got.Input || got.Terminal != nil {
		t.Errorf("the agent is asked for %+v", got)
	}
	if want := os.Getuid(); got.UID != want && got.UID != -1 {
		t.Errorf("by user %d, not %d", got.UID, want)
	}
}

func TestExecWithoutStreams(t *testing.T) {
	w := serveExec(t, func(_ context.Context, req api.ExecRequest, s runtime.Streams) (int, error) {
		if req.Input || s.In != nil || s.Terminal != nil {
			return 1, nil
		}
		_, err := io.WriteString(s.Out, "nobody reads it")
		return 0, err
	})
	if code, err := w.client.Exec(t.Context(), api.ExecRequest{Target: "web", Argv: []string{"true"}}, runtime.Streams{}); err != nil || code != 0 {
		t.Errorf("%d, %v", code, err)
	}
}

func TestExecErrors(t *testing.T) {
	for _, row := range []struct {
		err  error
		code int // of a CommandError
	}{
		{errors.New("web runs here more than once: name one of web-0, web-1"), 0},
		{&runtime.CommandError{Code: runtime.CodeNoProgram, Err: errors.New("no bash here")}, runtime.CodeNoProgram},
		{&runtime.CommandError{Code: runtime.CodeNotExecutable, Err: errors.New("it is a folder")}, runtime.CodeNotExecutable},
	} {
		w := serveExec(t, func(context.Context, api.ExecRequest, runtime.Streams) (int, error) { return 0, row.err })
		_, err := w.client.Exec(t.Context(), api.ExecRequest{Target: "web", Argv: []string{"bash"}}, runtime.Streams{})
		var failed *runtime.CommandError
		if err == nil || err.Error() != row.err.Error() || errors.As(err, &failed) != (row.code != 0) || failed != nil && failed.Code != row.code {
			t.Errorf("%v became %v", row.err, err)
		}
	}
	w := serve(t, nil)
	if _, err := w.client.Exec(t.Context(), api.ExecRequest{Target: "web", Argv: []string{"bash"}}, runtime.Streams{}); err == nil || !strings.Contains(err.Error(), "runs no commands") {
		t.Errorf("an agent without: %v", err)
	}
	if _, err := w.client.Exec(t.Context(), api.ExecRequest{Target: "web"}, runtime.Streams{}); err == nil || !strings.Contains(err.Error(), "name a command") {
		t.Errorf("no command: %v", err)
	}
}

// TestExecTerminal: the size arrives though the command has not read any of the
// input before it, and the command's end is heard while the client still types.
func TestExecTerminal(t *testing.T) {
	w := serveExec(t, func(ctx context.Context, req api.ExecRequest, s runtime.Streams) (int, error) {
		if req.Terminal == nil || *req.Terminal != (runtime.WindowSize{Columns: 80, Rows: 24}) || s.Terminal.Size != *req.Terminal {
			return 1, nil
		}
		for {
			select {
			case size := <-s.Terminal.Resize:
				if size == (runtime.WindowSize{Columns: 200, Rows: 50}) {
					return 0, nil
				}
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	})
	sizes := make(chan runtime.WindowSize, 2)
	typed := &endless{sent: func(n int) {
		if n > 200<<10 {
			select {
			case sizes <- runtime.WindowSize{Columns: 200, Rows: 50}:
			default:
			}
		}
	}}
	code, err := w.client.Exec(t.Context(), api.ExecRequest{Target: "web", Argv: []string{"top"}},
		runtime.Streams{In: typed, Out: io.Discard, Terminal: &runtime.Terminal{Size: runtime.WindowSize{Columns: 80, Rows: 24}, Resize: sizes}})
	if err != nil || code != 0 {
		t.Errorf("%d, %v", code, err)
	}
}

// endless is input without an end.
type endless struct {
	n    int
	sent func(int)
}

func (e *endless) Read(p []byte) (int, error) {
	e.n += len(p)
	e.sent(e.n)
	return len(p), nil
}

// TestExecClientGoes: the command ends with its client.
func TestExecClientGoes(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	w := serveExec(t, func(ctx context.Context, _ api.ExecRequest, _ runtime.Streams) (int, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := w.client.Exec(ctx, api.ExecRequest{Target: "web", Argv: []string{"sleep"}}, runtime.Streams{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Exec: %v", err)
	}
	within(t, "the command ends with its client", ended)
}

// TestExecAgentStops: the session says so, and the agent does not wait for it.
func TestExecAgentStops(t *testing.T) {
	begun := make(chan struct{})
	w := &world{}
	w.Socket = shortDir(t) + "/run/orpheus.sock"
	w.Exec = func(ctx context.Context, _ api.ExecRequest, s runtime.Streams) (int, error) {
		close(begun)
		<-ctx.Done()
		return 0, ctx.Err()
	}
	w.Status = testStatus
	server, err := api.Listen(w.Options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Run(ctx) }()
	client, err := api.NewClient(w.Socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-begun; stop() }()
	in, keyboard := io.Pipe()
	defer keyboard.Close()
	_, err = client.Exec(t.Context(), api.ExecRequest{Target: "web", Argv: []string{"sleep"}}, runtime.Streams{In: in})
	if err == nil || !strings.Contains(err.Error(), "the agent is stopping or restarting: the session is over") {
		t.Errorf("Exec: %v", err)
	}
	within(t, "the agent stops", stopped)
}

// TestExecAgentDies: a connection that ends by itself is told as what it is.
func TestExecAgentDies(t *testing.T) {
	socket := shortDir(t) + "/s"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: orpheus-exec\r\n\r\no\x00\x00\x00\x02hi")
	}()
	client, err := api.NewClient(socket)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Exec(t.Context(), api.ExecRequest{Target: "web", Argv: []string{"sleep"}}, runtime.Streams{})
	if err == nil || !strings.Contains(err.Error(), "has ended, and the session with it; the instance is not touched") {
		t.Errorf("Exec: %v", err)
	}
}

// TestAttack41ExecIsLocal: no command runs for who comes over TCP.
func TestAttack41ExecIsLocal(t *testing.T) {
	w := serveExec(t, func(context.Context, api.ExecRequest, runtime.Streams) (int, error) {
		t.Error("a command ran")
		return 0, nil
	})
	code, text, _ := w.get(t, http.MethodPost, "/v1/exec", func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "orpheus-exec")
	})
	if code != http.StatusForbidden {
		t.Errorf("over TCP: %d %s", code, text)
	}
}

// TestAttack41ExecFrames: what cannot be ends the session, and the command,
// without taking memory.
func TestAttack41ExecFrames(t *testing.T) {
	const request = "r\x00\x00\x00\x2c" + `{"target":"web","argv":["cat"],"input":true}`
	for name, row := range map[string]struct{ sent, want string }{
		"no request":            {"i\x00\x00\x00\x01x", "does not begin with a request"},
		"a request of 4 GiB":    {"r\xff\xff\xff\xff", "a frame of 4294967295 bytes came"},
		"not JSON":              {"r\x00\x00\x00\x01{", "does not begin with a request"},
		"no command":            {"r\x00\x00\x00\x02{}", "name a command to run"},
		"input of 4 GiB":        {request + "i\xff\xff\xff\xff", "a frame of 4294967295 bytes came"},
		"a frame nobody knows":  {request + "?\x00\x00\x00\x00", `a frame '?' that cannot be`},
		"a size of three bytes": {request + "s\x00\x00\x00\x03abc", `a frame 's' that cannot be`},
		"an agent's frame":      {request + "x\x00\x00\x00\x02{}", `a frame 'x' that cannot be`},
		"too much ahead":        {request + strings.Repeat("i\x00\x00\x80\x00"+strings.Repeat("x", 32<<10), 9), "the client sent more than 262144 bytes ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			w := serveExec(t, func(ctx context.Context, _ api.ExecRequest, _ runtime.Streams) (int, error) {
				<-ctx.Done() // reads nothing
				return 0, ctx.Err()
			})
			conn, err := net.Dial("unix", w.Socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				_, _ = io.WriteString(conn, "POST /v1/exec HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: orpheus-exec\r\n\r\n"+row.sent)
			}()
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			answer, err := io.ReadAll(conn)
			if os.IsTimeout(err) || !strings.Contains(string(answer), row.want) {
				t.Errorf("%v, answer %q; want %q", err, answer, row.want)
			}
		})
	}
}
