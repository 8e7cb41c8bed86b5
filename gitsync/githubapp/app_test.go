package githubapp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
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

	"github.com/golang-jwt/jwt/v5"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

const planted = "ghs_pl4nted"

// github is a server that mints tokens as GitHub does, and checks what it is
// shown.
type github struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu     sync.Mutex
	minted int
	lasts  time.Duration
	ahead  time.Duration // how far its clock is ahead of ours
	fault  http.HandlerFunc
}

func newGitHub(t *testing.T) *github {
	t.Helper()
	g := &github{lasts: time.Hour, key: newKey(t)}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyFile writes a key as GitHub gives it out.
func keyFile(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app.pem")
	writeKey(t, file, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	return file
}

func writeKey(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *github) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now().Add(g.ahead)
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	fail := func(status int, message string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
	if g.fault != nil {
		g.fault(w, r)
		return
	}
	var claims jwt.RegisteredClaims
	assertion := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, err := jwt.ParseWithClaims(assertion, &claims, func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("123"), jwt.WithIssuedAt(), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case err != nil:
		fail(http.StatusUnauthorized, "A JSON web token could not be decoded: "+assertion)
	case claims.ExpiresAt.Sub(now) > 10*time.Minute:
		fail(http.StatusUnauthorized, "'Expiration time' claim ('exp') is too far in the future")
	case r.Method != http.MethodPost || r.URL.Path != "/api/v3/app/installations/456/access_tokens":
		fail(http.StatusNotFound, "Not Found")
	default:
		g.minted++
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"token": fmt.Sprintf("%s-%d", planted, g.minted), "expires_at": now.Add(g.lasts).UTC().Format(time.RFC3339)})
	}
}

func (g *github) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *github) config(t *testing.T) Config {
	return Config{AppID: 123, InstallationID: 456, PrivateKeyFile: keyFile(t, g.key), APIURL: g.URL + "/api/v3/"}
}

func newApp(t *testing.T, c Config) *App {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantToken(t *testing.T, a *App, n int) gitsync.Credentials {
	t.Helper()
	c, err := a.Credentials(t.Context())
	if want := fmt.Sprintf("%s-%d", planted, n); err != nil || c.Username != "x-access-token" || c.Password != want {
		t.Fatalf("credentials of %q, right: %t, error %v", c.Username, c.Password == want, err)
	}
	return c
}

// TestMint: a token is minted once for all who ask, kept until shortly before
// its end, and replaced after it was refused.
func TestMint(t *testing.T) {
	g := newGitHub(t)
	a := newApp(t, g.config(t))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if c, err := a.Credentials(t.Context()); err != nil || c.Password != planted+"-1" {
				t.Errorf("error %v", err)
			}
		})
	}
	all.Wait()
	c := wantToken(t, a, 1)
	if left := time.Until(a.UseUntil()); left < 54*time.Minute || left > 55*time.Minute {
		t.Errorf("a token for an hour is used for %s", left)
	}
	// One minted just now is not replaced whatever servers say: they would have
	// us mint without end.
	a.Refused(c)
	wantToken(t, a, 1)
	a.minted = a.minted.Add(-2 * minGap)
	a.Refused(gitsync.Credentials{Username: user, Password: "an older one"})
	wantToken(t, a, 1)
	a.Refused(c)
	wantToken(t, a, 2)
	a.useTo = time.Now()
	wantToken(t, a, 3)
	for _, text := range []string{fmt.Sprintf("%v", a), fmt.Sprintf("%+v", a), fmt.Sprintf("%#v", a)} {
		if strings.Contains(text, planted) {
			t.Errorf("shows its token: %s", text)
		}
	}
}

func TestUseFor(t *testing.T) {
	for lasts, want := range map[time.Duration]time.Duration{
		time.Hour:               55 * time.Minute,
		8 * time.Minute:         4 * time.Minute, // whoever got it must have time to use it
		time.Minute:             minGap,
		time.Nanosecond:         minGap,
		1000000 * time.Hour:     55 * time.Minute,
		20 * time.Minute:        15 * time.Minute,
		maxLife + time.Second:   55 * time.Minute,
		reserve + minGap:        3 * time.Minute,
		2*reserve + 1:           reserve + 1,
		reserve * 2:             reserve,
		30*time.Minute + minGap: 26 * time.Minute,
	} {
		if got := useFor(lasts); got != want {
			t.Errorf("one for %s is used for %s, want %s", lasts, got, want)
		}
	}
}

// TestKeyForms: what GitHub gives out, and what openssl makes of it; a key that
// was exchanged counts at the next minting.
func TestKeyForms(t *testing.T) {
	g := newGitHub(t)
	c := g.config(t)
	der, err := x509.MarshalPKCS8PrivateKey(g.key)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, c.PrivateKeyFile, "PRIVATE KEY", der)
	a := newApp(t, c)
	wantToken(t, a, 1)
	a.token = ""
	g.set(func() { g.key = newKey(t) })
	if _, err := a.Credentials(t.Context()); !errors.Is(err, gitsync.ErrUnauthorized) {
		t.Errorf("error %v", err)
	}
	writeKey(t, c.PrivateKeyFile, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(g.key))
	wantToken(t, a, 2)
}

