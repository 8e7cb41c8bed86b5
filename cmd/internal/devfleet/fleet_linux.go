package devfleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// Options of a fleet.
type Options struct {
	Orpheus string // the binary whose agent runs
	Driver  string // planner.DriverContainerd or planner.DriverProcess
	// LocalPath has the agent follow the repository by its path instead of http.
	LocalPath bool
	// Payload is a payload that was built before; "" = build one.
	Payload string
	// Git says how the Git server listens and whom it lets in; its root is the
	// fleet's.
	Git gitsynctest.Options
	// Registry says what the image registry demands. What its credentials and
	// certificate ask of the agent is for Config to say.
	Registry imagetest.RegistryOptions
	// RunInMemory keeps short-lived files on a tmpfs, as /run is on a real
	// machine. It needs root and, lest the mounts be seen, Isolate.
	RunInMemory bool
	// Config is YAML laid over the agent's configuration, field by field.
	Config string
}

// Fleet is one node and what it needs.
type Fleet struct {
	Dir        string // holds everything
	Git        *gitsynctest.Server
	Repo       *gitsynctest.Repo
	Registry   *imagetest.Registry    // nil with the process driver
	Containerd *containerdtest.Server // nil with the process driver
	Payload    string                 // path of the program that images hold

	opts  Options
	agent *exec.Cmd
	log   *os.File
}

