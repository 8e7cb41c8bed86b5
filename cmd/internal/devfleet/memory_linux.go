package devfleet

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runInMemory mounts a tmpfs wherever a fleet keeps what a real machine has
// below /run: a disk's file system makes short-lived files many times dearer,
// for everybody who starts containers. Close unmounts it.
func (f *Fleet) runInMemory() error {
	for _, dir := range []string{filepath.Join(f.Dir, "c", "state"), filepath.Dir(f.Socket())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
			return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
		}
	}
	return nil
}
