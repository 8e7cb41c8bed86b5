//go:build linux

package plugin

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	stderrFile = "stderr.log"
	// maxStderr is when stderr.log is moved to stderr.log.1, in bytes.
	maxStderr = 8 << 20
)

// openStderr opens the file that the plugin's stderr is appended to.
func openStderr(dir string) (*os.File, error) {
	path := filepath.Join(dir, stderrFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the plugin's stderr: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("open the plugin's stderr: %s is not a regular file", path)
	}
	return f, nil
}

// trimStderr moves what stderr.log holds to stderr.log.1 when it is too large.
// The plugin has the file open and appends to it, so it is copied and
// truncated; words that come in between are lost.
func trimStderr(dir string) error {
	path := filepath.Join(dir, stderrFile)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= maxStderr {
		return err
	}
	old, err := os.OpenFile(path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer old.Close()
	// The end of it, should it have grown far beyond.
	if _, err := f.Seek(-min(info.Size(), 2*maxStderr), io.SeekEnd); err != nil {
		return err
	}
	if _, err := io.Copy(old, io.LimitReader(f, 2*maxStderr)); err != nil {
		return err
	}
	return f.Truncate(0)
}
