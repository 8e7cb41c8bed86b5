package devfleet

import "path/filepath"

// runInMemory mounts a tmpfs wherever a fleet keeps what a real machine has
// below /run: a disk's file system makes short-lived files many times dearer,
// for everybody who starts containers. Close unmounts it.
func (f *Fleet) runInMemory() error {
	for _, dir := range []string{filepath.Join(f.Dir, "c", "state"), filepath.Dir(f.Socket())} {
		if err := mountTmpfs(dir); err != nil {
			return err
		}
	}
	return nil
}
