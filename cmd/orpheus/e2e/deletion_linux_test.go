package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestDeletionBudget deletes services of ten: few go at once, many wait for a
// person's word, which releases what it names and nothing else.
func TestDeletionBudget(t *testing.T) {
	n := newNode(t, devfleet.Options{Driver: planner.DriverProcess, LocalPath: true})
	n.agent()
	all := n.numbered(10)
	n.apply("ten", all)
	begin := n.lives()

	// One of ten goes, two of ten go, nobody is asked.
	for count := 1; count <= 2; count++ {
		hash := n.deletes(n.lives(), fmt.Sprintf("%d of ten", count), 10-count, 10)
		n.gone(hash, 10-count, 10)
		n.apply("ten again", all)
	}
	// A file that moves is no deletion, however many do.
	before := n.lives()
	moved := map[string]string{}
	for k := range 6 {
		moved[numberedFile(k)], moved["moved/"+numberedFile(k)] = gitsynctest.Delete, all[numberedFile(k)]
	}
	n.apply("six move", moved)
	n.untouched("six files moved", before)
	back := map[string]string{}
	for k := range 6 {
		back[numberedFile(k)], back["moved/"+numberedFile(k)] = all[numberedFile(k)], gitsynctest.Delete
	}
	n.apply("six move back", back)

	first := n.fiveWait(begin)
	n.forgeries(first)
	n.approved(first)
	n.takenBack()
}

// numbered are the files of a fleet of services s0, s1, …
func (n *node) numbered(count int) map[string]string {
	files := map[string]string{"fleet.yaml": fleetYAML}
	for k := range count {
		files[numberedFile(k)] = n.manifest(spec{name: fmt.Sprintf("s%d", k)})
	}
	return files
}

func numberedFile(k int) string { return fmt.Sprintf("s%d.yaml", k) }

// deletes commits the deletion of the services from..to-1 and waits until the
// commit is in force. What else runs must not notice.
func (n *node) deletes(before map[string]life, message string, from, to int) string {
	n.t.Helper()
	files := map[string]string{}
	for k := from; k < to; k++ {
		files[numberedFile(k)] = gitsynctest.Delete
		delete(before, fmt.Sprintf("s%d/0", k))
	}
	hash := n.commit(message, files)
	n.await(message, inForce(hash))
	n.untouched(message, before)
	return hash
}

// inForce waits for a commit, whatever runs.
func inForce(hash string) func(*api.Status) string {
	return func(st *api.Status) string {
		if st.Repository.Applied.Hash != hash {
			return fmt.Sprintf("commit %.8s is in force", st.Repository.Applied.Hash)
		}
		return ""
	}
}

// gone waits until the services from..to-1 are, and nothing waits for a word.
func (n *node) gone(hash string, from, to int) {
	n.t.Helper()
	n.await(fmt.Sprintf("s%d to s%d go", from, to-1), func(st *api.Status) string {
		for k := from; k < to; k++ {
			if s := service(st, fmt.Sprintf("s%d", k)); s.Name != "" {
				return s.Name + " is still there: " + s.Message
			}
		}
		return devfleet.SettledAt(hash)(st)
	})
	if waits := n.waiting(); len(waits) > 0 {
		n.t.Errorf("these wait for a word: %v", waits)
	}
}

// waiting maps each service that waits for a word to the trailer that gives it.
func (n *node) waiting() map[string]string {
	n.t.Helper()
	waits := map[string]string{}
	for _, s := range n.status().Services {
		if s.Approve != "" {
			waits[s.Name] = s.Approve
		}
	}
	return waits
}

// wantWaiting demands that exactly these wait, for the approval of a commit.
func (n *node) wantWaiting(why, hash string, names ...string) {
	n.t.Helper()
	want := map[string]string{}
	for _, name := range names {
		want[name] = "Prune-Approved: " + hash
	}
	if waits := n.waiting(); !maps.Equal(waits, want) {
		n.t.Errorf("%s: these wait for a word: %v, want %v", why, waits, want)
	}
}

