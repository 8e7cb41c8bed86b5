package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var (
	ctx  = context.Background()
	slot = planner.SlotID{Service: planner.ServiceID{Namespace: "shop", Name: "db"}, Name: "0"}
)

func local(name string) planner.Volume {
	return planner.Volume{Name: name, Local: &planner.LocalVolume{}}
}

func empty(name, medium string, size int64) planner.Volume {
	return planner.Volume{Name: name, EmptyDir: &planner.EmptyDirVolume{Medium: medium, SizeLimit: size}}
}

func fileOf(name, content string) planner.Volume {
	return planner.Volume{Name: name, File: &planner.FileVolume{SHA256: sumOf(content)}}
}

func hostPath(name, path string) planner.Volume {
	return planner.Volume{Name: name, HostPath: &planner.HostPathVolume{Path: path}}
}

func sumOf(content string) string {
	s := sha256.Sum256([]byte(content))
	return hex.EncodeToString(s[:])
}

// source is the repository: it knows these contents and counts the questions.
type source struct {
	contents []string
	mu       sync.Mutex
	asked    int
}

func (s *source) read(sum string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	for _, c := range s.contents {
		if sumOf(c) == sum {
			return []byte(c), nil
		}
	}
	return nil, errors.New("no such content")
}

func newVolumes(t *testing.T) (*Volumes, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	v, err := New(Config{StateDir: filepath.Join(t.TempDir(), "state"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	t.Cleanup(func() { must(t, unmountBelow(v.cfg.StateDir)) })
	return v, &log
}

func mount(t *testing.T, v *Volumes, id string, volumes ...planner.Volume) map[string]string {
	t.Helper()
	paths, err := v.Mount(ctx, id, slot, volumes, runtime.Owner{}, func(string) ([]byte, error) { return nil, errors.New("no repository") })
	must(t, err)
	return paths
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// asNobody runs the test once more as a user without privileges, if we are
// root.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	home := filepath.Join(os.TempDir(), fmt.Sprintf("orpheus-nobody-%d", os.Getpid()))
	must(t, os.Mkdir(home, 0o700))
	defer os.RemoveAll(home)
	must(t, os.Chown(home, 65534, 65534))
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v="+fmt.Sprint(testing.Verbose()))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// bothUsers runs the test as whoever we are and as nobody.
func bothUsers(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	asNobody(t)
	test(t)
}

func TestVolumesLiveAndDie(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		v, _ := newVolumes(t)
		repo := &source{contents: []string{"config", "other"}}
		host := t.TempDir()
		volumes := []planner.Volume{local("data"), empty("tmp", "", 0), fileOf("conf", "config"), hostPath("host", host)}
		paths, err := v.Mount(ctx, "db-0-a", slot, volumes, runtime.Owner{}, repo.read)
		must(t, err)
		want := map[string]string{
			"data": v.path("volumes/shop/db/0/data"), "tmp": v.path("scratch/db-0-a/tmp"),
			"conf": v.path("files/" + sumOf("config")), "host": host,
		}
		for name, path := range want {
			if paths[name] != path {
				t.Errorf("%s at %s, want %s", name, paths[name], path)
			}
		}
		for name, mode := range map[string]os.FileMode{
			"data": os.ModeDir | 0o777, "tmp": os.ModeDir | os.ModeSticky | 0o777, "conf": 0o444,
		} {
			if st, err := os.Stat(paths[name]); err != nil || st.Mode() != mode {
				t.Errorf("%s: %v, %v, want %v", name, st.Mode(), err, mode)
			}
		}
		for _, name := range []string{"data", "tmp", "host"} {
			must(t, os.WriteFile(filepath.Join(paths[name], "kept"), []byte(name), 0o600))
		}
		// What an instance does to its volume stays: databases close theirs.
		must(t, os.Chmod(paths["data"], 0o700))

		// Again, as for an instance that runs: all as it was, nothing asked.
		again, err := v.Mount(ctx, "db-0-a", slot, volumes, runtime.Owner{}, repo.read)
		must(t, err)
		if fmt.Sprint(again) != fmt.Sprint(paths) || repo.asked != 1 {
			t.Errorf("mounted again: %v, %d contents asked for, want %v and 1", again, repo.asked, paths)
		}
		if st, _ := os.Stat(paths["data"]); st.Mode().Perm() != 0o700 {
			t.Errorf("mode of the local volume became %v", st.Mode())
		}
		if _, err := os.Stat(filepath.Join(paths["tmp"], "kept")); err != nil {
			t.Error(err)
		}

		// The next instance of the slot has the same local volume; a file that
		// two use goes with the second.
		next, err := v.Mount(ctx, "db-0-b", slot, []planner.Volume{local("data"), fileOf("conf", "config"), fileOf("more", "other")}, runtime.Owner{}, repo.read)
		must(t, err)
		if next["data"] != paths["data"] {
			t.Errorf("next instance has its data at %s", next["data"])
		}
		must(t, v.Release(ctx, "db-0-a"))
		must(t, v.Release(ctx, "db-0-a"))
		must(t, v.Sweep(ctx, map[string]bool{"db-0-b": true}))
		gone(t, paths["tmp"], v.path("scratch/db-0-a"))
		there(t, next["conf"], next["more"])
		must(t, v.Sweep(ctx, nil))
		gone(t, next["conf"], next["more"], v.path("scratch/db-0-b"))
		there(t, filepath.Join(paths["data"], "kept"), filepath.Join(host, "kept"))

		all, err := v.Local(ctx)
		must(t, err)
		if len(all) != 1 || all[0] != (runtime.LocalVolume{Slot: slot, Name: "data", Path: paths["data"]}) {
			t.Errorf("local volumes: %+v", all)
		}
	})
}

func TestMemoryVolume(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		v, log := newVolumes(t)
		path := mount(t, v, "web-0-a", empty("cache", "Memory", 1<<20))["cache"]
		if again := mount(t, v, "web-0-a", empty("cache", "Memory", 1<<20))["cache"]; again != path {
			t.Errorf("again at %s, want %s", again, path)
		}
		mounts, err := mountsBelow(path)
		must(t, err)
		if os.Geteuid() == 0 {
			var fs unix.Statfs_t
			must(t, unix.Statfs(path, &fs))
			const flags = unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
			if len(mounts) != 1 || fs.Type != unix.TMPFS_MAGIC || fs.Flags&flags != flags || int64(fs.Blocks)*fs.Bsize != 1<<20 {
				t.Errorf("mounts %v, statfs %+v, want one tmpfs of 1 MiB, nosuid, nodev, noexec", mounts, fs)
			}
		} else if len(mounts) != 0 || !strings.Contains(log.String(), "mounting needs root") {
			t.Errorf("mounts %v, log %q, want a note", mounts, log)
		}
		if st, err := os.Stat(path); err != nil || st.Mode() != os.ModeDir|os.ModeSticky|0o777 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		// In use while it is taken away.
		f, err := os.Create(filepath.Join(path, "open"))
		must(t, err)
		defer f.Close()
		must(t, v.Sweep(ctx, nil))
		gone(t, v.path("scratch/web-0-a"))
		if left, _ := mountsBelow(v.path("scratch/web-0-a")); len(left) != 0 {
			t.Errorf("mounts left: %v", left)
		}
	})
}

