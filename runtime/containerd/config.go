//go:build linux

package containerd

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/defaults"
)

// Defaults of Config.
const (
	DefaultNamespace     = "orpheus"
	DefaultRuntime       = "io.containerd.runc.v2"
	DefaultSnapshotter   = "overlayfs"
	DefaultCgroup        = "/orpheus"
	DefaultMaxImageBytes = 20 << 30
)

// Config says which containerd to use and how. Only StateDir must be given.
type Config struct {
	// Address is the path of containerd's socket; "" = its usual place.
	Address string
	// Namespace is containerd's namespace of the driver. It and everything in
	// it with a label of Orpheus belong to this driver alone; "" = "orpheus".
	Namespace string
	// Snapshotter keeps the root filesystems; "" = overlayfs.
	Snapshotter string
	// Runtime is the shim; "" = io.containerd.runc.v2.
	Runtime string
	// Cgroup is the parent of the driver's own cgroup, which is named after
	// address and namespace, so that drivers may share the parent;
	// "" = "/orpheus".
	Cgroup string
	// StateDir is a folder for short-lived pipes and mounts; it is made with
	// mode 0700.
	StateDir string
	// DataDir is a folder on a disk, made with mode 0700 if it is missing; "" =
	// StateDir. It keeps the program that is the first process of containers.
	DataDir string
	// Executable is that program; "" = this one. It must be static, and import
	// package containerinit, as this package does.
	Executable string
	// Registries holds what to do differently for a registry, by its host as
	// it stands in references ("registry.example.com:5000", "docker.io").
	Registries map[string]Registry
	// Credentials returns what to show a registry or a mirror, by its host as in
	// Registries. It is asked whenever one demands them; nil = nothing.
	Credentials func(ctx context.Context, host string) (Login, error)
	// MaxImageBytes bounds the compressed size of an image; 0 = 20 GiB.
	MaxImageBytes int64
	// Log receives what the operator should know; nil = nothing.
	Log *slog.Logger
}

// Registry says how to talk to one registry.
type Registry struct {
	// PlainHTTP is for registries without TLS. Those on loopback need no word.
	PlainHTTP bool
	// Roots verify the registry instead of the system's; nil = those. They are
	// asked for with every pull; an error is one of this registry's pulls.
	Roots func() (*x509.CertPool, error)
	// Inside says that it may be on the node itself or its link, and lead there:
	// for tokens, layers or whatever it names.
	Inside bool
	// Mirrors are asked before the registry, in this order. What a digest names
	// is verified; what a tag stands for they are believed.
	Mirrors []Mirror
}

// Login is what a registry is shown.
type Login struct {
	// User and Secret are name and password; without User, Secret is an
	// identity token. No Secret = anonymous.
	User, Secret string
	// From says where they are configured, for error texts.
	From string
	// Doubt is why it is not known whether there are any, for registries that
	// want none; it is told of one that refuses. It goes without Secret.
	Doubt error
}

// withDefaults fills what is not given.
func (c Config) withDefaults() Config {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Address, defaults.DefaultAddress)
	set(&c.Namespace, DefaultNamespace)
	set(&c.Snapshotter, DefaultSnapshotter)
	set(&c.Runtime, DefaultRuntime)
	set(&c.Cgroup, DefaultCgroup)
	set(&c.DataDir, c.StateDir)
	set(&c.Executable, "/proc/self/exe")
	if c.MaxImageBytes == 0 {
		c.MaxImageBytes = DefaultMaxImageBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports everything wrong with a configuration at once.
func (c Config) validate() error {
	var errs []error
	if !filepath.IsAbs(c.Address) {
		errs = append(errs, fmt.Errorf("address %q: must be the absolute path of a socket", c.Address))
	}
	if !filepath.IsAbs(c.StateDir) {
		errs = append(errs, fmt.Errorf("state folder %q: must be an absolute path", c.StateDir))
	}
	if !filepath.IsAbs(c.DataDir) {
		errs = append(errs, fmt.Errorf("data folder %q: must be an absolute path", c.DataDir))
	}
	if clean := filepath.Clean(c.Cgroup); !strings.HasPrefix(c.Cgroup, "/") || clean != c.Cgroup || clean == "/" {
		errs = append(errs, fmt.Errorf("cgroup %q: must be a clean path below /", c.Cgroup))
	}
	if !validID(c.Namespace) {
		errs = append(errs, fmt.Errorf("namespace %q: not a containerd identifier", c.Namespace))
	}
	return errors.Join(errs...)
}

// cgroup is the driver's own, and everything in it the driver's to remove.
func (c Config) cgroup() string {
	sum := sha256.Sum256([]byte(c.Address + "\x00" + c.Namespace))
	return path.Join(c.Cgroup, "containerd-"+hex.EncodeToString(sum[:4]))
}

// execDir holds the pipes of commands run inside instances.
func (c Config) execDir() string { return filepath.Join(c.StateDir, "exec") }

// viewDir is where images are mounted to be looked into.
func (c Config) viewDir() string { return filepath.Join(c.StateDir, "views") }

func makeDirs(c Config) error {
	for _, dir := range []string{c.StateDir, c.DataDir, c.execDir(), c.viewDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make state folder: %w", err)
		}
	}
	return nil
}
