package gitsync_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"context"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

// allocated is how much memory f asks for in total: an upper bound of what it
// needs at any instant, and the same on every run.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

const mebi = 1 << 20

func serveHostile(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv.URL + "/fleet.git"
}

// oneCommit is a well-formed pack whose tip is the id returned.
func oneCommit(p *gitformat.Pack, entries ...[]byte) (tip string) {
	tree := p.Add(gitformat.Tree, bytes.Join(entries, nil))
	return p.Add(gitformat.Commit, gitformat.CommitData(tree, "made by hand"))
}

func wantLimit(t *testing.T, err error, limit string) {
	t.Helper()
	var e *gitsync.LimitError
	if !errors.As(err, &e) || e.Limit != limit {
		t.Fatalf("error %v, want limit %s", err, limit)
	}
	if !gitsync.Stalled(err) {
		t.Fatalf("%v: not stalled", err)
	}
	t.Log(err)
}

// wantEmptyFolder checks that a refused download leaves nothing on disk.
func wantEmptyFolder(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "clone/objects/pack"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Errorf("left behind: %s", f.Name())
	}
}

func TestAttack01EndlessPack(t *testing.T) {
	var sent atomic.Int64
	noise := bytes.Repeat([]byte("endless"), 10_000)
	url := serveHostile(t, &gitsynctest.Hostile{Tip: strings.Repeat("a", 40), Pack: func(w io.Writer) {
		for {
			n, err := w.Write(noise)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}})
	dir := t.TempDir()
	r := open(t, gitsync.Config{URL: url, Dir: dir, Limits: gitsync.Limits{Pack: 8 * mebi}})
	var err error
	got := allocated(func() { _, err = r.Fetch(t.Context()) })
	wantLimit(t, err, "Pack")
	if got > 16*mebi {
		t.Errorf("allocated %d MiB", got/mebi)
	}
	wantEmptyFolder(t, dir)
	// The next look does not download it again.
	before := sent.Load()
	_, err = r.Fetch(t.Context())
	wantLimit(t, err, "Pack")
	if d := sent.Load() - before; d > 4*mebi { // what was under way in buffers
		t.Errorf("downloaded %d bytes again", d)
	}
}

func TestAttack01SlowServer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  gitsynctest.Fault
		limits gitsync.Limits
		want   string
	}{
		{"stalls before the list", gitsynctest.Stall(), gitsync.Limits{Idle: 200 * time.Millisecond}, "timeout"},
		{"stalls before the pack", gitsynctest.OnPack(gitsynctest.Stall()), gitsync.Limits{Idle: 200 * time.Millisecond}, "timeout"},
		{"stalls in the middle", gitsynctest.OnPack(silentAfter("0008NAK\n0009\x01PACK")), gitsync.Limits{Idle: 200 * time.Millisecond}, "no byte came"},
		{"drips", gitsynctest.OnPack(gitsynctest.Drip(20 * time.Millisecond)), gitsync.Limits{Time: 500 * time.Millisecond}, "took longer than 500ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := gitsynctest.NewServer(t, gitsynctest.Options{})
			repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
			id := commit(t, repo, map[string]string{"a": "b"})
			dir := t.TempDir()
			r := open(t, gitsync.Config{URL: srv.RepoURL(repo), Dir: dir, Limits: tt.limits})
			srv.SetFault(tt.fault)
			start := time.Now()
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Fatalf("took %s", took)
			}
			wantEmptyFolder(t, dir)
			srv.SetFault(nil)
			if tt.limits.Time == 0 {
				wantTip(t, r, id, map[string]string{"a": "b"})
			}
		})
	}
}

// silentAfter answers at once, and then says nothing more.
func silentAfter(start string) gitsynctest.Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = io.WriteString(w, start)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
	}
}

