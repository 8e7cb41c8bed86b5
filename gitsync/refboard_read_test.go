package gitsync_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
	"github.com/orpheus-cd/orpheus/planner"
)

// badObjects are the kinds of object that no record is, one per seed.
func badObjects(t *testing.T, repo *gitsynctest.Repo) map[string]func(seed int) string {
	write := func(kind byte, data []byte) string {
		t.Helper()
		return gitsynctest.Must(repo.WriteObject(kind, data))(t)
	}
	tree := write(gitformat.Tree, nil)
	blob := write(gitformat.Blob, []byte("x"))
	commit := write(gitformat.Commit, gitformat.CommitData(tree, "tagged"))
	large := strings.Repeat("x", planner.MaxRecordBytes)
	huge := strings.Repeat("x", 2*mebi)
	return map[string]func(int) string{
		"blobs": func(i int) string { return write(gitformat.Blob, fmt.Append(nil, "blob ", i)) },
		"trees": func(i int) string {
			return write(gitformat.Tree, gitformat.TreeEntry("100644", fmt.Sprint("f", i), blob))
		},
		"tags": func(i int) string {
			return gitsynctest.Must(repo.Git(fmt.Sprintf("object %s\ntype commit\ntag t%d\ntagger a <a> 1 +0000\n\nx\n", commit, i), "mktag"))(t)
		},
		"large commits": func(i int) string { return write(gitformat.Commit, gitformat.CommitData(tree, fmt.Sprint(i, large))) },
		// Larger than what is looked at in passing: found one by one.
		"huge commits": func(i int) string { return write(gitformat.Commit, gitformat.CommitData(tree, fmt.Sprint(i, huge))) },
	}
}

// TestAttack38ManyUnreadableRecords: hundreds of refs that are no records never
// keep the others from being read. Every Read gets somewhere, and a few come to
// the end.
func TestAttack38ManyUnreadableRecords(t *testing.T) {
	const many = 150 // with compression 0 they are 38 MiB, more than one download may bring
	for _, tt := range []struct {
		kind        string
		compression string
		bad         int
		reads       int // at most
	}{
		{"blobs", "", 300, 1}, {"trees", "", 300, 1}, {"tags", "", 300, 1},
		{"large commits", "", many, 1}, {"large commits", "0", many, 1}, {"huge commits", "", 20, 3},
	} {
		for _, way := range []string{"http", "local path"} {
			t.Run(fmt.Sprintf("%s%s over %s", tt.kind, tt.compression, way), func(t *testing.T) {
				t.Parallel()
				srv, repo, cfg := boardServer(t, gitsynctest.Options{})
				if way == "local path" {
					cfg.URL = repo.Dir
				}
				gitsynctest.Must(repo.Git("", "config", "pack.window", "0"))(t) // deltas would take the server minutes
				if tt.compression != "" {
					gitsynctest.Must(repo.Git("", "config", "pack.compression", tt.compression))(t)
				}
				var refs strings.Builder
				make := badObjects(t, repo)[tt.kind]
				for i := range tt.bad {
					fmt.Fprintf(&refs, "create refs/orpheus/leases/default/bad-%d %s\n", i, make(i))
				}
				gitsynctest.Must(repo.Git(refs.String(), "update-ref", "--stdin"))(t)
				b := openBoard(t, cfg)
				putRecords(t, b, 100)
				reads := readAll(t, b, 100, tt.bad)
				if reads > tt.reads {
					t.Errorf("%d reads, want at most %d", reads, tt.reads)
				}
				t.Logf("%d reads, %d requests", reads, srv.Requests())
			})
		}
	}
}

