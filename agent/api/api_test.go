package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

func testStatus() *api.Status {
	return &api.Status{
		Node: "node-1", Version: "1.2.3",
		Services: []api.Service{
			{Namespace: "default", Name: "web", Replicas: 2, Instances: []api.Instance{{Slot: "0"}, {Slot: "1"}}},
			{Namespace: "default", Name: "fresh", Replicas: 1, Instances: []api.Instance{{Slot: "0", Phase: planner.PhasePending}}},
		},
	}
}

// world is an agent's API on a socket and on loopback.
type world struct {
	api.Options
	addr   string
	client *api.Client
	hints  atomic.Int32
}

// serve starts the API and ends it with the test.
func serve(t *testing.T, change func(*api.Options)) *world {
	t.Helper()
	w := &world{}
	st := testStatus()
	w.Options = api.Options{
		Socket:  filepath.Join(shortDir(t), "run", "orpheus.sock"),
		Address: "127.0.0.1:0",
		Status:  func() *api.Status { return st },
		LogRoot: filepath.Join(t.TempDir(), "logs"),
		Sync:    func() { w.hints.Add(1) },
	}
	if change != nil {
		change(&w.Options)
	}
	server, err := api.Listen(w.Options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the API does not end")
		}
	})
	w.addr = server.Addr()
	if w.client, err = api.NewClient(w.Socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// shortDir is a temporary folder whose name leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "orph")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// get asks over loopback, as any program of the machine can.
func (w *world) get(t *testing.T, method, path string, change func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+w.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestStatus(t *testing.T) {
	var current atomic.Pointer[api.Status]
	current.Store(testStatus())
	w := serve(t, func(o *api.Options) { o.Status = current.Load })
	first, err := w.client.Status(t.Context())
	if err != nil || first.Node != "node-1" || len(first.Services) != 2 {
		t.Fatalf("status %+v, %v", first, err)
	}
	if again, err := w.client.Status(t.Context()); err != nil || again != first {
		t.Errorf("an unchanged status came again: %v", err)
	}
	next := testStatus()
	next.Node = "node-2"
	current.Store(next)
	if st, err := w.client.Status(t.Context()); err != nil || st.Node != "node-2" {
		t.Errorf("status %+v, %v", st, err)
	}
	overHTTP, err := api.NewClient("http://" + w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer overHTTP.Close()
	if st, err := overHTTP.Status(t.Context()); err != nil || st.Node != "node-2" {
		t.Errorf("over HTTP: %+v, %v", st, err)
	}
}

func TestHealth(t *testing.T) {
	var sick atomic.Bool
	w := serve(t, func(o *api.Options) {
		o.Health = func(context.Context) error {
			if sick.Load() {
				return errors.New("the loop has not run for 2m")
			}
			return nil
		}
	})
	if code, body, _ := w.get(t, "GET", "/healthz", nil); code != 200 || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	if err := w.client.Health(t.Context()); err != nil {
		t.Error(err)
	}
	sick.Store(true)
	if code, body, _ := w.get(t, "GET", "/healthz", nil); code != 503 || !strings.Contains(body, "has not run") {
		t.Errorf("%d %q", code, body)
	}
	if err := w.client.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "has not run") {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	w := serve(t, func(o *api.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "orpheus_up 1") })
	})
	if code, body, _ := w.get(t, "GET", "/metrics", nil); code != 200 || body != "orpheus_up 1\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestSync(t *testing.T) {
	w := serve(t, nil)
	if err := w.client.Sync(t.Context()); err != nil || w.hints.Load() != 1 {
		t.Errorf("%d hints, %v", w.hints.Load(), err)
	}
	deaf := serve(t, func(o *api.Options) { o.Sync = nil })
	if err := deaf.client.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "does not take hints") {
		t.Error(err)
	}
}

