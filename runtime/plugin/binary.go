//go:build linux

package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/orpheus-cd/orpheus/runtime"
)

// maxBinary bounds what is read of a plugin's file.
const maxBinary = 1 << 30

// binaryPrefix is before the checksum in the names of our copies.
const binaryPrefix = "bin-"

// checksum is the SHA-256 of a regular file, in hex.
func checksum(path string) (string, error) {
	f, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sum(f, io.Discard)
}

// sum copies what is read and returns its SHA-256 in hex.
func sum(from io.Reader, to io.Writer) (string, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, to), io.LimitReader(from, maxBinary+1))
	if err != nil {
		return "", err
	}
	if n > maxBinary {
		return "", fmt.Errorf("larger than %d bytes", maxBinary)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path) // before it is opened: opening a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.Open(path)
}

// CheckBinary holds the plugin's file against the checksum it must have, and
// says what to do where they differ (runtime.ErrInvalid).
func CheckBinary(path, want string) error {
	have, err := checksum(path)
	if err != nil {
		return fmt.Errorf("read the plugin: %w", err)
	}
	if have != want {
		return errSwapped(path, have, want)
	}
	return nil
}

func errSwapped(path, have, want string) error {
	return fmt.Errorf("%s has the SHA-256 %s, the configuration says %s: nothing of it was executed; install the file that was meant, or write its checksum into the configuration: %w",
		path, have, want, runtime.ErrInvalid)
}

// executable returns the path of a copy of the plugin with the configured
// checksum. The copy is what is executed: between the check of any other file
// and its execution somebody may put another in its place. While the copy is
// there, the configured path is not looked at.
func (d *Driver) executable() (string, error) {
	own := filepath.Join(d.config.StateDir, binaryPrefix+d.config.SHA256)
	if have, err := checksum(own); err == nil && have == d.config.SHA256 {
		return own, nil
	}
	from, err := openRegular(d.config.Path)
	if err != nil {
		return "", fmt.Errorf("read the plugin: %w", err)
	}
	defer from.Close()
	to, err := os.CreateTemp(d.config.StateDir, "."+binaryPrefix) // 0600
	if err != nil {
		return "", fmt.Errorf("copy the plugin: %w", err)
	}
	defer os.Remove(to.Name()) // its old name, when it was renamed
	have, err := sum(from, to)
	err = errors.Join(err, to.Chmod(0o500), to.Sync(), to.Close())
	switch {
	case err != nil:
		return "", fmt.Errorf("copy the plugin: %w", err)
	case have != d.config.SHA256:
		return "", errSwapped(d.config.Path, have, d.config.SHA256)
	}
	if err := os.Rename(to.Name(), own); err != nil {
		return "", fmt.Errorf("copy the plugin: %w", err)
	}
	return own, nil
}

// forgetBinaries removes the copies of other versions. One that still runs
// goes on.
func (d *Driver) forgetBinaries() {
	entries, err := os.ReadDir(d.config.StateDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasPrefix(name, binaryPrefix) || strings.HasPrefix(name, "."+binaryPrefix)
		if !ours || name == binaryPrefix+d.config.SHA256 {
			continue
		}
		if err := os.Remove(filepath.Join(d.config.StateDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("old copy of a driver plugin stays on the disk", "err", err)
		}
	}
}
