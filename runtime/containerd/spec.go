//go:build linux

package containerd

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// buildSpec is the OCI specification of container c of w, run from img as
// user. Everything not asked for is as Docker has it, but that gaining
// privileges (setuid programs) is forbidden unless it is allowed.
func (d *Driver) buildSpec(ctx context.Context, w runtime.Workload, c runtime.Container, id string, img image, user specs.User) (*oci.Spec, error) {
	record := &containers.Container{ID: id}
	// containerd's default hides the image's /run behind an empty tmpfs; the
	// images of databases have a folder of theirs in it.
	s, err := oci.GenerateSpec(ctx, nil, record, oci.WithoutRunMount, oci.WithDefaultUnixDevices)
	if err != nil {
		return nil, fmt.Errorf("build the specification: %w", err)
	}
	if s.Process.Args, err = argsOf(c, img); err != nil {
		return nil, err
	}
	s.Process.Env = envOf(w, c, img)
	s.Process.Cwd = cwdOf(c, img)
	s.Process.User = user
	if s.Process.Rlimits, err = rlimitsOf(c.Ulimits); err != nil {
		return nil, err
	}
	neutral := 0 // the shim's own score, which protects it, must not be inherited
	s.Process.OOMScoreAdj = &neutral
	s.Root.Readonly = c.Security.ReadOnlyRootFilesystem
	s.Hostname = w.Hostname
	s.Linux.CgroupsPath = d.cgroupPath(id)
	s.Linux.Namespaces = namespacesOf(w, s.Linux.Namespaces)
	if s.Linux.Sysctl, err = sysctlsOf(w); err != nil {
		return nil, err
	}
	setResources(s, c.Resources)
	if err := setMounts(s, c.Mounts); err != nil {
		return nil, err
	}
	if err := setSecurity(ctx, s, record, c.Security); err != nil {
		return nil, err
	}
	if c.Reaper {
		if err := d.reaper.addTo(s); err != nil {
			return nil, err
		}
	}
	return s, addDevices(ctx, s, record, c.Devices)
}

// argsOf follows Kubernetes: command replaces the image's entrypoint and its
// arguments, args the arguments alone.
func argsOf(c runtime.Container, img image) ([]string, error) {
	var args []string
	switch {
	case len(c.Command) > 0:
		args = slices.Concat(c.Command, c.Args)
	case len(c.Args) > 0:
		args = slices.Concat(img.config.Entrypoint, c.Args)
	default:
		args = slices.Concat(img.config.Entrypoint, img.config.Cmd)
	}
	if len(args) == 0 || args[0] == "" {
		return nil, fmt.Errorf("image %s has no command and the manifest gives none: %w", c.Image, runtime.ErrInvalid)
	}
	return args, nil
}

// envOf lists PATH, HOSTNAME, the image's variables and the container's. Of
// several with one name the last wins; each keeps the place of its first.
func envOf(w runtime.Workload, c runtime.Container, img image) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if w.Hostname != "" {
		env = append(env, "HOSTNAME="+w.Hostname)
	}
	env = append(env, img.config.Env...)
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	at := map[string]int{}
	out := env[:0]
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

func cwdOf(c runtime.Container, img image) string {
	for _, dir := range []string{c.WorkingDir, img.config.WorkingDir} {
		if dir != "" {
			return path.Clean("/" + dir)
		}
	}
	return "/"
}

// namespacesOf puts the container into the instance's network, or leaves it in
// the host's, and hides the cgroups of others.
func namespacesOf(w runtime.Workload, defaults []specs.LinuxNamespace) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.CgroupNamespace}}
	for _, ns := range defaults {
		if ns.Type == specs.NetworkNamespace {
			if w.NetNS == "" {
				continue
			}
			ns.Path = w.NetNS
		}
		out = append(out, ns)
	}
	return out
}

