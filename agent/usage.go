package agent

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// sizeTimeout bounds how long a tree of files is added up.
const sizeTimeout = 3 * time.Second

var errEnough = errors.New("enough")

// sizeOf says how large the files below a folder are; "at least" where there
// are too many to look at all.
func sizeOf(root string) string {
	var sum uint64
	began := time.Now()
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if time.Since(began) > sizeTimeout {
			return errEnough
		}
		if err != nil || !entry.Type().IsRegular() {
			return nil // what is gone by now, or may not be read, is not counted
		}
		if info, err := entry.Info(); err == nil {
			sum += uint64(max(info.Size(), 0))
		}
		return nil
	})
	if err != nil {
		return "at least " + planner.Size(sum)
	}
	return planner.Size(sum)
}