// TestErrors: each failure is told with its remedy and no secret, is of the
// right kind, and is over once it is mended.
func TestErrors(t *testing.T) {
	g := newGitHub(t)
	other := keyFile(t, newKey(t))
	answer := func(status int, body string, header ...string) func() {
		return func() {
			g.fault = func(w http.ResponseWriter, r *http.Request) {
				for i := 0; i < len(header); i += 2 {
					w.Header().Set(header[i], header[i+1])
				}
				w.WriteHeader(status)
				_, _ = w.Write([]byte(strings.ReplaceAll(body, "JWT", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))))
			}
		}
	}
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for _, tt := range []struct {
		name   string
		spoil  func(c *Config)
		fault  func()
		kind   error
		after  time.Duration // at most
		want   []string
		absent string
	}{
		{name: "wrong key", spoil: func(c *Config) { c.PrivateKeyFile = other }, kind: gitsync.ErrUnauthorized,
			want: []string{"401 Unauthorized", other + " is not the key of app 123", "check privateKeyFile and appID", `says "A JSON web token`, "[redacted]"}},
		{name: "wrong app", spoil: func(c *Config) { c.AppID = 124 }, kind: gitsync.ErrUnauthorized,
			want: []string{"401", "is not the key of app 124"}},
		{name: "wrong installation", spoil: func(c *Config) { c.InstallationID = 457 }, kind: gitsync.ErrUnauthorized,
			want: []string{"404 Not Found", "app 123 has no installation 457", "check installationID"}},
		{name: "our clock behind", fault: func() { g.ahead = 20 * time.Minute }, kind: gitsync.ErrUnauthorized,
			want: []string{"401", "this node's clock is ", " behind GitHub's; set it"}, absent: "not the key"},
		{name: "our clock ahead", fault: func() { g.ahead = -20 * time.Minute }, kind: gitsync.ErrUnauthorized,
			want: []string{" ahead of GitHub's; set it"}, absent: "not the key"},
		{name: "key gone", spoil: func(c *Config) { c.PrivateKeyFile = "/nonexistent/app.pem" }, kind: gitsync.ErrUnauthorized,
			want: []string{"read the private key", "/nonexistent/app.pem: no such file"}},
		{name: "no key", spoil: func(c *Config) { c.PrivateKeyFile = garbage(t) }, kind: gitsync.ErrUnauthorized,
			want: []string{"holds no private key of RSA in PEM", "GitHub let you download"}},
		{name: "suspended", fault: answer(403, `{"message": "This installation has been suspended"}`), kind: gitsync.ErrUnauthorized,
			want: []string{"403 Forbidden", `says "This installation has been suspended"`}},
		{name: "too many", fault: answer(429, "", "Retry-After", "40"), kind: gitsync.ErrUnreachable, after: 40 * time.Second,
			want: []string{"429 Too Many Requests", "not asked again before"}},
		{name: "too many, as GitHub has it", fault: answer(403, `{"message": "API rate limit exceeded"}`,
			"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(time.Now().Add(40*time.Second).Unix())),
			kind: gitsync.ErrUnreachable, after: 40 * time.Second, want: []string{"API rate limit exceeded", "not asked again before"}},
		{name: "too many for ever", fault: answer(403, "", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "99999999999"),
			kind: gitsync.ErrUnreachable, after: time.Hour, want: []string{"not asked again before"}},
		{name: "broken", fault: answer(502, "<html>"), kind: gitsync.ErrUnreachable, want: []string{"502 Bad Gateway"}},
		{name: "elsewhere", fault: answer(302, "", "Location", "https://evil.example.com/?JWT"), kind: gitsync.ErrUnreachable,
			want: []string{"302 Found"}, absent: "evil"},
		{name: "a web page", fault: answer(201, "<html>JWT"), kind: gitsync.ErrUnreachable, want: []string{"no token", "is apiURL right?"}},
		{name: "an empty token", fault: answer(201, `{"token": "", "expires_at": "`+in(time.Hour)+`"}`), kind: gitsync.ErrUnreachable, want: []string{"no token"}},
		{name: "a token with a line end", fault: answer(201, `{"token": "a\r\nHost: b", "expires_at": "`+in(time.Hour)+`"}`), kind: gitsync.ErrUnreachable, want: []string{"no token"}},
		{name: "a token without an end", fault: answer(201, `{"token": "a"}`), kind: gitsync.ErrUnreachable, want: []string{"no token"}},
		{name: "a token that is over", fault: answer(201, `{"token": "`+planted+`", "expires_at": "2020-01-01T00:00:00Z"}`), kind: gitsync.ErrUnreachable, want: []string{"over already"}},
		{name: "an endless answer", fault: func() {
			g.fault = func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusCreated)
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 4096)); err != nil {
						return
					}
				}
			}
		}, kind: gitsync.ErrUnreachable, want: []string{"no token"}},
		{name: "nobody there", spoil: func(c *Config) { c.APIURL = "http://127.0.0.1:1" }, kind: gitsync.ErrUnreachable,
			want: []string{"ask 127.0.0.1:1 for a token", "connection refused"}},
		{name: "a proxy that is away", spoil: func(c *Config) { c.Transport = transport.Options{Proxy: "http://ada:pl4nted@127.0.0.1:1"} },
			kind: gitsync.ErrUnreachable, want: []string{"the proxy http://127.0.0.1:1 cannot be reached"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := g.config(t)
			if tt.spoil != nil {
				tt.spoil(&c)
			}
			if tt.fault != nil {
				g.set(tt.fault)
			}
			a := newApp(t, c)
			_, err := a.Credentials(t.Context())
			if !errors.Is(err, tt.kind) || gitsync.Stalled(err) != (tt.kind == gitsync.ErrUnauthorized) {
				t.Fatalf("error %v is not %v", err, tt.kind)
			}
			t.Log(err)
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v lacks %q", err, want)
				}
			}
			if tt.absent != "" && strings.Contains(err.Error(), tt.absent) {
				t.Errorf("error %v has %q", err, tt.absent)
			}
			if after := gitsync.RetryAfter(err); after > tt.after || tt.after > 0 && after < tt.after-10*time.Second {
				t.Errorf("not again for %s, want %s", after, tt.after)
			}
			if strings.Contains(err.Error(), "pl4nted") || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("error holds a secret: %v", err)
			}
			before := g.minted
			g.set(func() { g.fault, g.ahead = nil, 0 })
			if tt.after > 0 { // it is left alone until then
				if _, err := a.Credentials(t.Context()); gitsync.RetryAfter(err) == 0 || g.minted != before {
					t.Errorf("asked again: %v", err)
				}
				a.closed.until = time.Now()
			}
			if tt.spoil == nil {
				wantToken(t, a, before+1)
			}
		})
	}
}

