package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// at is a container that is reached on loopback, whose port "http" is the
// server's.
func at(t *testing.T, server string) (Target, string) {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(server, "http://"), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		t.Fatal(err)
	}
	c := planner.Container{Name: "main", Ports: []planner.ContainerPort{{Name: "http", ContainerPort: n}}}
	return Target{Instance: "web-0", Container: c, Place: Place{Address: "127.0.0.1"}}, port
}

func wantOutcome(t *testing.T, what string, got, want outcome) {
	t.Helper()
	if got.result != want.result || want.wrote != "" && got.wrote != want.wrote || !strings.Contains(got.said, want.said) || want.said == "" && got.said != "" {
		t.Errorf("%s: %q %q, want %q %q", what, got.result, got.said, want.result, want.said)
	}
}

// Kubernetes' rules for HTTP (pkg/probe/http).
func TestHTTPGet(t *testing.T) {
	var seen *http.Request
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect to another host was followed") }))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
	})
	mux.HandleFunc("/seen", func(_ http.ResponseWriter, r *http.Request) { seen = r })
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/status/500", http.StatusFound) })
	mux.HandleFunc("/there", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)+"/", http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/breaks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
	})
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	t.Setenv("HTTP_PROXY", elsewhere.URL)
	t.Setenv("HTTPS_PROXY", elsewhere.URL)

	tests := []struct {
		probe planner.ProbeHTTP
		want  outcome
	}{
		// "Any code greater than or equal to 200 and less than 400 indicates success."
		{planner.ProbeHTTP{Path: "/status/200"}, succeeded},
		{planner.ProbeHTTP{Path: "/status/204"}, succeeded},
		{planner.ProbeHTTP{Path: "/status/304"}, succeeded},
		{planner.ProbeHTTP{Path: "/status/399"}, succeeded},
		{planner.ProbeHTTP{Path: "/status/400"}, failed("400")},
		{planner.ProbeHTTP{Path: "/status/404"}, failed("404")},
		{planner.ProbeHTTP{Path: "/status/503"}, failed("503")},
		// No path is /.
		{planner.ProbeHTTP{}, failed("404")},
		// The certificate is nobody's, the scheme is what counts.
		{planner.ProbeHTTP{Path: "/status/200", Scheme: "HTTPS"}, succeeded},
		{planner.ProbeHTTP{Path: "/status/500", Scheme: "HTTPS"}, failed("500")},
		// A redirect to the same host is followed, one to another is the answer.
		{planner.ProbeHTTP{Path: "/here"}, failed("500")},
		{planner.ProbeHTTP{Path: "/there"}, succeeded},
		{planner.ProbeHTTP{Path: "/loop"}, failed("more than ten redirects")},
		// A large answer is not read to its end, one that breaks off is none.
		{planner.ProbeHTTP{Path: "/endless"}, succeeded},
		{planner.ProbeHTTP{Path: "/breaks"}, failed("unexpected EOF")},
		// Headers are bounded.
		{planner.ProbeHTTP{Path: "/headers"}, failed("exceeded")},
		// What a path says of a host counts for nothing.
		{planner.ProbeHTTP{Path: "http://192.0.2.1/status/204"}, succeeded},
		{planner.ProbeHTTP{Path: "//192.0.2.1/status/204"}, succeeded},
		// Nobody answers.
		{planner.ProbeHTTP{Path: "/hang?token=secret"}, failed("no answer within 1s")},
		{planner.ProbeHTTP{Path: "/?token=secret", Port: "1"}, failed("connect to 127.0.0.1:1: connect: connection refused")},
		// The container has no such port: the check cannot be made.
		{planner.ProbeHTTP{Port: "other"}, unknown("")},
	}
	for _, tt := range tests {
		server := plain.URL
		if tt.probe.Scheme == "HTTPS" {
			server = secure.URL
		}
		target, _ := at(t, server)
		h := tt.probe
		if h.Port == "" {
			h.Port = "http"
		}
		got := Check(t.Context(), target, &planner.Probe{HTTPGet: &h})
		wantOutcome(t, tt.probe.Path, got, tt.want)
		if strings.Contains(got.said, "secret") {
			t.Errorf("%s: says %q", tt.probe.Path, got.said)
		}
	}

	target, port := at(t, plain.URL)
	headers := func(list ...planner.HTTPHeader) *http.Request {
		t.Helper()
		seen = nil
		h := planner.ProbeHTTP{Path: "/seen?a=b&c", Port: port, Headers: list}
		wantOutcome(t, "headers", Check(t.Context(), target, &planner.Probe{HTTPGet: &h}), succeeded)
		return seen
	}
	if r := headers(); r.Header.Get("User-Agent") != userAgent || r.Header.Get("Accept") != "*/*" || r.URL.RawQuery != "a=b&c" || r.Method != "GET" {
		t.Errorf("request %v %v", r.URL, r.Header)
	}
	r := headers(planner.HTTPHeader{Name: "host", Value: "shop.example.com"}, planner.HTTPHeader{Name: "X-Two", Value: "a"}, planner.HTTPHeader{Name: "x-two", Value: "b"},
		planner.HTTPHeader{Name: "Accept", Value: ""}, planner.HTTPHeader{Name: "User-Agent", Value: ""})
	if _, given := r.Header["Accept"]; r.Host != "shop.example.com" || fmt.Sprint(r.Header["X-Two"]) != "[a b]" || given || r.Header.Get("User-Agent") != "" {
		t.Errorf("request to %s with %v", r.Host, r.Header)
	}
}

func TestTCPSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target, port := at(t, l.Addr().String())
	probe := &planner.Probe{TCPSocket: &planner.ProbePort{Port: "http"}}
	wantOutcome(t, "by name", Check(t.Context(), target, probe), succeeded)
	probe.TCPSocket = &planner.ProbePort{Port: port, Host: "localhost"}
	wantOutcome(t, "by host", Check(t.Context(), target, probe), succeeded)
	l.Close()
	wantOutcome(t, "closed", Check(t.Context(), target, probe), failed("connection refused"))
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, answers := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, answers)
	answers.SetServingStatus("a", healthpb.HealthCheckResponse_NOT_SERVING)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	target, port := at(t, l.Addr().String())
	without := httptest.NewServer(http.NotFoundHandler())
	defer without.Close()
	_, other := at(t, without.URL)
	tests := []struct {
		probe planner.ProbeGRPC
		want  outcome
	}{
		{planner.ProbeGRPC{Port: port}, succeeded},
		{planner.ProbeGRPC{Port: "http"}, succeeded},
		{planner.ProbeGRPC{Port: port, Service: "a"}, failed("says NOT_SERVING")},
		{planner.ProbeGRPC{Port: port, Service: "b"}, outcome{planner.CheckFailure, "NotFound", "unknown service"}},
		{planner.ProbeGRPC{Port: "1"}, failed("connect to 127.0.0.1:1: connect: connection refused")},
		{planner.ProbeGRPC{Port: other}, failed("Unavailable")}, // no gRPC there
	}
	for _, tt := range tests {
		wantOutcome(t, fmt.Sprint(tt.probe), Check(t.Context(), target, &planner.Probe{GRPC: &tt.probe}), tt.want)
	}
}

// execs is a driver that runs commands as a function says.
type execs func(ctx context.Context, out io.Writer) (int, error)

func (f *execs) Exec(ctx context.Context, id, container string, argv []string, s runtime.Streams) (int, error) {
	if id != "web-0" || container != "main" || len(argv) != 2 {
		return 0, errors.New("not as asked")
	}
	return (*f)(ctx, s.Out)
}

func TestExec(t *testing.T) {
	tests := []struct {
		what string
		run  execs
		want outcome
	}{
		{"success", func(context.Context, io.Writer) (int, error) { return 0, nil }, succeeded},
		{"failure, with what it wrote", func(_ context.Context, out io.Writer) (int, error) {
			fmt.Fprintln(out, "no \x1b[31mleader\x07")
			return 3, nil
		}, outcome{planner.CheckFailure, "exit code 3", `no \x1b[31mleader\a`}},
		{"an end in which it is killed", func(ctx context.Context, _ io.Writer) (int, error) {
			<-ctx.Done()
			return 0, fmt.Errorf("run: %w", ctx.Err())
		}, failed("took longer than 1s and was killed")},
		// As in Kubernetes: what the driver cannot do says nothing about the container.
		{"a driver that does not answer", func(context.Context, io.Writer) (int, error) { return 0, runtime.ErrUnavailable }, unknown("unavailable")},
	}
	probe := &planner.Probe{Exec: &planner.ProbeExec{Command: []string{"/check", "--password=secret"}}}
	for _, tt := range tests {
		target := Target{Instance: "web-0", Container: planner.Container{Name: "main"}, Place: Place{Exec: &tt.run}}
		wantOutcome(t, tt.what, Check(t.Context(), target, probe), tt.want)
	}
	wantOutcome(t, "no driver", Check(t.Context(), Target{}, probe), unknown("its driver cannot run commands"))
}

// A command that writes without end costs neither memory nor status.
func TestExecOutputIsBounded(t *testing.T) {
	run := execs(func(_ context.Context, out io.Writer) (int, error) {
		for range 1000 {
			if n, err := out.Write(bytes.Repeat([]byte("x"), 4096)); n != 4096 || err != nil {
				return 0, fmt.Errorf("wrote %d: %w", n, err)
			}
		}
		return 1, nil
	})
	got := Check(t.Context(), Target{Instance: "web-0", Container: planner.Container{Name: "main"}, Place: Place{Exec: &run}},
		&planner.Probe{Exec: &planner.ProbeExec{Command: []string{"a", "b"}}})
	if got.result != planner.CheckFailure || got.said != "exit code 1" || len(got.wrote) > maxSaid {
		t.Errorf("%d bytes, %s", len(got.wrote), got.result)
	}
}

func TestHook(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/drain" {
			w.WriteHeader(500)
		}
	}))
	defer server.Close()
	target, port := at(t, server.URL)
	u, _ := url.Parse(server.URL)
	if err := Hook(t.Context(), target, planner.PreStop{HTTPGet: &planner.ProbeHTTP{Path: "/drain", Port: port, Host: u.Hostname()}}); err != nil || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	if err := Hook(t.Context(), target, planner.PreStop{HTTPGet: &planner.ProbeHTTP{Port: port}}); err == nil || err.Error() != "500" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := Hook(ctx, target, planner.PreStop{Sleep: &planner.Sleep{Seconds: 60}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sleep: %v", err)
	}
	if err := Hook(t.Context(), target, planner.PreStop{Sleep: &planner.Sleep{}}); err != nil {
		t.Errorf("no sleep: %v", err)
	}
}
