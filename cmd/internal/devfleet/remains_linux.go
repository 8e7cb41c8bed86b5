package devfleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// remainsFile is in a fleet's folder for as long as anything of it may be
// left.
const remainsFile = "remains.json"

// remains says all that a fleet has or may have on this machine beside its
// folder. It is written before any of it is made.
type remains struct {
	Dir      string   `json:"dir"`
	Cgroup   string   `json:"cgroup"`
	Bridge   string   `json:"bridge"`   // the names of all links begin with it
	Programs []string `json:"programs"` // base names of what nodes run, beside containers
	Uplink   *uplink  `json:"uplink,omitempty"`
}

// programs are those that run as the node's own.
func programs(orpheus string) []string {
	return []string{filepath.Base(orpheus), "containerd", "containerd-shim-runc-v2"}
}

func (r *remains) file() string { return filepath.Join(r.Dir, remainsFile) }

func (r *remains) write() error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := r.file() + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("note what the fleet has: %w", err)
	}
	if err := os.Rename(next, r.file()); err != nil {
		return fmt.Errorf("note what the fleet has: %w", err)
	}
	return nil
}

// Sweep takes away all that a fleet left in its folder and on this machine
// whose program was killed. It must run in the network namespace that the
// program was started from. That there is nothing is success.
func Sweep(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	r := remains{Dir: dir}
	text, err := os.ReadFile(r.file())
	if errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(dir) // it ended before anything was made
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return fmt.Errorf("read what the fleet has: %w", err)
	}
	if r.Dir != dir {
		return fmt.Errorf("read what the fleet has: %s was made for %s", r.file(), r.Dir)
	}
	if r.Uplink != nil {
		err = r.Uplink.remove()
	}
	return errors.Join(err, r.sweep())
}

// sweep removes all but the uplink, which may lie in another network. The
// folder goes last, and only if all else has gone: it says what is left.
func (r *remains) sweep() error {
	err := errors.Join(
		processes{dir: r.Dir, programs: r.Programs, cgroup: r.Cgroup}.kill(),
		deleteLinks(r.Bridge),
		unmountBelow(r.Dir),
	)
	if r.Cgroup != "" {
		err = errors.Join(err, removeCgroups(r.Cgroup))
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(r.Dir)
}

// deleteLinks removes a bridge and the links that belong to it.
func deleteLinks(bridge string) error {
	if bridge == "" || os.Geteuid() != 0 {
		return nil
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if name := l.Attrs().Name; name == bridge || strings.HasPrefix(name, bridge+"-") {
			errs = append(errs, deleteLink(name))
		}
	}
	return errors.Join(errs...)
}
