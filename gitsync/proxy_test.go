package gitsync_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
	"github.com/orpheus-cd/orpheus/planner"
)

// gitHost is a name that only a proxy can make something of. The certificate
// of gitsynctest's server is good for it.
const gitHost = "git.example.com"

// behind is a server that is reached through a proxy alone.
type behind struct {
	*gitsynctest.Server
	repo *gitsynctest.Repo
	tip  string
}

func newBehind(t *testing.T, opts gitsynctest.Options) behind {
	t.Helper()
	opts.Push = true
	srv := gitsynctest.NewServer(t, opts)
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
	return behind{srv, repo, commit(t, repo, map[string]string{"a": "b"})}
}

func (b behind) host() string {
	_, host, _ := strings.Cut(b.URL, "://")
	return host
}

// config is for the server's name.
func (b behind) config(t *testing.T) gitsync.Config {
	t.Helper()
	scheme, address, _ := strings.Cut(b.URL, "://")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	c := gitsync.Config{URL: scheme + "://" + net.JoinHostPort(gitHost, port) + "/fleet.git"}
	if scheme == "https" {
		c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := b.WriteCA(c.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// fileLogin reads the password of user porter from a file.
func fileLogin(file string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) {
		password, err := os.ReadFile(file)
		return "porter", strings.TrimSpace(string(password)), err
	}
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantRecords writes a record to the board of a repository and reads it back.
func wantRecords(t *testing.T, c gitsync.Config) {
	t.Helper()
	b, err := gitsync.NewBoard(gitsync.BoardConfig{URL: c.URL, Credentials: c.Credentials, CAFile: c.CAFile, Proxy: c.Proxy,
		ProxyLogin: c.ProxyLogin, SSHKeyFile: c.SSHKeyFile, KnownHostsFile: c.KnownHostsFile})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	record := planner.Record{Author: "n", At: time.Now().UnixNano(), Message: "m\n"}
	ref := planner.NodeRef("n")
	list, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	results, err := b.Swap(t.Context(), gitsync.Push{Changes: []gitsync.Change{{Ref: ref, Old: list.Refs[ref], New: &record}}})
	if err != nil || results[0].Outcome != gitsync.Won {
		t.Fatalf("push: %+v, %v", results, err)
	}
	reading, err := b.Read(t.Context(), map[planner.Ref]planner.Hash{ref: record.Hash()})
	if err != nil || len(reading.Records) != 1 {
		t.Fatalf("read: %+v, %v", reading, err)
	}
}

// TestThroughProxy: branch and board over every kind of proxy, which wants to
// know who asks; its password is renewed on disk, as is the name of who may
// sign.
func TestThroughProxy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		git   gitsynctest.Options
		proxy gitsynctest.ProxyOptions
		socks bool
	}{
		{"http by http", gitsynctest.Options{}, gitsynctest.ProxyOptions{}, false},
		{"https by http", gitsynctest.Options{TLS: true}, gitsynctest.ProxyOptions{}, false},
		{"https by https", gitsynctest.Options{TLS: true}, gitsynctest.ProxyOptions{TLS: true}, false},
		{"http by https", gitsynctest.Options{}, gitsynctest.ProxyOptions{TLS: true}, false},
		{"https by socks5", gitsynctest.Options{TLS: true}, gitsynctest.ProxyOptions{}, true},
		{"http by socks5", gitsynctest.Options{}, gitsynctest.ProxyOptions{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			git := newBehind(t, tt.git)
			tt.proxy.Username, tt.proxy.Password, tt.proxy.To = "porter", "pl4nted-one", git.host()
			proxy := gitsynctest.NewProxy(t, tt.proxy)
			c := git.config(t)
			if c.Proxy = proxy.URL; tt.socks {
				c.Proxy = proxy.SOCKS
			}
			if tt.proxy.TLS { // by the same authority: httptest has but one
				c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
				if err := proxy.WriteCA(c.CAFile); err != nil {
					t.Fatal(err)
				}
			}
			password := filepath.Join(t.TempDir(), "password")
			writeFile(t, password, "pl4nted-one\n")
			c.ProxyLogin = fileLogin(password)
			r := open(t, c)
			wantTip(t, r, git.tip, map[string]string{"a": "b"})
			wantRecords(t, c)
			if proxy.Used() == 0 {
				t.Error("the proxy was passed by")
			}

			proxy.SetPassword("pl4nted-two")
			proxy.Cut()
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, gitsync.ErrUnreachable) || gitsync.Stalled(err) || !strings.Contains(err.Error(), c.Proxy) {
				t.Errorf("error %v", err)
			}
			t.Log(err)
			wantNoSecret(t, err, "pl4nted")
			writeFile(t, password, "pl4nted-two\n")
			wantTip(t, r, git.tip, map[string]string{"a": "b"})
		})
	}
}

