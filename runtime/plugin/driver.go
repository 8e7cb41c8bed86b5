//go:build linux

package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Config is what New needs.
type Config struct {
	// Name is the driver's name in manifests: a DNS label.
	Name string
	// Path is the plugin's file, SHA256 what it must have, in hex.
	Path, SHA256 string
	// Args and Env ("NAME=value") are all that the plugin gets beside a PATH.
	Args, Env []string
	// StateDir and RunDir belong to this plugin alone; they are made (0700) if
	// they are missing. RunDir may be lost at a reboot; its path must be short.
	StateDir, RunDir string
	// Log gets what no caller can be told; nil = nothing.
	Log *slog.Logger
}

// Driver is the agent's half: it passes calls on to the plugin's process,
// which the first call finds or starts.
//
// It has every optional ability of package runtime but that of an ImageKeeper.
// Where the plugin has not, Exec, Resolve, Stats and Stores fail with
// errors.ErrUnsupported, Watch gives no hints, and Sweep has nothing to do.
type Driver struct {
	config Config
	setup  string // checksum of arguments and environment
	log    *slog.Logger

	mu       sync.Mutex
	closed   bool
	current  *session
	opening  *opening  // nil = nobody is at it
	failures int       // in a row, without a quiet time between
	retryAt  time.Time // no process is started before
	lastErr  error     // why there is none
	silent   silence
}

var (
	_ runtime.Driver   = (*Driver)(nil)
	_ runtime.Watcher  = (*Driver)(nil)
	_ runtime.Sweeper  = (*Driver)(nil)
	_ runtime.Execer   = (*Driver)(nil)
	_ runtime.Resolver = (*Driver)(nil)
	_ runtime.Stats    = (*Driver)(nil)
	_ runtime.Storer   = (*Driver)(nil)
	_ io.Closer        = (*Driver)(nil)
)

var (
	nameFormat   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	sha256Format = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// New checks the configuration and makes the folders. It neither looks for
// the plugin nor starts it.
func New(c Config) (*Driver, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("driver plugin %q: %w: %w", c.Name, err, runtime.ErrInvalid)
	}
	for _, dir := range []*string{&c.StateDir, &c.RunDir} {
		if err := privateFolder(dir); err != nil {
			return nil, fmt.Errorf("driver plugin %s: %w", c.Name, err)
		}
	}
	if n := len(c.RunDir) + len("/plugin4294967295"); n > maxSocketPath {
		return nil, fmt.Errorf("driver plugin %s: the path of its sockets in %s is %d bytes long, %d are possible: choose a shorter folder: %w",
			c.Name, c.RunDir, n, maxSocketPath, runtime.ErrInvalid)
	}
	d := &Driver{config: c, setup: c.setup(), log: c.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.log = d.log.With("driver", c.Name)
	return d, nil
}

func (c *Config) validate() error {
	switch {
	case !nameFormat.MatchString(c.Name):
		return errors.New("the name is not a DNS label")
	case c.Name == planner.DriverContainerd || c.Name == planner.DriverProcess:
		return errors.New("the name is that of a built-in driver")
	case !filepath.IsAbs(c.Path):
		return fmt.Errorf("path %q is not absolute", c.Path)
	case !sha256Format.MatchString(c.SHA256):
		return fmt.Errorf("sha256 %q is not 64 digits in lower case, as sha256sum prints them", cut(c.SHA256, 80))
	case !filepath.IsAbs(c.StateDir) || !filepath.IsAbs(c.RunDir):
		return errors.New("its folders are not absolute paths")
	}
	for k, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.IndexByte(e, 0) >= 0 {
			return fmt.Errorf("env[%d] is not NAME=value", k)
		}
	}
	return nil
}

// setup is a checksum of how the plugin is started.
func (c *Config) setup() string {
	text, _ := json.Marshal([][]string{c.Args, c.Env}) // strings always can be
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}

// privateFolder makes a folder that is ours alone, and gives its real path.
func privateFolder(dir *string) error {
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	real, err := filepath.EvalSymlinks(*dir)
	if err != nil {
		return fmt.Errorf("open its folder: %w", err)
	}
	*dir = real
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("open its folder: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if info.Mode().Perm()&0o077 != 0 || int(owner) != os.Geteuid() {
		return fmt.Errorf("its folder %s is open to others (mode %s, user %d): chmod 700, and chown it to the agent's user", real, info.Mode(), owner)
	}
	return nil
}

// Close lets go of the plugin, which goes on; calls under way end.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	s, o := d.current, d.opening
	d.current = nil
	d.mu.Unlock()
	if o != nil {
		o.cancel()
		<-o.done
		s = o.session
	}
	if s != nil {
		s.close()
	}
	return nil
}

// End ends a plugin that is not configured any more, found by its folder
// alone, and forgets it. What it runs stays.
func End(ctx context.Context, stateDir string) error {
	r, err := readRecord(stateDir)
	if errors.Is(err, errNoRecord) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end the driver plugin of %s: %w", stateDir, err)
	}
	if have, err := r.Process.executes(); r.Process.alive() && err == nil && have == r.SHA256 {
		if err := end(ctx, r); err != nil {
			return fmt.Errorf("driver plugin of %s: %w", stateDir, err)
		}
	}
	return os.RemoveAll(stateDir)
}
