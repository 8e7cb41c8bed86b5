package gitsync_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// countBytes puts a proxy before a board's server and counts what the board
// receives, headers included.
func countBytes(b *testing.B, cfg *gitsync.BoardConfig) *atomic.Int64 {
	b.Helper()
	to, err := url.Parse(cfg.URL)
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sent := &atomic.Int64{}
	proxy := &http.Server{Handler: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: to.Scheme, Host: to.Host})}
	go func() { _ = proxy.Serve(countingListener{listener, sent}) }()
	b.Cleanup(func() { proxy.Close() })
	cfg.URL = "http://" + listener.Addr().String() + to.Path
	return sent
}

type countingListener struct {
	net.Listener
	sent *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.sent}, err
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// BenchmarkBoardList is one poll of a board with n records, and what it
// receives for it over HTTP.
func BenchmarkBoardList(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%d records", n), func(b *testing.B) {
			_, repo, cfg := boardServer(b, gitsynctest.Options{})
			fill(b, repo, n)
			received := countBytes(b, &cfg)
			board := openBoard(b, cfg)
			list := func() {
				if l, err := board.List(b.Context()); err != nil || len(l.Refs) != n {
					b.Fatalf("%d refs, %v", len(l.Refs), err)
				}
			}
			list() // finds out what the server speaks
			before := received.Load()
			b.ResetTimer()
			for range b.N {
				list()
			}
			b.ReportMetric(float64(received.Load()-before)/float64(b.N), "B/list")
		})
	}
}

// fill writes n records, as packed as a repository is at rest.
func fill(b *testing.B, repo *gitsynctest.Repo, n int) {
	b.Helper()
	board := openBoard(b, gitsync.BoardConfig{URL: repo.Dir})
	var push gitsync.Push
	for i := range n {
		ref := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: fmt.Sprintf("service-%04d", i)}, 0)
		push.Changes = append(push.Changes, gitsync.Change{Ref: ref, New: gitsynctest.NewRecord("node-1", i)})
	}
	if _, err := board.Swap(b.Context(), push); err != nil {
		b.Fatal(err)
	}
	gitsynctest.Must(repo.Git("", "gc", "--quiet"))(b)
}

// pusher is one way to give refs/orpheus/nodes/a another value.
type pusher func(old, new *planner.Record) error

// byBoard swaps.
func byBoard(b *testing.B, cfg gitsync.BoardConfig) pusher {
	board := openBoard(b, cfg)
	return func(old, new *planner.Record) error {
		results, err := board.Swap(b.Context(), replaceA(old, new))
		if err == nil && results[0].Outcome != gitsync.Won {
			err = fmt.Errorf("%v", results)
		}
		return err
	}
}

// byGit does the same with the git program: the commit is in its repository
// already, only the push counts.
func byGit(b *testing.B, url string, n int) pusher {
	own := gitsynctest.Must(gitsynctest.NewRepo(b.TempDir() + "/own.git"))(b)
	empty := gitsynctest.Must(own.WriteObject(2, nil))(b)
	if !strings.HasPrefix(empty, "4b825dc") {
		b.Fatalf("empty tree is %s", empty)
	}
	for i := range n + 1 {
		gitsynctest.Must(own.WriteObject(1, gitsynctest.NewRecord("a", i).Object()))(b)
	}
	return func(old, new *planner.Record) error {
		const ref = "refs/orpheus/nodes/a"
		cmd := exec.Command("git", "push", "--quiet", "--porcelain", "--force-with-lease="+ref+":"+string(old.Hash()), url, string(new.Hash())+":"+ref)
		cmd.Dir = own.Dir
		cmd.Env = append(os.Environ(), "HOME="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git push: %w: %s", err, out)
		}
		return nil
	}
}
