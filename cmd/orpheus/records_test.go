package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// recordWriter writes records into a repository as agents would.
type recordWriter struct {
	t      testing.TB
	remote string // "" = they are kept in memory: see memoryStore
	prefix string
	keys   map[planner.NodeName]*trust.Key
	newest map[planner.Ref]planner.Hash
	all    map[planner.Hash]planner.Record
}

// memoryStore has the records that a writer keeps in memory.
type memoryStore struct{ *recordWriter }

func (s memoryStore) values() map[planner.Ref]planner.Hash { return s.newest }
func (s memoryStore) close()                               {}

func (s memoryStore) read(_ planner.Ref, id planner.Hash) (planner.Record, error) {
	return s.all[id], nil
}

func newRecordWriter(t testing.TB, remote string) *recordWriter {
	return &recordWriter{t: t, remote: remote, prefix: gitsync.DefaultPrefix,
		keys: map[planner.NodeName]*trust.Key{}, newest: map[planner.Ref]planner.Hash{}, all: map[planner.Hash]planner.Record{}}
}

func (w *recordWriter) key(node planner.NodeName) *trust.Key {
	w.t.Helper()
	if w.keys[node] == nil {
		key, err := trust.LoadOrCreateKey(filepath.Join(w.t.TempDir(), "node.key"))
		if err != nil {
			w.t.Fatal(err)
		}
		w.keys[node] = key
	}
	return w.keys[node]
}

