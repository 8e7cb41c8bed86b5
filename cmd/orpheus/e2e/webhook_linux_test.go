package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestAttack40Webhook: a signed call has the node look at a repository that it
// polls once an hour; calls that are not signed have no effect at all.
func TestAttack40Webhook(t *testing.T) {
	const secret, push = "a secret of the webhook: 7cq0Zt", `{"ref":"refs/heads/main"}`
	n := newNode(t, devfleet.Options{Driver: planner.DriverProcess})
	file := filepath.Join(n.Dir, "webhook-secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := unusedAddress(t)
	n.configure(fmt.Sprintf("webhook: {listen: %q, secretFile: %q}\n", address, file))
	hash := n.commit("first version", map[string]string{"fleet.yaml": seldom})
	n.agent()
	n.await("the first commit", devfleet.SettledAt(hash))

	call := func(headers map[string]string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/webhook", bytes.NewBufferString(push))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range headers {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	hash = n.commit("web comes", map[string]string{"web.yaml": n.manifest(spec{name: "web"})})
	before := n.Git.Requests()
	for _, headers := range []map[string]string{{}, {"X-Gitlab-Token": "guessed"}, {"X-Hub-Signature-256": "sha256=00"}} {
		if code := call(headers); code != http.StatusUnauthorized {
			t.Errorf("a call with %v: %d, want 401", headers, code)
		}
	}
	contains(t, "/metrics", n.get("/metrics"), `orpheus_webhook_calls_total{result="unauthenticated"} 3`)
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if now := n.Git.Requests(); now != before {
			t.Fatalf("after calls that are not signed the Git server was asked %d times", now-before)
		}
	}

	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(push))
	began := time.Now()
	if code := call(map[string]string{"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))}); code != http.StatusAccepted {
		t.Errorf("a signed call: %d, want 202", code)
	}
	n.await("web runs", devfleet.SettledAt(hash))
	t.Logf("signed call to running: %s", time.Since(began).Round(time.Millisecond))

	out, _ := n.orpheus("events", "--socket", n.Socket())
	contains(t, "orpheus events", out, "webhook refused")
	for where, text := range map[string]string{"the log": n.agentLog(), "status": n.get("/v1/status"), "events": out} {
		if bytes.Contains([]byte(text), []byte("7cq0Zt")) {
			t.Errorf("%s holds the secret", where)
		}
	}
}

// unusedAddress is a port of loopback that nobody listens on.
func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