// Every pack here costs far more memory or time inflated than on the wire.
func TestAttack02Bombs(t *testing.T) {
	zeros := gitformat.Deflate(make([]byte, 100*mebi))
	for _, tt := range []struct {
		name  string
		build func(p *gitformat.Pack) (tip string)
		limit string // "" = corrupt
	}{
		{"one large blob", func(p *gitformat.Pack) string {
			p.AddRaw(gitformat.Blob, 100*mebi, nil, zeros)
			return oneCommit(p)
		}, "Object"},
		{"a blob that declares less than it holds", func(p *gitformat.Pack) string {
			p.AddRaw(gitformat.Blob, 1000, nil, zeros)
			return oneCommit(p)
		}, ""},
		{"a blob that declares more than an int64", func(p *gitformat.Pack) string {
			p.AddRaw(gitformat.Blob, 1<<62, nil, zeros)
			return oneCommit(p)
		}, ""},
		{"many blobs below the limit of one", func(p *gitformat.Pack) string {
			blob := gitformat.Deflate(make([]byte, 16*mebi))
			for range 10 {
				p.AddRaw(gitformat.Blob, 16*mebi, nil, blob)
			}
			return oneCommit(p)
		}, "Inflated"},
		{"a delta that makes 300 MiB", func(p *gitformat.Pack) string {
			at := p.Offset()
			p.Add(gitformat.Blob, make([]byte, 0xffff))
			delta := append(varint(0xffff), varint(300*mebi)...)
			delta = append(delta, bytes.Repeat([]byte{0xb0, 0xff, 0xff}, 4800)...)
			p.AddOfsDelta(p.Offset()-at, delta)
			return oneCommit(p)
		}, "Object"},
		{"a delta that makes more than it declares", func(p *gitformat.Pack) string {
			at := p.Offset()
			p.Add(gitformat.Blob, make([]byte, 0xffff))
			delta := append(varint(0xffff), varint(10)...)
			delta = append(delta, bytes.Repeat([]byte{0xb0, 0xff, 0xff}, 4800)...)
			p.AddOfsDelta(p.Offset()-at, delta)
			return oneCommit(p)
		}, ""},
		{"a chain of 1,000 deltas", func(p *gitformat.Pack) string {
			at := p.Offset()
			p.Add(gitformat.Blob, []byte("0123456789"))
			for range 1000 {
				at = p.AddOfsDelta(p.Offset()-at, []byte{10, 10, 0x90, 10})
			}
			return oneCommit(p)
		}, "delta depth"},
		{"deltas that stand on each other in a circle", func(p *gitformat.Pack) string {
			p.AddRaw(gitformat.RefDelta, 4, bytes.Repeat([]byte{1}, 20), gitformat.Deflate([]byte{10, 10, 0x90, 10}))
			return oneCommit(p)
		}, ""},
		{"4 billion objects", func(p *gitformat.Pack) string {
			tip := oneCommit(p)
			p.Count = 1<<32 - 1
			return tip
		}, "Objects"},
		{"900,000 objects in no bytes", func(p *gitformat.Pack) string {
			tip := oneCommit(p)
			p.Count = 900_000
			return tip
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &gitformat.Pack{}
			tip := tt.build(p)
			data := p.Bytes()
			url := serveHostile(t, &gitsynctest.Hostile{Tip: tip, Pack: func(w io.Writer) { _, _ = w.Write(data) }})
			dir := t.TempDir()
			// The sum is a seventh of the default, so that it takes a seventh of the time.
			r := open(t, gitsync.Config{URL: url, Dir: dir, Limits: gitsync.Limits{Inflated: 150 * mebi}})
			var err error
			got := allocated(func() { _, err = r.Fetch(t.Context()) })
			if got > 48*mebi {
				t.Errorf("allocated %d MiB", got/mebi)
			}
			if tt.limit != "" {
				wantLimit(t, err, tt.limit)
			} else if !errors.Is(err, gitsync.ErrCorrupt) {
				t.Fatalf("error %v, want ErrCorrupt", err)
			}
			wantEmptyFolder(t, dir)
		})
	}
}