func (w *recordWriter) sign(by planner.NodeName, ref planner.Ref, body string) planner.Part {
	w.t.Helper()
	signature, err := w.key(by).Sign(ref, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return planner.Part{Body: body, Signature: signature}
}

// put makes a record the newest of its ref.
func (w *recordWriter) put(ref planner.Ref, r planner.Record) {
	w.t.Helper()
	w.all[r.Hash()] = r
	if w.remote == "" {
		w.newest[ref] = r.Hash()
		return
	}
	cmd := exec.CommandContext(w.t.Context(), "git", "hash-object", "-t", "commit", "-w", "--stdin")
	cmd.Dir, cmd.Stdin = w.remote, bytes.NewReader(r.Object())
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.TrimSpace(string(out)) != string(r.Hash()) {
		w.t.Fatalf("%s is not %s", out, r.Hash())
	}
	gitAs(w.t, w.remote, "update-ref", w.prefix+string(ref), string(r.Hash()))
	w.newest[ref] = r.Hash()
}

func (w *recordWriter) write(by planner.NodeName, at int64, ref planner.Ref, subject, body string) {
	w.t.Helper()
	m := planner.Message{Subject: subject, Parts: []planner.Part{w.sign(by, ref, body)}}
	parent := planner.Hash("")
	if ref.Parse().Kind == planner.RefLeases {
		parent = w.newest[ref]
	}
	w.put(ref, m.Record(by, at, parent))
}

func (w *recordWriter) record(node planner.NodeName) planner.NodeRecord {
	return planner.NodeRecord{
		Format: 1, Node: node, Key: w.key(node).Public(), Life: planner.Life{Machine: "m", State: "s", Boot: "b"}, Epoch: 1, Since: 1,
		Incarnation: "i1", Salt: "salt", Address: "10.0.0.1:7718", Labels: map[string]string{"disk": "ssd"}, OS: "linux", Arch: "amd64",
		Capacity: planner.ResourceList{CPUMillis: 3500, MemoryBytes: 12 << 30}, Drivers: []string{"containerd"},
		Version: "1.2.3", Reads: [2]int{1, 1},
	}
}

func (w *recordWriter) node(r planner.NodeRecord) {
	w.t.Helper()
	w.write(r.Node, wroteAt, planner.NodeRef(r.Node), string(r.Node)+" joins the fleet", r.Body())
}

// fence adds a fence to the newest record of a node, signed by whom it says.
func (w *recordWriter) fence(node, by, signer planner.NodeName, reason string) {
	w.t.Helper()
	ref := planner.NodeRef(node)
	m := planner.Message{Subject: "x", Parts: []planner.Part{w.sign(node, ref, w.record(node).Body())}}
	body := planner.Fence{Epoch: 2, Fenced: true, By: by, Nonce: "n", Reason: reason}.Body()
	m, err := planner.FenceMessage(m, string(by)+" fences "+string(node), w.sign(signer, ref, body))
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(ref, m.Record(by, wroteAt, ""))
}

func (w *recordWriter) status(node planner.NodeName, change func(*planner.NodeStatus)) {
	w.t.Helper()
	st := planner.NodeStatus{Format: 1, Node: node, Incarnation: "i1", Applied: strings.Repeat("ab", 20)}
	if change != nil {
		change(&st)
	}
	w.write(node, wroteAt, planner.StatusRef(node), "status", st.Body())
}

// leases writes the next value of a document: "SLOT NODE TOKEN REVISION".
func (w *recordWriter) leases(by planner.NodeName, at int64, service, subject string, leases ...string) {
	w.t.Helper()
	id := planner.ParseServiceID(service)
	doc := planner.LeaseDoc{Format: 1, Service: id, Commit: strings.Repeat("cd", 20), By: by, Tokens: 100}
	for _, text := range leases {
		l := planner.Lease{Epoch: 1}
		if _, err := fmt.Sscan(text, &l.Slot, (*string)(&l.Node), &l.Token, (*string)(&l.Revision)); err != nil {
			w.t.Fatal(err)
		}
		doc.Leases = append(doc.Leases, l)
	}
	w.write(by, at, planner.LeasesRef(id, 0), subject, doc.Body())
}

const wroteAt = 1_780_000_000 // 2026-05-28T20:26:40Z

const hostileText = "bad\x1b[2J\u202egood"

// recordedFleet is a fleet repository with the records of three nodes: node-1
// lives, node-2 drains and refuses something, node-3 is fenced.
func recordedFleet(t *testing.T) (w *recordWriter, dir string) {
	t.Helper()
	files := fleetFiles()
	files["nodes/node-2.yaml"] += "  drain: true\n"
	remote, dir := fleetRemote(t, files)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	w = newRecordWriter(t, remote)
	for _, n := range []planner.NodeName{"node-1", "node-2", "node-3"} {
		r := w.record(n)
		if n == "node-2" {
			r.Volumes = []planner.SlotID{{Service: planner.ServiceID{Namespace: "default", Name: "db"}, Name: "0"}}
			r.Taints = []planner.Taint{{Key: "dedicated", Value: "db", Effect: "NoSchedule"}}
		}
		w.node(r)
	}
	w.fence("node-3", "node-1", "node-1", "no sign of life "+hostileText)
	web := planner.ServiceID{Namespace: "default", Name: "web"}
	w.status("node-1", func(st *planner.NodeStatus) {
		st.Instances = []planner.InstanceStatus{
			{Slot: planner.SlotID{Service: web, Name: "0"}, Token: 3, Revision: "r1-aaaaaaaa", Phase: planner.PhaseReady},
			{Slot: planner.SlotID{Service: web, Name: "1"}, Token: 4, Revision: "r1-aaaaaaaa", Phase: planner.PhaseFailed, Reason: "exits " + hostileText},
		}
	})
	w.status("node-2", func(st *planner.NodeStatus) {
		st.Rejected = &planner.RejectedCommit{Commit: strings.Repeat("ef", 20), Reason: "no fleet.yaml"}
		st.Refusals = []planner.Refusal{{Service: web, Revision: "r1-bbbbbbbb", Reason: "no room"}}
	})
	w.leases("node-1", wroteAt, "web", "web is placed", "0 node-3 1 r1-aaaaaaaa", "1 node-1 2 r1-aaaaaaaa")
	w.leases("node-2", wroteAt+60, "web", "web-0 moves, node-3 is fenced", "0 node-1 3 r1-aaaaaaaa", "1 node-1 2 r1-aaaaaaaa")
	w.leases("node-1", wroteAt+120, "web", "web is updated", "0 node-1 3 r1-aaaaaaaa", "1 node-1 4 r1-bbbbbbbb")
	w.leases("node-1", wroteAt+90, "shop/api", "shop/api is placed", "0 node-3 1 r1-cccccccc")
	return w, dir
}

func TestNodes(t *testing.T) {
	w, dir := recordedFleet(t)
	out := mustRun(t, dir, "nodes")
	for _, want := range []string{
		"node-1  live           1      1/2    abababab",
		"node-2  live, drained  1      0/0    abababab",
		"does not follow efefefef: no fleet.yaml",
		"node-3  fenced         2      0/0",
		`by node-1: no sign of life bad\x1b[2J\u202egood`,
		"1.2.3    10.0.0.1:7718  3.5 cpu, 12.0 GiB",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\u202e") {
		t.Error("what nodes write acts on the terminal")
	}
	// One node, of a fleet whose checkout is elsewhere; the cache is used again.
	w.status("node-2", nil)
	out = mustRun(t, t.TempDir(), "nodes", "node-2", "-C", filepath.Join(dir, "nodes"))
	for _, want := range []string{"STATE     live, drained", "TAINTS    dedicated=db:NoSchedule", "VOLUMES   db-0", "LABELS    disk=ssd", "SYSTEM    linux/amd64"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "efefefe") {
		t.Errorf("an old status is shown:\n%s", out)
	}
	out = mustRun(t, dir, "nodes", "node-1")
	for _, want := range []string{"SLOTS     1 of 2 ready", "web-1  failed  0         r1-aaaaaaaa  exits bad\\x1b[2J"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	code, _, stderr := orpheus(t, dir, "nodes", "node-9")
	if code != 1 || !strings.Contains(stderr, "these have one: node-1 node-2 node-3") {
		t.Errorf("a node there is not: %d %s", code, stderr)
	}
}

// Where the records are: as fleet.yaml says, without a checkout, and by name.
func TestRecordsElsewhere(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git here")
	}
	records := filepath.Join(t.TempDir(), "records.git")
	files := fleetFiles()
	files["fleet.yaml"] = strings.TrimRight(fleetYAML, "\n") + "\nspec:\n  records: {url: " + records + ", prefix: refs/heads/orpheus/}\n"
	remote, dir := fleetRemote(t, files)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	gitAs(t, ".", "init", "-q", "--bare", records)

	code, _, stderr := orpheus(t, dir, "nodes")
	if code != 1 || !strings.Contains(stderr, "there are no records below refs/heads/orpheus/ of "+records+" yet: no agent has registered there") {
		t.Errorf("no records: %d %s", code, stderr)
	}
	w := newRecordWriter(t, records)
	w.prefix = "refs/heads/orpheus/"
	w.node(w.record("node-1"))
	elsewhere := t.TempDir()
	for _, args := range [][]string{
		{"nodes", "-C", dir},
		{"nodes", "--repository", remote},
		{"nodes", "--records", records, "--prefix", "refs/heads/orpheus/"},
	} {
		if out := mustRun(t, elsewhere, args...); !strings.Contains(out, "node-1  live") || !strings.Contains(out, "it has written no status yet") {
			t.Errorf("%v: %s", args, out)
		}
	}
	for _, row := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"nodes", "-C", elsewhere}, "lies in no checkout of a Git repository", 2},
		{[]string{"nodes", "--records", filepath.Join(elsewhere, "none.git")}, "does not appear to be a git repository", 1},
		{[]string{"nodes", "--records", "ext::sh -c 'touch " + elsewhere + "/ran'"}, "transport 'ext' not allowed", 1},
		{[]string{"nodes", "--records", "--upload-pack=x"}, "begins with a hyphen", 2},
		{[]string{"nodes", "--records", records, "--prefix", "refs/*"}, "is not of the form refs/orpheus/", 2},
		{[]string{"nodes", "--records", records, "-C", dir}, "--records names the records alone", 2},
		{[]string{"nodes", "Node_1"}, "is no name of a node", 2},
		{[]string{"history", "a/b/c"}, "is no name of a service", 2},
		{[]string{"history", "-n", "0"}, "write a number from 1 to 1000", 2},
	} {
		code, _, stderr := orpheus(t, elsewhere, row.args...)
		if code != row.code || !strings.Contains(stderr, row.want) {
			t.Errorf("%v: %d %s, want %d %s", row.args, code, stderr, row.code, row.want)
		}
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "ran")); err == nil {
		t.Error("a program was run")
	}
}

