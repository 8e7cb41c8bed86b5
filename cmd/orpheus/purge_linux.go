package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stateMarks are the files of which every state folder of an agent that has
// followed a commit or been in a fleet has one. They go last.
var stateMarks = []string{"state.json", "life"}

// stateNames is what agents keep in their state folder, beside the marks; files
// of that name may have one of stateSuffixes. TestPurgeKnowsTheStateFolder finds
// what is missing here.
var stateNames = []string{
	"containerd", "ends.json", "events.jsonl", "files", "floor.json", "git", "holds.json", "lock", "logs", "membership.json", namesFolder, "network", "network.json", nodeKeyFile,
	"notify.json", "once.json", "plugins", "probes", "processes", "progress.json", "restarts.json", "revisions.json", "scratch", "volumes",
}

// stateSuffixes are of files that were being written, could not be read, or
// were full.
var stateSuffixes = []string{"", ".new", ".unreadable", ".1"}

// runNames is what agents keep in their run folder, which has no marks: names
// that in a folder of others mean nothing else. What of it is a folder's comes
// before the folder, which goes only if it is empty then.
var runNames = []string{
	socketName, "floor.json", "floor.json.new",
	"containerd/exec", "containerd/views", "network/netns", "network/etc", "network/servers",
}

// runFolders are removed if nothing is left in them.
var runFolders = []string{"containerd", "network", "plugins"}

// purgeFolders removes what the agent keeps, and says what else is there.
func (r *removal) purgeFolders(c config) error {
	var files []string
	for _, name := range slices.Concat(stateNames, stateMarks) {
		for _, suffix := range stateSuffixes {
			files = append(files, name+suffix)
		}
	}
	inRun := slices.Clone(runNames)
	for _, p := range c.Plugins {
		inRun = append(inRun, "plugins/"+p.Name)
	}
	// First, as it may lie in the other one.
	if err := r.clear(c.RunDir, nil, inRun, runFolders); err != nil {
		return err
	}
	return r.clear(c.StateDir, stateMarks, files, nil)
}

// clear removes those names from a folder of the agent's, in their order, then
// those folders in it and itself if they are empty: what else is in it is
// somebody's, and told. It refuses a folder that has none of the marks, unless
// none are given, and one with something mounted in it. May be run again.
func (r *removal) clear(dir string, marks, names, folders []string) error {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) && !exists(dir) {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	marked := func(name string) bool { return exists(filepath.Join(real, name)) }
	if strings.Count(real, "/") < 2 || len(before) > 0 && len(marks) > 0 && !slices.ContainsFunc(marks, marked) {
		return fmt.Errorf("%s does not look like an agent's folder: look at it and remove it by hand", real)
	}
	mounts, err := mountsBelow(real)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted: umount it and run this again", strings.Join(mounts, ", "))
	}
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(real, name)); err != nil {
			return err
		}
	}
	for _, name := range folders {
		_ = os.Remove(filepath.Join(real, name)) // what is in it is told below
	}
	left, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return os.Remove(real)
	}
	var others []string
	for _, e := range left {
		others = append(others, e.Name())
	}
	return writeLine(r.stdout, "kept", fmt.Sprintf("%s: it holds what is not the agent's: %s", real, strings.Join(others, ", ")))
}
