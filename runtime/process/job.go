//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// job is what the shim is told, through its standard input: the environment
// may hold secrets, which belong neither on a command line nor on the disk.
type job struct {
	State    state    `json:"state"`
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir,omitempty"` // "" = the work folder
	Log      string   `json:"log,omitempty"`
	NewPrivs bool     `json:"newPrivs,omitempty"`
	account
}

// job checks the workload and translates it.
func (d *Driver) job(w runtime.Workload) (job, error) {
	if err := d.check(w); err != nil {
		return job{}, fmt.Errorf("%w: %w", err, runtime.ErrInvalid)
	}
	c := w.Containers[0]
	signal := unix.SIGTERM
	if c.StopSignal != "" {
		signal = unix.SignalNum(c.StopSignal)
	}
	j := job{
		State: state{
			Version: stateVersion, ID: w.ID, Slot: w.Slot, Node: w.Node, Epoch: w.Epoch, Token: w.Token,
			Revision: w.Revision, Grace: w.Grace, Container: c.Name, StopSignal: int(signal),
			Boot: d.boot, Group: d.cgroups.group(w.ID), Ulimits: c.Ulimits,
		},
		Argv:     slices.Concat(c.Command, c.Args),
		Env:      d.environment(w.ID, c.Env),
		Dir:      c.WorkingDir,
		Log:      c.LogPath,
		NewPrivs: c.Security.AllowPrivilegeEscalation != nil && *c.Security.AllowPrivilegeEscalation,
	}
	var err error
	if j.account, err = accountOf(c.Security); err != nil {
		return job{}, fmt.Errorf("%w: %w", err, runtime.ErrInvalid)
	}
	return j, nil
}

// check refuses what the driver does not do, with the remedy.
func (d *Driver) check(w runtime.Workload) error {
	switch {
	case !validID(w.ID):
		return fmt.Errorf("instance id %q is not of [a-z0-9.-], 1 to 63 bytes, beginning with a letter or digit", w.ID)
	case len(w.Init) > 0 || len(w.Containers) != 1:
		return errors.New("the process driver runs one container without init containers")
	case w.NetNS != "":
		return errors.New("the process driver uses the network of the host")
	case len(w.Sysctls) > 0:
		return errors.New("the process driver runs with the kernel parameters of the node: take sysctls out, and set them there")
	}
	c := w.Containers[0]
	switch {
	case c.Image != "":
		return errImage(c)
	case len(c.Command)+len(c.Args) == 0:
		return errors.New("the process driver needs a command")
	case len(c.Mounts) > 0:
		return errors.New("the process driver mounts nothing: it gives the paths of volumes in the environment")
	case c.Security.Privileged || c.Security.ReadOnlyRootFilesystem || len(c.Devices) > 0 ||
		len(c.Security.AddCapabilities) > 0 || len(c.Security.DropCapabilities) > 0:
		return errors.New("the process driver has no privileged, readOnlyRootFilesystem, devices or capabilities: use a container")
	case c.Reaper:
		return errors.New("the process driver has no init: its program is not the first process of anything, and what it leaves behind is reaped already")
	case c.StopSignal != "" && unix.SignalNum(c.StopSignal) == 0:
		return fmt.Errorf("stop signal %q is not known: write it as SIGINT", c.StopSignal)
	case c.LogPath != "" && !filepath.IsAbs(c.LogPath):
		return fmt.Errorf("log path %q is not absolute", c.LogPath)
	}
	return errors.Join(checkText(c), d.checkUser(c.Security), checkUlimits(c.Ulimits), d.checkLimits(c.Resources.Limits))
}

// checkText refuses what the kernel would cut off.
func checkText(c runtime.Container) error {
	for _, s := range slices.Concat(c.Command, c.Args, []string{c.WorkingDir, c.LogPath}) {
		if strings.IndexByte(s, 0) >= 0 {
			return errors.New("command or path holds a zero byte")
		}
	}
	for _, e := range c.Env {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") {
			return fmt.Errorf("environment variable %q: the name is empty or holds '=' or a zero byte", e.Name)
		}
		if strings.IndexByte(e.Value, 0) >= 0 {
			return fmt.Errorf("environment variable %s: the value holds a zero byte", e.Name)
		}
	}
	return nil
}

func (d *Driver) checkLimits(l planner.ResourceList) error {
	for controller, n := range map[string]int64{memory: l.MemoryBytes, cpu: l.CPUMillis, pids: l.PIDs} {
		if n > 0 && !d.cgroups.has(controller) {
			return fmt.Errorf("this node cannot enforce a %s limit: run the agent as root with cgroups, or take the limit out", controller)
		}
	}
	return nil
}

func errImage(c runtime.Container) error {
	return fmt.Errorf("image %s: the process driver runs no images, it needs a command: %w", c.Image, runtime.ErrInvalid)
}

// environment is the whole environment of a workload: nothing of the agent's.
func (d *Driver) environment(id string, env []runtime.Env) []string {
	values := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME": filepath.Join(d.folder(id), workDir),
		"LANG": "C.UTF-8",
		"TZ":   "UTC",
	}
	for _, e := range env {
		values[e.Name] = e.Value
	}
	values[markerVariable] = d.marker(id)
	all := make([]string, 0, len(values))
	for name, value := range values {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return all
}

// validID keeps ids harmless as names of folders and cgroups.
func validID(id string) bool {
	if id == "" || len(id) > 63 || id[0] == '.' || id[0] == '-' {
		return false
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' {
			return false
		}
	}
	return true
}

// lookPath finds the program as execvp does, in the workload's PATH.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, variable := range env {
		path, ok := strings.CutPrefix(variable, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			full := filepath.Join(dir, name)
			info, err := os.Stat(full)
			if filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return full, nil
			}
		}
		return "", fmt.Errorf("program %s is not in PATH %s: install it on the node or give its whole path", name, path)
	}
	return "", fmt.Errorf("program %s: no PATH to find it in", name)
}