// TestAttack33RecordsOnLaptop: forged, unsigned and garbled records, junk and
// objects that are no records (case 38, too) are shown as what they are, and
// change nothing else.
func TestAttack33RecordsOnLaptop(t *testing.T) {
	w, dir := recordedFleet(t)
	w.node(w.record("node-4"))
	w.fence("node-4", "node-1", "node-2", "never written by node-1")
	unsigned := planner.Message{Subject: "x", Parts: []planner.Part{{Body: w.record("node-5").Body()}}}
	w.put("nodes/node-5", unsigned.Record("node-5", wroteAt, ""))
	w.put("nodes/node-6", planner.Record{Author: "node-6", At: 1 << 62, Message: hostileText + "\n\nno JSON\n"})
	moved := w.sign("node-1", "nodes/node-1", w.record("node-1").Body()) // a good record under another name
	w.put("nodes/node-7", planner.Message{Subject: "x", Parts: []planner.Part{moved}}.Record("node-1", wroteAt, ""))
	huge := planner.Record{Author: "node-8", At: wroteAt, Message: strings.Repeat("x", 2*planner.MaxRecordBytes)}
	w.put("nodes/node-8", huge)
	blob := gitAs(t, w.remote, "hash-object", "-w", filepath.Join(dir, "fleet.yaml"))
	gitAs(t, w.remote, "update-ref", "refs/orpheus/nodes/node-9", blob)
	for i := range 50 {
		gitAs(t, w.remote, "update-ref", fmt.Sprintf("refs/orpheus/nodes/x/Junk%d", i), blob)
	}
	forged := planner.NodeStatus{Format: 1, Node: "node-1", Incarnation: "i1", Applied: strings.Repeat("99", 20)}
	w.write("node-2", wroteAt, "status/node-1", "status", forged.Body())
	w.leases("node-1", wroteAt+200, "shop/api", "stolen "+hostileText, "0 node-2 9 r1-cccccccc")
	thief := planner.LeaseDoc{Format: 1, Service: planner.ServiceID{Namespace: "shop", Name: "api"}, Commit: strings.Repeat("cd", 20), By: "node-1", Tokens: 100,
		Leases: []planner.Lease{{Slot: "0", Node: "node-2", Epoch: 1, Token: 10, Revision: "r1-dddddddd"}}}
	w.write("node-2", wroteAt+300, "leases/shop/api", "stolen "+hostileText, thief.Body())

	out := mustRun(t, dir, "nodes")
	for _, want := range []string{
		"node-1  live           1      0/2",
		"its status is not verified: it is signed with a key that is not node node-1's",
		"node-2  live, drained  1      0/0", // nothing of the forged document
		"node-4  not verified", "fence by node-1: it is signed with a key that is not node node-1's",
		"node-5  not verified", "it is not signed",
		"node-6  not verified", "record has text that is neither a body nor a signature",
		`node-7  not verified`, `it says it is of node "node-1"`,
		"node-8  not verified", "more than 262144",
		"node-9  not verified", "its value is no commit",
		"leases/shop/api is not verified: it is signed with a key that is not node node-1's",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "Junk") || strings.ContainsAny(out, "\x1b\u202e") || strings.Contains(out, "9999999") {
		t.Errorf("what is not verified is shown:\n%s", out)
	}
	out = mustRun(t, dir, "history", "shop/api")
	for _, want := range []string{
		`not verified: it is signed with a key that is not node node-1's (it says: stolen bad\x1b[2J\u202egood)`,
		"shop/api-0 moves from node-3 to node-2",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "r1-dddddddd") || strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("%s", out)
	}
	mustRun(t, dir, "nodes", "-o", "json") // also with times that are none
}

