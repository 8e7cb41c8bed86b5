package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	logPoll   = 250 * time.Millisecond
	scanEvery = 4    // polls between looks for new slots and containers
	quietly   = 4    // polls without growth after which a line without end is shown
	maxSlots  = 1000 // of a service, as manifests allow
	maxLogs   = 2000 // files of one stream
	maxParts  = 16   // rotated files of one log that are read
)

// logReader reads the logs of a request. It keeps no file open between polls,
// so that a stream of many slots costs no descriptors and pins no removed file.
type logReader struct {
	LogRequest
	dir    string // of all logs
	files  map[string]*logTail
	others []string // containers that were not asked for
}

func newLogReader(dir string, req LogRequest) *logReader {
	return &logReader{LogRequest: req, dir: dir, files: map[string]*logTail{}}
}

// run emits what is there and, when following, what comes.
func (r *logReader) run(ctx context.Context, emit func(LogLine) error, flush func() error) error {
	begin := func(root *os.Root, t *logTail) error {
		if err := t.begin(root, r.Tail, emit); err != nil || r.Follow || len(t.pending) == 0 {
			return err
		}
		return t.line(false, emit) // the last one, without end
	}
	if err := r.each(begin); err != nil {
		return err
	}
	if !r.Follow {
		return flush()
	}
	tick := time.NewTicker(logPoll)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if n%scanEvery == 0 {
			if err := r.scan(); err != nil {
				return err
			}
		}
		if err := r.each(func(root *os.Root, t *logTail) error { return t.poll(root, emit) }); err != nil {
			return err
		}
	}
}

// each visits the files by slot and container.
func (r *logReader) each(visit func(*os.Root, *logTail) error) error {
	root, err := os.OpenRoot(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the folder of logs: %w", err)
	}
	defer root.Close()
	tails := slices.SortedFunc(maps.Values(r.files), func(a, b *logTail) int {
		if c := (planner.SlotID{Name: a.slot}).Compare(planner.SlotID{Name: b.slot}); c != 0 {
			return c
		}
		return strings.Compare(a.container, b.container)
	})
	for _, t := range tails {
		if err := visit(root, t); err != nil {
			return err
		}
	}
	return nil
}

// scan finds the files of the request, and forgets those that are gone.
func (r *logReader) scan() error {
	root, err := os.OpenRoot(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the folder of logs: %w", err)
	}
	defer root.Close()
	service := path.Join(r.Service.Namespace, r.Service.Name)
	if !realFolder(root, r.Service.Namespace) || !realFolder(root, service) {
		return nil
	}
	slots, err := names(root, service, maxSlots)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for _, slot := range slots {
		dir := path.Join(service, slot)
		if r.Slot != "" && slot != r.Slot || !isName(slot, true) || !realFolder(root, dir) {
			continue
		}
		files, err := names(root, dir, maxLogs)
		if err != nil {
			return err
		}
		r.add(slot, dir, files, found)
	}
	maps.DeleteFunc(r.files, func(name string, _ *logTail) bool { return !found[name] })
	return nil
}

func (r *logReader) add(slot, dir string, files []string, found map[string]bool) {
	for _, file := range files {
		container, ok := strings.CutSuffix(file, ".log")
		if !ok || !isName(container, false) {
			continue
		}
		if r.Container != "" && container != r.Container {
			if !slices.Contains(r.others, container) {
				r.others = append(r.others, container)
			}
			continue
		}
		name := path.Join(dir, file)
		found[name] = true
		if r.files[name] == nil && len(r.files) < maxLogs {
			r.files[name] = &logTail{name: name, slot: slot, container: container}
		}
	}
}

// names lists a folder, sorted. A folder that has just gone has none.
func names(root *os.Root, dir string, limit int) ([]string, error) {
	f, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	defer f.Close()
	list, err := f.Readdirnames(limit)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	slices.Sort(list)
	return list, nil
}

// realFolder reports whether name is a folder and not a link to one.
func realFolder(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	return err == nil && info.IsDir()
}

// openLog opens a regular file, through no link. A file that is not there, or
// is not one, is fs.ErrNotExist.
func openLog(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	if !realFolder(root, path.Dir(name)) {
		return nil, nil, fs.ErrNotExist
	}
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = fs.ErrNotExist // replaced meanwhile: the next poll sees by what
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
