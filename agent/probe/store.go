package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// file is what is kept on disk of one instance, as <instance>.json.
type file struct {
	Format     int               `json:"format"`
	Containers map[string]stored `json:"containers"`
}

// stored is what was found of one run of a container.
type stored struct {
	Run string `json:"run"`
	Found
}

const (
	fileFormat = 1
	fileSuffix = ".json"
	maxFile    = 1 << 20
)

// readFiles reads what an earlier engine left. A file that is not whole, or of
// a later format, is reported and left out.
func readFiles(dir string, into map[string]file) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read what probes have found: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		id, ours := strings.CutSuffix(entry.Name(), fileSuffix)
		if !ours || !entry.Type().IsRegular() {
			continue
		}
		f, err := readFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("read what probes have found of %s: %w; it begins anew", id, err))
			continue
		}
		into[id] = f
	}
	return errors.Join(errs...)
}

func readFile(path string) (file, error) {
	in, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxFile))
	if err != nil {
		return file{}, err
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return file{}, err
	}
	if f.Format != fileFormat {
		return file{}, fmt.Errorf("format %d is not %d", f.Format, fileFormat)
	}
	if f.Containers == nil {
		f.Containers = map[string]stored{}
	}
	return f, nil
}

// save writes the files that are out of date. A kill of the agent finds them
// whole; after a power loss nothing they are about runs any more, so nobody
// waits for the disk.
func (e *Engine) save() {
	e.mu.Lock()
	files := map[string]file{}
	for id := range e.unsaved {
		files[id] = file{Format: fileFormat, Containers: map[string]stored{}}
	}
	for k, w := range e.watched {
		if f, ok := files[k.instance]; ok {
			f.Containers[k.container] = stored{Run: w.target.Run, Found: w.found}
		}
	}
	clear(e.unsaved)
	e.mu.Unlock()
	var errs []error
	for id, f := range files {
		if len(f.Containers) == 0 {
			continue // it is gone: Forget takes its file away
		}
		if err := writeFile(e.cfg.Dir, id, f); err != nil {
			errs = append(errs, err)
			e.mu.Lock()
			e.unsaved[id] = true // tried again with the next news
			e.mu.Unlock()
		}
	}
	if len(files) > 0 {
		e.cfg.Trouble(errors.Join(errs...))
	}
}

func writeFile(dir, id string, f file) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode what probes have found of %s: %w", id, err)
	}
	path := filepath.Join(dir, id+fileSuffix)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write what probes have found: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write what probes have found: %w", err)
	}
	return nil
}

// removeFiles removes all files but those of live instances.
func removeFiles(dir string, live map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("tidy up what probes have found: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		id, _ := strings.CutSuffix(strings.TrimSuffix(entry.Name(), ".new"), fileSuffix)
		if live[id] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("tidy up what probes have found: %w", err))
		}
	}
	return errors.Join(errs...)
}