var five = []string{"s0", "s1", "s2", "s3", "s4"}

// fiveWait deletes five of ten, in a commit that does more: the five run on,
// the rest happens, and every place says what would go, why it waits, and how it
// is approved.
func (n *node) fiveWait(begin map[string]life) (hash string) {
	n.t.Helper()
	before := n.lives()
	files := map[string]string{
		"s5.yaml":  n.manifest(spec{name: "s5", env: map[string]string{"COLOUR": "green"}}),
		"new.yaml": n.manifest(spec{name: "new"}),
		"vol.yaml": n.manifest(spec{name: "vol", more: "  volumes: [{name: data, local: {}}]\n"}),
	}
	for k := range 5 {
		files[numberedFile(k)] = gitsynctest.Delete
	}
	hash = n.apply("five go", files)
	n.untouched("five were deleted", before, "s5")
	if began := begin["s0/0"]; n.lives()["s0/0"] != began {
		n.t.Errorf("s0 is not what it was at the begin")
	}
	if s := service(n.status(), "new"); s.Ready != 1 {
		n.t.Errorf("the rest of the commit was not applied: %+v", s)
	}
	n.wantWaiting("five were deleted", hash, five...)
	trailer := "Prune-Approved: " + hash
	reason := "commit " + hash[:8] + " deletes it together with more than 20 % of all services: it runs on until a commit approves the deletion"
	status, events := n.say("status"), n.say("events")
	contains(n.t, "orpheus status", status, append(five, reason, trailer, "of 5 services waits for your word: s0, s1, s2, s3, s4", "7 of 12 up to date and ready")...)
	contains(n.t, "orpheus status -o json", n.say("status", "-o", "json"), trailer)
	for _, name := range five {
		contains(n.t, "orpheus events", events, name+" service held back: "+reason)
	}
	contains(n.t, "orpheus why s0", n.say("why", "s0"), reason, "git commit --allow-empty", "--trailer \""+trailer+"\"")
	contains(n.t, "the agent's log", n.agentLog(), "service held back", reason)
	if _, code := n.orpheus("status", "--exit-code", "--socket", n.Socket()); code != 3 {
		n.t.Errorf("status --exit-code ends with %d while deletions wait", code)
	}
	return hash
}

// forgeries releases nothing: words that are no approval of the commit, or of
// another one.
func (n *node) forgeries(first string) {
	n.t.Helper()
	before := n.lives()
	parent, err := n.Repo.Git("", "rev-parse", first+"~1")
	if err != nil {
		n.t.Fatal(err)
	}
	for why, message := range map[string]string{
		"another commit":  "no\n\nPrune-Approved: " + parent,
		"six digits":      "no\n\nPrune-Approved: " + first[:6],
		"too many":        "no\n\nPrune-Approved: " + first + "0",
		"garbled":         "no\n\nPrune-Approved: " + first[1:] + first[:1],
		"no hash":         "no\n\nPrune-Approved: yes, all of it",
		"not a trailer":   "no\n\nPrune-Approved: " + first + "\n\nsaid somebody, and was wrong",
		"the subject":     "Prune-Approved: " + first,
		"another trailer": "no\n\nNot-Prune-Approved: " + first,
	} {
		hash := n.commit(message, map[string]string{"README.md": why})
		n.hangUp(hash)
		n.wantWaiting(why, first, five...)
	}
	n.kill()
	n.agent()
	n.untouched("nothing approved the deletion", before)
	n.wantWaiting("the agent was killed", first, five...)
}

