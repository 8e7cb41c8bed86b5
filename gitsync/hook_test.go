package gitsync_test

import (
	"context"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
	"github.com/orpheus-cd/orpheus/planner"
)

// hookUser makes this test program the hook of the node it names.
const hookUser = "GITSYNC_TEST_HOOK_NODE"

func init() {
	node := os.Getenv(hookUser)
	if node == "" {
		return
	}
	if err := (gitsync.NodeHook{Node: planner.NodeName(node)}).PreReceive(context.Background(), os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hookedRepo has nodes a and b, a fenced node f, and a hook for whoever
// REMOTE_USER or ORPHEUS_USER says is pushing; without either, no hook.
func hookedRepo(t *testing.T) *hooked {
	t.Helper()
	h := &hooked{Repo: gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "records.git")))(t), t: t}
	h.put("nodes/a", h.record("a", nodeText("a", 3)))
	h.put("nodes/b", h.record("b", nodeText("b", 3)))
	h.put("nodes/f", h.record("b", fenceText(nodeText("f", 3), "b", 4)))
	h.put("beats/b", planner.Ring("b", "salt").At(5))
	h.put("status/b", h.record("b", "b: status\n\n{\n\"x\": 1\n}\n"))
	h.put("leases/default/web", h.record("b", "web\n\n{\n\"x\": 1\n}\n"))
	return h
}