// TestSSHThroughProxy: only a configured proxy counts for ssh.
func TestSSHThroughProxy(t *testing.T) {
	srv := newSSHD(t, gitsynctest.SSHDOptions{})
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	proxy := gitsynctest.NewProxy(t, gitsynctest.ProxyOptions{Username: "porter", Password: "pl4nted"})
	secure := gitsynctest.NewProxy(t, gitsynctest.ProxyOptions{TLS: true})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := secure.WriteCA(ca); err != nil {
		t.Fatal(err)
	}
	with := func(raw, login string) string { return strings.Replace(raw, "://", "://"+login+"@", 1) }
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	for _, tt := range []struct {
		name, proxy string
		used        *gitsynctest.Proxy // nil = none
		want        string             // "" = it works
	}{
		{"none is configured", "", nil, ""},
		{"CONNECT", with(proxy.URL, "porter:pl4nted"), proxy, ""},
		{"CONNECT over TLS", secure.URL, secure, ""},
		{"SOCKS5", with(proxy.SOCKS, "porter:pl4nted"), proxy, ""},
		{"wrong password", with(proxy.URL, "porter:pl4nted-wrong"), nil, "the proxy " + proxy.URL + " answers 407 Proxy Authentication Required; check the user name"},
		{"wrong password for SOCKS5", with(proxy.SOCKS, "porter:pl4nted-wrong"), nil, "through the proxy " + proxy.SOCKS + ": "},
		{"no password", proxy.URL, nil, "give it a user name and a password"},
		{"nobody listens", "http://127.0.0.1:1", nil, "the proxy http://127.0.0.1:1 cannot be reached: "},
		{"nobody listens for SOCKS5", "socks5://127.0.0.1:1", nil, "the proxy socks5://127.0.0.1:1 cannot be reached: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before int64
			if tt.used != nil {
				before = tt.used.Used()
			}
			c := sshConfig(srv, repo)
			c.Proxy, c.CAFile = tt.proxy, ca
			r := open(t, c)
			if tt.want == "" {
				wantTip(t, r, id, map[string]string{"a": "1"})
				wantRecords(t, c)
				if tt.used != nil && tt.used.Used() == before {
					t.Error("the proxy was passed by")
				}
				return
			}
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			wantNoSecret(t, err, "pl4nted")
		})
	}
	t.Run("silent", func(t *testing.T) {
		listener := gitsynctest.Must(net.Listen("tcp", "127.0.0.1:0"))(t) // nobody accepts
		defer listener.Close()
		c := sshConfig(srv, repo)
		c.Proxy, c.Limits.Idle = "http://"+listener.Addr().String(), time.Second
		_, err := open(t, c).Fetch(t.Context())
		if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), "takes too long") || !strings.Contains(err.Error(), c.Proxy) {
			t.Errorf("error %v", err)
		}
	})
}

