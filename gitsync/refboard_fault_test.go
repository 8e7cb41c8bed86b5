package gitsync_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
	"github.com/orpheus-cd/orpheus/planner"
)

// replaceA is a push that makes nodes/a another record.
func replaceA(old, new *planner.Record) gitsync.Push {
	c := gitsync.Change{Ref: planner.NodeRef("a"), New: new}
	if old != nil {
		c.Old = old.Hash()
	}
	return gitsync.Push{Changes: []gitsync.Change{c}}
}

// TestAttack36LostReply: without a report a push is Unknown, whether it was
// carried out or not, unless it is certain that it never was.
func TestAttack36LostReply(t *testing.T) {
	r1, r2 := gitsynctest.NewRecord("a", 1), gitsynctest.NewRecord("a", 2)
	// One byte short of the report's end.
	whole := gitformat.Packet("unpack ok\n") + gitformat.Packet("ok refs/orpheus/nodes/a\n") + "0000"
	for _, tt := range []struct {
		name  string
		fault gitsynctest.Fault
		want  gitsync.Outcome
		moved bool
	}{
		{"carried out, no answer", gitsynctest.LoseReply(), gitsync.Unknown, true},
		{"carried out, a part of an answer", gitsynctest.Cut(30), gitsync.Unknown, true},
		{"carried out, an answer without end", endless(), gitsync.Unknown, false},
		{"not carried out, connection cut", gitsynctest.LoseRequest(), gitsync.Unknown, false},
		{"a proxy gives up", gitsynctest.Status(502, "", "bad gateway"), gitsync.Unknown, false},
		{"a report cut short says nothing", say(whole[:len(whole)-4]), gitsync.Unknown, false},
		{"a report of another ref", say(strings.ReplaceAll(whole, "nodes/a", "nodes/b")), gitsync.Unknown, false},
		{"a report without bands", say(whole), gitsync.Won, false}, // a server's word is what counts
		{"no Git server", gitsynctest.Status(200, "", "<html>"), gitsync.Unknown, false},
		{"refused unread: credentials", gitsynctest.Status(401, "", ""), gitsync.Lost, false},
		{"refused unread: rights", gitsynctest.Status(403, "", ""), gitsync.Lost, false},
		{"refused unread: too many", gitsynctest.Status(429, "7", ""), gitsync.Lost, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, _, cfg := boardServer(t, gitsynctest.Options{})
			b := openBoard(t, cfg)
			gitsynctest.WantSwap(t, b, replaceA(nil, r1), gitsync.Won)
			srv.SetFault(gitsynctest.OnPush(tt.fault))
			results, err := b.Swap(t.Context(), replaceA(r1, r2))
			if len(results) != 1 || results[0].Outcome != tt.want {
				t.Fatalf("%v, %v; want %s", results, err, tt.want)
			}
			t.Log(results, err)
			if told := tt.want == gitsync.Won || strings.Contains(tt.name, "another ref"); told != (err == nil) {
				t.Fatalf("error %v", err)
			}
			if strings.HasSuffix(tt.name, "too many") && gitsync.RetryAfter(err) != 7*time.Second {
				t.Fatalf("retry after %s", gitsync.RetryAfter(err))
			}
			srv.SetFault(nil)
			b = openBoard(t, cfg) // this one is not asked to wait
			now := r1
			if tt.moved {
				now = r2
			}
			gitsynctest.WantRefs(t, b, gitsynctest.Values{planner.NodeRef("a"): now.Hash()})
		})
	}
}

// say answers every push with a report made up.
func say(report string) gitsynctest.Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
			_, _ = io.WriteString(w, report)
		})
	}
}

// endless never comes to the end of its report.
func endless() gitsynctest.Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, gitformat.Packet("\x02still at it\n"))
			}
		})
	}
}

// TestAttack36NeverSent: what certainly never reached the server is Lost.
func TestAttack36NeverSent(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, cfg := boardServer(t, gitsynctest.Options{TLS: true})
	noCA := cfg
	noCA.CAFile = ""
	noCredentials := cfg
	noCredentials.Credentials = func(context.Context) (gitsync.Credentials, error) {
		return gitsync.Credentials{}, errors.New("vault is sealed")
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		cfg  gitsync.BoardConfig
	}{
		{"nobody listens", t.Context(), gitsync.BoardConfig{URL: gone.URL + "/x.git"}},
		{"a certificate that is not trusted", t.Context(), noCA},
		{"no credentials", t.Context(), noCredentials},
		{"cancelled before", ended, cfg},
		{"no such path", t.Context(), gitsync.BoardConfig{URL: t.TempDir() + "/none.git"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			results, err := openBoard(t, tt.cfg).Swap(tt.ctx, replaceA(nil, gitsynctest.NewRecord("a", 1)))
			if err == nil || len(results) != 1 || results[0].Outcome != gitsync.Lost {
				t.Fatalf("%v, %v", results, err)
			}
			t.Log(err)
		})
	}
}