func (h *hooked) install() {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	script := "#!/bin/sh\n" + hookUser + `="$REMOTE_USER$ORPHEUS_USER"` + "; export " + hookUser + "\n" +
		`[ -z "$` + hookUser + `" ] || exec '` + self + "'\n"
	if err := os.WriteFile(filepath.Join(h.Dir, "hooks", "pre-receive"), []byte(script), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

type hooked struct {
	*gitsynctest.Repo
	t *testing.T
}

func (h *hooked) record(by planner.NodeName, text string) planner.Record {
	return planner.Record{Author: by, At: 1, Message: text}
}

// object writes a record's commit, reachable from nothing.
func (h *hooked) object(r planner.Record) planner.Hash {
	h.t.Helper()
	return planner.Hash(gitsynctest.Must(h.WriteObject(gitformat.Commit, r.Object()))(h.t))
}

func (h *hooked) put(ref planner.Ref, r planner.Record) {
	h.t.Helper()
	gitsynctest.Must(h.Git("", "update-ref", gitsync.DefaultPrefix+string(ref), string(h.object(r))))(h.t)
}

func (h *hooked) at(ref planner.Ref) planner.Hash {
	id, err := h.Git("", "rev-parse", "--verify", "--quiet", gitsync.DefaultPrefix+string(ref))
	if err != nil {
		return ""
	}
	return planner.Hash(id)
}

const hookSignature = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----"

func nodeText(n planner.NodeName, epoch uint64) string {
	body := planner.NodeRecord{Format: 1, Node: n, Key: "ssh-ed25519 AAAA", Epoch: epoch, Salt: "salt", Reads: [2]int{1, 1}}.Body()
	return planner.Message{Subject: "registers", Parts: []planner.Part{{Body: body, Signature: hookSignature}}}.String()
}

func fenceText(node string, by planner.NodeName, epoch uint64) string {
	m, err := planner.ParseMessage(node)
	if err != nil {
		panic(err)
	}
	body := planner.Fence{Epoch: epoch, Fenced: true, By: by, Nonce: "n"}.Body()
	m, err = planner.FenceMessage(m, "fenced", planner.Part{Body: body, Signature: hookSignature})
	if err != nil {
		panic(err)
	}
	return m.String()
}

func markText(m planner.BeatMark) string {
	m.Nonce = "n"
	return planner.Message{Subject: m.Subject(), Parts: []planner.Part{{Body: m.Body(), Signature: hookSignature}}}.String()
}

// TestNodeHook: what node a may do, and what not (design L3, L12).
func TestNodeHook(t *testing.T) {
	h := hookedRepo(t)
	beat := h.at("beats/b")
	h.put("beats/c", h.record("b", markText(planner.BeatMark{Challenge: true, Node: "c", By: "b", Replaced: beat})))
	h.put("nodes/c", h.record("c", nodeText("c", 3)))
	anything := "text\n\n{\n\"x\": 2\n}\n"
	child := func(ref planner.Ref, text string) planner.Record {
		r := h.record("a", text)
		r.Parent = h.at(ref)
		return r
	}
	for _, tt := range []struct {
		name string
		ref  planner.Ref
		new  planner.Record
		want string // "" = passes
	}{
		// Its own, and what is everybody's.
		{"its record", "nodes/a", h.record("a", nodeText("a", 4)), ""},
		{"its first status", "status/a", h.record("a", anything), ""},
		{"its first beat", "beats/a", planner.Ring("a", "x").At(0), ""},
		{"a new document", "leases/default/new", h.record("a", anything), ""},
		{"a document on the one before", "leases/default/web", child("leases/default/web", anything), ""},
		{"a document re-rooted", "leases/default/web", h.record("a", anything), ""},
		{"the fleet", "fleet", h.record("a", anything), ""},
		{"another's record as it stands", "nodes/b", h.record("b", nodeText("b", 3)), ""},
		{"its probe", "probe/a-a", h.record("a", "probe\n"), ""},

		// Nothing else.
		{"another's probe", "probe/b-a", h.record("a", "probe\n"), "no ref of a record"},
		{"a ref that is none", "other/x", h.record("a", anything), "no ref of a record"},
		{"a name that is none", "nodes/A_b", h.record("a", anything), "no ref of a record"},
		{"another's name as author", "status/a", h.record("b", anything), `the author is "b"`},
		{"another's status", "status/b", h.record("a", anything), "only its own node writes it"},
		{"another's status that is not there", "status/c", h.record("a", anything), "no record to change"},
		{"a document on another parent", "leases/default/web", child("nodes/b", anything), "parent"},
		{"a record of its own with a parent", "nodes/a", child("nodes/a", nodeText("a", 4)), "parent"},
		{"too large", "status/a", h.record("a", anything+strings.Repeat("x", planner.MaxRecordBytes)), "is no record"},

		// Fences.
		{"a fence", "nodes/b", h.record("a", fenceText(nodeText("b", 3), "a", 4)), ""},
		{"another record", "nodes/b", h.record("a", nodeText("b", 4)), "one part"},
		{"a fence by another", "nodes/b", h.record("a", fenceText(nodeText("b", 3), "c", 4)), "by node c"},
		{"a fence two epochs on", "nodes/b", h.record("a", fenceText(nodeText("b", 3), "a", 5)), "epoch 5, not 4"},
		{"a fence of a changed body", "nodes/b", h.record("a", fenceText(nodeText("b", 2), "a", 4)), "what the node wrote was changed"},
		{"a fence of a changed signature", "nodes/b", h.record("a", strings.Replace(fenceText(nodeText("b", 3), "a", 4), "U1NI", "AAAA", 1)), "what the node wrote was changed"},
		{"a fence that is not signed", "nodes/b", h.record("a", cutLast(fenceText(nodeText("b", 3), "a", 4), hookSignature)), "not signed"},
		{"a second fence", "nodes/f", h.record("a", fenceText(nodeText("f", 3), "a", 5)), "fenced already"},
		{"a fence lifted", "nodes/f", h.record("a", nodeText("f", 3)), "fenced already"},

		// Challenges and fence values.
		{"a challenge", "beats/b", h.record("a", markText(planner.BeatMark{Challenge: true, Node: "b", By: "a", Replaced: beat})), ""},
		{"a challenge of another value", "beats/b", h.record("a", markText(planner.BeatMark{Challenge: true, Node: "b", By: "a", Replaced: h.at("nodes/b")})), "another value"},
		{"a challenge of a challenge", "beats/c", h.record("a", markText(planner.BeatMark{Challenge: true, Node: "c", By: "a", Replaced: h.at("beats/c")})), "only a beat is challenged"},
		{"a challenge by another", "beats/b", h.record("a", markText(planner.BeatMark{Challenge: true, Node: "b", By: "c", Replaced: beat})), "by node c"},
		{"a challenge of another node", "beats/b", h.record("a", markText(planner.BeatMark{Challenge: true, Node: "c", By: "a", Replaced: beat})), "for node c"},
		{"another's beat", "beats/b", h.record("a", planner.Ring("b", "salt").At(6).Message), "neither a challenge nor a fence value"},
		{"a fence value", "beats/c", h.record("a", markText(planner.BeatMark{Node: "c", By: "a", Epoch: 4})), ""},
		{"a fence value of another epoch", "beats/c", h.record("a", markText(planner.BeatMark{Node: "c", By: "a", Epoch: 9})), "epoch 9, not 4"},
		{"a mark that is not signed", "beats/b", h.record("a", cutLast(markText(planner.BeatMark{Node: "b", By: "a", Epoch: 4}), hookSignature)), "not signed"},
	} {
		err := h.check("a", h.at(tt.ref), h.object(tt.new), gitsync.DefaultPrefix+string(tt.ref))
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, tt := range []struct{ ref, want string }{
		{"refs/orpheus/leases/default/web", "what is deleted cannot be read"},
		{"refs/orpheus/probe/a-b", ""},
		{"refs/orpheus/nodes/a", "never deleted"},
		{"refs/orpheus/nodes/b", "never deleted"},
		{"refs/orpheus/fleet", "never deleted"},
		{"refs/heads/main", "only refs below refs/orpheus/"},
	} {
		if err := h.check("a", h.at("nodes/a"), "", tt.ref); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("delete %s: error %v, want %q", tt.ref, err, tt.want)
		}
	}
}

// TestNodeHookDeletion: a document goes only beside a fleet record that
// remembers its tokens (design L2): else one node could alarm all others, which
// take lost tokens for a server restored from a backup.
func TestNodeHookDeletion(t *testing.T) {
	h := hookedRepo(t)
	h.put("leases/default/api", h.record("a", docText("api", 7)))
	h.put("leases/default/api+1", h.record("a", docText("api", 9)))
	later := strings.Replace(docText("new", 7), `"format": 1`, `"format": 99`, 1)
	if later == docText("new", 7) {
		t.Fatal(later)
	}
	h.put("leases/default/new", h.record("a", later))
	h.put("fleet", h.record("b", fleetText(1)))
	drop := func(ref planner.Ref) string {
		return fmt.Sprintf("%s %040d %s%s\n", h.at(ref), 0, gitsync.DefaultPrefix, ref)
	}
	fleet := func(old planner.Hash, text string) string {
		return fmt.Sprintf("%040s %s %sfleet\n", old, h.object(h.record("a", text)), gitsync.DefaultPrefix)
	}
	now := h.at("fleet")
	unchanged := fmt.Sprintf("%s %s %sfleet\n", now, now, gitsync.DefaultPrefix)
	for _, tt := range []struct{ name, push, want string }{
		{"alone", drop("leases/default/api"), "only together with"},
		{"beside a fleet record that stays", drop("leases/default/api") + unchanged, "only together with"},
		{"beside one with its tokens", drop("leases/default/api") + fleet(now, fleetText(7)), ""},
		{"all shards", fleet(now, fleetText(9)) + drop("leases/default/api") + drop("leases/default/api+1"), ""},
		{"one shard has given more", drop("leases/default/api") + drop("leases/default/api+1") + fleet(now, fleetText(8)), "the tokens 8, below the document's 9"},
		{"beside one that is garbled", drop("leases/default/api") + fleet(now, "fleet\n\nnothing\n"), "beside it"},
		// Without all or nothing, the deletion alone would pass.
		{"beside one that is bound to lose", drop("leases/default/api") + fleet(h.at("nodes/a"), fleetText(9)), "another value"},
		{"beside one that is bound to lose: not new", drop("leases/default/api") + fleet("", fleetText(9)), "another value"},
		{"of a later format", drop("leases/default/new") + fleet(now, fleetText(7)), ""},
		{"of a later format, more tokens", drop("leases/default/new") + fleet(now, fleetText(6)), "below"},
	} {
		err := gitsync.NodeHook{Node: "a", Dir: h.Dir}.PreReceive(t.Context(), strings.NewReader(tt.push))
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestNodeHookFenceUnreadable: a node whose record was garbled can be fenced,
// by adding to the last record that was good.
func TestNodeHookFenceUnreadable(t *testing.T) {
	h := hookedRepo(t)
	blob := planner.Hash(gitsynctest.Must(h.WriteObject(gitformat.Blob, []byte("junk")))(t))
	garbled := h.object(h.record("b", "b\n\nno record\n"))
	mark := markText(planner.BeatMark{Node: "b", By: "a", Epoch: 4})
	for name, old := range map[string]planner.Hash{"no commit": blob, "no record": garbled} {
		gitsynctest.Must(h.Git("", "update-ref", gitsync.DefaultPrefix+"nodes/b", string(old)))(t)
		for _, tt := range []struct {
			name, text, want string
		}{
			{"a fence", fenceText(nodeText("b", 3), "a", 4), ""},
			{"a record", nodeText("b", 3), "one part"},
			{"a fence of another node", fenceText(nodeText("c", 3), "a", 4), "of node c"},
			{"a fence by another", fenceText(nodeText("b", 3), "c", 4), "by node c"},
			{"an epoch that is not raised", fenceText(nodeText("b", 3), "a", 3), "does not raise"},
			{"a fence that is not signed", cutLast(fenceText(nodeText("b", 3), "a", 4), hookSignature), "not signed"},
			{"a record that is not signed", strings.Replace(fenceText(nodeText("b", 3), "a", 4), "\n"+hookSignature+"\n", "", 1), "not signed"},
			{"junk", "b\n\njunk\n", "not a fence"},
		} {
			err := h.check("a", old, h.object(h.record("a", tt.text)), gitsync.DefaultPrefix+"nodes/b")
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s over %s: error %v, want %q", tt.name, name, err, tt.want)
			}
		}
		if err := h.check("a", h.at("beats/b"), h.object(h.record("a", mark)), gitsync.DefaultPrefix+"beats/b"); err != nil {
			t.Errorf("fence value beside %s: %v", name, err)
		}
	}
	if err := h.check("a", "", h.object(h.record("a", fenceText(nodeText("b", 3), "a", 4))), gitsync.DefaultPrefix+"nodes/c"); err == nil {
		t.Error("a fence of a node without a record passes")
	}
}

func docText(name string, tokens uint64) string {
	body := planner.LeaseDoc{Format: 1, Service: planner.ServiceID{Namespace: "default", Name: name}, Commit: strings.Repeat("c", 40), By: "a", Tokens: tokens}.Body()
	return planner.Message{Subject: "decides", Parts: []planner.Part{{Body: body, Signature: hookSignature}}}.String()
}

func fleetText(tokens uint64) string {
	body := planner.FleetRecord{Format: 1, By: "a", Tokens: tokens}.Body()
	return planner.Message{Subject: "floor", Parts: []planner.Part{{Body: body, Signature: hookSignature}}}.String()
}

func cutLast(text, part string) string {
	i := strings.LastIndex(text, "\n"+part+"\n")
	return text[:i] + text[i+2+len(part):]
}

// check runs the hook over one change, here.
func (h *hooked) check(node planner.NodeName, old, new planner.Hash, ref string) error {
	line := fmt.Sprintf("%040s %040s %s\n", old, new, ref)
	return gitsync.NodeHook{Node: node, Dir: h.Dir}.PreReceive(h.t.Context(), strings.NewReader(line))
}

// TestNodeHookServers: the hook where git runs it, over http and over ssh. A
// board works through it, and is told what it may not do.
func TestNodeHookServers(t *testing.T) {
	for name, board := range map[string]func(*testing.T, *hooked) gitsync.BoardConfig{
		"http": func(t *testing.T, h *hooked) gitsync.BoardConfig {
			path := gitsynctest.Must(exec.Command("git", "--exec-path").Output())(t)
			srv := httptest.NewServer(&cgi.Handler{
				Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
				Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(h.Dir), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=a",
					"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
			})
			t.Cleanup(srv.Close)
			return gitsync.BoardConfig{URL: srv.URL + "/" + h.Name()}
		},
		"ssh": func(t *testing.T, h *hooked) gitsync.BoardConfig {
			srv := newSSHD(t, gitsynctest.SSHDOptions{})
			cfg := sshBoard(srv, h.Repo)
			cfg.SSHKeyFile = gitsynctest.Must(srv.AddKey("ORPHEUS_USER=a"))(t)
			return cfg
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := hookedRepo(t)
			h.install()
			b := openBoard(t, board(t, h))
			able, err := b.Probe(t.Context(), "a")
			if err != nil || !able.Compares || !able.Atomic {
				t.Errorf("abilities %+v, error %v", able, err)
			}
			change := func(ref planner.Ref, text string) gitsync.Change {
				r := h.record("a", text)
				return gitsync.Change{Ref: ref, Old: h.at(ref), New: &r}
			}
			challenge := markText(planner.BeatMark{Challenge: true, Node: "b", By: "a", Replaced: h.at("beats/b")})
			gitsynctest.WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{
				change("beats/b", challenge), change("status/a", nodeText("a", 3)), change("leases/default/web", nodeText("a", 3)),
			}}, gitsync.Won, gitsync.Won, gitsync.Won)
			gitsynctest.WantSwap(t, b, gitsync.Push{Atomic: true, Changes: []gitsync.Change{
				change("nodes/b", fenceText(nodeText("b", 3), "a", 4)), change("beats/b", markText(planner.BeatMark{Node: "b", By: "a", Epoch: 4})),
			}}, gitsync.Won, gitsync.Won)
			results := gitsynctest.WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{change("status/b", nodeText("b", 3))}}, gitsync.Lost)
			if !strings.Contains(results[0].Reason, "hook") {
				t.Errorf("reason %q", results[0].Reason)
			}

			// A document goes as a member lets it go, and in no other way.
			doc := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "api"}, 0)
			gitsynctest.WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{change(doc, docText("api", 7))}}, gitsync.Won)
			drop := gitsync.Change{Ref: doc, Old: h.at(doc)}
			for _, changes := range [][]gitsync.Change{{drop}, {change("fleet", fleetText(6)), drop}} {
				for _, r := range gitsynctest.Must(b.Swap(t.Context(), gitsync.Push{Changes: changes}))(t) {
					if r.Outcome != gitsync.Lost {
						t.Errorf("%d changes: %v", len(changes), r)
					}
				}
			}
			gitsynctest.WantSwap(t, b, gitsync.Push{Atomic: true, Changes: []gitsync.Change{change("fleet", fleetText(7)), drop}}, gitsync.Won, gitsync.Won)
			if h.at(doc) != "" {
				t.Error("the document is still there")
			}
		})
	}
}

