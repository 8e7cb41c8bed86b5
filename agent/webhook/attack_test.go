package webhook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	testSecret = "0123456789abcdef0123456789abcdef"
	push       = `{"ref":"refs/heads/main"}`
	patient    = time.Minute
)

// listened is a server under test that listens on loopback.
type listened struct {
	*Server
	address, url string

	hints *atomic.Int64
	log   *bytes.Buffer // read it after stop
	stop  func()
}

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func listen(t *testing.T, change func(*Config), hasten func(*patience)) listened {
	t.Helper()
	l := listened{hints: new(atomic.Int64), log: new(bytes.Buffer)}
	c := Config{
		Address: "127.0.0.1:0", Path: "/webhook", SecretFile: secretFile(t, testSecret),
		Hint: func() { l.hints.Add(1) }, Log: slog.New(slog.NewTextHandler(l.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	s := New(c)
	if hasten != nil {
		hasten(&s.patience)
	}
	listener, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	l.Server, l.address = s, listener.Addr().String()
	l.url = "http://" + l.address + "/webhook"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		defer s.looks.end()
		ended <- s.serve(ctx, listener)
	}()
	stopped := false
	l.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
	t.Cleanup(l.stop)
	return l
}

func hexSum(secret, body string) string {
	return hex.EncodeToString(sign([]byte(secret), []byte(body)))
}

// post sends a body signed with a secret and returns status and answer.
func (l listened) post(t *testing.T, secret string, body io.Reader, sum string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url, body)
	if err != nil {
		t.Fatal(err)
	}
	if sum != "" {
		req.Header.Set("X-Hub-Signature-256", "sha256="+sum)
	}
	if secret != "" {
		req.Header.Set("X-Gitlab-Token", secret)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patient}
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error() // cut off while it was sending
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestAttack40WebhookUnsigned(t *testing.T) {
	l := listen(t, nil, nil)
	answers := map[string]bool{}
	for name, headers := range map[string]map[string]string{
		"unsigned":                            {},
		"a wrong signature":                   {"X-Hub-Signature-256": "sha256=" + strings.Repeat("0", 64)},
		"no signature":                        {"X-Hub-Signature-256": "x"},
		"a wrong secret":                      {"X-Gitlab-Token": "guessed, guessed, guessed"},
		"signed with a wrong secret":          {"X-Gitea-Signature": hexSum("guessed, guessed, guessed", push)},
		"signed with the empty secret":        {"X-Gitea-Signature": hexSum("", push)},
		"a signing token's, with a wrong one": {"Webhook-Id": "1", "Webhook-Timestamp": "1", "Webhook-Signature": "v1,AAAA"},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(push))
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		l.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, w.Code)
		}
		answers[fmt.Sprint(w.Code, w.Header(), w.Body)] = true
	}
	if len(answers) != 1 {
		t.Errorf("what is wrong shows in the answer: %v", answers)
	}
	if n := l.hints.Load(); n != 0 {
		t.Errorf("the node looked %d times", n)
	}
	l.stop()
	if strings.Contains(l.log.String(), "guessed") || strings.Count(l.log.String(), "\n") != 1 {
		t.Errorf("the log holds more than one line without what was sent:\n%s", l.log)
	}
}

func TestAttack40WebhookFlood(t *testing.T) {
	secret := secretFile(t, testSecret)
	synctest.Test(t, func(t *testing.T) {
		var hints atomic.Int64
		s := New(Config{Path: "/webhook", SecretFile: secret, Hint: func() { hints.Add(1) }})
		defer s.looks.end()
		call := func() *httptest.ResponseRecorder {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(push))
			r.Header.Set("X-Hub-Signature-256", "sha256="+hexSum(testSecret, push))
			s.ServeHTTP(w, r)
			return w
		}
		began, refused := time.Now(), 0
		for range 5000 {
			if w := call(); w.Code == http.StatusTooManyRequests {
				refused++
				if n, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || n < 1 || n > int(lookEvery.Seconds()) {
					t.Fatalf("Retry-After: %q", w.Header().Get("Retry-After"))
				}
			} else if w.Code != http.StatusAccepted {
				t.Fatalf("a signed call: %d %s", w.Code, w.Body)
			}
			time.Sleep(10 * time.Millisecond)
		}
		most := lookBurst + int(time.Since(began)/lookEvery)
		if n := int(hints.Load()); n > most || n < most-1 {
			t.Errorf("the node looked %d times in %s, want %d", n, time.Since(began), most)
		}
		if refused < 4900 {
			t.Errorf("%d of 5000 calls were refused", refused)
		}
		want := fmt.Sprintf(`orpheus_webhook_calls_total{result="too_many"} %d`, refused)
		if text := metrics(t, s); !strings.Contains(text, want) {
			t.Errorf("/metrics has no %s:\n%s", want, text)
		}
		// The last push of the flood is seen, though its call was one too many.
		for call().Code != http.StatusTooManyRequests {
		}
		before := hints.Load()
		time.Sleep(lookEvery)
		synctest.Wait()
		if hints.Load() == before {
			t.Error("the last call of the flood was dropped")
		}
	})
}