func varint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func TestAttack03HugeAdvertisement(t *testing.T) {
	id := strings.Repeat("a", 40)
	for _, tt := range []struct {
		limit string
		refs  func(io.Writer)
	}{
		{"Refs", func(w io.Writer) {
			for i := range 150_000 {
				fmt.Fprint(w, gitformat.Packet(fmt.Sprintf("%s refs/x/%d\n", id, i)))
			}
		}},
		{"Advertisement", func(w io.Writer) {
			long := gitformat.Packet(id + " refs/x/" + strings.Repeat("x", 60_000) + "\n")
			for {
				if _, err := io.WriteString(w, long); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(tt.limit, func(t *testing.T) {
			r := open(t, gitsync.Config{URL: serveHostile(t, &gitsynctest.Hostile{Tip: id, Refs: tt.refs})})
			var err error
			got := allocated(func() { _, err = r.Fetch(t.Context()) })
			wantLimit(t, err, tt.limit)
			if got > 100*mebi { // a line at a time, the server's own included
				t.Errorf("allocated %d MiB", got/mebi)
			}
		})
	}
}

// TestAttack03EndlessAcks: what comes before the pack is bounded, too.
func TestAttack03EndlessAcks(t *testing.T) {
	id := strings.Repeat("a", 40)
	list := &gitsynctest.Hostile{Tip: id}
	ack := bytes.Repeat([]byte(gitformat.Packet("ACK "+id+"\n")), 1000)
	url := serveHostile(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			list.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		for {
			if _, err := w.Write(ack); err != nil {
				return
			}
		}
	}))
	r := open(t, gitsync.Config{URL: url})
	var err error
	got := allocated(func() { _, err = r.Fetch(t.Context()) })
	if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), "without end") {
		t.Errorf("error %v", err)
	}
	if got > 8*mebi {
		t.Errorf("allocated %d MiB", got/mebi)
	}
}

// TestAttack04RedirectToAnotherHost: credentials stay at home, and so do we.
func TestAttack04RedirectToAnotherHost(t *testing.T) {
	var visits atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { visits.Add(1) }))
	defer evil.Close()
	creds := func(context.Context) (gitsync.Credentials, error) {
		return gitsync.Credentials{Username: "ada", Password: "planted-secret"}, nil
	}
	for _, tt := range []struct {
		name, to, want string
		fault          func(to string) gitsynctest.Fault
	}{
		{"list to another host", evil.URL, evil.URL, gitsynctest.Redirect},
		{"download to another host", evil.URL, "redirects a download", func(to string) gitsynctest.Fault { return gitsynctest.OnPack(gitsynctest.Redirect(to)) }},
		{"to a file", "file:///etc", "redirects to file://", gitsynctest.Redirect},
		{"echoes the secret", "http://planted-secret.example.com", "redirects to http://[redacted]", gitsynctest.Redirect},
		{"with credentials of its own", "http://eve:pw@" + strings.TrimPrefix(evil.URL, "http://"), "other credentials", gitsynctest.Redirect},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := gitsynctest.NewServer(t, gitsynctest.Options{Username: "ada", Password: "planted-secret"})
			repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
			commit(t, repo, map[string]string{"a": "b"})
			r := open(t, gitsync.Config{URL: srv.RepoURL(repo), Credentials: creds})
			srv.SetFault(tt.fault(tt.to))
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			wantNoSecret(t, err, "planted-secret", "eve", "pw@")
			// The board is no easier to lead astray.
			b := openBoard(t, gitsync.BoardConfig{URL: srv.RepoURL(repo), Credentials: creds})
			push := gitsync.Push{Changes: []gitsync.Change{{Ref: "nodes/a", New: gitsynctest.NewRecord("a", 1)}}}
			results, err := b.Swap(t.Context(), push)
			if err == nil && results[0].Outcome == gitsync.Won {
				t.Error("pushed there")
			}
			wantNoSecret(t, err, "planted-secret", "eve", "pw@")
			srv.SetFault(nil)
			fetch(t, r)
		})
	}
	if visits.Load() != 0 {
		t.Errorf("%d requests to the other host", visits.Load())
	}
}

