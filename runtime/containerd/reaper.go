//go:build linux

package containerd

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/continuity/fs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerinit"
)

// reaper keeps our program where containers get their first process from. It is
// a file of its own: one that is there whatever becomes of the one that we were
// started from. Containers keep the one they have when a later version replaces
// it.
type reaper struct {
	program string // what becomes the first process
	file    string // where it is kept
	lacks   string // why it cannot be one, "" if it can

	mu   sync.Mutex
	kept os.FileInfo // file as it was made or found good
}

func newReaper(c Config) *reaper {
	return &reaper{program: c.Executable, file: filepath.Join(c.DataDir, "init"), lacks: unfit(c.Executable)}
}

// unfit says why a program cannot be the first process of containers, "" if it
// can.
func unfit(name string) string {
	program, err := elf.Open(name)
	if err != nil {
		return fmt.Sprintf("containers cannot have an init: %v", err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return "containers cannot have an init: this program is linked with libraries, which images lack; build it with CGO_ENABLED=0"
		}
	}
	return ""
}

// addTo makes it the first process of a container.
func (r *reaper) addTo(s *specs.Spec) error {
	if r.lacks != "" {
		return fmt.Errorf("%s: %w", r.lacks, runtime.ErrInvalid)
	}
	file, err := r.ready()
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	s.Process.Args = append([]string{containerinit.Path}, s.Process.Args...)
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: containerinit.Path, Type: "bind", Source: file,
		Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev", "exec"},
	})
	return nil
}

// ready returns the path of the file, which it makes where it is not as it was.
func (r *reaper) ready() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	program, err := os.Open(r.program)
	if err != nil {
		return "", err
	}
	defer program.Close()
	if err := r.keep(program); err != nil {
		return "", err
	}
	return r.file, warm(r.file)
}

func (r *reaper) keep(program *os.File) error {
	if have, err := os.Lstat(r.file); err == nil {
		if r.kept != nil && same(have, r.kept) {
			return nil
		}
		if good, err := r.isCopy(have, program); err != nil || good {
			r.kept = have
			return err
		}
	}
	next := r.file + ".next"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := linkOrCopy(program, next); err != nil {
		return err
	}
	if err := os.Rename(next, r.file); err != nil {
		return err
	}
	var err error
	r.kept, err = os.Lstat(r.file)
	return err
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// isCopy reports whether the file is the program, or has its content.
func (r *reaper) isCopy(have os.FileInfo, program *os.File) (bool, error) {
	info, err := program.Stat()
	if err != nil || !have.Mode().IsRegular() || have.Mode().Perm()&forAll != forAll || have.Size() != info.Size() {
		return false, err
	}
	if os.SameFile(have, info) {
		return true, nil
	}
	file, err := os.Open(r.file)
	if err != nil {
		return false, err
	}
	defer file.Close()
	return equal(file, io.NewSectionReader(program, 0, info.Size()))
}

// forAll lets any user of a container execute it.
const forAll = 0o111

func equal(a, b io.Reader) (bool, error) {
	one, other := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(a, one)
		m, err2 := io.ReadFull(b, other)
		if n != m || !bytes.Equal(one[:n], other[:m]) {
			return false, nil
		}
		for _, err := range []error{err, err2} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return false, err
			}
		}
		if n < len(one) {
			return true, nil
		}
	}
}

// linkOrCopy prefers a link: what runs already is in memory already.
func linkOrCopy(program *os.File, to string) (err error) {
	info, err := program.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&forAll == forAll {
		self := fmt.Sprintf("/proc/self/fd/%d", program.Fd())
		if unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW) == nil {
			return nil
		}
	}
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, io.NewSectionReader(program, 0, info.Size())); err != nil {
		return err
	}
	if err := file.Chmod(0o555); err != nil {
		return err
	}
	return file.Sync()
}

// warm has the file read into memory now, by us: what a container is the first
// to read counts against its limit, and this is more than some have.
func warm(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_WILLNEED); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// findProgram looks for the program of a container whose process pid is made,
// but does not run yet: behind a first process of ours the runtime does not.
// What stands in the way of that, as what only executing tells, is for the first
// process to say.
func findProgram(pid uint32, args []string, env []string, cwd string) error {
	root := fmt.Sprintf("/proc/%d/root", pid)
	if _, err := os.Stat(root); err != nil {
		return nil
	}
	name, candidates := args[0], []string{args[0]}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, e := range env {
			if list, ok := strings.CutPrefix(e, "PATH="); ok {
				for _, dir := range filepath.SplitList(list) {
					candidates = append(candidates, path.Join("/", dir, name))
				}
			}
		}
	}
	reason := "executable file not found in $PATH"
	for _, c := range candidates {
		if !path.IsAbs(c) {
			c = path.Join(cwd, c)
		}
		real, err := fs.RootPath(root, c)
		if err != nil {
			return nil
		}
		switch info, err := os.Lstat(real); {
		case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
			if strings.Contains(name, "/") {
				reason = "no such file or directory"
			}
		case err != nil || info.Mode().IsRegular() && info.Mode().Perm()&forAll != 0:
			return nil
		default:
			reason = "permission denied"
		}
	}
	return fmt.Errorf("run it: %w: exec: %q: %s", runtime.ErrInvalid, name, reason)
}