// New makes a fleet. Close takes all of it away again. The agent is started
// by StartAgent.
func New(ctx context.Context, opts Options) (_ *Fleet, err error) {
	dir, err := os.MkdirTemp("", "orpheus-")
	if err != nil {
		return nil, err
	}
	f := &Fleet{Dir: dir, opts: opts}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, sub := range []string{"git", "bin"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if f.opts.Orpheus, err = filepath.Abs(opts.Orpheus); err != nil {
		return nil, err
	}
	git := opts.Git
	git.Root, git.Push = filepath.Join(dir, "git"), true
	if f.Git, err = gitsynctest.Start(git); err != nil {
		return nil, err
	}
	if git.TLS {
		if err := f.Git.WriteCA(f.caFile()); err != nil {
			return nil, err
		}
	}
	if f.Repo, err = f.Git.NewRepo("fleet.git"); err != nil {
		return nil, err
	}
	if err := f.bringPayload(ctx); err != nil {
		return nil, err
	}
	if opts.RunInMemory {
		if err := f.runInMemory(); err != nil {
			return nil, err
		}
	}
	if opts.Driver == planner.DriverProcess {
		return f, nil
	}
	if f.Registry, err = imagetest.StartRegistry(opts.Registry); err != nil {
		return nil, err
	}
	if f.Containerd, err = containerdtest.Start(filepath.Join(dir, "c"), containerdtest.Options{}); err != nil {
		return nil, err
	}
	return f, nil
}

// bringPayload puts the payload where this fleet alone runs it from.
func (f *Fleet) bringPayload(ctx context.Context) (err error) {
	bin := filepath.Join(f.Dir, "bin")
	if f.opts.Payload == "" {
		f.Payload, err = imagetest.BuildPayload(ctx, bin)
		return err
	}
	program, err := os.ReadFile(f.opts.Payload)
	if err != nil {
		return err
	}
	f.Payload = filepath.Join(bin, "payload")
	return os.WriteFile(f.Payload, program, 0o755)
}

// RepoURL is where users clone from and push to.
func (f *Fleet) RepoURL() string { return f.Git.RepoURL(f.Repo) }

// PushImage puts a build of the payload that calls itself version behind
// name:tag.
func (f *Fleet) PushImage(nameTag, version string) (ref, digest string, err error) {
	img, err := imagetest.Build(imagetest.Options{Binary: f.Payload, Env: []string{"VERSION=" + version}})
	if err != nil {
		return "", "", err
	}
	return f.Registry.Push(nameTag, img)
}

// StateDir is the agent's state folder, Socket the socket of its API.
func (f *Fleet) StateDir() string { return filepath.Join(f.Dir, "state") }

// Socket is the path of the agent's socket.
func (f *Fleet) Socket() string { return filepath.Join(f.Dir, "run", "orpheus.sock") }

// Cgroup is the parent of the cgroups of the fleet's containers.
func (f *Fleet) Cgroup() string { return "/" + filepath.Base(f.Dir) }

// caFile holds the certificate of a Git server that speaks TLS.
func (f *Fleet) caFile() string { return filepath.Join(f.Dir, "git-ca.pem") }

// Configure sets the YAML that is laid over the agent's configuration from its
// next start on, instead of Options.Config.
func (f *Fleet) Configure(config string) { f.opts.Config = config }

// StartAgent runs the agent as a user would.
func (f *Fleet) StartAgent() error {
	config, err := f.config()
	if err != nil {
		return err
	}
	file := filepath.Join(f.Dir, "agent.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	if f.log, err = os.OpenFile(f.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	f.agent = exec.Command(f.opts.Orpheus, "agent", "--config", file)
	f.agent.Stdout, f.agent.Stderr = f.log, f.log
	return f.agent.Start()
}

// EndAgent sends the agent a signal that ends it, and waits until it has.
func (f *Fleet) EndAgent(sig syscall.Signal) error {
	if f.agent == nil {
		return nil
	}
	err := f.agent.Process.Signal(sig)
	_ = f.agent.Wait() // it was told to end: how it did says nothing
	f.agent = nil
	return errors.Join(err, f.log.Close())
}

// AgentPID is the agent's process id, 0 while it does not run.
func (f *Fleet) AgentPID() int {
	if f.agent == nil {
		return 0
	}
	return f.agent.Process.Pid
}

func (f *Fleet) logFile() string { return filepath.Join(f.Dir, "agent.log") }

// AgentLog is the end of what the agents of this fleet logged.
func (f *Fleet) AgentLog(lines int) string {
	log, err := os.ReadFile(f.logFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Close stops and removes everything, also what a half-made fleet has.
func (f *Fleet) Close() error {
	var errs []error
	errs = append(errs, f.EndAgent(syscall.SIGTERM))
	if f.Containerd != nil {
		errs = append(errs, f.Containerd.Close())
	}
	if f.Registry != nil {
		f.Registry.Stop()
	}
	if f.Git != nil {
		f.Git.Close()
	}
	errs = append(errs, f.KillProcesses(), f.Unmount(), f.removeCgroups(), os.RemoveAll(f.Dir))
	return errors.Join(errs...)
}

// KillProcesses ends what the process driver left running: everything that
// runs the payload, and the shims above, which work in the fleet's folder.
func (f *Fleet) KillProcesses() error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		pids := f.running()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have just ended
		}
	}
	return fmt.Errorf("programs of the fleet still run: %v", f.running())
}

// running lists the processes that run the payload or work below the fleet's
// folder.
func (f *Fleet) running() []int {
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		exe, _ := os.Readlink(filepath.Join(proc, "exe"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		if f.Payload != "" && strings.TrimSuffix(exe, " (deleted)") == f.Payload || strings.HasPrefix(cwd, f.Dir+"/") {
			if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Unmount takes away what is mounted below the folder: namespaces and
// memory volumes of instances that were not removed.
func (f *Fleet) Unmount() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var errs []error
	lines := strings.Split(string(mounts), "\n")
	for _, line := range slices.Backward(lines) { // what lies in another mount came after it
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], f.Dir+"/") {
			errs = append(errs, syscall.Unmount(fields[1], syscall.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes the fleet's cgroups from all hierarchies, innermost
// first; those of other owners are not below its name.
func (f *Fleet) removeCgroups() error {
	var errs []error
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + f.Cgroup())
	for _, root := range append(roots, "/sys/fs/cgroup"+f.Cgroup()) {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