// TestAttack04RedirectToPlainHTTP: not on the same host, either.
func TestAttack04RedirectToPlainHTTP(t *testing.T) {
	git := newBehind(t, gitsynctest.Options{TLS: true, Username: "ada", Password: "planted-secret"})
	c := git.config(t)
	c.URL = strings.Replace(git.RepoURL(git.repo), "https://", "https://ada:planted-secret@", 1)
	r := open(t, c)
	for _, to := range []string{"http://" + git.host(), "http://ada:planted-secret@" + git.host()} {
		git.SetFault(gitsynctest.Redirect(to))
		_, err := r.Fetch(t.Context())
		if !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), "not followed") {
			t.Errorf("error %v", err)
		}
		wantNoSecret(t, err, "planted-secret")
	}
	git.SetFault(nil)
	wantTip(t, r, git.tip, map[string]string{"a": "b"})
}

// TestRedirectOnTheSameHost is followed: hosts rename repositories.
func TestRedirectOnTheSameHost(t *testing.T) {
	srv := gitsynctest.NewServer(t, gitsynctest.Options{})
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
	id := commit(t, repo, map[string]string{"a": "b"})
	srv.SetFault(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if path, old := strings.CutPrefix(r.URL.Path, "/old.git"); old {
				http.Redirect(w, r, "/fleet.git"+path+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	wantTip(t, open(t, gitsync.Config{URL: srv.URL + "/old.git"}), id, map[string]string{"a": "b"})
}

func TestAttack05URLs(t *testing.T) {
	for _, tt := range []struct{ url, want string }{ // want "" = accepted
		{"https://example.com/fleet.git", ""},
		{"http://example.com/fleet.git", ""},
		{"http://user:pw@127.0.0.1/fleet.git", ""},
		{"/srv/git/fleet.git", ""},
		{"file:///srv/git/fleet.git", ""},
		{"http://user:pw@example.com/fleet.git", "plain http"},
		{"ext::sh -c 'touch /tmp/pwned'", "no scheme"},
		{"-oProxyCommand=touch /tmp/pwned", "dash"},
		{"--upload-pack=touch", "dash"},
		{"ssh://git@example.com/fleet.git", ""},
		{"ssh://git@example.com:2222/~ada/fleet.git", ""},
		{"ssh://git@[::1]:2222/fleet.git", ""},
		{"git@example.com:fleet.git", ""},
		{"git@[::1]:/srv/fleet.git", ""},
		{"ssh://-oProxyCommand=x/y", "names no user"},
		{"ssh://git@-oProxyCommand=x/y", "host begins with a dash"},
		{"ssh://-l@example.com/y", "user begins with a dash"},
		{"ssh://git@example.com/--upload-pack=touch", "path begins with a dash"},
		{"git@example.com:--upload-pack=touch", "path begins with a dash"},
		{"git@-oProxyCommand=x:y", "host begins with a dash"},
		{"-oProxyCommand=x@example.com:y", "dash"},
		{"ssh://git@example.com/a%0Ab", "control characters"},
		{"ssh://git@exa%20mple.com/a", "cannot be parsed"},
		{"git@exa mple.com:a", "neither a name nor an address"},
		{"ssh://example.com/fleet.git", "names no user"},
		{"ssh://git@example.com", "names no path"},
		{"ssh://git@:22/fleet.git", "names no host"},
		{"ssh://git:planted-secret@example.com/fleet.git", "only keys are used"},
		{"ssh://git@example.com/fleet.git?x", "query"},
		{"git+ssh://git@example.com/fleet.git", "not allowed"},
		{"https://-oProxyCommand=x/y", "no host"},
		{"git://example.com/fleet.git", `scheme "git" is not allowed`},
		{"ftp://example.com/fleet.git", "not allowed"},
		{"fd::17", "no scheme"},
		{"fleet.git", "no scheme"},
		{"../fleet.git", "no scheme"},
		{"file://otherhost/srv/git", "file:///absolute"},
		{"https://example.com/fleet.git?x=y", "query"},
		{"https://example.com/a\nb", "control characters"},
		{"https://exa\x1b[2Jmple.com/", "control characters"},
		{"https://", "no host"},
		{"", "missing"},
		{"https://example.com/" + strings.Repeat("x", 3000), "longer"},
	} {
		r, err := gitsync.Open(gitsync.Config{URL: tt.url, Branch: "main", Dir: t.TempDir()})
		if err == nil {
			r.Close()
		}
		if tt.want == "" && err != nil {
			t.Errorf("%q: %v", tt.url, err)
		} else if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: error %v, want %q", tt.url, err, tt.want)
		}
		wantNoSecret(t, err, "planted-secret")
	}
}

// TestConfigListsAllFaults: one look at the error is enough to mend them.
func TestConfigListsAllFaults(t *testing.T) {
	err := gitsync.Config{URL: "ftp://x", Branch: "-x..", Dir: "relative", CAFile: "/nonexistent", Limits: gitsync.Limits{Pack: -1}}.Check()
	for _, want := range []string{"scheme", "branch", "absolute", "CA file", "Pack"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func wantNoSecret(t *testing.T, v any, secrets ...string) {
	t.Helper()
	for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		text := fmt.Sprintf(form, v)
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s of %T holds the secret: %s", form, v, text)
			}
		}
	}
	if err, ok := v.(error); ok {
		for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
			for _, s := range secrets {
				if strings.Contains(e.Error(), s) {
					t.Errorf("wrapped error holds the secret: %v", e)
				}
			}
		}
	}
}