func metrics(t *testing.T, s *Server) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Collector())
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// TestAttack40WebhookGuessing: an address that fails too often is not heard, and
// costs no signature; others are.
func TestAttack40WebhookGuessing(t *testing.T) {
	secret := secretFile(t, testSecret)
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Path: "/webhook", SecretFile: secret, Hint: func() {}})
		defer s.looks.end()
		call := func(from, token string) int {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(push))
			r.RemoteAddr = from
			r.Header.Set("X-Gitlab-Token", token)
			s.ServeHTTP(w, r)
			return w.Code
		}
		codes := map[int]int{}
		for k := range 1000 {
			codes[call(fmt.Sprintf("[2001:db8::%x]:1000", k), "wrong")]++ // one network
		}
		if codes[http.StatusUnauthorized] != failBurst || codes[http.StatusTooManyRequests] != 1000-failBurst {
			t.Errorf("answers %v, want %d times 401, then 429", codes, failBurst)
		}
		if code := call("[2001:db8::1]:1000", testSecret); code != http.StatusTooManyRequests {
			t.Errorf("a guess that is right after too many wrong ones: %d, want 429", code)
		}
		if code := call("192.0.2.1:1000", testSecret); code != http.StatusAccepted {
			t.Errorf("a signed call from elsewhere: %d, want 202", code)
		}
		time.Sleep(2 * failEvery)
		if code := call("[2001:db8::1]:1000", testSecret); code != http.StatusAccepted {
			t.Errorf("a signed call after a while: %d, want 202", code)
		}
		for k := range 5 * maxStrangers {
			call(fmt.Sprintf("10.%d.%d.1:1000", k>>8, k&255), "wrong")
		}
		if n := len(s.strangers.limits); n > maxStrangers {
			t.Errorf("%d addresses are remembered, at most %d may be", n, maxStrangers)
		}
	})
}

func TestAttack40WebhookOversized(t *testing.T) {
	l := listen(t, nil, nil)
	large := strings.Repeat("x", MaxBody+1)
	for name, body := range map[string]io.Reader{
		"with its length":     strings.NewReader(large),
		"chunked":             struct{ io.Reader }{strings.NewReader(large)},
		"chunked and endless": struct{ io.Reader }{endless{}},
	} {
		code, text := l.post(t, "", body, hexSum(testSecret, large))
		if code != http.StatusRequestEntityTooLarge && code != 0 {
			t.Errorf("%s: %d %s, want 413", name, code, text)
		}
	}
	fits := large[:MaxBody]
	if code, text := l.post(t, "", strings.NewReader(fits), hexSum(testSecret, fits)); code != http.StatusAccepted {
		t.Errorf("a body of just the size: %d %s", code, text)
	}
	if n := l.hints.Load(); n != 1 {
		t.Errorf("the node looked %d times, want 1", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestAttack40WebhookSlow: senders that take their time are cut off, and those
// that keep connections open keep nobody out for longer than that.
func TestAttack40WebhookSlow(t *testing.T) {
	l := listen(t, nil, func(p *patience) { p.header, p.request = 200*time.Millisecond, 400*time.Millisecond })
	const head = "POST /webhook HTTP/1.1\r\nHost: node\r\nX-Gitlab-Token: " + testSecret + "\r\n"
	for name, begin := range map[string]string{
		"nothing":          "",
		"half of a header": "POST /webhook HTTP/1.1\r\nX-Slow: ",
		"half of a body":   head + "Content-Length: 1000\r\n\r\n{",
		"half of a chunk":  head + "Transfer-Encoding: chunked\r\n\r\n10\r\n{",
	} {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		rest, err := io.ReadAll(conn)
		if os.IsTimeout(err) {
			t.Errorf("%s: the connection is still open after %s", name, patient)
		}
		if strings.HasPrefix(string(rest), "HTTP/1.1 2") {
			t.Errorf("%s: %s", name, rest)
		}
	}
	var held []net.Conn
	for range 2 * maxConnections {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	if code, text := l.post(t, "", strings.NewReader(push), hexSum(testSecret, push)); code != http.StatusAccepted {
		t.Errorf("a signed call beside %d idle connections: %d %s", len(held), code, text)
	}
	for _, conn := range held {
		conn.Close()
	}
}

// TestAttack40WebhookBody: nothing in a body is read, whatever it is.
func TestAttack40WebhookBody(t *testing.T) {
	l := listen(t, nil, nil)
	for _, body := range []string{"", "{", `{"ref":1}`, strings.Repeat("[", 100_000)} {
		if code, text := l.post(t, "", strings.NewReader(body), hexSum(testSecret, body)); code != http.StatusAccepted {
			t.Errorf("%.10q: %d %s", body, code, text)
		}
	}
}

func TestAttack40WebhookElsewhere(t *testing.T) {
	l := listen(t, nil, nil)
	for _, row := range []struct {
		request string
		want    int
	}{
		{"GET /webhook HTTP/1.1", http.StatusMethodNotAllowed},
		{"PUT /webhook HTTP/1.1", http.StatusMethodNotAllowed},
		{"POST / HTTP/1.1", http.StatusNotFound},
		{"POST /webhook/ HTTP/1.1", http.StatusNotFound},
		{"POST //webhook HTTP/1.1", http.StatusNotFound},
		{"GET /metrics HTTP/1.1", http.StatusNotFound},
		{"GET /v1/status HTTP/1.1", http.StatusNotFound},
	} {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, row.request+"\r\nHost: node\r\nContent-Length: 0\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != row.want {
			t.Errorf("%s: %+v %v, want %d", row.request, res, err, row.want)
		}
		conn.Close()
	}
}

func TestAttack40WebhookWashesNoEventsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 24 * 60 * 60 {
			s.complain(netip.Addr{}, "no")
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "\n"); n < 10 || n > 40 {
			t.Errorf("a day of refused calls makes %d lines", n)
		}
	})
}