// State behind a symbolic link: the kernel names mounts by their real path.
func TestStateFolderBehindLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	must(t, os.Symlink("real", filepath.Join(dir, "state")))
	v, err := New(Config{StateDir: filepath.Join(dir, "state")})
	must(t, err)
	mount(t, v, "web-0-a", empty("cache", "Memory", 0))
	must(t, v.Release(ctx, "web-0-a"))
	if left, _ := mountsBelow(filepath.Join(dir, "real")); len(left) != 0 {
		t.Errorf("mounts left: %v", left)
	}
	gone(t, filepath.Join(dir, "real/scratch/web-0-a"))
}

func TestTornFileIsWrittenAgain(t *testing.T) {
	v, _ := newVolumes(t)
	repo := &source{contents: []string{"config"}}
	for name, damage := range map[string]func(path string) error{
		"torn by a power cut": func(path string) error { return os.Truncate(path, 2) },
		"writable":            func(path string) error { return os.Chmod(path, 0o644) },
		"gone":                os.Remove,
		"a link": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path))
		},
	} {
		repo.asked = 0
		paths, err := v.Mount(ctx, "a", slot, []planner.Volume{fileOf("conf", "config")}, runtime.Owner{}, repo.read)
		must(t, err)
		must(t, damage(paths["conf"]))
		repo.asked = 0
		paths, err = v.Mount(ctx, "a", slot, []planner.Volume{fileOf("conf", "config")}, runtime.Owner{}, repo.read)
		must(t, err)
		st, err := os.Lstat(paths["conf"])
		must(t, err)
		body, err := os.ReadFile(paths["conf"])
		must(t, err)
		if string(body) != "config" || st.Mode() != 0o444 || repo.asked != 1 {
			t.Errorf("%s: content %q, mode %v, asked %d times", name, body, st.Mode(), repo.asked)
		}
	}
	// Begun to be written when the agent was killed.
	must(t, os.WriteFile(v.path("files/.new-x"), nil, 0o600))
	must(t, v.Sweep(ctx, map[string]bool{"a": true}))
	gone(t, v.path("files/.new-x"))
}

func TestConcurrentMountsAndSweeps(t *testing.T) {
	v, _ := newVolumes(t)
	repo := &source{contents: []string{"config"}}
	live := map[string]bool{}
	for i := range 40 {
		live[fmt.Sprint("web-", i)] = true
	}
	var wg sync.WaitGroup
	for id := range live {
		wg.Go(func() {
			paths, err := v.Mount(ctx, id, slot, []planner.Volume{local("data"), empty("tmp", "", 0), fileOf("conf", "config")}, runtime.Owner{}, repo.read)
			if err == nil {
				_, err = os.Stat(paths["conf"])
			}
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := v.Sweep(ctx, live); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	there(t, v.path("files/"+sumOf("config")))
}

func gone(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there (%v)", p, err)
		}
	}
}

func there(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); err != nil {
			t.Error(err)
		}
	}
}