// TestProxyFromEnvironment: the variables of net/http, as they are when the
// repository is opened.
func TestProxyFromEnvironment(t *testing.T) {
	plain, secure := newBehind(t, gitsynctest.Options{}), newBehind(t, gitsynctest.Options{TLS: true})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"} {
		t.Setenv(name, "")
	}
	for _, tt := range []struct {
		name string
		git  behind
	}{{"HTTP_PROXY", plain}, {"http_proxy", plain}, {"HTTPS_PROXY", secure}, {"https_proxy", secure}} {
		t.Run(tt.name, func(t *testing.T) {
			proxy := gitsynctest.NewProxy(t, gitsynctest.ProxyOptions{To: tt.git.host(), Username: "porter", Password: "pl4nted"})
			t.Setenv(tt.name, strings.Replace(proxy.URL, "://", "://porter:pl4nted@", 1))
			c := tt.git.config(t)
			wantTip(t, open(t, c), tt.git.tip, map[string]string{"a": "b"})
			wantRecords(t, c)
			if proxy.Used() == 0 || c.Via() != proxy.URL {
				t.Errorf("the proxy was passed by; via %s", c.Via())
			}
			// The password is wrong there.
			t.Setenv(tt.name, strings.Replace(proxy.URL, "://", "://porter:pl4nted-wrong@", 1))
			_, err := open(t, c).Fetch(t.Context())
			if err == nil || !strings.Contains(err.Error(), proxy.URL) {
				t.Errorf("error %v", err)
			}
			wantNoSecret(t, err, "pl4nted")
			// What is configured goes before it.
			c.Proxy = "http://127.0.0.1:1"
			if _, err := open(t, c).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), c.Proxy+" cannot be reached") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestVia: which proxy it is, by the environment's rules and the configuration.
func TestVia(t *testing.T) {
	for name, value := range map[string]string{"HTTP_PROXY": "http://ada:pl4nted@plain:1", "https_proxy": "secure.example.com", "no_proxy": ".internal,10.0.0.0/8,exact.example.com",
		"HTTPS_PROXY": "", "http_proxy": "", "NO_PROXY": "", "REQUEST_METHOD": ""} {
		t.Setenv(name, value)
	}
	for _, tt := range []struct{ url, proxy, want string }{
		{"https://git.example.com/r", "", "http://secure.example.com"},
		{"http://git.example.com/r", "", "http://plain:1"},
		{"https://git.internal/r", "", ""},
		{"https://10.1.2.3/r", "", ""},
		{"https://exact.example.com:8443/r", "", ""},
		{"https://127.0.0.1/r", "", ""},
		{"https://localhost/r", "", ""},
		{"ssh://git@git.example.com/r", "", ""},
		{"/srv/r.git", "", ""},
		{"https://git.example.com/r", "none", ""},
		{"https://git.internal/r", "http://ada:pl4nted@own:2", "http://own:2"},
		{"ssh://git@git.example.com/r", "socks5://own", "socks5://own"},
	} {
		if got := (gitsync.Config{URL: tt.url, Proxy: tt.proxy}).Via(); got != tt.want {
			t.Errorf("%s with proxy %q: via %q, want %q", tt.url, tt.proxy, got, tt.want)
		}
	}
}

// TestProxyErrors: each trouble with a proxy is told as one, with the remedy
// and without a secret, nothing is stalled, and once it is mended all is well.
func TestProxyErrors(t *testing.T) {
	plain, secure := newBehind(t, gitsynctest.Options{}), newBehind(t, gitsynctest.Options{TLS: true})
	page := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>Sign in, "+r.Header.Get("Proxy-Authorization")+"</html>")
		})
	}
	raw := func(answer string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, strings.ReplaceAll(answer, "LOGIN", r.Header.Get("Proxy-Authorization")))
			conn.Close()
		})
	}
	stalled := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, tt := range []struct {
		name   string
		git    behind
		refuse http.Handler
		want   []string // beside the proxy's address
	}{
		{"407 for http", plain, page(407), []string{"the proxy ", " answers 407 Proxy Authentication Required; check the user name and the password"}},
		{"407 for https", secure, page(407), []string{"the proxy ", " answers 407 Proxy Authentication Required; check the user name and the password"}},
		{"403 for https", secure, page(403), []string{" answers 403 Forbidden when asked for the way to " + gitHost, "have its owner allow that"}},
		{"502 for https", secure, page(502), []string{" answers 502 Bad Gateway when asked for the way to " + gitHost}},
		{"502 for http", plain, page(502), []string{"the server, or the proxy ", "answers 502 Bad Gateway"}},
		{"no proxy at all", secure, page(404), []string{" answers 404 Not Found when asked", "is it a proxy?"}},
		{"a page to sign in for http", plain, page(200), []string{"the server, or the proxy ", `content type "text/html"`}},
		{"a page to sign in for https", secure, page(200), []string{"through the proxy ", "something that is no TLS server answers there"}},
		{"echoes the password to http", plain, raw("LOGIN pl4nted\r\n\r\n"), []string{"through the proxy ", "malformed HTTP"}},
		{"echoes the password to https", secure, raw("HTTP/1.1 LOGIN pl4nted\r\n\r\n"), []string{"through the proxy ", "malformed HTTP"}},
		{"hangs up", secure, raw(""), []string{"through the proxy ", "closed without an answer"}},
		{"is silent", plain, stalled, []string{"through the proxy ", "timeout"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			proxy := gitsynctest.NewProxy(t, gitsynctest.ProxyOptions{To: tt.git.host(), Username: "porter", Password: "pl4nted/pw"})
			c := tt.git.config(t)
			c.Proxy = strings.Replace(proxy.URL, "://", "://porter:pl4nted%2Fpw@", 1)
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			if tt.name == "is silent" {
				c.Limits.Idle = time.Second
			}
			proxy.Refuse(tt.refuse)
			r := open(t, c)
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, gitsync.ErrUnreachable) || gitsync.Stalled(err) {
				t.Errorf("error %v", err)
			}
			t.Log(err)
			for _, want := range append(tt.want, proxy.URL) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v lacks %q", err, want)
				}
			}
			secrets := []string{"pl4nted", "cG9ydGVy"} // porter: in base64
			wantNoSecret(t, err, secrets...)
			wantNoSecret(t, c, secrets...)
			wantNoSecret(t, gitsync.BoardConfig{URL: c.URL, Proxy: c.Proxy}, secrets...)
			wantNoSecret(t, transport.Options{Proxy: c.Proxy}, secrets...)
			wantNoSecret(t, r.String(), secrets...)
			wantNoSecret(t, log.String(), secrets...)
			proxy.Refuse(nil)
			for deadline := time.Now().Add(time.Minute); err != nil; _, err = r.Fetch(t.Context()) {
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestProxyConfiguration: what is no proxy is refused, without showing it.
func TestProxyConfiguration(t *testing.T) {
	login := func(context.Context) (string, string, error) { return "a", "b", nil }
	for _, tt := range []struct {
		proxy string
		login func(context.Context) (string, string, error)
		url   string
		want  string // "" = accepted
	}{
		{"http://proxy.example.com:3128", login, "", ""},
		{"https://ada:pl4nted@proxy.example.com", nil, "", ""},
		{"socks5://[::1]:1080/", nil, "", ""},
		{"socks5h://proxy.example.com", nil, "", ""},
		{"none", nil, "", ""},
		{"", nil, "", ""},
		{"", login, "", "no proxy"},
		{"none", login, "", "no proxy"},
		{"http://ada:pl4nted@proxy.example.com:3128", login, "", "given twice"},
		{"proxy.example.com:3128", nil, "", "names no host"},
		{"ada:pl4nted@proxy.example.com:3128", nil, "", "names no host"},
		{"ftp://ada:pl4nted@proxy.example.com", nil, "", "none of http, https and socks5"},
		{"http://ada:pl4nted@/", nil, "", "names no host"},
		{"http://ada:pl4nted@-x/", nil, "", "names no host"},
		{"http://ada:pl4nted@proxy.example.com/path", nil, "", "path"},
		{"http://ada:pl4nted@proxy.example.com?q", nil, "", "query"},
		{"http://ada:pl4nted@[::1", nil, "", "names no host"},
		{"http://ada:pl4nted\n@x", nil, "", "control characters"},
		{"http://ada:pl4%zznted@x", nil, "", "names no host"},
		{"http://" + strings.Repeat("pl4nted", 500), nil, "", "too long"},
		// A password for this machine must not leave it.
		{"http://proxy.example.com:3128", nil, "http://ada:pl4nted@127.0.0.1/fleet.git", "in clear"},
		{"http://127.0.0.1:3128", nil, "http://ada:pl4nted@127.0.0.1/fleet.git", ""},
	} {
		c := gitsync.Config{URL: cmp.Or(tt.url, "https://example.com/fleet.git"), Branch: "main", Dir: t.TempDir(), Proxy: tt.proxy, ProxyLogin: tt.login}
		r, err := gitsync.Open(c)
		if err == nil {
			r.Close()
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: error %v, want %q", tt.proxy, err, tt.want)
		}
		wantNoSecret(t, err, "pl4")
		wantNoSecret(t, c, "pl4nted")
	}
}

// TestCAFileIsReadAgain: a server's new certificate is trusted once its
// authority is in the file, an old one no longer once it is out, whatever
// connections there are.
func TestCAFileIsReadAgain(t *testing.T) {
	git := newBehind(t, gitsynctest.Options{TLS: true})
	other := filepath.Join(t.TempDir(), "other.pem")
	writeOtherCA(t, other)
	stranger := gitsynctest.Must(os.ReadFile(other))(t)
	c := git.config(t)
	c.URL = git.RepoURL(git.repo)
	r := open(t, c)
	wantTip(t, r, git.tip, map[string]string{"a": "b"})
	right := gitsynctest.Must(os.ReadFile(c.CAFile))(t)
	for _, tt := range []struct {
		name, pem string
		want      []string
	}{
		{"another authority", string(stranger), []string{"an authority that this node does not know signed the server's certificate", "as caFile"}},
		{"no certificate", "nonsense", []string{"holds no PEM certificate", c.CAFile}},
		{"too large", strings.Repeat("x", 2*mebi), []string{"is larger than 1 MiB", c.CAFile}},
	} {
		writeFile(t, c.CAFile, tt.pem)
		_, err := r.Fetch(t.Context())
		if !errors.Is(err, gitsync.ErrUnreachable) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v lacks %q", tt.name, err, want)
			}
		}
		writeFile(t, c.CAFile, string(right)+string(stranger))
		wantTip(t, r, git.tip, map[string]string{"a": "b"})
	}
}

