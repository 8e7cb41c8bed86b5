package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Names from a manifest become paths.
func TestAttack14HostileNames(t *testing.T) {
	v, _ := newVolumes(t)
	outside := filepath.Join(filepath.Dir(v.cfg.StateDir), "outside")
	for _, name := range []string{"", ".", "..", "../../outside", "/outside", "a/b", "a\x00", ".files", "a\nb", strings.Repeat("a", 254)} {
		for what, try := range map[string]func() error{
			"local":    func() error { return mountErr(v, "id", slot, local(name)) },
			"empty":    func() error { return mountErr(v, "id", slot, empty(name, "", 0)) },
			"instance": func() error { return mountErr(v, name, slot, empty("a", "", 0)) },
			"release":  func() error { return v.Release(ctx, name) },
			"slot":     func() error { return mountErr(v, "id", planner.SlotID{Service: slot.Service, Name: name}, local("a")) },
			"service": func() error {
				return mountErr(v, "id", planner.SlotID{Service: planner.ServiceID{Namespace: "a", Name: name}, Name: "0"}, local("a"))
			},
			"namespace": func() error {
				return mountErr(v, "id", planner.SlotID{Service: planner.ServiceID{Namespace: name, Name: "a"}, Name: "0"}, local("a"))
			},
			"sum": func() error {
				return mountErr(v, "id", slot, planner.Volume{Name: "f", File: &planner.FileVolume{SHA256: name}})
			},
		} {
			if err := try(); !errors.Is(err, runtime.ErrInvalid) {
				t.Errorf("%s %q: %v, want invalid", what, name, err)
			}
		}
	}
	gone(t, outside)
	for what, err := range map[string]error{
		"two of one name": mountErr(v, "id", slot, local("a"), local("a")),
		"no source":       mountErr(v, "id", slot, planner.Volume{Name: "a"}),
		"medium":          mountErr(v, "id", slot, empty("a", "HugePages", 0)),
		"size":            mountErr(v, "id", slot, empty("a", "Memory", -1)),
		"too many":        mountErr(v, "id", slot, make([]planner.Volume, maxVolumes+1)...),
	} {
		if !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", what, err)
		}
	}
}

func mountErr(v *Volumes, id string, slot planner.SlotID, volumes ...planner.Volume) error {
	_, err := v.Mount(ctx, id, slot, volumes, runtime.Owner{}, func(string) ([]byte, error) { return nil, errors.New("no repository") })
	return err
}

// Content that does not have the sum it is asked for by.
func TestAttack15WrongContent(t *testing.T) {
	v, _ := newVolumes(t)
	_, err := v.Mount(ctx, "a", slot, []planner.Volume{fileOf("conf", "config")}, runtime.Owner{}, func(string) ([]byte, error) { return []byte("evil"), nil })
	if !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("wrong content: %v, want invalid", err)
	}
	gone(t, v.path("files/"+sumOf("config")))
}

// A link in place of a folder of ours is refused wherever it stands.
func TestAttack15LinkInPlaceOfFolder(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, rel := range []string{"volumes", "volumes/shop", "volumes/shop/db", "volumes/shop/db/0", "volumes/shop/db/0/data", "scratch", "scratch/id", "scratch/id/tmp", "files"} {
			v, _ := newVolumes(t)
			elsewhere := t.TempDir()
			must(t, os.WriteFile(filepath.Join(elsewhere, "precious"), nil, 0o600))
			must(t, os.MkdirAll(filepath.Dir(v.path(rel)), 0o755))
			must(t, os.Symlink(elsewhere, v.path(rel)))
			err := mountErr(v, "id", slot, local("data"), empty("tmp", "", 0), fileOf("f", "x"))
			if err == nil || !strings.Contains(err.Error(), "no folder") && !strings.Contains(err.Error(), "escapes") {
				t.Errorf("%s is a link: %v, want a refusal", rel, err)
			}
			v.Release(ctx, "id")
			v.Sweep(ctx, nil)
			there(t, filepath.Join(elsewhere, "precious"))
			entries, _ := os.ReadDir(elsewhere)
			if len(entries) != 1 {
				t.Errorf("%s is a link: written through it: %v", rel, entries)
			}
		}
	})
}

// What an instance plants in its scratch must not lead the removal out of it.
func TestAttack21RemovalStaysInside(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		v, _ := newVolumes(t)
		precious := t.TempDir()
		must(t, os.WriteFile(filepath.Join(precious, "precious"), nil, 0o600))
		data := mount(t, v, "id", local("data"))["data"]
		must(t, os.WriteFile(filepath.Join(data, "precious"), nil, 0o600))
		tmp := mount(t, v, "id", empty("tmp", "", 0))["tmp"]
		for name, to := range map[string]string{"abs": precious, "up": "../../../volumes", "loop": ".", "root": "/", "file": filepath.Join(precious, "precious")} {
			must(t, os.Symlink(to, filepath.Join(tmp, name)))
		}
		must(t, os.Link(filepath.Join(precious, "precious"), filepath.Join(tmp, "hard")))
		must(t, unix.Mkfifo(filepath.Join(tmp, "fifo"), 0o600))
		must(t, os.MkdirAll(filepath.Join(tmp, "closed/inner"), 0o700))
		must(t, os.Chmod(filepath.Join(tmp, "closed/inner"), 0))
		must(t, os.Chmod(filepath.Join(tmp, "closed"), 0))
		must(t, v.Sweep(ctx, nil))
		gone(t, v.path("scratch/id"))
		there(t, filepath.Join(precious, "precious"), filepath.Join(data, "precious"))
	})
}