// approved releases the five, by the first digits of their commit, and not what
// the approving commit deletes itself: a service with a volume, which asks
// though it is one of many.
func (n *node) approved(first string) {
	n.t.Helper()
	before := n.lives()
	data := n.volume("data")
	if err := os.WriteFile(filepath.Join(data, "kept"), []byte("kept"), 0o644); err != nil {
		n.t.Fatal(err)
	}
	hash := n.commit("yes\n\nPrune-Approved: "+first[:7], map[string]string{"vol.yaml": gitsynctest.Delete})
	n.await("the five go", func(st *api.Status) string {
		for _, name := range five {
			if service(st, name).Name != "" {
				return name + " is still there"
			}
		}
		return devfleet.SettledAt(hash)(st)
	})
	ended := maps.Clone(before)
	for _, name := range five {
		if pid := before[name+"/0"].PID; running(pid) {
			n.t.Errorf("%s is deleted, and its process %d lives", name, pid)
		}
		delete(before, name+"/0")
	}
	if len(ended)-len(before) != 5 {
		n.t.Errorf("before the approval these ran: %v", slices.Sorted(maps.Keys(ended)))
	}
	n.untouched("five others were approved", before)
	n.wantWaiting("one with a volume was deleted", hash, "vol")
	contains(n.t, "orpheus why vol", n.say("why", "vol"), "keeps data in a volume", "Prune-Approved: "+hash)

	hash = n.commit("this too\n\nPrune-Approved: "+strings.ToUpper(hash), map[string]string{"README.md": "volume"})
	n.await("vol goes", func(st *api.Status) string {
		if service(st, "vol").Name != "" {
			return "vol is still there"
		}
		return devfleet.SettledAt(hash)(st)
	})
	if text, err := os.ReadFile(filepath.Join(data, "kept")); err != nil || string(text) != "kept" {
		n.t.Errorf("the data of vol: %q, %v", text, err)
	}
}

// takenBack reverts a deletion that waits: it is forgotten, also by a person
// who approves it late.
func (n *node) takenBack() {
	n.t.Helper()
	before := n.lives()
	names := []string{"s6", "s7", "s8"}
	hash := n.deletes(n.lives(), "three go", 6, 9)
	n.wantWaiting("three of six were deleted", hash, names...)
	reverted, err := n.Repo.Revert()
	if err != nil {
		n.t.Fatal(err)
	}
	n.await("the deletion is taken back", devfleet.SettledAt(reverted))
	n.wantWaiting("the deletion was taken back", "")
	n.hangUp(n.commit("late\n\nPrune-Approved: "+hash, map[string]string{"README.md": "late"}))
	again := n.deletes(n.lives(), "three go again", 6, 9)
	n.wantWaiting("three were deleted again", again, names...)
	n.hangUp(n.commit("the wrong one\n\nPrune-Approved: "+hash, map[string]string{"README.md": "wrong"}))
	n.wantWaiting("the former deletion was approved", again, names...)
	n.untouched("three were deleted, restored and deleted", before)
}

// TestDeletionKeepsVolumes: of a container that was deleted with a person's
// word, the data is there still, and its successor finds it.
func TestDeletionKeepsVolumes(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	manifest := n.manifest(spec{name: "vol", more: "  volumeMounts: [{name: data, mountPath: /data}]\n  volumes: [{name: data, local: {}}]\n"})
	n.apply("with a volume", map[string]string{"fleet.yaml": fleetYAML, "vol.yaml": manifest, "calm.yaml": n.manifest(spec{name: "calm"})})
	before := n.lives()
	kept := filepath.Join(n.volume("data"), "kept")
	if err := os.WriteFile(kept, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	hash := n.apply("without", map[string]string{"vol.yaml": gitsynctest.Delete})
	n.wantWaiting("it has a volume", hash, "vol")
	n.untouched("its deletion waits", before)
	hash = n.commit("yes\n\nPrune-Approved: "+hash, map[string]string{"README.md": "yes"})
	n.await("vol goes", func(st *api.Status) string {
		if service(st, "vol").Name != "" {
			return "vol is still there"
		}
		return devfleet.SettledAt(hash)(st)
	})
	n.apply("with it again", map[string]string{"vol.yaml": manifest})
	if text, err := os.ReadFile(kept); err != nil || string(text) != "kept" {
		t.Errorf("the data of vol: %q, %v", text, err)
	}
}
