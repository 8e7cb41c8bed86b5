package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountMemory mounts a tmpfs at path unless one is there. size 0 = half of the
// node's memory, the kernel's default. Without the privilege to mount, the
// folder stays a folder on disk.
func (v *Volumes) mountMemory(path string, size int64) error {
	have, err := mountsBelow(path)
	if err != nil {
		return err
	}
	if len(have) > 0 {
		return nil
	}
	options := "mode=1777"
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	err = unix.Mount("orpheus", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options)
	if errors.Is(err, unix.EPERM) {
		v.spilled.Do(func() {
			v.cfg.Log.Warn("memory volumes are folders on disk, and their size is not limited: mounting needs root", "path", path)
		})
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", path, err)
	}
	return nil
}

// mountsBelow lists the mount points at path and below, the last mounted
// first. The kernel writes them with links resolved; path itself is taken as
// it is, or a link planted there would lead us to the host's own mounts.
func mountsBelow(path string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("look for mounts: %w", err)
	}
	path = filepath.Join(dir, filepath.Base(path))
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount.Replace(fields[4])
		if point == path || strings.HasPrefix(point, path+"/") {
			points = append([]string{point}, points...)
		}
	}
	return points, nil
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// unmountBelow unmounts everything at path and below. What is mounted stays as
// it is; it is only not there any more.
func unmountBelow(path string) error {
	points, err := mountsBelow(path)
	if err != nil {
		return err
	}
	for _, p := range points {
		// EINVAL: gone meanwhile, with a mount it lay on.
		if err := unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}