// TestAttack33NodeHook: a stolen key of a node, in the hands of somebody with
// git.
func TestAttack33NodeHook(t *testing.T) {
	h := hookedRepo(t)
	main := commit(t, h.Repo, map[string]string{"a": "1"})
	h.install()
	clone := filepath.Join(t.TempDir(), "clone")
	push := func(refs ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"push", "--quiet", "origin"}, refs...)...)
		cmd.Dir = clone
		cmd.Env = append(os.Environ(), "ORPHEUS_USER=a", "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	git := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = clone
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@orpheus", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@orpheus", "TZ=UTC")
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	gitsynctest.Must(h.Git("", "clone", "--quiet", h.Dir, clone))(t)
	empty := git("", "mktree")
	blob := git("junk", "hash-object", "-w", "--stdin")
	tree := git("100644 blob "+blob+"\tx\n", "mktree")
	record := func(tree string, parents ...string) string {
		args := []string{"commit-tree", tree, "-m", "text"}
		for _, p := range parents {
			args = append(args, "-p", p)
		}
		return git("", args...)
	}
	for _, tt := range []struct{ name, from, to, want string }{
		{"a record made with git", record(empty), "refs/orpheus/status/a", ""},
		{"the branch", record(empty, main), "refs/heads/main", "only refs below refs/orpheus/"},
		{"another branch", main, "refs/heads/evil", "only refs below refs/orpheus/"},
		{"a tag", main, "refs/tags/v1", "only refs below refs/orpheus/"},
		{"a blob", blob, "refs/orpheus/leases/default/new", "is no record"},
		{"a tree", tree, "refs/orpheus/leases/default/new", "is no record"},
		{"a commit with files", record(tree), "refs/orpheus/leases/default/new", "is no record"},
		{"a commit of the manifests", main, "refs/orpheus/leases/default/new", "is no record"},
		{"a record above files", record(empty, record(tree)), "refs/orpheus/leases/default/new", "parent"},
		{"deletion of a node", "", "refs/orpheus/nodes/b", "never deleted"},
	} {
		before := gitsynctest.Must(h.Git("", "rev-parse", "main"))(t)
		out, err := push("+" + tt.from + ":" + tt.to)
		if (tt.want == "") != (err == nil) || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v, said %q, want %q", tt.name, err, out, tt.want)
		}
		if after := gitsynctest.Must(h.Git("", "rev-parse", "main"))(t); after != before {
			t.Fatalf("%s: main was changed", tt.name)
		}
	}
}