// TestCAFileIsMissingAtStart: a file that is not there is an error of the looks
// and of the check, not of the start, and the looks get over it.
func TestCAFileIsMissingAtStart(t *testing.T) {
	git := newBehind(t, gitsynctest.Options{TLS: true})
	c := git.config(t)
	c.URL = git.RepoURL(git.repo)
	right := gitsynctest.Must(os.ReadFile(c.CAFile))(t)
	if err := os.Remove(c.CAFile); err != nil {
		t.Fatal(err)
	}
	board := gitsync.BoardConfig{URL: c.URL, Credentials: c.Credentials, CAFile: c.CAFile}
	for name, err := range map[string]error{"repository": c.Check(), "board": board.Check()} {
		if err == nil || !strings.Contains(err.Error(), c.CAFile) {
			t.Errorf("the check of the %s says %v", name, err)
		}
	}
	r := open(t, c)
	b, err := gitsync.NewBoard(board)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	_, fetched := r.Fetch(t.Context())
	_, listed := b.List(t.Context())
	for name, err := range map[string]error{"repository": fetched, "board": listed} {
		if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), "read CA file: open "+c.CAFile) {
			t.Errorf("a look at the %s says %v", name, err)
		}
	}
	writeFile(t, c.CAFile, string(right))
	wantTip(t, r, git.tip, map[string]string{"a": "b"})
	if _, err := b.List(t.Context()); err != nil {
		t.Errorf("the records, once it is there: %v", err)
	}
}