func garbage(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app.pem")
	writeKey(t, file, "RSA PRIVATE KEY", []byte("pl4nted"))
	return file
}

// TestConfig lists all faults at once.
func TestConfig(t *testing.T) {
	_, err := New(Config{PrivateKeyFile: "app.pem", APIURL: "http://ada:pl4nted@github.example.com/api/v3", Transport: transport.Options{Proxy: "x"}})
	for _, want := range []string{"appID", "installationID", `privateKeyFile "app.pem"`, "apiURL holds credentials", "proxy URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	for api, want := range map[string]string{
		"": "", "https://github.example.com/api/v3": "", "http://127.0.0.1:80": "", "http://[::1]/": "",
		"http://github.example.com/api/v3": "plain http", "https://": "no address", "ftp://x": "no address", "github.example.com": "no address",
		"https://x?y": "query", "https://pl4nted@x": "credentials", "https://[pl4nted": "no address",
	} {
		_, err := New(Config{AppID: 1, InstallationID: 2, PrivateKeyFile: "/app.pem", APIURL: api})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || strings.Contains(fmt.Sprint(err), "pl4nted") {
			t.Errorf("%q: error %v, want %q", api, err, want)
		}
	}
}

// TestFollowsRepository: a branch is fetched with minted tokens; when the app
// may not read it any more that is said, and later it may again.
func TestFollowsRepository(t *testing.T) {
	g := newGitHub(t)
	git := gitsynctest.NewServer(t, gitsynctest.Options{Username: "x-access-token", Password: planted + "-1"})
	repo := gitsynctest.Must(git.NewRepo("fleet.git"))(t)
	gitsynctest.Must(repo.Commit(map[string]string{"a": "b"}, "one"))(t)
	a := newApp(t, g.config(t))
	r, err := gitsync.Open(gitsync.Config{URL: git.RepoURL(repo), Branch: "main", Dir: t.TempDir(), Credentials: a.Credentials, Refused: a.Refused})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	look := func() error {
		_, err := r.Fetch(t.Context())
		if err != nil && strings.Contains(err.Error(), planted) {
			t.Errorf("error holds the token: %v", err)
		}
		return err
	}
	if err := look(); err != nil {
		t.Fatal(err)
	}
	// The installation was changed: the token of before is over. The next look
	// has a new one.
	a.minted = a.minted.Add(-2 * minGap)
	git.SetFault(gitsynctest.Status(http.StatusNotFound, "", planted))
	if err := look(); !errors.Is(err, gitsync.ErrRepositoryNotFound) {
		t.Errorf("error %v", err)
	}
	git.SetFault(nil)
	if err := look(); !errors.Is(err, gitsync.ErrUnauthorized) || g.minted != 2 {
		t.Errorf("error %v after %d tokens; the server takes the first alone", err, g.minted)
	}
	// GitHub's API is away: that stalls nothing.
	a.token = ""
	g.set(func() {
		g.fault = func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "30"); w.WriteHeader(503) }
	})
	if err := look(); !errors.Is(err, gitsync.ErrUnreachable) || gitsync.Stalled(err) || gitsync.RetryAfter(err) < 20*time.Second {
		t.Errorf("error %v, again after %s", err, gitsync.RetryAfter(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.closed.until = time.Time{}
	if _, err := r.Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