// TestAttack41LoopbackOnly: what is open to every user of the machine is on
// loopback, only tells, and tells only what anyone may know.
func TestAttack41LoopbackOnly(t *testing.T) {
	for _, address := range []string{
		"0.0.0.0:0", "[::]:0", ":0", // everywhere
		"192.0.2.1:80", "example.com:80", "127.0.0.1.example.com:80",
	} {
		s, err := api.Listen(api.Options{Address: address, Status: testStatus})
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("listen on %s: %v", address, err)
		}
		if s != nil {
			t.Errorf("%s is served", address)
		}
	}
	if _, err := api.Listen(api.Options{Address: "9320", Status: testStatus}); err == nil {
		t.Error("an address without host is served")
	}
}

func TestAttack41OnlyReadsOverTCP(t *testing.T) {
	w := serve(t, nil)
	writeLog(t, w.LogRoot, "default/web/0/main.log", "a password\n")
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/v1/logs?service=web", 403}, // logs belong to the agent's user
		{"GET", "/v1/events", 403},
		{"POST", "/v1/holds?target=web&for=1h&reason=x&stop=true", 403},
		{"DELETE", "/v1/holds?target=web", 403},
		{"POST", "/v1/floor", 403},
		{"POST", "/v1/sync", 403},
		{"GET", "/v1/sync", 405},
		{"POST", "/v1/status", 405},
		{"DELETE", "/v1/status", 405},
		{"PUT", "/healthz", 405},
		{"OPTIONS", "/v1/status", 405}, // no CORS preflight is answered
		{"TRACE", "/v1/status", 405},
		{"GET", "/", 404},
		{"GET", "/debug/pprof/", 404},
		{"HEAD", "/v1/status", 200},
	} {
		code, body, header := w.get(t, c.method, c.path, nil)
		if code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, code, c.code)
		}
		if strings.Contains(body, "password") {
			t.Errorf("%s %s gives a log away", c.method, c.path)
		}
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s allows other origins", c.method, c.path)
		}
	}
	if w.hints.Load() != 0 {
		t.Error("a hint came over TCP")
	}
}

// TestAttack41RebindingHost: a web page whose name was pointed to loopback.
func TestAttack41RebindingHost(t *testing.T) {
	w := serve(t, nil)
	for host, code := range map[string]int{
		w.addr: 200, "localhost": 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "127.3.2.1:80": 200, "[::1]:7717": 200, "[::ffff:127.0.0.1]": 200,
		"evil.example.com": 421, "evil.example.com:7717": 421, "127.0.0.1.evil.example.com": 421, "localhost.evil.example.com": 421,
		"10.0.0.1": 421, "[::]": 421, "0.0.0.0": 421, "localhost.": 421, "127.0.0.1@evil.example.com": 400,
	} {
		got, body, _ := w.get(t, "GET", "/v1/status", func(r *http.Request) { r.Host = host })
		if got != code && !(code == 400 && got == 421) {
			t.Errorf("host %s: %d, want %d", host, got, code)
		}
		if got != 200 && strings.Contains(body, "node-1") {
			t.Errorf("host %s gets the status", host)
		}
	}
}

func TestAttack41HugeRequests(t *testing.T) {
	w := serve(t, nil)
	req, err := http.NewRequest("GET", "http://"+w.addr+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X", strings.Repeat("x", 64<<10))
	// The server may hang up before all of it is sent.
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of 64 KiB: %d", res.StatusCode)
		}
	}
	code, _, _ := w.get(t, "GET", "/v1/logs?service="+strings.Repeat("a", 8<<10), nil)
	if code != 403 {
		t.Errorf("a long query: %d", code)
	}
}

