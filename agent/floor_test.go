package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// repository is what the status says of it.
func (w *world) repository() api.Repository { return w.agent.Status().Repository }

// wantApplied checks the commit in force, and that a refusal of the one that is
// seen says each of these; without any that there is none.
func (w *world) wantApplied(commit planner.Commit, refusal ...string) {
	w.t.Helper()
	r := w.repository()
	if r.Applied.Hash != commit.Hash || (r.Refused != "") != (len(refusal) > 0) {
		w.t.Errorf("applied %s, refused %q; want %s, refused: %v", r.Applied.Short(), r.Refused, commit.Short(), len(refusal) > 0)
	}
	for _, part := range refusal {
		if !strings.Contains(r.Refused, part) {
			w.t.Errorf("refused %q, want that it says %q", r.Refused, part)
		}
	}
}

// problem is the one that begins with a word, "" = there is none.
func (w *world) problem(what string) string {
	for _, p := range w.agent.Status().Problems {
		if strings.HasPrefix(p, what+": ") {
			return p
		}
	}
	return ""
}

// TestAttack07OlderTipAlone: a server that shows an older tip again changes
// nothing on a node alone, before and after a restart; what crashes meanwhile
// runs again. The newest tip ends it without anybody's word.
func TestAttack07OlderTipAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		w.wantRunning("web-0 b")
		w.repo.setBack(old)
		w.settle(time.Minute)
		w.wantApplied(newest, newest.Short(), "this node has followed", "branch main was set back", "git revert", "orpheus floor reset "+old.Hash)
		w.wantRunning("web-0 b")
		w.crash()
		w.start()
		w.settle(time.Minute)
		w.wantApplied(newest, "set back")
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
		w.settle(time.Minute)
		w.wantRunning("web-0 b")
		w.repo.setBack(newest)
		w.settle(time.Minute)
		w.wantApplied(newest)
	})
}

// TestAttack08RewrittenAlone: a rewritten branch and one without a common
// history are refused until a person resets the floor to it; the next rewriting
// is refused again.
func TestAttack08RewrittenAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		base := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		w.repo.setBack(base)
		forced := w.commit(service("web", "c"))
		w.settle(time.Minute)
		w.wantApplied(newest, "rewritten", "orpheus floor reset "+forced.Hash)
		w.wantRunning("web-0 b")
		if got := w.repository().Floor; got != newest.Hash {
			t.Errorf("floor %s, want %s", got, newest.Hash)
		}
		if err := w.agent.ResetFloor(context.Background(), forced.Hash); err != nil {
			t.Fatal(err)
		}
		w.settle(10 * time.Second)
		w.wantApplied(forced)
		w.wantRunning("web-0 c")
		w.repo.setBack(planner.Commit{})
		w.commit(service("web", "a"))
		w.settle(time.Minute)
		w.wantApplied(forced, "rewritten")
		w.wantRunning("web-0 c")
	})
}

// TestFloorResetLetsTheBranchGoBack: the commit in force when the floor was
// reset does not become the floor again, also when the agent starts in between.
func TestFloorResetLetsTheBranchGoBack(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		if err := w.agent.ResetFloor(context.Background(), old.Hash); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		w.wantApplied(newest)
		w.crash()
		w.start()
		w.settle(time.Minute)
		if got := w.repository().Floor; got != old.Hash {
			t.Errorf("floor %s, want %s", got, old.Hash)
		}
		w.repo.setBack(old)
		w.settle(10 * time.Second)
		w.wantApplied(old)
		w.wantRunning("web-0 a")
	})
}

// TestFloorFileLost: without its file, or with one that cannot be read, the
// commit in force is the floor; so it is for a node that an older release left.
func TestFloorFileLost(t *testing.T) {
	for _, content := range []string{"", "{", `{"format":1,"commit":"x"}`, strings.Repeat("x", 1<<20)} {
		inWorld(t, func(w *world) {
			old := w.commit(service("web", "a"))
			w.settle(3 * time.Second)
			newest := w.commit(service("web", "b"))
			w.settle(10 * time.Second)
			w.crash()
			path := filepath.Join(w.state, floorPath)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if content != "" {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.repo.setBack(old)
			w.start()
			w.settle(time.Minute)
			w.wantApplied(newest, "set back")
			w.wantRunning("web-0 b")
		})
	}
}

// TestFloorOnAFullDisk: a commit is not followed before its floor is on disk.
func TestFloorOnAFullDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		// A folder in the way of the file: no right of root's writes over it.
		blocked := filepath.Join(w.state, floorPath+".new")
		if err := os.Mkdir(blocked, 0o700); err != nil {
			t.Fatal(err)
		}
		second := w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		w.wantApplied(first, "write floor")
		w.wantRunning("web-0 a")
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Minute)
		w.wantApplied(second)
		w.wantRunning("web-0 b")
	})
}