// setMounts adds the workload's mounts to the default ones, parents before
// what lies in them. A mount on the target of a default one replaces it.
func setMounts(s *oci.Spec, mounts []runtime.Mount) error {
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
	})
	for _, m := range mounts {
		target := path.Clean(m.Target)
		if !path.IsAbs(target) || target == "/" || !filepath.IsAbs(m.Source) {
			return fmt.Errorf("mount of volume %s at %q: the paths must be absolute and the target not the root: %w", m.Volume, m.Target, runtime.ErrInvalid)
		}
		options := []string{"rbind", "rprivate", "rw"}
		if m.ReadOnly {
			options[2] = "ro"
		}
		s.Mounts = slices.DeleteFunc(s.Mounts, func(d specs.Mount) bool { return d.Destination == target })
		s.Mounts = append(s.Mounts, specs.Mount{Destination: target, Type: "bind", Source: m.Source, Options: options})
	}
	slices.SortStableFunc(s.Mounts, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return nil
}

// setSecurity applies capabilities, seccomp and privileges.
func setSecurity(ctx context.Context, s *oci.Spec, record *containers.Container, sec planner.Security) error {
	escalate := sec.AllowPrivilegeEscalation != nil && *sec.AllowPrivilegeEscalation
	s.Process.NoNewPrivileges = !escalate && !sec.Privileged
	if sec.Privileged {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		return oci.Compose(oci.WithAllCurrentCapabilities, oci.WithHostDevices, oci.WithAllDevicesAllowed,
			oci.WithWriteableSysfs, oci.WithWriteableCgroupfs)(ctx, nil, record, s)
	}
	caps, err := capabilitiesOf(sec, s.Process.Capabilities.Bounding)
	if err != nil {
		return err
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	// The profile allows what the capabilities imply, so it comes after them.
	s.Linux.Seccomp = seccomp.DefaultProfile(s)
	return nil
}

// capabilitiesOf drops, then adds; "ALL" stands for all there are. Without the
// prefix CAP_ as in manifests, with it as in the specification.
func capabilitiesOf(sec planner.Security, defaults []string) ([]string, error) {
	known := cap.Known()
	caps := slices.Clone(defaults)
	for _, name := range sec.DropCapabilities {
		full, err := capability(name, known)
		if err != nil {
			return nil, err
		}
		caps = slices.DeleteFunc(caps, func(c string) bool { return full == "CAP_ALL" || c == full })
	}
	for _, name := range sec.AddCapabilities {
		full, err := capability(name, known)
		if err != nil {
			return nil, err
		}
		if full == "CAP_ALL" {
			if caps, err = cap.Current(); err != nil { // more than we have cannot be given
				return nil, fmt.Errorf("read our own capabilities: %w", err)
			}
			continue
		}
		if !slices.Contains(caps, full) {
			caps = append(caps, full)
		}
	}
	return caps, nil
}

func capability(name string, known []string) (string, error) {
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "CAP_") {
		full = "CAP_" + full
	}
	if full != "CAP_ALL" && !slices.Contains(known, full) {
		return "", fmt.Errorf("capability %q is unknown: %w", name, runtime.ErrInvalid)
	}
	return full, nil
}

// addDevices makes devices of the host usable, a folder of them with all that
// is in it.
func addDevices(ctx context.Context, s *oci.Spec, record *containers.Container, devices []string) error {
	for _, device := range devices {
		if clean := path.Clean(device); clean != device || !strings.HasPrefix(device, "/dev/") {
			return fmt.Errorf("device %q: must be a clean path below /dev: %w", device, runtime.ErrInvalid)
		}
		if _, err := os.Stat(device); err != nil {
			return fmt.Errorf("device %s is not on this node: %w: %w", device, runtime.ErrInvalid, err)
		}
		if err := oci.WithDevices(device, device, "rwm")(ctx, nil, record, s); err != nil {
			return fmt.Errorf("device %s: %w: %w", device, runtime.ErrInvalid, err)
		}
	}
	return nil
}
