package gitsync

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// git runs a program of git over the repository as the hook sees it: with what
// is pushed, which no other process sees yet. output is read while it runs;
// what it leaves unread is not waited for.
func (h NodeHook) git(ctx context.Context, stdin string, output func(*bufio.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = h.Dir
	cmd.Env = os.Environ() // it says where the pushed objects are
	cmd.Stdin = strings.NewReader(stdin)
	stderr := &headBuffer{}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := output(bufio.NewReader(out)); err != nil {
		cancel()
		_ = cmd.Wait() // it was stopped
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, printable(stderr.String(), 200))
	}
	return nil
}

// readObjects reads the old and new values of the updates, the records of nodes
// whose beats are changed, and the fleet's. What is no record is left out.
func (h NodeHook) readObjects(ctx context.Context, updates []update) (map[planner.Hash]planner.Record, error) {
	var ask strings.Builder
	var keys []planner.Hash
	want := func(key planner.Hash, name string) {
		keys = append(keys, key)
		ask.WriteString(name + "\n")
	}
	want(currentFleet, h.Prefix+string(planner.FleetRef))
	for _, u := range updates {
		for _, id := range []planner.Hash{u.old, u.new} {
			if id != "" {
				want(id, string(id))
			}
		}
		short, below := strings.CutPrefix(u.name, h.Prefix)
		if parts := planner.Ref(short).Parse(); below && parts.Kind == planner.RefBeats && parts.Node != h.Node {
			want(currentNode(parts.Node), h.Prefix+string(planner.NodeRef(parts.Node)))
		}
	}
	objects := map[planner.Hash]planner.Record{}
	err := h.git(ctx, ask.String(), func(out *bufio.Reader) error {
		left := maxHookBytes
		for _, key := range keys {
			record, ok, err := readBatched(out)
			if err != nil {
				return err
			}
			if left -= len(record.Message); left < 0 {
				return fmt.Errorf("the records are larger than %s together", byteSize(maxHookBytes))
			}
			if ok {
				objects[key] = record
			}
		}
		return nil
	}, "cat-file", "--batch")
	return objects, err
}

// readBatched reads one object of git cat-file --batch; ok if it is a record,
// written as records are and with nothing beside.
func readBatched(out *bufio.Reader) (record planner.Record, ok bool, err error) {
	line, err := out.ReadSlice('\n')
	if err != nil {
		return record, false, err
	}
	fields := strings.Fields(string(line))
	if len(fields) != 3 {
		return record, false, nil // "missing": it has no content
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return record, false, fmt.Errorf("git cat-file says %q", printable(string(line), 80))
	}
	if fields[1] != "commit" || size > planner.MaxRecordBytes {
		_, err = io.CopyN(io.Discard, out, size+1)
		return record, false, err
	}
	object := make([]byte, size+1) // with a line feed behind it
	if _, err := io.ReadFull(out, object); err != nil {
		return record, false, err
	}
	object = object[:size]
	record, err = planner.ParseRecord(object)
	if err != nil || !bytes.Equal(record.Object(), object) {
		return record, false, nil
	}
	return record, true, nil
}

// checkRoom keeps a node from making records without end.
func (h NodeHook) checkRoom(ctx context.Context, updates []update) error {
	created := 0
	for _, u := range updates {
		if u.old == "" {
			created++
		}
	}
	if created == 0 {
		return nil
	}
	there := 0
	err := h.git(ctx, "", func(out *bufio.Reader) error {
		for {
			switch _, err := out.ReadSlice('\n'); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			there++
		}
	}, "for-each-ref", "--count="+strconv.Itoa(maxRecords), "--format=x", h.Prefix)
	if err == nil && there+created > maxRecords {
		err = fmt.Errorf("there would be more than %d records below %s", maxRecords, h.Prefix)
	}
	return err
}

// checkObjects refuses a push that brings objects beside its records: nothing
// would point to them, but they would take the server's disk. git keeps what
// is pushed apart until the hook has agreed.
func (h NodeHook) checkObjects(ctx context.Context, updates []update) error {
	room := os.Getenv("GIT_QUARANTINE_PATH")
	if room == "" {
		return nil // a push that brings no objects at all
	}
	wanted := map[string]bool{emptyTree: true}
	for _, u := range updates {
		wanted[string(u.new)] = true
	}
	check := func(id string) error {
		if !wanted[id] {
			return fmt.Errorf("object %s is pushed that is no record", planner.Hash(id).Short())
		}
		return nil
	}
	return filepath.WalkDir(room, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		folder, name := filepath.Base(filepath.Dir(path)), d.Name()
		switch {
		case len(folder) == 2 && len(name) == 38:
			return check(folder + name)
		case strings.HasSuffix(name, ".idx"):
			return h.checkIndex(ctx, path, check)
		}
		return nil
	})
}

// emptyTree is what records are commits on. Pushing it does no harm.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// checkIndex asks about every object of a pack.
func (h NodeHook) checkIndex(ctx context.Context, file string, check func(id string) error) error {
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxHookIndex {
		err = errors.New("more objects are pushed than one push may change refs")
	}
	if err != nil {
		return err
	}
	index, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return h.git(ctx, string(index), func(out *bufio.Reader) error {
		for {
			line, err := out.ReadSlice('\n')
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			if fields := strings.Fields(string(line)); len(fields) < 2 {
				return fmt.Errorf("git show-index says %q", printable(string(line), 80))
			} else if err := check(fields[1]); err != nil {
				return err
			}
		}
	}, "show-index")
}