func TestAttack41SocketIsPrivate(t *testing.T) {
	if goruntime.GOOS == "windows" {
		t.Skip("Windows has access lists instead of modes")
	}
	w := serve(t, nil)
	for path, want := range map[string]os.FileMode{w.Socket: 0o600, filepath.Dir(w.Socket): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	open := shortDir(t)
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(api.Options{Socket: filepath.Join(open, "s"), Status: testStatus}); err == nil || !strings.Contains(err.Error(), "open to other users") {
		t.Errorf("a socket in an open folder: %v", err)
	}
}

func TestSocketOfDeadAgentIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "orpheus.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as a killed agent
	l.Close()
	client, err := api.NewClient(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(t.Context()); !errors.Is(err, api.ErrNotRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("a dead agent's socket: %v", err)
	}
	w := serve(t, func(o *api.Options) { o.Socket = path })
	if _, err := w.client.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSocketOfLiveAgentIsKept(t *testing.T) {
	w := serve(t, nil)
	if _, err := api.Listen(api.Options{Socket: w.Socket, Status: testStatus}); err == nil || !strings.Contains(err.Error(), "already answers") {
		t.Errorf("a second agent: %v", err)
	}
	if _, err := w.client.Status(t.Context()); err != nil {
		t.Errorf("the first agent lost its socket: %v", err)
	}
}

func TestSocketDestroysNoFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "data")
	if err := os.WriteFile(path, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(api.Options{Socket: path, Status: testStatus}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Error(err)
	}
	if _, err := os.ReadFile(path); err != nil {
		t.Error(err)
	}
	long := filepath.Join(shortDir(t), strings.Repeat("x", 120))
	if _, err := api.Listen(api.Options{Socket: long, Status: testStatus}); err == nil || !strings.Contains(err.Error(), "bytes long") {
		t.Error(err)
	}
}

func TestClientErrors(t *testing.T) {
	missing, err := api.NewClient(filepath.Join(t.TempDir(), "none.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.Status(t.Context()); !errors.Is(err, api.ErrNotRunning) || !strings.Contains(err.Error(), "orpheus agent") {
		t.Error(err)
	}
	for _, bad := range []string{"", "https://127.0.0.1", "ssh://host", "http://127.0.0.1/path", "http://user:secret@127.0.0.1"} {
		if _, err := api.NewClient(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("address %q: %v", bad, err)
		}
	}
}

// TestVersionSkew: agents of other versions are understood as far as they can
// be, and what they lack is named.
func TestVersionSkew(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"node":"n","version":"9.0","moons":[1,2],"services":[{"name":"web","namespace":"default","phase":{"new":true}}]}`)
	})
	other := httptest.NewServer(mux)
	defer other.Close()
	client, err := api.NewClient(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	st, err := client.Status(t.Context())
	if err != nil || st.Node != "n" || st.Services[0].Name != "web" {
		t.Errorf("%+v, %v", st, err)
	}
	err = client.Sync(t.Context())
	if err == nil || !strings.Contains(err.Error(), "older") {
		t.Error(err)
	}
}

func TestClientSurvivesNonsense(t *testing.T) {
	var body atomic.Value
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body.Load()) }))
	defer other.Close()
	client, err := api.NewClient(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, nonsense := range []string{"", "<html>", "[1]", `{"node":1}`} {
		body.Store(nonsense)
		if _, err := client.Status(t.Context()); err == nil {
			t.Errorf("%q is a status", nonsense)
		}
	}
	body.Store("{\"line\":\"" + strings.Repeat("x", 1<<20) + "\"}\n")
	err = client.Logs(t.Context(), api.LogRequest{Service: planner.ServiceID{Namespace: "default", Name: "web"}}, func(api.LogLine) error { return nil })
	if err == nil {
		t.Error("a line of 1 MiB is a record")
	}
}

// TestAttack41LastLinesOverSocketOnly: what containers wrote belongs to who
// may read logs, also where it stands in the status.
func TestAttack41LastLinesOverSocketOnly(t *testing.T) {
	st := testStatus()
	i := &st.Services[0].Instances[1]
	i.LastLog = []string{"the password is hunter2"}
	i.Probes = []api.Probe{{Kind: planner.ProbeLiveness, Check: "exec /bin/check", Message: "exit code 1", Output: "hunter2 is wrong"}}
	w := serve(t, func(o *api.Options) { o.Status = func() *api.Status { return st } })
	for range 2 { // also once both were asked for
		_, body, _ := w.get(t, "GET", "/v1/status", nil)
		if strings.Contains(body, "hunter2") || !strings.Contains(body, "exit code 1") {
			t.Errorf("over TCP: %s", body)
		}
		got, err := w.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i := got.Services[0].Instances[1]; len(i.LastLog) != 1 || i.Probes[0].Output != "hunter2 is wrong" {
			t.Errorf("over the socket: %+v", i)
		}
	}
}