func packServer(tip string, p *gitformat.Pack) *gitsynctest.Hostile {
	data := p.Bytes()
	return &gitsynctest.Hostile{Tip: tip, Pack: func(w io.Writer) { _, _ = w.Write(data) }}
}

// TestAttack11Secrets: planted secrets, in every spelling, come back from the
// server and must not come out of any error, log or printed value.
func TestAttack11Secrets(t *testing.T) {
	const secret = "pl@nted/se%cret"
	spellings := []string{secret, "pl%40nted%2Fse%25cret", "pl%40nted%2fse%25cret", "pl@nted%2Fse%25cret",
		"YWRhOnBsQG50ZWQvc2UlY3JldA==", "cGxAbnRlZC9zZSVjcmV0"}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	err502 := "proxy says " + strings.Join(spellings, " ")
	for _, tt := range []struct {
		name    string
		handler http.Handler
	}{
		{"in the body of an error", gitsynctest.Status(502, "", err502)(nil)},
		{"in the text of a 401", gitsynctest.Status(401, "", err502)(nil)},
		{"in the content type", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/"+secret) })},
		{"in a redirect", gitsynctest.Redirect("http://evil.example.com/" + spellings[1])(nil)},
		{"in a protocol error", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, gitformat.Packet("ERR "+err502))
		})},
		{"as a branch name", &gitsynctest.Hostile{Tip: strings.Repeat("0", 40), Refs: func(w io.Writer) {
			for _, s := range spellings {
				_, _ = io.WriteString(w, gitformat.Packet(strings.Repeat("a", 40)+" refs/heads/"+s+"\n"))
			}
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.handler)
			defer srv.Close()
			url := strings.Replace(srv.URL, "http://", "http://ada:pl%40nted%2Fse%25cret@", 1) + "/fleet.git"
			cfg := gitsync.Config{URL: url, Branch: "main", Dir: t.TempDir(), Log: logger}
			wantNoSecret(t, cfg, spellings...)
			r := open(t, cfg)
			_, err := r.Fetch(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			wantNoSecret(t, err, spellings...)
			wantNoSecret(t, r.String(), spellings...)
			logger.Info("x", "err", err, "config", cfg, "creds", gitsync.Credentials{Password: secret})
		})
	}
	for _, s := range spellings {
		if strings.Contains(log.String(), s) {
			t.Errorf("log holds %q", s)
		}
	}
	wantNoSecret(t, gitsync.Credentials{Username: "ada", Password: secret, Token: secret}, secret)
	for _, url := range []string{"https://ada:" + secret + "@[::1/x", "ftp://ada:" + secret + "@example.com", "https://ada:" + secret + "@example.com/?q", "ada:" + secret + "@host:path"} {
		_, err := gitsync.Open(gitsync.Config{URL: url, Branch: "main", Dir: t.TempDir()})
		if err == nil {
			t.Errorf("%s accepted", url)
		}
		wantNoSecret(t, err, secret)
	}
}