// TestAttack44StateFolderDeleted: with the state folder gone all that runs is
// adopted and stays, and an older tip is still refused: the floor is known from
// outside of the folder.
func TestAttack44StateFolderDeleted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.floor.Copy = filepath.Join(t.TempDir(), "floor.json")
		w.crash()
		w.start()
		old := w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "a"), service("db", "b", withVolume), service("api", "c"))
		w.settle(10 * time.Second)
		events := len(w.driver.History())
		w.crash()
		if err := os.RemoveAll(w.state); err != nil {
			t.Fatal(err)
		}
		w.repo.setBack(old)
		w.start()
		w.settle(time.Minute)
		if err := os.Remove(w.floor.Copy); err != nil { // the machine boots
			t.Fatal(err)
		}
		w.crash()
		w.start()
		w.settle(time.Minute)
		w.wantApplied(planner.Commit{}, newest.Short(), "set back")
		w.wantRunning("api-0 c", "db-0 b", "web-0 a")
		w.repo.setBack(newest)
		w.settle(time.Minute)
		w.wantApplied(newest)
		w.wantRunning("api-0 c", "db-0 b", "web-0 a")
		if n := len(w.driver.History()) - events; n != 0 {
			t.Errorf("%d changes of instances, want none", n)
		}
	})
}

// TestAttack44NothingRemembered: where the copy is lost as well (a reboot
// clears it) what runs stays, and a person is told that an older commit would
// be followed; repository.floor rules that out.
func TestAttack44NothingRemembered(t *testing.T) {
	inWorld(t, func(w *world) {
		if p := w.problem(problemForgotten); p != "" {
			t.Errorf("first start: problem %q", p)
		}
		old := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "a"), service("api", "c"))
		w.settle(10 * time.Second)
		if p := w.problem(problemForgotten); p != "" {
			t.Errorf("first commits: problem %q", p)
		}
		w.crash()
		if err := os.RemoveAll(w.state); err != nil {
			t.Fatal(err)
		}
		w.floor.Pin = newest.Hash
		w.repo.setBack(old)
		w.start()
		w.settle(time.Minute)
		w.wantApplied(planner.Commit{}, "repository.floor", newest.Short())
		w.wantRunning("api-0 c", "web-0 a")
		if p := w.problem(problemForgotten); !strings.Contains(p, "repository.floor") || !strings.Contains(p, "orpheus floor reset") {
			t.Errorf("problem %q, want what was lost and what to do", p)
		}
		if err := w.agent.ResetFloor(context.Background(), old.Hash); err == nil || !strings.Contains(err.Error(), "repository.floor") {
			t.Errorf("reset below the pin: %v", err)
		}
		w.repo.setBack(newest)
		w.settle(time.Minute)
		w.wantApplied(newest)
		for range 2 { // nobody has said anything yet
			w.crash()
			w.start()
			w.settle(time.Minute)
			if p := w.problem(problemForgotten); p == "" {
				t.Errorf("another agent: problems %q, want what was lost", w.agent.Status().Problems)
			}
		}
		if err := w.agent.ResetFloor(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			w.settle(time.Second)
			if p := w.problem(problemForgotten); p != "" {
				t.Errorf("after a person's word: problem %q", p)
			}
			w.crash()
			w.start()
			w.settle(time.Minute)
		}
	})
}

// TestAttack44DeletedUnderTheAgent: the folder goes while the agent runs:
// nothing stops, everything is written anew, and the next process knows it all:
// also what people had restarted, what ran here, and how runs ended.
func TestAttack44DeletedUnderTheAgent(t *testing.T) {
	inTightWorld(t, func(w *world, _ *gauges) {
		old := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(10 * time.Second)
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
		w.settle(time.Minute)
		w.restart("web", false)
		w.settle(time.Minute)
		events := len(w.driver.History())
		if err := os.RemoveAll(w.state); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Minute)
		for _, file := range []string{restartsPath, ranPath, endsPath} {
			if _, err := os.Stat(filepath.Join(w.state, file)); err != nil {
				t.Errorf("not written anew: %v", err)
			}
		}
		w.crash()
		w.repo.setBack(old)
		w.start()
		w.settle(time.Minute)
		w.wantApplied(newest, "set back")
		w.wantRunning("db-0 b", "web-0 a")
		if n := len(w.driver.History()) - events; n != 0 {
			t.Errorf("%d changes of instances, want none", n)
		}
	})
}

