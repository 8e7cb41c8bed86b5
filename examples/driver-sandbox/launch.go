//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// shimVerb is the first argument of this program when it is a shim.
const shimVerb = "shim"

// job is what a shim is told, through its standard input: the environment may
// hold secrets, which belong neither on a command line nor on the disk.
type job struct {
	Workload   runtime.Workload
	Dir        string // of all instances
	Show       []string
	StopSignal int
}

// answer is what the shim says, once, when the program runs or cannot.
type answer struct {
	Error   string
	Invalid bool // trying again cannot help
	Begun   bool // the program was executed all the same
}

// err is what the answer says, nil if the program runs.
func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	err := errors.New(a.Error)
	if a.Invalid {
		err = fmt.Errorf("%w: %w", err, runtime.ErrInvalid)
	}
	if a.Begun {
		return err
	}
	return runtime.NotBegun(err)
}

// launch makes the folder of an instance and starts its shim. It returns once
// the program runs, or with the reason why it does not.
func (d *driver) launch(ctx context.Context, w runtime.Workload) error {
	j, control, err := d.furnish(w)
	if err != nil {
		return runtime.NotBegun(err)
	}
	defer control.Close()
	return d.startShim(ctx, j, control)
}

// furnish makes the folder of an instance, and the socket on which its shim will
// take orders.
func (d *driver) furnish(w runtime.Workload) (j job, control *os.File, err error) {
	if err := os.MkdirAll(filepath.Join(d.folder(w.ID), rootFolder), 0o700); err != nil {
		return j, nil, err
	}
	dir, err := os.OpenRoot(d.dir)
	if err != nil {
		return j, nil, err
	}
	defer dir.Close()
	j = job{Workload: w, Dir: d.dir, Show: d.show, StopSignal: int(unix.SIGTERM)}
	if s := w.Containers[0].StopSignal; s != "" {
		j.StopSignal = int(unix.SignalNum(s))
	}
	err = writeJSON(dir, filepath.Join(w.ID, recordFile), record{
		Instance: planner.Instance{
			ID: w.ID, Driver: "sandbox", Slot: w.Slot, Node: w.Node, Epoch: w.Epoch, Token: w.Token,
			Revision: w.Revision, GracePeriod: w.Grace,
		},
		Container: w.Containers[0].Name, StopSignal: j.StopSignal,
	})
	if err != nil {
		return j, nil, err
	}
	// The socket is there before the shim, so that no moment of its life is
	// without. Both have it open; this process lets go of it at the end.
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(d.folder(w.ID), controlSocket), Net: "unix"})
	if err != nil {
		return j, nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	control, err = listener.File()
	return j, control, err
}

// startShim executes this program again, as the first process in namespaces of
// its own: when it ends, for whatever reason, the kernel kills all others.
func (d *driver) startShim(ctx context.Context, j job, control *os.File) error {
	text, err := json.Marshal(j)
	if err != nil {
		return runtime.NotBegun(err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return runtime.NotBegun(err)
	}
	defer ready.Close()
	shim := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"driver-sandbox", shimVerb, j.Workload.ID}, Dir: d.dir, Env: []string{"GOMAXPROCS=1"},
		Stdin: bytes.NewReader(text), Stdout: theirs, Stderr: nil, ExtraFiles: []*os.File{control},
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:     true,
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		},
	}
	err = shim.Start()
	theirs.Close()
	if err != nil {
		return runtime.NotBegun(fmt.Errorf("start shim: %w", err))
	}
	go shim.Wait() // collects it, whenever it ends
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var a answer
	err = json.NewDecoder(ready).Decode(&a)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the shim ended without an answer: %w", err)
	}
	return a.err()
}

// environment is the whole environment of the program: nothing of the host's.
func environment(env []runtime.Env) []string {
	all := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + workDir, "LANG=C.UTF-8", "TZ=UTC"}
	for _, e := range env {
		all = append(all, e.Name+"="+e.Value)
	}
	return all
}

// credential is who the program runs as, without supplementary groups: a user
// without a group has the one of his number.
func credential(s planner.Security) *syscall.Credential {
	user := cmp.Or(s.RunAsUser, new(int64))
	return &syscall.Credential{Uid: uint32(*user), Gid: uint32(*cmp.Or(s.RunAsGroup, user))}
}