func TestHistory(t *testing.T) {
	_, dir := recordedFleet(t)
	out := mustRun(t, dir, "history")
	want := `TIME                  BY      COMMIT    SERVICE   WHAT
2026-05-28T20:28:40Z  node-1  cdcdcdcd  web       web is updated
2026-05-28T20:28:10Z  node-1  cdcdcdcd  shop/api  shop/api is placed
2026-05-28T20:27:40Z  node-2  cdcdcdcd  web       web-0 moves, node-3 is fenced
2026-05-28T20:26:40Z  node-1  cdcdcdcd  web       web is placed
`
	if out != want {
		t.Errorf("%s", out)
	}
	out = mustRun(t, dir, "history", "web", "-n", "2")
	want = `TIME                  BY      COMMIT    WHAT
2026-05-28T20:28:40Z  node-1  cdcdcdcd  web is updated
  · web-1 on node-1 goes from r1-aaaaaaaa to r1-bbbbbbbb
2026-05-28T20:27:40Z  node-2  cdcdcdcd  web-0 moves, node-3 is fenced
  · web-0 moves from node-3 to node-1
`
	if out != want {
		t.Errorf("%s", out)
	}
	// More than was fetched before, from the same cache.
	out = mustRun(t, dir, "history", "default/web", "-o", "json")
	var report historyReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Entries) != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	if first := report.Entries[2]; len(first.Changes) != 2 || first.Changes[0].From != nil || first.Changes[0].To.Node != "node-3" || first.Time.Unix() != wroteAt {
		t.Errorf("%+v", first)
	}
	code, _, stderr := orpheus(t, dir, "history", "nothing")
	if code != 1 || !strings.Contains(stderr, "there are no leases of service nothing") {
		t.Errorf("%d %s", code, stderr)
	}
}