// TestFloorCopy: the copy is there again after a reboot has cleared it, before
// anything new is followed; that it cannot be written is told and stops nothing.
func TestFloorCopy(t *testing.T) {
	inWorld(t, func(w *world) {
		folder := filepath.Join(t.TempDir(), "run")
		w.floor.Copy = filepath.Join(folder, "floor.json")
		copied := func(want string) {
			t.Helper()
			if got, err := readFloor(w.floor.Copy); err != nil || got.Commit != want {
				t.Errorf("the copy is %v, error %v; want %s", got, err, want)
			}
		}
		clear := func() {
			t.Helper()
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
		}
		w.crash()
		w.start()
		first := w.commit(service("web", "a"))
		w.settle(10 * time.Second)
		copied(first.Hash)
		w.repo.fail(errors.New("connection refused"))
		w.crash()
		clear()
		w.start()
		w.settle(10 * time.Second)
		copied(first.Hash)
		clear() // under the agent
		w.settle(2 * time.Minute)
		copied(first.Hash)
		clear()
		if err := os.WriteFile(folder, nil, 0o600); err != nil { // no folder can be made there
			t.Fatal(err)
		}
		w.repo.fail(nil)
		second := w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		w.wantApplied(second)
		w.wantRunning("web-0 b")
		if p := w.problem(problemFloorCopy); p == "" {
			t.Errorf("problems %q, want that there is no copy", w.agent.Status().Problems)
		}
		clear()
		w.settle(2 * time.Minute)
		copied(second.Hash)
		if p := w.problem(problemFloorCopy); p != "" {
			t.Errorf("written again: problem %q", p)
		}
	})
}

// TestFloorNotCompared: a commit that could not be compared with the floor, or
// with the one that the configuration demands, is not followed; nobody is told
// to drop the floor for it, and it is followed as soon as it can be.
func TestFloorNotCompared(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		inWorld(t, func(w *world) {
			unread := func(err error) {
				w.repo.mu.Lock()
				defer w.repo.mu.Unlock()
				w.repo.unread = err
			}
			first := w.commit(service("web", "a"))
			w.settle(10 * time.Second)
			if pinned {
				w.crash()
				w.floor.Pin = first.Hash
				w.start()
				w.settle(10 * time.Second)
			}
			unread(errors.New("the search goes on"))
			second := w.commit(service("web", "b"))
			w.settle(time.Minute)
			w.wantApplied(first, "cannot be compared yet with commit "+first.Short(), "the search goes on", "tried again")
			if r := w.repository().Refused; strings.Contains(r, "reset") || strings.Contains(r, "rewritten") {
				t.Errorf("pinned: %t: refused %q, which is not known", pinned, r)
			}
			if pinned {
				if err := w.agent.ResetFloor(context.Background(), second.Hash); err == nil || !strings.Contains(err.Error(), "cannot be compared yet") {
					t.Errorf("reset: %v", err)
				}
			}
			unread(nil)
			w.settle(time.Minute)
			w.wantApplied(second)
		})
	}
}

// TestFloorOfTags: a tag that moved aside and a best tag that went away are
// refused in words that fit; an exact commit is a person's word.
func TestFloorOfTags(t *testing.T) {
	inWorld(t, func(w *world) {
		follow := func(d Description) {
			w.repo.mu.Lock()
			defer w.repo.mu.Unlock()
			w.repo.from = d
		}
		follow(Description{Following: "tag v1.4.2 of range >=1.2"})
		old := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		newest := w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		follow(Description{Following: "tag v1.4.1 of range >=1.2"})
		w.repo.setBack(old)
		w.settle(time.Minute)
		w.wantApplied(newest, "tag v1.4.1 of range >=1.2 was moved or taken away", "orpheus floor reset "+old.Hash)
		w.wantRunning("web-0 b")
		follow(Description{Following: "commit " + old.Short(), Exact: true})
		w.settle(time.Minute)
		w.wantApplied(old)
		w.wantRunning("web-0 a")
	})
}

// TestFloorIsLeftWithTheFleet: a node that joined a fleet finds no old floor of
// its own when it leaves.
func TestFloorIsLeftWithTheFleet(t *testing.T) {
	dir := t.TempDir()
	f, _, err := loadFloor(dir, filepath.Join(dir, "copy"), "")
	if err != nil || f.set(strings.Repeat("a", 40)) != nil {
		t.Fatal(err)
	}
	if err := dropFloor(dir, filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	b := strings.Repeat("b", 40)
	if f, _, err = loadFloor(dir, filepath.Join(dir, "copy"), b); err != nil || f.commit != b {
		t.Errorf("floor %s, error %v; want the commit in force", f.commit, err)
	}
}
