package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// secretPath is a webhook's, as Slack gives them out.
const secretPath = "/services/T0CANARY1/B0CANARY2/canarycanarycanary"

// receiver is a webhook whose answers can be spoilt.
type receiver struct {
	*httptest.Server

	mu    sync.Mutex
	got   []received
	asked int
	spoil http.HandlerFunc
}

type received struct {
	Text, Fleet, Node string
	Events            []map[string]any
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked++
	spoil := r.spoil
	r.mu.Unlock()
	if spoil != nil {
		spoil(w, req)
		return
	}
	var in received
	if req.URL.Path != secretPath || req.Header.Get("Content-Type") != "application/json" || json.NewDecoder(req.Body).Decode(&in) != nil {
		http.Error(w, "no_service", http.StatusNotFound)
		return
	}
	r.mu.Lock()
	r.got = append(r.got, in)
	r.mu.Unlock()
	_, _ = w.Write([]byte("ok"))
}

func (r *receiver) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// events are those that were told, as "kind subject".
func (r *receiver) events() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range r.got {
		for _, e := range in.Events {
			all = append(all, fmt.Sprint(e["event"], " ", e["service"]))
		}
	}
	return all
}

func (r *receiver) hook(on ...Kind) HookConfig {
	return HookConfig{Name: "webhooks[0]", URL: func() (string, error) { return r.URL + secretPath, nil }, On: on}
}

// TestWebhook: what a receiver gets, each event once, also through a restart.
func TestWebhook(t *testing.T) {
	r := newReceiver(t)
	chosen := newReceiver(t)
	c := Config{Hooks: []HookConfig{r.hook(), chosen.hook(RolloutBlocked)}, File: filepath.Join(t.TempDir(), "notify.json")}
	n := run(t, c, hurry)
	n.Tell(facts(commitA, web(rev1, Done)))
	eventually(t, "the first facts are kept", func() bool { m, err := loadMemory(c.File); return err == nil && m.Told.Known })
	n.Tell(facts(commitB, web(rev2, Rolling)))
	eventually(t, "started", func() bool { return len(r.events()) == 1 })
	eventually(t, "it is kept", func() bool {
		m, err := loadMemory(c.File)
		return err == nil && len(m.Told.Services["web"].Said) == 1
	})
	n.end()
	n = run(t, c, hurry)
	n.Tell(facts(commitB, web(rev2, Blocked, because("a & b < c"), back(rev1))))
	eventually(t, "blocked", func() bool { return len(r.events()) == 2 && len(chosen.events()) == 1 })
	if got := fmt.Sprint(r.events(), chosen.events()); got != "[rolloutStarted web rolloutBlocked web] [rolloutBlocked web]" {
		t.Errorf("told %s", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.got[1]
	want := "[prod] web: revision " + rev2.Short() + " is blocked, its slots return to " + rev1.Short() + ": a &amp; b &lt; c"
	if last.Text != want || last.Fleet != "prod" || last.Node != "n1" {
		t.Errorf("%+v, want the text %q", last, want)
	}
	e := last.Events[0]
	if e["reason"] != "a & b < c" || e["revision"] != string(rev2) || e["commit"] != commitB || e["id"] == "" || e["at"] == "" {
		t.Errorf("%v", e)
	}
}

// TestWebhookBadReceiver: whatever a receiver does, it gets what it missed once
// it is well, and no word tells its address.
func TestWebhookBadReceiver(t *testing.T) {
	for name, spoil := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, req *http.Request) {
			http.Error(w, "POST "+req.URL.String(), http.StatusInternalServerError)
		},
		"not found": func(w http.ResponseWriter, req *http.Request) { http.NotFound(w, req) },
		"closed":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"elsewhere": func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "http://192.0.2.1"+req.URL.Path, http.StatusTemporaryRedirect)
		},
		"a bad address": func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Location", "://"+req.URL.Path+"\x7f")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"a loop": func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, req.URL.Path, http.StatusTemporaryRedirect)
		},
		"huge": func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			for range 4 << 10 {
				if _, err := w.Write([]byte(strings.Repeat(req.URL.Path[10:], 30))); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			slow := hurry
			slow.second = 200 * time.Microsecond
			n := run(t, Config{Hooks: []HookConfig{r.hook()}}, slow)
			n.Tell(facts(commitA, web(rev1, Done)))
			eventually(t, "it knows", n.taken)
			r.set(func() { r.spoil = spoil })
			n.Tell(facts(commitB, web(rev2, Done)))
			eventually(t, "it says so", func() bool { return n.problem("notify: webhooks[0]") != "" })
			n.notes.Lock()
			for _, text := range n.every {
				if strings.Contains(strings.ToLower(text), "canary") || strings.ContainsAny(text, "\x1b\n") || len(text) > 600 {
					t.Errorf("told: %q", text)
				}
			}
			n.notes.Unlock()
			r.set(func() { r.spoil = nil })
			eventually(t, "it is told", func() bool { return fmt.Sprint(r.events()) == "[rolloutDone web]" })
			eventually(t, "and all is well", func() bool { return n.problem("notify: webhooks[0]") == "" })
		})
	}
}