// Deleting through a bind mount of a host path would be the end of the host.
func TestAttack21RemovalStopsAtMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	v, _ := newVolumes(t)
	precious := t.TempDir()
	must(t, os.WriteFile(filepath.Join(precious, "precious"), nil, 0o600))
	data := mount(t, v, "id", local("data"))["data"]
	must(t, os.WriteFile(filepath.Join(data, "precious"), nil, 0o600))
	plant := func() string {
		tmp := mount(t, v, "id", empty("tmp", "", 0))["tmp"]
		for name, source := range map[string]string{"host": precious, "deep/er": data} {
			point := filepath.Join(tmp, name)
			must(t, os.MkdirAll(point, 0o755))
			must(t, unix.Mount(source, point, "", unix.MS_BIND, ""))
		}
		point := filepath.Join(tmp, "file")
		must(t, os.WriteFile(point, nil, 0o600))
		must(t, unix.Mount(filepath.Join(precious, "precious"), point, "", unix.MS_BIND, ""))
		return tmp
	}

	// The removal by itself, as if the mounts had come after they were looked
	// for: it stops, although all is one disk.
	plant()
	scratch, err := os.Open(v.path(scratchDir))
	must(t, err)
	defer scratch.Close()
	if err := removeTree(ctx, scratch, "id"); err == nil || !strings.Contains(err.Error(), "something is mounted there") {
		t.Errorf("remove with mounts inside: %v, want a refusal", err)
	}
	there(t, filepath.Join(precious, "precious"), filepath.Join(data, "precious"))

	// All together: unmounted first, then removed.
	must(t, v.Release(ctx, "id"))
	gone(t, v.path("scratch/id"))
	there(t, filepath.Join(precious, "precious"), filepath.Join(data, "precious"))
	if left, _ := mountsBelow(v.path(scratchDir)); len(left) != 0 {
		t.Errorf("mounts left: %v", left)
	}

	// The same by Sweep, with a bind mount in the instance's folder itself.
	plant()
	must(t, os.Mkdir(v.path("scratch/other"), 0o755))
	must(t, unix.Mount(precious, v.path("scratch/other"), "", unix.MS_BIND, ""))
	must(t, v.Sweep(ctx, nil))
	gone(t, v.path("scratch/id"), v.path("scratch/other"))
	there(t, filepath.Join(precious, "precious"), filepath.Join(data, "precious"))
}

// Folders nested deeper than paths and descriptors go.
func TestAttack13DepthBomb(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		v, _ := newVolumes(t)
		tmp := mount(t, v, "id", empty("tmp", "", 0))["tmp"]
		dir, err := unix.Open(tmp, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		must(t, err)
		for i := range 3000 {
			must(t, unix.Mkdirat(dir, "d", 0o755))
			next, err := unix.Openat(dir, "d", unix.O_DIRECTORY|unix.O_RDONLY, 0)
			must(t, err)
			if i%100 == 0 {
				must(t, unix.Mkdirat(next, "e", 0o755))
			}
			unix.Close(dir)
			dir = next
		}
		unix.Close(dir)
		for i := range 3000 { // more than one reading of a folder
			must(t, os.WriteFile(filepath.Join(tmp, fmt.Sprint(i)), nil, 0o600))
		}
		must(t, v.Release(ctx, "id"))
		gone(t, v.path("scratch/id"))
	})
}

func TestHostPath(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		real, err := filepath.EvalSymlinks(dir)
		must(t, err)
		must(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
		must(t, os.Symlink("real", filepath.Join(dir, "link")))
		for path, want := range map[string]string{
			filepath.Join(dir, "real"): filepath.Join(real, "real"),
			filepath.Join(dir, "link"): filepath.Join(real, "real"), // what policy must see
		} {
			if got, err := ResolveHostPath(path); err != nil || got != want {
				t.Errorf("%s leads to %s, %v, want %s", path, got, err, want)
			}
		}
		for _, path := range []string{"", "relative", dir + "/../x", dir + "/", "//etc"} {
			if _, err := ResolveHostPath(path); !errors.Is(err, runtime.ErrInvalid) {
				t.Errorf("%q: %v, want invalid", path, err)
			}
		}
		if _, err := ResolveHostPath(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "make it on this node") {
			t.Errorf("missing: %v, want the remedy", err)
		}
	})
}