// writeOtherCA writes the certificate of an authority that nobody has to do
// with.
func writeOtherCA(t *testing.T, file string) {
	t.Helper()
	key := gitsynctest.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der := gitsynctest.Must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// TestRefusedIsTold: whoever made the credentials learns that they were not
// accepted, also where a host hides what they may not see.
func TestRefusedIsTold(t *testing.T) {
	for _, status := range []int{401, 403, 404} {
		git := newBehind(t, gitsynctest.Options{})
		var told atomic.Pointer[gitsync.Credentials]
		want := gitsync.Credentials{Username: "ada", Password: "pl4nted"}
		r := open(t, gitsync.Config{URL: git.RepoURL(git.repo), Refused: func(c gitsync.Credentials) { told.Store(&c) },
			Credentials: func(context.Context) (gitsync.Credentials, error) { return want, nil }})
		wantTip(t, r, git.tip, map[string]string{"a": "b"})
		if told.Load() != nil {
			t.Error("told without need")
		}
		git.SetFault(gitsynctest.Status(status, "", "no, "+url.QueryEscape(want.Password)))
		if _, err := r.Fetch(t.Context()); err == nil {
			t.Errorf("%d: no error", status)
		}
		if got := told.Load(); got == nil || *got != want {
			t.Errorf("%d: told %v", status, got)
		}
	}
}