// The cache is shared, survives a git that was killed in it, and is not waited
// for.
func TestRecordCache(t *testing.T) {
	w, dir := recordedFleet(t)
	place := recordPlace{url: w.remote, prefix: gitsync.DefaultPrefix}
	mustRun(t, dir, "nodes")
	shared, unlock := sharedCache(place)
	if shared == "" {
		t.Fatal("the cache is still locked")
	}
	if out := mustRun(t, dir, "nodes"); !strings.Contains(out, "node-1  live") {
		t.Errorf("beside another process: %s", out)
	}
	unlock()
	if err := os.WriteFile(filepath.Join(shared, "shallow.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, dir, "nodes"); !strings.Contains(out, "node-1  live") {
		t.Errorf("after a crash: %s", out)
	}
	gitAs(t, w.remote, "update-ref", "-d", gitsync.DefaultPrefix+"nodes/node-2")
	if out := mustRun(t, dir, "nodes"); strings.Contains(out, "node-2") {
		t.Errorf("what is gone stays in the cache: %s", out)
	}
	if hooks, err := os.ReadDir(filepath.Join(shared, "hooks")); err == nil && len(hooks) > 0 {
		t.Errorf("the cache has hooks: %v", hooks)
	}
}

// What the checkout's own configuration says of access goes to its remote, and
// to no other.
func TestAccessOfCheckout(t *testing.T) {
	_, dir := fleetRemote(t, fleetFiles())
	gitAs(t, dir, "config", "http.https://git.example.com/.extraHeader", "Authorization: basic c2VjcmV0")
	gitAs(t, dir, "config", "core.sshCommand", "ssh -i key")
	c, err := openWorkTree(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	own, err := c.ownRemote(t.Context())
	if err != nil || len(own.config) != 4 {
		t.Fatalf("%+v %v", own, err)
	}
	place, err := own.in(t.Context(), c, recordOptions{})
	if err != nil || len(place.config) != 4 {
		t.Errorf("%+v %v", place, err)
	}
	writeFiles(t, dir, map[string]string{"fleet.yaml": strings.TrimRight(fleetYAML, "\n") + "\nspec:\n  records: {url: \"https://elsewhere.example.com/r.git\"}\n"})
	if place, err = own.in(t.Context(), c, recordOptions{}); err != nil || len(place.config) != 0 || place.url != "https://elsewhere.example.com/r.git" {
		t.Errorf("%+v %v", place, err)
	}
	// A secret in a URL is not shown.
	secret := recordPlace{url: "https://me:hunter2@git.example.com/x.git", prefix: "refs/orpheus/", secret: secretOf("https://me:hunter2@git.example.com/x.git")}
	if text := secret.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "git.example.com/x.git") {
		t.Error(text)
	}
}

// Which remote a checkout means, whatever is checked out in it.
func TestRemoteOfCheckout(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	for _, row := range []struct {
		name   string
		change func()
		want   string // the remote, or what is wrong
	}{
		{"that of the branch", func() { gitAs(t, dir, "remote", "add", "another", "https://elsewhere.example.com/x.git") }, remote},
		{"a relative path", func() { gitAs(t, dir, "remote", "set-url", "origin", relative(t, dir, remote)) }, remote},
		{"no branch, but origin", func() { gitAs(t, dir, "checkout", "-q", "--detach") }, remote},
		{"neither", func() { gitAs(t, dir, "remote", "rename", "origin", "theirs") }, "follows none of its remotes"},
		{"the only one", func() { gitAs(t, dir, "remote", "remove", "another") }, remote},
		{"none", func() { gitAs(t, dir, "remote", "remove", "theirs") }, "has no remote"},
	} {
		row.change()
		place, err := findRecords(t.Context(), recordOptions{directory: dir})
		got := place.url
		if err != nil {
			got = err.Error()
		}
		if got != row.want && (err == nil || !strings.Contains(got, row.want)) {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func relative(t *testing.T, from, to string) string {
	t.Helper()
	path, err := filepath.Rel(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Narrow terminals get whole words.
func TestNodesNarrow(t *testing.T) {
	r := nodesReport{Nodes: []nodeReport{
		{Name: "node-1", State: nodeLive, Epoch: 1, Leases: 2, Ready: 2, Version: "1.2.3", Address: "10.0.0.1:7718", Written: time.Unix(wroteAt, 0)},
		{Name: "node-2", State: nodeFenced, By: "node-1", Reason: strings.Repeat("no sign of life ", 100), Epoch: 2},
	}, NotVerified: []badRecord{{"leases/default/web", strings.Repeat("garbled ", 200)}}}
	s := &screen{width: 60}
	drawNodes(s, r)
	for _, l := range s.lines {
		if terminal.Columns(l) > 60 {
			t.Errorf("%d columns: %s", terminal.Columns(l), l)
		}
	}
	if len(s.lines) > 24 {
		t.Errorf("%d lines", len(s.lines))
	}
}
