package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/orpheus-cd/orpheus/planner"
)

const token = "canary-t0ken/+with=specials"

func shown(context.Context) (string, error) { return token, nil }

// fakeForge is a Gitea, as far as statuses go, whose answers can be spoilt.
type fakeForge struct {
	*httptest.Server

	mu       sync.Mutex
	statuses map[string][]Verdict // by commit, oldest first
	posts    int
	reads    int
	spoil    http.HandlerFunc // answers instead; nil = nothing does
}

func newFakeForge(t *testing.T) *fakeForge {
	t.Helper()
	f := &fakeForge{statuses: map[string][]Verdict{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeForge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	spoil := f.spoil
	f.mu.Unlock()
	if spoil != nil {
		spoil(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.Header.Get("Authorization") != "token "+token || len(parts) < 6 || parts[2] != "repos" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodGet {
		f.reads++
		type status struct {
			Status      State  `json:"status"`
			Context     string `json:"context"`
			Description string `json:"description"`
		}
		out := struct {
			Statuses []status `json:"statuses"`
		}{Statuses: []status{{Success, "ci", "another"}}}
		if all := f.statuses[parts[6]]; len(all) > 0 {
			v := all[len(all)-1]
			out.Statuses = append(out.Statuses, status{v.State, "orpheus/prod", v.Text})
		}
		_ = json.NewEncoder(w).Encode(out)
		return
	}
	var in struct{ State, Description, Context string }
	if json.Unmarshal(body, &in) != nil || in.Context != "orpheus/prod" {
		http.Error(w, "unfit", http.StatusUnprocessableEntity)
		return
	}
	f.posts++
	f.statuses[parts[6]] = append(f.statuses[parts[6]], Verdict{State(in.State), in.Description})
	w.WriteHeader(http.StatusCreated)
}

func (f *fakeForge) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// history is what was posted for a commit.
func (f *fakeForge) history(commit string) []Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.statuses[commit])
}

// looked is how often the forge was asked what stands.
func (f *fakeForge) looked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

func (f *fakeForge) stands(commit string) Verdict {
	all := f.history(commit)
	if len(all) == 0 {
		return Verdict{}
	}
	return all[len(all)-1]
}

func (f *fakeForge) status() *StatusConfig {
	return &StatusConfig{Kind: Gitea, API: f.URL + "/api/v1", Repository: "team/fleet", Token: shown}
}

// hurry is a pace for tests.
var hurry = pace{second: 2 * time.Millisecond, standIn: 50 * time.Millisecond, acting: time.Millisecond, rewrite: time.Millisecond, recheck: 30 * time.Millisecond}

// running is a notifier that runs.
type running struct {
	*Notifier
	end func()

	notes    sync.Mutex
	problems map[string]string
	every    []string // that was ever told
}

func run(t *testing.T, c Config, p pace) *running {
	t.Helper()
	r := &running{problems: map[string]string{}}
	told := func(what string, err error) {
		r.notes.Lock()
		defer r.notes.Unlock()
		delete(r.problems, what)
		if err != nil {
			r.problems[what] = err.Error()
			r.every = append(r.every, what+": "+err.Error())
		}
	}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Notifier = n
	if n.poster != nil {
		n.poster.pace = p
		n.poster.limit.SetLimit(10000)
	}
	for _, h := range n.hooks {
		h.pace = p
		h.limit.SetLimit(10000)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { n.Run(ctx, told); close(ended) }()
	r.end = func() { cancel(); <-ended }
	t.Cleanup(r.end)
	return r
}

// taken reports whether the last facts were taken in: those that come now
// replace none.
func (r *running) taken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts == nil
}

func (r *running) problem(what string) string {
	r.notes.Lock()
	defer r.notes.Unlock()
	return r.problems[what]
}

// counted is how often something was sent, as the metrics have it.
func (r *running) counted(kind, result string) int {
	reg := prometheus.NewRegistry()
	reg.MustRegister(r.Collector())
	page := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	n := 0
	for line := range strings.Lines(page.Body.String()) {
		_, _ = fmt.Sscanf(line, fmt.Sprintf("orpheus_notifications_total{kind=%q,result=%q} %%d", kind, result), &n)
	}
	return n
}

// eventually waits for what is to come about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestStatusStory: a rollout as the forge sees it, through a restart, and what
// becomes of commits that another follows.
func TestStatusStory(t *testing.T) {
	f := newFakeForge(t)
	c := Config{Status: f.status(), File: filepath.Join(t.TempDir(), "notify.json")}
	n := run(t, c, hurry)
	n.Tell(facts(commitA, service("db", rev1, Done), web(rev1, Rolling)))
	eventually(t, "pending", func() bool { return f.stands(commitA) == Verdict{Pending, "1 of 2 services rolled out"} })
	n.Tell(facts(commitA, service("db", rev1, Done), web(rev1, Done)))
	eventually(t, "success", func() bool { return f.stands(commitA) == Verdict{Success, "2 services rolled out"} })
	eventually(t, "what was told is kept", func() bool {
		m, err := loadMemory(c.File)
		return err == nil && len(m.Statuses) == 1 && m.Statuses[0].Settled == m.Statuses[0].Want && m.Statuses[0].Want.State == Success
	})
	n.end()

	n = run(t, c, hurry)
	n.Tell(facts(commitA, service("db", rev1, Done), web(rev1, Rolling)))
	n.Tell(facts(commitB, service("db", rev1, Done), web(rev2, Rolling)))
	eventually(t, "the next one is pending", func() bool { return f.stands(commitB).State == Pending })
	n.Tell(facts(commitC, service("db", rev1, Done), web(rev2, Blocked, because("never ready"), back(rev1))))
	eventually(t, "the third fails, the second is superseded", func() bool {
		return f.stands(commitC).State == Failure && f.stands(commitB) == Verdict{Success, "superseded by cccccccc"}
	})
	if got := f.history(commitA); len(got) != 2 {
		t.Errorf("after a restart the first is posted again: %v", got)
	}
	eventually(t, "it is counted", func() bool { return n.counted("status", "sent") >= 3 })
	if n.problem("commit status") != "" || n.counted("status", "failed") != 0 {
		t.Errorf("problem %q, failed %v, sent %v", n.problem("commit status"), n.counted("status", "failed"), n.counted("status", "sent"))
	}
}

// TestStatusStandIn: of two nodes the first posts. When it is gone, or was never
// told to, the second does, and goes on without delay.
func TestStatusStandIn(t *testing.T) {
	f := newFakeForge(t)
	first := run(t, Config{Status: f.status()}, hurry)
	slow := hurry
	slow.standIn = 500 * time.Millisecond
	other := run(t, Config{Status: f.status()}, slow)
	both := func(f Facts) {
		first.Tell(f)
		other.Tell(second(f))
	}
	both(facts(commitA, web(rev1, Done)))
	eventually(t, "the second looks", func() bool { return f.looked() >= 3 })
	if got := f.history(commitA); len(got) != 1 {
		t.Errorf("posted %v", got)
	}
	first.end()
	other.Tell(second(facts(commitB, web(rev2, Rolling))))
	eventually(t, "the second posts", func() bool { return f.stands(commitB).State == Pending })
	other.Tell(second(facts(commitB, web(rev2, Rolling), service("db", rev1, Done))))
	eventually(t, "and goes on", func() bool { return f.stands(commitB).Text == "1 of 2 services rolled out" })
}

// TestStatusUnsettled: who does not know yet who else there is leaves the status
// to those who do, but for a while only.
func TestStatusUnsettled(t *testing.T) {
	f := newFakeForge(t)
	p, err := newPoster(*f.status(), func(string) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	early := facts(commitA, web(rev1, Rolling))
	early.Unsettled = true
	p.follow(early)
	if commit, wait := p.next(time.Now()); commit != "" || wait < time.Hour {
		t.Errorf("%q is due, in %s", commit, wait)
	}
	p.follow(facts(commitA, web(rev1, Done)))
	if commit, wait := p.next(time.Now()); commit != commitA || p.entries[0].Want.State != Success {
		t.Errorf("%q is due, in %s: %+v", commit, wait, p.entries)
	}
}

// TestAttackLatePost: a node that was cut off, or a request that was held up,
// writes nothing old over what is newer for good.
func TestAttackLatePost(t *testing.T) {
	f := newFakeForge(t)
	n := run(t, Config{Status: f.status()}, hurry)
	t.Run("a node that knows less", func(t *testing.T) {
		f.set(func() { f.statuses[commitA] = []Verdict{{Success, "1 service rolled out"}} })
		n.Tell(facts(commitA, web(rev1, Rolling)))
		eventually(t, "it looks", func() bool { return f.looked() > 0 })
		n.Tell(facts(commitB, web(rev2, Done)))
		eventually(t, "the next", func() bool { return f.stands(commitB).State == Success })
		if got := f.history(commitA); len(got) != 1 {
			t.Errorf("what was rolled out became %v", got)
		}
	})
	t.Run("a node that can read nothing posts nothing", func(t *testing.T) {
		before := len(f.history(commitC))
		n.Tell(stale(facts(commitC, web(rev2, Rolling))))
		n.Tell(facts(commitB, web(rev2, Done)))
		if got := f.history(commitC); len(got) != before {
			t.Errorf("posted %v", got)
		}
	})
	t.Run("a request that arrives late", func(t *testing.T) {
		n.Tell(facts(commitC, web(rev1, Blocked, because("never ready"))))
		eventually(t, "failure", func() bool { return f.stands(commitC).State == Failure })
		f.set(func() {
			f.statuses[commitC] = append(f.statuses[commitC], Verdict{Pending, "0 of 1 services rolled out"})
		})
		eventually(t, "it is put right", func() bool { return f.stands(commitC).State == Failure })
	})
}

// TestStatusBadForge: whatever the forge does, the agent does not wait, the
// status gets there in the end, and the token is in no word about it.
func TestStatusBadForge(t *testing.T) {
	for name, spoil := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "broken: "+fmt.Sprint(r.Header), http.StatusInternalServerError)
		},
		"429": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"garbage": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusBadGateway)
			}
			_, _ = w.Write([]byte("<html>\x1b[2J" + r.Header.Get("Authorization")))
		},
		"closed": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("abc"))
			panic(http.ErrAbortHandler)
		},
		"huge": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			for range 8 << 10 {
				if _, err := w.Write([]byte(strings.Repeat(token, 40))); err != nil {
					return
				}
			}
		},
		"unauthorized, with what was shown": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"message":"`+r.Header.Get("Authorization")+`"}`, http.StatusUnauthorized)
		},
		"unfit": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no such commit", http.StatusUnprocessableEntity)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeForge(t)
			f.set(func() { f.spoil = spoil })
			slow := hurry
			slow.second = 200 * time.Microsecond
			n := run(t, Config{Status: f.status()}, slow)
			n.Tell(facts(commitA, web(rev1, Done)))
			eventually(t, "it says so", func() bool { return n.problem("commit status") != "" })
			n.notes.Lock()
			for _, text := range n.every {
				if strings.Contains(text, "canary") || strings.ContainsAny(text, "\x1b\n") || len(text) > 600 {
					t.Errorf("told: %q", text)
				}
			}
			n.notes.Unlock()
			f.set(func() { f.spoil = nil })
			n.Tell(facts(commitB, web(rev1, Done)))
			eventually(t, "it gets there", func() bool { return f.stands(commitB).State == Success })
			eventually(t, "and all is well", func() bool { return n.problem("commit status") == "" })
		})
	}
}

// TestStatusGivenUp: a status that the forge finds unfit is not tried for ever.
func TestStatusGivenUp(t *testing.T) {
	f := newFakeForge(t)
	f.set(func() {
		f.spoil = func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no such commit", http.StatusUnprocessableEntity)
		}
	})
	fast := hurry
	fast.second = 10 * time.Microsecond
	n := run(t, Config{Status: f.status()}, fast)
	n.Tell(facts(commitA, web(rev1, Done)))
	eventually(t, "it is given up", func() bool { return n.counted("status", "dropped") == 1 })
	if got := n.counted("status", "failed"); got != maxUnfit {
		t.Errorf("tried %v times", got)
	}
}

// TestStatusWaits: a forge that wants to be left alone is.
func TestStatusWaits(t *testing.T) {
	for name, spoil := range map[string]func(http.ResponseWriter){
		"Retry-After": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "3000")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"GitHub's own": func(w http.ResponseWriter) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(50*time.Minute).Unix()))
			w.WriteHeader(http.StatusForbidden)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeForge(t)
			f.set(func() { f.spoil = func(w http.ResponseWriter, _ *http.Request) { spoil(w) } })
			n := run(t, Config{Status: f.status()}, hurry)
			n.Tell(facts(commitA, web(rev1, Done)))
			eventually(t, "a failure", func() bool { return n.counted("status", "failed") == 1 })
			n.poster.mu.Lock()
			pause := time.Until(n.poster.pause)
			n.poster.mu.Unlock()
			if pause < 45*time.Minute || pause > time.Hour {
				t.Errorf("it is left alone for %s", pause)
			}
		})
	}
}

// TestAttackRedirect: the token goes to no other host, and nowhere without TLS
// that it was shown with; a move within the host is followed.
func TestAttackRedirect(t *testing.T) {
	var stolen []string
	var mu sync.Mutex
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		stolen = append(stolen, fmt.Sprint(r.Method, r.URL, r.Header))
	}))
	t.Cleanup(thief.Close)
	for _, kind := range []string{GitHub, GitLab, Gitea} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, thief.URL+r.URL.Path, status)
			}))
			p, err := newPoster(StatusConfig{Kind: kind, API: from.URL, Repository: "team/fleet", Token: shown}, func(string) {}, func(error) {})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.bring(t.Context(), commitA, "orpheus", Verdict{Success, "done"}, true)
			var f *failure
			if !errors.As(err, &f) || !f.lasting || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s, %d: %v", kind, status, err)
			}
			from.Close()
		}
	}
	mu.Lock()
	if len(stolen) > 0 {
		t.Errorf("another host was asked: %v", stolen)
	}
	mu.Unlock()

	f := newFakeForge(t)
	f.set(func() {
		f.spoil = func(w http.ResponseWriter, r *http.Request) {
			f.set(func() { f.spoil = nil })
			http.Redirect(w, r, "/api/v1/repos/team/fleet/statuses/"+commitA, http.StatusPermanentRedirect)
		}
	})
	p, err := newPoster(*f.status(), func(string) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.post(t.Context(), commitA, "orpheus/prod", token, Verdict{Success, "done"}); err != nil || f.stands(commitA).State != Success {
		t.Errorf("a move within the host: %v, %v", err, f.history(commitA))
	}
}

// TestAttackTLS: who cannot prove to be the forge is not shown the token.
func TestAttackTLS(t *testing.T) {
	asked := false
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(s.Close)
	p, err := newPoster(StatusConfig{Kind: GitHub, API: s.URL, Repository: "team/fleet", Token: shown}, func(string) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.bring(t.Context(), commitA, "orpheus", Verdict{Success, "done"}, true)
	if err == nil || asked || !strings.Contains(err.Error(), "authority") {
		t.Errorf("asked %t, error %v", asked, err)
	}
}

// TestAttackToken: a file that holds something else than a token is not sent,
// and none of it is told.
func TestAttackToken(t *testing.T) {
	f := newFakeForge(t)
	for name, read := range map[string]func(context.Context) (string, error){
		"two lines":  func(context.Context) (string, error) { return "canary\r\nX-Evil: 1", nil },
		"empty":      func(context.Context) (string, error) { return "", nil },
		"unreadable": func(context.Context) (string, error) { return "", errors.New("open /etc/token: permission denied") },
	} {
		c := f.status()
		c.Token = read
		p, err := newPoster(*c, func(string) {}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.bring(t.Context(), commitA, "orpheus", Verdict{Success, "done"}, true); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.reads+f.posts > 0 {
		t.Error("the forge was asked")
	}
}

// TestGitLabTransition: GitLab refuses a state that stands already; that is as
// good.
func TestGitLabTransition(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			http.Error(w, "{}", http.StatusForbidden)
			return
		}
		http.Error(w, `{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`, http.StatusBadRequest)
	}))
	t.Cleanup(s.Close)
	p, err := newPoster(StatusConfig{Kind: GitLab, API: s.URL, Repository: "team/fleet", Token: shown}, func(string) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if posted, err := p.bring(t.Context(), commitA, "orpheus", Verdict{Pending, "0 of 1 service rolled out"}, true); err != nil || !posted {
		t.Errorf("posted %t, error %v", posted, err)
	}
}

// TestTellNeverWaits: whatever the others do, the agent is not kept.
func TestTellNeverWaits(t *testing.T) {
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(stuck.Close)
	t.Cleanup(func() { close(release) })
	n := run(t, Config{
		Status: &StatusConfig{Kind: Gitea, API: stuck.URL, Repository: "team/fleet", Token: shown},
		Hooks:  []HookConfig{{Name: "webhooks[0]", URL: func() (string, error) { return stuck.URL, nil }}},
	}, hurry)
	begin := time.Now()
	for k := range 20000 {
		n.Tell(facts(fmt.Sprintf("%040d", k), web(planner.Revision(fmt.Sprintf("r1-%016d", k)), Blocked)))
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("told in %s", took)
	}
	h := n.hooks[0]
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) > maxQueue {
		t.Errorf("%d events wait", len(h.queue))
	}
}
