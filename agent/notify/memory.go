package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// maxMemory bounds the file. A fleet of ten thousand services needs a tenth.
const maxMemory = 16 << 20

// memory is what is kept on disk. It holds no secret.
type memory struct {
	Told     Told    `json:"told"`
	Statuses []entry `json:"statuses,omitempty"`

	changed bool // since it was saved
	unsaved bool // it could not be
}

// loadMemory reads what an earlier process told; a file that is not there is
// an empty one.
func loadMemory(file string) (memory, error) {
	if file == "" {
		return memory{}, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("read what was told: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMemory+1))
	if err == nil && len(data) > maxMemory {
		err = fmt.Errorf("%s is larger than %d MiB", file, maxMemory>>20)
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return memory{}, fmt.Errorf("read what was told: %w", err)
	}
	m.Statuses = m.Statuses[max(0, len(m.Statuses)-maxEntries):]
	return m, nil
}

// save replaces the file. It need not be on disk when it returns: what is lost
// with the power is looked at anew, or told twice.
func (m memory) save(file string) error {
	data, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(file+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("keep what was told: %w", err)
	}
	return nil
}

func (t Told) equal(o Told) bool {
	return t.Known == o.Known && t.Refused == o.Refused && t.Faulty == o.Faulty && t.Alarm == o.Alarm && maps.Equal(t.Fenced, o.Fenced) &&
		maps.EqualFunc(t.Services, o.Services, func(a, b ToldService) bool {
			return a.Revision == b.Revision && a.Done == b.Done && a.BlockedAt == b.BlockedAt && slices.Equal(a.Said, b.Said)
		})
}
