package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// FloorConfig is what the node's own configuration says of the floor: the
// commit below which what is followed may not go (design L6). A fleet keeps
// its floor in the records, a node alone on its disk.
type FloorConfig struct {
	// Pin is the full id of a commit: nothing is followed that does not come
	// after it, whatever is remembered. "" = none.
	Pin string
	// Copy is a file outside of the state folder. It holds the floor of a node
	// alone once more, for when that folder is lost. "" = none.
	Copy string
}

// floor is what a node without records remembers of the commits it followed.
type floor struct {
	commit  string // full id; "" = nothing was followed yet
	path    string
	copy    string
	written floorFile
	copied  floorFile // by this process
	// forgotten: what was followed before was lost, and no person has said yet
	// that the floor is right.
	forgotten bool
}

// floorFile is the JSON form of a floor.
type floorFile struct {
	Format int    `json:"format"`
	Commit string `json:"commit"`
	// Forgotten outlives the agent: what was lost is not known better by the next.
	Forgotten bool `json:"forgotten,omitempty"`
}

const (
	floorPath   = "floor.json"
	floorFormat = 1
	maxFloor    = 4 << 10
)

// loadFloor reads the floor of a node alone. Where the file is missing (an
// older release wrote none) or cannot be read, the commit in force stands for
// it; where that is not known either, the copy outside of the state folder
// (recovered). The error tells of a file that was set aside.
func loadFloor(stateDir, copyPath, inForce string) (_ *floor, recovered bool, _ error) {
	f := &floor{path: filepath.Join(stateDir, floorPath), copy: copyPath}
	file, err := readFloor(f.path)
	if err == nil {
		f.commit, f.forgotten, f.written = file.Commit, file.Forgotten, file
		return f, false, nil
	}
	var told error
	if !errors.Is(err, fs.ErrNotExist) {
		told = setAside(f.path, err)
	}
	f.commit = inForce
	if f.commit == "" && copyPath != "" {
		file, _ = readFloor(copyPath) // as good as none if it cannot be read
		f.commit, f.forgotten, recovered = file.Commit, file.Forgotten, file.Commit != ""
	}
	return f, recovered, told
}

// openFloor reads the floor of a node alone when an agent is made.
func (a *Agent) openFloor() {
	var recovered bool
	var err error
	a.floor, recovered, err = loadFloor(a.cfg.StateDir, a.cfg.Floor.Copy, a.state.followed.Commit.Hash)
	if a.floor.commit != "" {
		err = errors.Join(err, a.floor.set(a.floor.commit)) // from wherever it is known
	}
	a.problem(problemFloorFile, err)
	if recovered {
		a.log.Warn("the state folder is new, but this node has followed a repository before: nothing older is followed",
			"floor", a.floor.commit, "file", a.cfg.Floor.Copy)
	}
	a.forgetful = a.floor.commit == ""
}

// copyFloor keeps the copy of the floor of a node alone.
func (a *Agent) copyFloor() {
	if a.floor != nil {
		a.problem(problemFloorCopy, a.floor.keepCopy())
	}
}

func readFloor(path string) (floorFile, error) {
	data, err := readBounded(path, maxFloor)
	if err != nil {
		return floorFile{}, err
	}
	var f floorFile
	if err := json.Unmarshal(data, &f); err != nil {
		return floorFile{}, err
	}
	if f.Format != floorFormat || !fullID(f.Commit) {
		return floorFile{}, fmt.Errorf("it holds no floor of format %d", floorFormat)
	}
	return f, nil
}

func (f floorFile) write(path string) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode floor: %w", err)
	}
	return writeDurably(path, data)
}