// TestWebhookUnfit: what a receiver finds unfit is not sent again.
func TestWebhookUnfit(t *testing.T) {
	r := newReceiver(t)
	n := run(t, Config{Hooks: []HookConfig{r.hook()}}, hurry)
	n.Tell(facts(commitA, web(rev1, Done)))
	eventually(t, "it knows", n.taken)
	r.set(func() {
		r.spoil = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "invalid_payload", http.StatusBadRequest) }
	})
	n.Tell(facts(commitB, web(rev2, Done)))
	eventually(t, "dropped", func() bool { return n.counted("webhook", "dropped") == 1 })
	if r.asked != 1 {
		t.Errorf("asked %d times", r.asked)
	}
}

// TestWebhookBounds: the queue has an end, at which the oldest go; what waits
// goes together; what is old is not told any more.
func TestWebhookBounds(t *testing.T) {
	dropped := 0
	h, err := newHook(HookConfig{Name: "webhooks[0]", URL: func() (string, error) { return "", errors.New("never asked") }},
		func(_ string, n int) { dropped += n }, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for k := range maxQueue + 10 {
		h.add(Facts{}, []Event{{Kind: Alarm, ID: fmt.Sprint(k), Text: strings.Repeat("x", maxText)}}, now)
	}
	if len(h.queue) != maxQueue || h.queue[0].event.ID != "10" || dropped != 10 {
		t.Fatalf("%d wait, the first is %s, %d were dropped", len(h.queue), h.queue[0].event.ID, dropped)
	}
	batch := h.take()
	body, err := payload(batch)
	if err != nil || len(batch) != maxBatch || len(body) > 64<<10 {
		t.Errorf("%d events in %d bytes, error %v", len(batch), len(body), err)
	}
	h.back(batch)
	if len(h.queue) != maxQueue || h.queue[0].event.ID != "10" {
		t.Errorf("%d wait, the first is %s", len(h.queue), h.queue[0].event.ID)
	}
	h.expire(now.Add(maxAge + time.Second))
	if len(h.queue) != 0 || dropped != 10+maxQueue {
		t.Errorf("%d wait, %d were dropped", len(h.queue), dropped)
	}
}

// TestHookURL: addresses that secrets may be sent to.
func TestHookURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://hooks.slack.com" + secretPath:        "",
		"http://127.0.0.1:8080" + secretPath:          "",
		"http://alerts.example.com" + secretPath:      "plain http",
		"ftp://example.com" + secretPath:              "no address",
		secretPath:                                    "no address",
		"":                                            "empty",
		"https://x/" + strings.Repeat("canary", 1000): "no address",
		"https://h\x7f" + secretPath:                  "no address",
	} {
		_, err := hookURL(raw, false)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "canary")) {
			t.Errorf("%q: %v, want %q", raw, err, want)
		}
	}
	if _, err := hookURL("http://alerts.example.com/hook", true); err != nil {
		t.Error(err)
	}
}

// TestAttackSecretsOnDisk: the file of what was told holds neither token nor
// address, and one that was tampered with, or is too large, ends nothing.
func TestAttackSecretsOnDisk(t *testing.T) {
	f, r := newFakeForge(t), newReceiver(t)
	file := filepath.Join(t.TempDir(), "notify.json")
	n := run(t, Config{Status: f.status(), Hooks: []HookConfig{r.hook()}, File: file}, hurry)
	n.Tell(facts(commitA, web(rev1, Done)))
	eventually(t, "success", func() bool { return f.stands(commitA).State == Success })
	n.Tell(facts(commitB, web(rev2, Blocked, because("never ready"))))
	eventually(t, "told", func() bool { return f.stands(commitB).State == Failure && len(r.events()) == 1 })
	n.end()
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(strings.ToLower(string(data)), "canary") {
		t.Errorf("%s, error %v", data, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, error %v", info.Mode(), err)
	}
	for _, garbage := range []string{"", "null", "[]", `{"told":{"services":{"web":null}},"statuses":[{}]}`, strings.Repeat("x", maxMemory+2)} {
		if err := os.WriteFile(file, []byte(garbage), 0o600); err != nil {
			t.Fatal(err)
		}
		n := run(t, Config{Status: f.status(), Hooks: []HookConfig{r.hook()}, File: file}, hurry)
		commit := fmt.Sprintf("%040d", len(garbage))
		n.Tell(facts(commit, web(planner.Revision("r1-00000000"), Done)))
		eventually(t, "it goes on after "+garbage[:min(20, len(garbage))], func() bool { return f.stands(commit).State == Success })
		n.end()
	}
}
