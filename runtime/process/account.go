//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Owners = (*Driver)(nil)

// Owner implements runtime.Owners.
func (d *Driver) Owner(_ context.Context, w runtime.Workload) (runtime.Owner, error) {
	if len(w.Containers) == 0 {
		return runtime.Owner{}, fmt.Errorf("%s has no containers: %w", w.ID, runtime.ErrInvalid)
	}
	a, err := accountOf(w.Containers[0].Security)
	if err != nil {
		return runtime.Owner{}, fmt.Errorf("%w: %w", err, runtime.ErrInvalid)
	}
	var o runtime.Owner
	if a.UID != nil {
		o.UID = int(*a.UID)
	}
	if a.GID != nil {
		o.GID = int(*a.GID)
	}
	return o, nil
}

// account is whom a program runs as; nil = as the agent does.
type account struct {
	UID    *uint32  `json:"uid,omitempty"`
	GID    *uint32  `json:"gid,omitempty"`
	Groups []uint32 `json:"groups,omitempty"` // supplementary
}

// accountOf finds the ids that a manifest asks for, names by the accounts of
// the node. A user that is named has his groups, one that has a number none.
func accountOf(s planner.Security) (account, error) {
	a := account{UID: userID(s.RunAsUser)}
	if s.RunAsUserName != "" {
		if err := a.find(s.RunAsUserName); err != nil {
			return account{}, err
		}
	}
	if s.RunAsGroup != nil {
		a.GID = userID(s.RunAsGroup)
	}
	if a.UID != nil && a.GID == nil {
		a.GID = ownGroup(*a.UID)
	}
	for _, group := range s.SupplementalGroups {
		if gid := uint32(group); !slices.Contains(a.Groups, gid) {
			a.Groups = append(a.Groups, gid)
		}
	}
	return a, nil
}

// find looks up USER or USER:GROUP on the node.
func (a *account) find(name string) error {
	name, group, given := strings.Cut(name, ":")
	found, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("runAsUserName: user %q is not found on this node: make the account there, or write runAsUser: NUMBER", name)
	}
	ids, gid := []string{}, found.Gid
	if given {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("runAsUserName: group %q is not found on this node: make it there, or write runAsGroup: NUMBER", group)
		}
		gid = g.Gid
	} else if ids, err = found.GroupIds(); err != nil {
		return fmt.Errorf("runAsUserName: find the groups of %q: %w", name, err)
	}
	if a.UID, err = parseID(found.Uid); err != nil {
		return err
	}
	if a.GID, err = parseID(gid); err != nil {
		return err
	}
	for _, id := range ids {
		g, err := parseID(id)
		if err != nil {
			return err
		}
		a.Groups = append(a.Groups, *g)
	}
	return nil
}

func parseID(text string) (*uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("account: id %q is no number", text)
	}
	id := uint32(n)
	return &id, nil
}

func userID(id *int64) *uint32 {
	if id == nil {
		return nil
	}
	u := uint32(*id)
	return &u
}

// ownGroup is the user's group by the node's accounts. A user without account
// gets the group of his number: the agent's own would be root's.
func ownGroup(uid uint32) *uint32 {
	found, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return &uid
	}
	gid, err := parseID(found.Gid)
	if err != nil {
		return &uid
	}
	return gid
}

func (d *Driver) checkUser(s planner.Security) error {
	ids := slices.Clone(s.SupplementalGroups)
	for _, id := range []*int64{s.RunAsUser, s.RunAsGroup} {
		if id != nil {
			ids = append(ids, *id)
		}
	}
	for _, id := range ids {
		if id < 0 || id >= math.MaxUint32 {
			return fmt.Errorf("%d is out of range for the number of a user or group", id)
		}
	}
	if d.root || s.RunAsUser == nil && s.RunAsGroup == nil && s.RunAsUserName == "" && len(s.SupplementalGroups) == 0 {
		return nil
	}
	return errors.New("runAsUser, runAsGroup, runAsUserName and supplementalGroups need an agent that runs as root")
}
