package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// listener is a Gitea, as far as the status of commits goes, and a chat.
type listener struct {
	mu       sync.Mutex
	statuses map[string]string // by commit: "state: text"
	said     []string
	closed   bool // it takes no token any more, and shows what it was shown
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var in struct{ State, Description, Context, Text string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	commit := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.URL.Path == "/services/7cq0Zt-canary":
		l.said = append(l.said, in.Text)
	case l.closed || r.Header.Get("Authorization") != "token 7cq0Zt-token":
		http.Error(w, "shown: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	case r.Method == http.MethodPost:
		l.statuses[commit] = in.State + ": " + in.Description
		w.WriteHeader(http.StatusCreated)
	default:
		fmt.Fprint(w, `{"statuses": []}`)
	}
}

func (l *listener) awaits(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		ok := cond()
		l.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("not within a minute: %s; statuses %v, said %q", what, l.statuses, l.said)
		}
	}
}

// TestNotify: a forge shows how commits fare and a chat what happens, while a
// forge that takes no token holds up nothing, and no secret is anywhere.
func TestNotify(t *testing.T) {
	l := &listener{statuses: map[string]string{}}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	n := newNode(t, devfleet.Options{Driver: planner.DriverProcess})
	secrets := t.TempDir()
	for name, text := range map[string]string{"token": "7cq0Zt-token\n", "url": server.URL + "/services/7cq0Zt-canary\n"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.configure(fmt.Sprintf("notify: {commitStatus: {kind: gitea, api: %q, repository: team/fleet, tokenFile: %q}, webhooks: [{urlFile: %q}]}\n",
		server.URL+"/api/v1", filepath.Join(secrets, "token"), filepath.Join(secrets, "url")))
	n.agent()
	none := n.commit("nothing yet", map[string]string{"README": "soon"})
	l.awaits(t, "refused", func() bool { return strings.HasPrefix(l.statuses[none], "failure: refused: there is no fleet.yaml") })
	first := n.commit("web comes", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": n.manifest(spec{name: "web"})})
	n.await("web runs", devfleet.SettledAt(first))
	l.awaits(t, "success", func() bool { return l.statuses[first] == "success: 1 service rolled out" })

	bad := n.commit("a typo", map[string]string{"db.yaml": "apiVersion: orpheus/v1\nkind: Servise\nmetadata: {name: db}\n"})
	l.awaits(t, "failure", func() bool { return strings.HasPrefix(l.statuses[bad], "failure: manifest faults: db.yaml:") })
	l.awaits(t, "the chat hears of it", func() bool { return strings.Contains(strings.Join(l.said, "\n"), "db.yaml:") })

	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	last := n.commit("db comes", map[string]string{"db.yaml": n.manifest(spec{name: "db"})})
	n.await("db runs", devfleet.SettledAt(last))
	l.awaits(t, "the chat hears of it", func() bool { return strings.Contains(strings.Join(l.said, "\n"), "db: revision ") })
	l.awaits(t, "status says that the forge takes no token", func() bool {
		l.mu.Unlock()
		defer l.mu.Lock()
		return strings.Contains(n.get("/v1/status"), "commit status: gitea at 127.0.0.1:")
	})
	l.mu.Lock()
	got := l.statuses[last]
	l.mu.Unlock()
	if got != "" {
		t.Errorf("the status of %s is %q", last, got)
	}
	metrics := n.get("/metrics")
	contains(t, "/metrics", metrics, `orpheus_notifications_total{kind="status",result="failed"}`)
	events, _ := n.orpheus("events", "--socket", n.Socket())
	for where, text := range map[string]string{"the log": n.agentLog(), "status": n.get("/v1/status"), "events": events, "metrics": metrics} {
		if strings.Contains(text, "7cq0Zt") {
			t.Errorf("%s holds a secret", where)
		}
	}
	_ = filepath.WalkDir(n.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "7cq0Zt") {
				t.Errorf("%s holds a secret", path)
			}
		}
		return nil
	})
}
