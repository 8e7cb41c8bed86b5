package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

func init() { platformCommands = append(platformCommands, newDevCommand) }

// dev is what the verbs of `orpheus dev` share.
type dev struct {
	*env
	name string // of the fleet
}

func newDevCommand(e *env) *cobra.Command {
	d := &dev{env: e}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole fleet on this machine, to try manifests before merging them",
		Long: `Run a whole fleet on this machine: a Git server with a copy of your repository,
an image registry, and nodes that you can kill and cut off to see what happens.
As root each node has a network, a containerd and a power button of its own;
without root nodes run processes only and share this machine's network.

The fleet goes on until "orpheus dev down", which leaves nothing behind. Several
can be up at once, told apart by --name.`,
		Example: `  cd my-fleet && sudo orpheus dev up --nodes 3
  sudo orpheus dev status
  sudo orpheus dev kill node-2
  sudo orpheus dev cut node-3 --from git
  sudo orpheus dev down`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(fmt.Errorf("there is no verb %q of dev; see %q", args[0], cmd.CommandPath()+" --help"))
			}
			return cmd.Help()
		},
	}
	cmd.PersistentFlags().StringVar(&d.name, "name", "dev", "`name` of the fleet on this machine")
	for _, verb := range []*cobra.Command{
		d.upCommand(), d.statusCommand(), d.logsCommand(), d.killCommand(), d.startCommand(), d.cutCommand(), d.healCommand(),
		d.downCommand(), d.serveCommand(), newHelloCommand(e),
	} {
		verb.Args = usageArgs(verb.Args)
		cmd.AddCommand(verb)
	}
	return cmd
}

// The files in a fleet's folder.
const (
	devLock    = "lock"    // is locked while the supervisor lives, and holds its process id
	devControl = "control" // the supervisor's socket
	devLog     = "log"     // of the supervisor
	devFleet   = "f"       // everything else
)

// maxDevDir leaves room for the sockets below it: their paths have a bound.
const maxDevDir = 70

// Where fleets are kept: of root, and below what every user has for such things.
const (
	rootDevBase = "/var/cache"
	devFolder   = "orpheus-dev"
)

// devRoot holds the folders of all fleets of this user.
func devRoot() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(base) {
		base = rootDevBase
		if os.Geteuid() != 0 {
			var err error
			if base, err = os.UserCacheDir(); err != nil {
				return "", fmt.Errorf("find a place for the fleet: %w", err)
			}
		}
	}
	return filepath.Join(base, devFolder), nil
}

// dir is the folder of the fleet, whether there is one or not.
func (d *dev) dir() (string, error) {
	if !nodeName.MatchString(d.name) {
		return "", usageError(fmt.Errorf("--name %q is not a DNS label (a-z, 0-9 and -, at most 63)", d.name))
	}
	root, err := devRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, d.name)
	if len(dir) > maxDevDir {
		return "", usageError(fmt.Errorf("the path %s is too long for sockets below it: choose a shorter --name, or set XDG_CACHE_HOME to a shorter folder", dir))
	}
	return dir, nil
}

// removeDevDir removes a fleet's folder, and the one around it if there are no
// other fleets.
func removeDevDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(dir)) // it is kept while it is not empty
	return nil
}

// errNoFleet says that there is none of that name, and which there are.
func (d *dev) errNoFleet() error {
	text := fmt.Sprintf("there is no fleet %q on this machine", d.name)
	if _, err := os.Lstat(rootDevBase + "/" + devFolder); err == nil && os.Geteuid() != 0 {
		text += " that is yours, but root has fleets: use sudo for those"
	}
	if root, err := devRoot(); err == nil {
		if entries, err := os.ReadDir(root); err == nil && len(entries) > 0 {
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return fmt.Errorf("%s; there is %s (choose with --name)", text, strings.Join(names, ", "))
		}
	}
	return fmt.Errorf("%s; \"orpheus dev up\" makes one", text)
}

// lockFleet takes the lock of a fleet's folder. It returns nil without an
// error if a supervisor has it, and an error of class fs.ErrNotExist if there
// is no such fleet.
func lockFleet(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, devLock), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock the fleet: %w", err)
	}
	return f, nil
}

// alive demands a fleet with a supervisor, and returns its folder.
func (d *dev) alive() (dir string, err error) {
	if dir, err = d.dir(); err != nil {
		return "", err
	}
	lock, err := lockFleet(dir, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", d.errNoFleet()
	case err != nil:
		return "", err
	case lock != nil:
		lock.Close()
		return "", fmt.Errorf("the supervisor of fleet %q has died (its log: %s); \"orpheus dev down\" takes away what is left",
			d.name, filepath.Join(dir, devLog))
	}
	return dir, nil
}

// named is the part of a command line that repeats --name.
func (d *dev) named() string {
	if d.name == "dev" {
		return ""
	}
	return " --name " + d.name
}

// sides lists what a node can be cut from.
func sides() string {
	var words []string
	for _, s := range devfleet.Sides {
		words = append(words, string(s))
	}
	return strings.Join(words, "|")
}
