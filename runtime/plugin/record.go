//go:build linux

package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	recordFile    = "plugin.json"
	recordVersion = 1
	maxRecord     = 16 << 10
)

// record is the content of plugin.json: enough to find the plugin again and
// to know that it is the one. Written once the process is there, before it may
// do anything, and again when its socket is known.
type record struct {
	Version  int      `json:"version"`
	Process  identity `json:"process"`
	SHA256   string   `json:"sha256"` // of what it executes
	Setup    string   `json:"setup"`  // checksum of its arguments and environment
	Protocol int      `json:"protocol,omitempty"`
	Socket   string   `json:"socket,omitempty"` // "" = its start was not completed
}

var errNoRecord = errors.New("no plugin is recorded")

// readRecord reads the record in a folder: errNoRecord where there is none.
func readRecord(dir string) (record, error) {
	path := filepath.Join(dir, recordFile)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, errNoRecord
	}
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("read %s: %w", path, err)
	}
	if r.Version != recordVersion || r.Process.PID <= 1 || r.SHA256 == "" {
		return record{}, fmt.Errorf("read %s: it is not a record that this agent knows", path)
	}
	return r, nil
}

// write replaces the record in one step. After a power failure there is no
// process to find: it need not reach the disk.
func (r record) write(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordFile)
	tmp, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("record the plugin: %w", err)
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("record the plugin: %w", err)
	}
	return nil
}