func fullID(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// set makes a commit the floor, durably.
func (f *floor) set(commit string) error {
	file := floorFile{Format: floorFormat, Commit: commit, Forgotten: f.forgotten}
	if f.written != file {
		if err := file.write(f.path); err != nil {
			return fmt.Errorf("write floor: %w", err)
		}
		f.written = file
	}
	f.commit = commit
	return nil
}

// keepCopy writes the copy if it is missing, as after a reboot, or old. It holds
// only what is in the state folder, too.
func (f *floor) keepCopy() error {
	if f.copy == "" || f.written.Commit == "" {
		return nil
	}
	if _, err := os.Lstat(f.copy); err == nil && f.copied == f.written {
		return nil
	}
	if err := f.written.write(f.copy); err != nil {
		return fmt.Errorf("write the copy of the floor, which counts when the state folder is lost: %w", err)
	}
	f.copied = f.written
	return nil
}

// dropFloor forgets the floor of a node alone, which has joined a fleet: there
// the records hold it, and what is left here would be old when it leaves.
func dropFloor(stateDir, copyPath string) error {
	var faults []error
	for _, path := range []string{filepath.Join(stateDir, floorPath), copyPath} {
		if err := os.Remove(path); path != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// ResetFloor is a person's word that what is followed goes on from commit, a
// full id ("" = the one in force), and in a fleet that the records are as they
// should be; see fleet.Member. It may be called from any goroutine.
func (a *Agent) ResetFloor(ctx context.Context, commit string) error {
	return a.onLoop(ctx, func() error {
		if err := a.pinned(commit); err != nil {
			return err
		}
		if a.fleet != nil {
			return a.fleet.member.ResetFloor(commit, a.cfg.Clock())
		}
		return a.resetFloor(cmp.Or(commit, a.state.followed.Commit.Hash))
	})
}

// pinned says why the configuration does not let a commit be the floor.
func (a *Agent) pinned(commit string) error {
	pin := a.cfg.Floor.Pin
	if pin == "" || commit == "" {
		return nil
	}
	after, err := a.comesAfter(pin, commit)
	one, other := planner.Commit{Hash: commit}.Short(), planner.Commit{Hash: pin}.Short()
	switch {
	case err != nil:
		return fmt.Errorf("commit %s cannot be compared yet with %s, which repository.floor in the agent's configuration demands: %w; try again", one, other, err)
	case !after:
		return fmt.Errorf("commit %s does not come after %s, which repository.floor in the agent's configuration demands: change it there first", one, other)
	}
	return nil
}

// resetFloor is ResetFloor of a node alone.
func (a *Agent) resetFloor(commit string) error {
	if commit == "" {
		return errors.New("no commit is in force yet: name one")
	}
	before, forgotten := a.floor.commit, a.floor.forgotten
	a.floor.forgotten = false
	if err := a.floor.set(commit); err != nil {
		a.floor.forgotten = forgotten
		return err
	}
	a.forgetful = false
	a.log.Warn("floor was reset", "floor", commit, "before", before)
	a.problem(problemForgotten, nil)
	if a.source.retryAt != 0 {
		a.source.retryAt = a.cfg.Clock().Boot // what was refused may come after it
	}
	return nil
}

// raiseFloor makes a commit that is about to be followed the floor. Only one
// that is new moves it: the commit that was in force when a person reset the
// floor does not bring the old one back.
func (a *Agent) raiseFloor(commit planner.Commit) error {
	if a.fleet != nil {
		return nil // the member does it
	}
	next := a.floor.commit
	if next == "" || commit.Hash != a.state.followed.Commit.Hash {
		next = commit.Hash
	}
	return a.floor.set(next)
}

// floorRetry is how often a commit below the floor is judged again: a person
// may reset the floor.
const floorRetry = 10 * time.Second

// belowFloor says why a commit may not be followed although it is what the
// repository shows: it does not come after what was followed already (design
// L6). "" = it may.
func (a *Agent) belowFloor(commit planner.Commit) string {
	if pin := a.cfg.Floor.Pin; pin != "" {
		after, err := a.comesAfter(pin, commit.Hash)
		if err != nil {
			return notCompared(pin, "repository.floor in the agent's configuration demands", err)
		}
		if !after {
			return fmt.Sprintf("it does not come after commit %s, which repository.floor in the agent's configuration demands: "+
				"the repository was set back or rewritten, or it is another one. Bring it back, or change repository.floor", planner.Commit{Hash: pin}.Short())
		}
	}
	from := a.cfg.Source.Describe()
	who := "this node has followed"
	if a.fleet != nil {
		who = "the fleet has followed"
	}
	for _, floor := range a.floors(from) {
		after, err := a.comesAfter(floor, commit.Hash)
		if err != nil {
			return notCompared(floor, who, err)
		}
		if !after {
			short := planner.Commit{Hash: floor}.Short()
			return fmt.Sprintf("it does not come after commit %s, which %s: %s, or, if it is meant so: orpheus floor reset %s",
				short, who, remedy(from, short), commit.Hash)
		}
	}
	return ""
}

// notCompared says that it is not known whether a commit comes after another.
// That is no reason to drop the floor.
func notCompared(floor, which string, err error) string {
	return fmt.Sprintf("it cannot be compared yet with commit %s, which %s: %v. It is tried again", planner.Commit{Hash: floor}.Short(), which, err)
}

// remedy says how what is followed may have come below a commit, and how to
// bring it back.
func remedy(from Description, floor string) string {
	if from.Branch == "" {
		return fmt.Sprintf("%s was moved or taken away, or is older. Let it be a commit that comes after %s (git revert makes one that undoes it)", from.Following, floor)
	}
	return fmt.Sprintf("branch %s was set back or rewritten. Bring %s back into its history (git revert undoes a commit without that)", from.Branch, floor)
}

// floors lists the commits that what is followed must come after.
func (a *Agent) floors(from Description) []string {
	switch {
	case a.fleet != nil:
		return a.fleet.member.Floors()
	case a.floor.commit == "" || from.Exact:
		// An exact commit in the node's own configuration is a person's word.
		return nil
	}
	return []string{a.floor.commit}
}

func (a *Agent) comesAfter(floor, commit string) (bool, error) {
	relation, err := a.cfg.Relate(floor, commit)
	return relation == planner.RelationSame || relation == planner.RelationAncestor, err
}

const (
	problemFloorFile = "floor file" // it cannot be read or written
	problemFloorCopy = "floor copy" // it cannot be written
	problemForgotten = "floor"      // a node alone does not know what it had followed
	problemFrozen    = "repository" // the fleet is ahead of what this node is shown
)

// noticeLostState tells a person when instances from before this process run
// on a node that remembers no commit: its state folder was lost, so that an
// older commit than the one before would be followed. It is told until a person
// resets the floor, by the agents after this one as well.
func (a *Agent) noticeLostState() {
	if a.fleet != nil {
		return
	}
	if a.forgetful {
		all, _ := a.instances()
		a.floor.forgotten = slices.ContainsFunc(all, func(i planner.Instance) bool { return i.Alive() && i.StartedAt.Before(a.startedAt) })
		a.forgetful = !a.floor.forgotten && !a.allListed()
	}
	if !a.floor.forgotten {
		return
	}
	a.problem(problemForgotten, errForgotten)
	if a.floor.commit != "" {
		a.problem(problemFloorFile, a.floor.set(a.floor.commit))
	}
}

var errForgotten = errors.New("the state folder was lost while services ran on this node, and with it which commit was followed last: " +
	"an older one would be followed as well. See that the commit in force is the right one and say so: orpheus floor reset. " +
	"repository.floor in the agent's configuration rules out older ones for good")

// frozenAfter is how long the fleet may be ahead of what this node is shown
// before that is told.
const frozenAfter = time.Minute

// noticeFrozen tells a person when the fleet has followed a commit that this
// node's repository does not show: its server is behind, or hides commits.
// The age of the newest commit says nothing: a branch may rest for years.
func (a *Agent) noticeFrozen(now planner.Time) {
	ms := a.fleet
	view, mine := ms.member.View(), a.state.followed.Commit
	relation, known := view.Relations[view.Fleet.Floor]
	ahead := view.Fleet.Floor != "" && mine.Hash != "" && view.Fleet.Floor != mine.Hash && known &&
		relation != planner.RelationSame && relation != planner.RelationAncestor
	if !ahead {
		ms.frozen = 0
		a.problem(problemFrozen, nil)
		return
	}
	if ms.frozen == 0 {
		ms.frozen = now.Boot
	}
	if now.Boot-ms.frozen < frozenAfter {
		return
	}
	a.problem(problemFrozen, fmt.Errorf("the fleet has followed commit %s, which does not lead to %s, the newest that this node may follow of %s: "+
		"the Git server it asks is behind the others', hides commits, or was set back. This node decides nothing for the fleet until then",
		planner.Commit{Hash: view.Fleet.Floor}.Short(), mine.Short(), a.cfg.Source.Describe().Following))
}
