package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Volumes = (*Volumes)(nil)

// Config says where volumes live.
type Config struct {
	StateDir string       // absolute; its path must not lead through what others can write
	Log      *slog.Logger // nil = discard
}

// Volumes implements runtime.Volumes on the node's disk.
type Volumes struct {
	cfg Config
	// inUse is held for reading while files are noted and written, for writing
	// while unused ones are looked for.
	inUse sync.RWMutex
	// spilled tells once that memory volumes lie on disk.
	spilled sync.Once
}

// New checks the configuration and touches nothing.
func New(cfg Config) (*Volumes, error) {
	if !filepath.IsAbs(cfg.StateDir) {
		return nil, fmt.Errorf("volumes: state folder %q: want an absolute path", cfg.StateDir)
	}
	cfg.StateDir = filepath.Clean(cfg.StateDir)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Volumes{cfg: cfg}, nil
}

// Folders below StateDir.
const (
	volumesDir = "volumes"
	scratchDir = "scratch"
	filesDir   = "files"
)

// Modes. The way to a volume can be walked by who knows it, and listed by the
// agent only. A local volume is anybody's inside its slot's folder, which only
// its owner can pass: whatever user an image runs as can write it, and nobody
// else on the machine reaches it. Scratch is anybody's, as /tmp is.
const (
	passageMode = 0o711
	slotMode    = 0o700
	localMode   = 0o777
	scratchMode = 0o777 | os.ModeSticky
)

// maxVolumes bounds one instance.
const maxVolumes = 256

// element is one name in a path of ours: an instance, a service, a slot, a
// volume. It starts so that it is neither hidden nor "..".
var element = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// Mount implements runtime.Volumes.
func (v *Volumes) Mount(ctx context.Context, id string, slot planner.SlotID, volumes []planner.Volume, owner runtime.Owner, files func(sha256 string) ([]byte, error)) (map[string]string, error) {
	if len(volumes) > maxVolumes {
		return nil, fmt.Errorf("mount volumes of %s: %d are more than %d: %w", id, len(volumes), maxVolumes, runtime.ErrInvalid)
	}
	if err := check("instance", id); err != nil {
		return nil, err
	}
	root, err := v.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	v.inUse.RLock()
	defer v.inUse.RUnlock()
	if err := noteFiles(root, id, volumes); err != nil {
		return nil, fmt.Errorf("mount volumes of %s: %w", id, err)
	}
	paths := make(map[string]string, len(volumes))
	for _, vol := range volumes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path, err := v.mount(root, id, slot, vol, owner, files)
		if err != nil {
			return nil, fmt.Errorf("mount volume %q of %s: %w", vol.Name, id, err)
		}
		if _, twice := paths[vol.Name]; twice {
			return nil, fmt.Errorf("mount volume %q of %s: there are two of that name: %w", vol.Name, id, runtime.ErrInvalid)
		}
		paths[vol.Name] = path
	}
	return paths, nil
}

func (v *Volumes) mount(root *os.Root, id string, slot planner.SlotID, vol planner.Volume, owner runtime.Owner, files func(string) ([]byte, error)) (string, error) {
	if err := check("volume", vol.Name); err != nil {
		return "", err
	}
	switch {
	case vol.Local != nil:
		return v.local(root, slot, vol.Name, owner)
	case vol.EmptyDir != nil:
		return v.emptyDir(root, id, vol.Name, *vol.EmptyDir)
	case vol.HostPath != nil:
		return ResolveHostPath(vol.HostPath.Path)
	case vol.File != nil:
		return v.file(root, vol.File.SHA256, files)
	}
	return "", fmt.Errorf("it has no source this version knows: %w", runtime.ErrInvalid)
}

func (v *Volumes) emptyDir(root *os.Root, id, name string, spec planner.EmptyDirVolume) (string, error) {
	if spec.SizeLimit < 0 || spec.Medium != "" && spec.Medium != "Memory" {
		return "", fmt.Errorf("emptyDir of medium %q and size %d: %w", spec.Medium, spec.SizeLimit, runtime.ErrInvalid)
	}
	rel, err := makeFolder(root, scratchMode, scratchDir, id, name)
	if err != nil {
		return "", err
	}
	path := v.path(rel)
	if spec.Medium == "Memory" {
		return path, v.mountMemory(path, spec.SizeLimit)
	}
	return path, nil
}

// open opens the state folder. Paths used through it cannot leave it.
func (v *Volumes) open() (*os.Root, error) {
	if err := os.MkdirAll(v.cfg.StateDir, passageMode); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	root, err := os.OpenRoot(v.cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("open state folder: %w", err)
	}
	return root, nil
}

func (v *Volumes) path(rel string) string { return filepath.Join(v.cfg.StateDir, rel) }

// makeFolder makes the last folder with the mode and those on the way
// passable, and refuses a symbolic link at any place of the path. Folders that
// exist keep their mode and owner.
func makeFolder(root *os.Root, mode os.FileMode, elements ...string) (rel string, err error) {
	for i, e := range elements {
		rel = filepath.Join(rel, e)
		m := os.FileMode(passageMode)
		if i == len(elements)-1 {
			m = mode
		}
		err := root.Mkdir(rel, m.Perm())
		if err == nil {
			err = root.Chmod(rel, m) // whatever the umask is
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("make folder: %w", err)
		}
		st, err := root.Lstat(rel)
		if err != nil {
			return "", fmt.Errorf("make folder: %w", err)
		}
		if !st.IsDir() {
			return "", fmt.Errorf("%s is no folder (%s): move it away; to keep data elsewhere, mount it there instead of linking", filepath.Join(root.Name(), rel), st.Mode().Type())
		}
	}
	return rel, nil
}

func check(what, name string) error {
	if !element.MatchString(name) {
		return fmt.Errorf("%s name %q: want a letter or digit, then letters, digits, '.', '_' or '-': %w", what, name, runtime.ErrInvalid)
	}
	return nil
}