// TestAttack38NodeHookObjects: a push that brings more than its records is
// refused, loose or in a pack, and leaves nothing behind.
func TestAttack38NodeHookObjects(t *testing.T) {
	for name, limit := range map[string]string{"loose": "1000", "pack": "1"} {
		t.Run(name, func(t *testing.T) {
			h := hookedRepo(t)
			h.install()
			gitsynctest.Must(h.Git("", "config", "receive.unpackLimit", limit))(t)
			count := func() string { return gitsynctest.Must(h.Git("", "count-objects", "-v"))(t) }
			before := count()
			record := h.record("a", "text\n\n{\n\"x\": 3\n}\n")
			pack := &gitformat.Pack{}
			pack.Add(gitformat.Commit, record.Object())
			pack.Add(gitformat.Blob, []byte("stowaway"))
			line := fmt.Sprintf("%040d %s refs/orpheus/status/a\x00report-status", 0, record.Hash())
			request := gitformat.Packet(line) + "0000" + string(pack.Bytes())
			cmd := exec.Command("git", "receive-pack", "--stateless-rpc", h.Dir)
			cmd.Env = append(os.Environ(), "ORPHEUS_USER=a", "LC_ALL=C")
			cmd.Stdin = strings.NewReader(request)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "pre-receive hook declined") || !strings.Contains(string(out), "is pushed that is no record") {
				t.Errorf("error %v, said %q", err, out)
			}
			if after := count(); after != before || h.at("status/a") != "" {
				t.Errorf("objects were %s, are %s", before, after)
			}
		})
	}
}