// putRecords writes records of n nodes.
func putRecords(t *testing.T, b gitsync.Board, n int) (ids []planner.Hash) {
	t.Helper()
	var push gitsync.Push
	for i := range n {
		record := gitsynctest.NewRecord("a", i)
		ids = append(ids, record.Hash())
		push.Changes = append(push.Changes, gitsync.Change{Ref: planner.NodeRef(planner.NodeName(fmt.Sprint("n", i))), New: record})
	}
	if _, err := b.Swap(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	return ids
}

// readAll reads until nothing is left, as a member does, and returns the number
// of Reads it took. Each must get somewhere.
func readAll(t *testing.T, b gitsync.Board, good, bad int) (reads int) {
	t.Helper()
	listing, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, read, explained := listing.Refs, 0, 0
	for ; len(want) > 0; reads++ {
		got, err := b.Read(t.Context(), want)
		if err != nil || len(got.Records)+len(got.Unreadable) == 0 {
			t.Fatalf("read %d, explained %d of %d, error %v", len(got.Records), len(got.Unreadable), len(want), err)
		}
		read, explained = read+len(got.Records), explained+len(got.Unreadable)
		for ref := range got.Records {
			delete(want, ref)
		}
		for ref := range got.Unreadable {
			delete(want, ref)
		}
	}
	if read != good || explained != bad {
		t.Errorf("read %d of %d, explained %d of %d", read, good, explained, bad)
	}
	return reads
}

// TestAttack38ManyDamagedRecords: where each bad record spoils a whole
// download, with nothing in it to tell which, a few Reads come to the end all
// the same.
func TestAttack38ManyDamagedRecords(t *testing.T) {
	for _, tt := range []struct{ bad, good, reads int }{
		{128, 0, 4}, {250, 0, 7}, {300, 0, 9}, {300, 300, 20}, {1, 255, 1}, {10, 500, 4},
	} {
		t.Run(fmt.Sprintf("%d beside %d", tt.bad, tt.good), func(t *testing.T) {
			srv, _, cfg := boardServer(t, gitsynctest.Options{})
			b := openBoard(t, cfg)
			damaged := map[planner.Hash]bool{}
			for _, id := range putRecords(t, b, tt.bad+tt.good)[:tt.bad] {
				damaged[id] = true
			}
			before := srv.Requests()
			srv.SetFault(onFetch(func(wants []planner.Hash) string {
				if slices.ContainsFunc(wants, func(id planner.Hash) bool { return damaged[id] }) {
					return gitformat.Packet("packfile\n") + gitformat.Packet("\x01PACK, or what is left of one") + "0000"
				}
				return ""
			}))
			reads := readAll(t, b, tt.good, tt.bad)
			if reads > tt.reads {
				t.Errorf("%d reads, want at most %d", reads, tt.reads)
			}
			t.Logf("%d reads, %d requests", reads, srv.Requests()-before)
		})
	}
}

// onFetch answers requests for packs as reply says; "" = leave it to git.
func onFetch(reply func(wants []planner.Hash) string) gitsynctest.Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			said := ""
			if strings.Contains(string(body), "command=fetch") {
				var wants []planner.Hash
				for _, part := range strings.Split(string(body), "want ")[1:] {
					wants = append(wants, planner.Hash(part[:40]))
				}
				said = reply(wants)
			}
			if said == "" {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = io.WriteString(w, said)
		})
	}
}

// TestReadMovedRefs: a Read that finds nothing is an error, unless it is
// because the refs have moved.
func TestReadMovedRefs(t *testing.T) {
	_, repo, cfg := boardServer(t, gitsynctest.Options{})
	b := openBoard(t, cfg)
	record := gitsynctest.NewRecord("a", 1)
	gitsynctest.WantSwap(t, b, replaceA(nil, record), gitsync.Won)
	gone := planner.Hash(strings.Repeat("a", 40))
	got, err := b.Read(t.Context(), map[planner.Ref]planner.Hash{"nodes/a": gone, "nodes/b": gone})
	if err != nil || len(got.Records)+len(got.Unreadable) > 0 {
		t.Errorf("moved: %v, %v", got, err)
	}
	// The server lists a ref whose object it has lost.
	id := record.Hash()
	file := filepath.Join(repo.Dir, "objects", string(id[:2]), string(id[2:]))
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = b.Read(t.Context(), map[planner.Ref]planner.Hash{"nodes/a": id})
	if err == nil {
		t.Errorf("lost: %v without an error", got)
	}
	t.Log(err)
}

// TestReadLost: a server that lists records and then knows nothing of them is
// told of as an error, so that nobody asks it again at once.
func TestReadLost(t *testing.T) {
	srv, _, cfg := boardServer(t, gitsynctest.Options{})
	b := openBoard(t, cfg)
	record := gitsynctest.NewRecord("a", 1)
	gitsynctest.WantSwap(t, b, replaceA(nil, record), gitsync.Won)
	srv.SetFault(onFetch(func([]planner.Hash) string {
		return gitformat.Packet("ERR upload-pack: not our ref " + string(record.Hash()))
	}))
	_, err := b.Read(t.Context(), map[planner.Ref]planner.Hash{"nodes/a": record.Hash()})
	if err == nil || !strings.Contains(err.Error(), "git fsck") {
		t.Errorf("error %v", err)
	}
}
