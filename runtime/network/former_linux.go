package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// subnetsFile keeps which subnets the addresses given are of.
const subnetsFile = "subnets.json"

type subnets struct {
	Subnet  netip.Prefix `json:"subnet"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
}

// withSubnetsInUse is the configuration with the subnets that instances have
// addresses of: they would be cut off by another, which counts once none of
// them is left when an agent begins. changed says so; "" = nothing to say.
func (c Config) withSubnetsInUse() (in Config, changed string, err error) {
	body, err := os.ReadFile(filepath.Join(c.StateDir, subnetsFile))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) { // none, or not root: for looking at only
		return c, "", nil
	}
	if err != nil {
		return c, "", fmt.Errorf("read subnets in use: %w", err)
	}
	var was subnets
	in = c
	if json.Unmarshal(body, &was) != nil {
		return c, "", nil // torn: it is written anew
	}
	in.Subnet = was.Subnet
	if c.Subnet6.IsValid() && was.Subnet6.IsValid() {
		in.Subnet6 = was.Subnet6
	}
	if in.Subnet == c.Subnet && in.Subnet6 == c.Subnet6 || in.validate() != nil || !c.inUse() {
		return c, "", nil
	}
	return in, fmt.Sprintf("instances have addresses of %s: %s counts once all of them are gone and the agent begins anew (orpheus drain, then restart it)",
		in.subnetNames(), c.subnetNames()), nil
}

func (c Config) subnetNames() string {
	if !c.Subnet6.IsValid() {
		return c.Subnet.String()
	}
	return fmt.Sprintf("%s and %s", c.Subnet, c.Subnet6)
}

// inUse reports whether any namespace is there: none is after a restart of the
// machine.
func (c Config) inUse() bool {
	dir := filepath.Join(c.RunDir, "netns")
	all, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(all, func(e os.DirEntry) bool { return isNamespace(filepath.Join(dir, e.Name())) })
}

// noteSubnets keeps the subnets on disk, before the first address of them is
// given.
func (n *Network) noteSubnets() error {
	if n.noted {
		return nil
	}
	body, err := json.Marshal(subnets{n.cfg.Subnet, n.cfg.Subnet6})
	if err == nil {
		err = os.MkdirAll(n.cfg.StateDir, 0o700)
	}
	path := filepath.Join(n.cfg.StateDir, subnetsFile)
	if err == nil {
		err = os.WriteFile(path+".new", body, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("note subnets in use: %w", err)
	}
	n.noted = true
	return nil
}