// TestAttack11BranchNames: the error that names branches takes secrets out.
func TestAttack11BranchNames(t *testing.T) {
	url := serveHostile(t, &gitsynctest.Hostile{Tip: strings.Repeat("a", 40), Refs: func(w io.Writer) {
		_, _ = io.WriteString(w, gitformat.Packet(strings.Repeat("a", 40)+" refs/heads/a-pl4nted-secret\n"))
	}})
	r := open(t, gitsync.Config{URL: strings.Replace(url, "http://", "http://ada:pl4nted-secret@", 1), Branch: "other"})
	_, err := r.Fetch(t.Context())
	if !errors.Is(err, gitsync.ErrBranchNotFound) || !strings.Contains(err.Error(), "main") {
		t.Fatalf("error %v", err)
	}
	wantNoSecret(t, err, "pl4nted-secret")
	// Cut in the middle of the secret, to fit into a line.
	url = serveHostile(t, &gitsynctest.Hostile{Tip: strings.Repeat("a", 40), Refs: func(w io.Writer) {
		_, _ = io.WriteString(w, gitformat.Packet(strings.Repeat("a", 40)+" refs/heads/"+strings.Repeat("b", 52)+"pl4nted-secret\n"))
	}})
	_, err = open(t, gitsync.Config{URL: strings.Replace(url, "http://", "http://ada:pl4nted-secret@", 1), Branch: "other"}).Fetch(t.Context())
	if !errors.Is(err, gitsync.ErrBranchNotFound) || !strings.Contains(err.Error(), "bb[redacted]…") {
		t.Errorf("error %v", err)
	}
}

// TestErrors: what status needs to tell failures apart.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault gitsynctest.Fault
		want  error
		after time.Duration
	}{
		{"401", gitsynctest.Status(401, "", ""), gitsync.ErrUnauthorized, 0},
		{"403", gitsynctest.Status(403, "", ""), gitsync.ErrUnauthorized, 0},
		{"404", gitsynctest.Status(404, "", ""), gitsync.ErrRepositoryNotFound, 0},
		{"429", gitsynctest.Status(429, "30", ""), gitsync.ErrUnreachable, 30 * time.Second},
		{"503 for a year", gitsynctest.Status(503, "31536000", ""), gitsync.ErrUnreachable, time.Hour},
		{"500", gitsynctest.Status(500, "30", ""), gitsync.ErrUnreachable, 0},
		{"cut in the list", gitsynctest.Cut(20), gitsync.ErrUnreachable, 0},
		{"cut in the pack", gitsynctest.OnPack(gitsynctest.Cut(60)), gitsync.ErrUnreachable, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := gitsynctest.NewServer(t, gitsynctest.Options{})
			repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
			id := commit(t, repo, map[string]string{"a": "b"})
			r := open(t, gitsync.Config{URL: srv.RepoURL(repo)})
			srv.SetFault(tt.fault)
			_, err := r.Fetch(t.Context())
			if !errors.Is(err, tt.want) || gitsync.RetryAfter(err) != tt.after {
				t.Fatalf("error %v, retry after %s", err, gitsync.RetryAfter(err))
			}
			srv.SetFault(nil)
			if before := srv.Requests(); tt.after > 0 { // it is left alone
				if _, err := r.Fetch(t.Context()); gitsync.RetryAfter(err) == 0 || srv.Requests() != before {
					t.Errorf("error %v after %d requests", err, srv.Requests()-before)
				}
				return
			}
			wantTip(t, r, id, map[string]string{"a": "b"})
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		r := open(t, gitsync.Config{URL: "http://127.0.0.1:1/fleet.git"})
		if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnreachable) {
			t.Fatal(err)
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		srv := gitsynctest.NewServer(t, gitsynctest.Options{TLS: true})
		r := open(t, gitsync.Config{URL: srv.URL + "/fleet.git"})
		if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
			t.Fatal(err)
		}
	})
}