// TestBoardErrorsHoldNoSecret: not even what the server gives back.
func TestBoardErrorsHoldNoSecret(t *testing.T) {
	const secret = "s3cret-t0ken"
	srv, _, cfg := boardServer(t, gitsynctest.Options{})
	cfg.Credentials = credentials(gitsync.Credentials{Token: secret})
	b := openBoard(t, cfg)
	srv.SetFault(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			kind := "upload-pack-advertisement"
			if r.Method == http.MethodPost {
				kind = "receive-pack-result"
			}
			w.Header().Set("Content-Type", "application/x-git-"+kind)
			_, _ = io.WriteString(w, gitformat.Packet("ERR you said "+r.Header.Get("Authorization")))
		})
	})
	_, listErr := b.List(t.Context())
	_, swapErr := b.Swap(t.Context(), replaceA(nil, gitsynctest.NewRecord("a", 1)))
	for _, err := range []error{listErr, swapErr} {
		if !errors.Is(err, gitsync.ErrUnreachable) || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
	}
}

// TestAttack38UnreadableRecords: records that nobody can read are explained,
// and never keep the others from being read.
func TestAttack38UnreadableRecords(t *testing.T) {
	_, repo, cfg := boardServer(t, gitsynctest.Options{})
	b := openBoard(t, cfg)
	want := map[planner.Ref]planner.Hash{}
	var push gitsync.Push
	for i := range 20 {
		ref, record := planner.NodeRef(planner.NodeName(fmt.Sprintf("n%d", i))), gitsynctest.NewRecord("a", i)
		push.Changes = append(push.Changes, gitsync.Change{Ref: ref, New: record})
		want[ref] = record.Hash()
	}
	if _, err := b.Swap(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	set := func(ref planner.Ref, kind byte, data string) {
		id := gitsynctest.Must(repo.WriteObject(kind, []byte(data)))(t)
		gitsynctest.Must(repo.Git("", "update-ref", "refs/orpheus/"+string(ref), id))(t)
		want[ref] = planner.Hash(id)
	}
	tree := gitsynctest.Must(repo.WriteObject(gitformat.Tree, nil))(t)
	set("nodes/blob", gitformat.Blob, "no commit")
	set("nodes/bomb", gitformat.Blob, strings.Repeat("bomb", mebi))
	set("nodes/large", gitformat.Commit, string(gitformat.CommitData(tree, strings.Repeat("x", planner.MaxRecordBytes))))
	// A commit that brings a large file along is read without it.
	blob := gitsynctest.Must(repo.WriteObject(gitformat.Blob, []byte(strings.Repeat("y", mebi))))(t)
	heavy := gitsynctest.Must(repo.WriteObject(gitformat.Tree, gitformat.TreeEntry("100644", "y", blob)))(t)
	set("nodes/heavy", gitformat.Commit, string(gitformat.CommitData(heavy, "with files")))
	want["nodes/gone"] = planner.Hash(strings.Repeat("a", 40))
	want["nodes/odd"] = "refs/heads/main"

	listing, err := b.List(t.Context())
	if err != nil || len(listing.Refs) != 24 {
		t.Fatalf("%d refs, %v", len(listing.Refs), err)
	}
	var got gitsync.Reading
	used := allocated(func() { got, err = b.Read(t.Context(), want) })
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 21 {
		t.Errorf("read %d of 21 commits", len(got.Records))
	}
	for _, ref := range []planner.Ref{"nodes/blob", "nodes/bomb", "nodes/large", "nodes/odd"} {
		if got.Unreadable[ref] == "" {
			t.Errorf("%s is not explained", ref)
		}
		t.Log(ref, got.Unreadable[ref])
	}
	if _, ok := got.Unreadable["nodes/gone"]; ok || len(got.Unreadable) != 4 {
		t.Errorf("unreadable: %v", got.Unreadable)
	}
	if used > 64*mebi {
		t.Errorf("allocated %d MiB", used/mebi)
	}
}

// TestAttack38TooManyRefs: a flood of junk is counted, and costs bytes; one of
// refs that look like records, or over the limit of bytes, is refused as a
// whole, since a part would look as if the rest was gone.
func TestAttack38TooManyRefs(t *testing.T) {
	_, repo, cfg := boardServer(t, gitsynctest.Options{})
	record := gitsynctest.NewRecord("a", 1)
	gitsynctest.WantSwap(t, openBoard(t, cfg), replaceA(nil, record), gitsync.Won)
	var refs []string
	flood := func(name string, n int) {
		for i := range n {
			refs = append(refs, fmt.Sprintf("%s refs/orpheus/"+name, record.Hash(), i))
		}
		slices.SortFunc(refs, func(a, b string) int { return strings.Compare(a[40:], b[40:]) })
		packed := "# pack-refs with: peeled fully-peeled sorted \n" + strings.Join(refs, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(repo.Dir, "packed-refs"), []byte(packed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flood("junk/%d", 10_000)
	b := openBoard(t, cfg)
	if l := gitsynctest.WantRefs(t, b, gitsynctest.Values{planner.NodeRef("a"): record.Hash()}); l.Ignored != 10_000 {
		t.Fatalf("%d ignored", l.Ignored)
	}
	gitsynctest.WantSwap(t, b, replaceA(record, gitsynctest.NewRecord("a", 2)), gitsync.Won)

	small := cfg
	small.Limits.Advertisement = 100_000
	_, err := openBoard(t, small).List(t.Context())
	wantLimit(t, err, "Advertisement")

	flood("leases/default/s%d", 20_000)
	_, err = b.List(t.Context())
	wantLimit(t, err, "records")
}

// TestAttack39Probe: a remote that does not compare is found out before
// anything is coordinated over it.
func TestAttack39Probe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(*gitsynctest.Repo) gitsynctest.Fault
		want  gitsync.Abilities
	}{
		{"git", nil, gitsync.Abilities{Compares: true, Atomic: true, V2: true}},
		{"version 0", func(*gitsynctest.Repo) gitsynctest.Fault { return gitsynctest.OnlyVersion0() }, gitsync.Abilities{Compares: true, Atomic: true}},
		{"ignores old values", func(r *gitsynctest.Repo) gitsynctest.Fault { return gitsynctest.OnPush(gitsynctest.IgnoreOld(r)) }, gitsync.Abilities{V2: true}},
		{"ignores the word atomic", func(*gitsynctest.Repo) gitsynctest.Fault { return gitsynctest.OnPush(gitsynctest.IgnoreAtomic()) }, gitsync.Abilities{Compares: true, V2: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, repo, cfg := boardServer(t, gitsynctest.Options{})
			if tt.fault != nil {
				srv.SetFault(tt.fault(repo))
			}
			b := openBoard(t, cfg)
			for range 2 { // the second finds what the first may have left
				if got, err := b.Probe(t.Context(), "node-1"); err != nil || got != tt.want {
					t.Fatalf("%+v, %v; want %+v", got, err, tt.want)
				}
			}
			if refs := gitsynctest.Must(repo.Git("", "for-each-ref"))(t); refs != "" {
				t.Errorf("left behind: %s", refs)
			}
		})
	}
}

// TestProbeRefused: the error says what a person must change.
func TestProbeRefused(t *testing.T) {
	_, repo, cfg := boardServer(t, gitsynctest.Options{})
	gitsynctest.Must(repo.Git("", "config", "transfer.hideRefs", "refs/orpheus"))(t)
	_, err := openBoard(t, cfg).Probe(t.Context(), "node-1")
	if err == nil || !strings.Contains(err.Error(), "create refs below refs/orpheus/") || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("error %v", err)
	}
	t.Log(err)
}

// TestListBesideManifests: where records and manifests share a repository, one
// look shows both, and a look at the branch is not burdened by the records.
func TestListBesideManifests(t *testing.T) {
	srv, repo, cfg := boardServer(t, gitsynctest.Options{})
	tip := commit(t, repo, map[string]string{"fleet.yaml": "kind: Fleet\n"})
	cfg.Branch = "main"
	b := openBoard(t, cfg)
	record := gitsynctest.NewRecord("a", 1)
	gitsynctest.WantSwap(t, b, replaceA(nil, record), gitsync.Won)
	if l := gitsynctest.WantRefs(t, b, gitsynctest.Values{planner.NodeRef("a"): record.Hash()}); string(l.Tip) != tip {
		t.Errorf("tip is %s, want %s", l.Tip, tip)
	}
	before := srv.Requests()
	gitsynctest.WantRefs(t, b, gitsynctest.Values{planner.NodeRef("a"): record.Hash()})
	if n := srv.Requests() - before; n != 1 {
		t.Errorf("a look took %d requests", n)
	}
	r := open(t, gitsync.Config{URL: cfg.URL})
	wantTip(t, r, tip, map[string]string{"fleet.yaml": "kind: Fleet\n"})
}

// TestNewBoardConfig lists everything that is wrong.
func TestNewBoardConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg  gitsync.BoardConfig
		want string // in the error; "" = none
	}{
		{gitsync.BoardConfig{URL: "/srv/records.git"}, ""},
		{gitsync.BoardConfig{URL: "/srv/records.git", Prefix: "refs/heads/orpheus/", Branch: "main"}, ""},
		{gitsync.BoardConfig{}, "URL is missing"},
		{gitsync.BoardConfig{URL: "/srv/records.git", Prefix: "orpheus/"}, "not of the form"},
		{gitsync.BoardConfig{URL: "/srv/records.git", Prefix: "refs/orpheus"}, "not of the form"},
		{gitsync.BoardConfig{URL: "/srv/records.git", Prefix: "refs/"}, "not of the form"},
		{gitsync.BoardConfig{URL: "/srv/records.git", Prefix: "refs/or pheus/"}, "not of the form"},
		{gitsync.BoardConfig{URL: "/srv/records.git", Branch: "-x"}, "not a branch name"},
		// The branch would be a record, and records would lie in its way.
		{gitsync.BoardConfig{URL: "/srv/records.git", Prefix: "refs/heads/main/", Branch: "main"}, "lies where the records are"},
		{gitsync.BoardConfig{URL: "http://example.com/x", Credentials: credentials(gitsync.Credentials{Token: "t"})}, "plain http"},
	} {
		_, err := gitsync.NewBoard(tt.cfg)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %q", tt.cfg, err, tt.want)
		}
	}
}
