package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

const (
	firewalldTable = "firewalld"      // of nftables, family inet
	firewalldChain = "FORWARD_direct" // where it uses iptables
	// trustedZone takes everything from the interfaces in it. It is where
	// firewalld's own documentation puts bridges of containers, and what other
	// engines use.
	trustedZone = "trusted"
)

// zone is what we know of the bridge's zone in firewalld.
type zone struct {
	name string // "" = none
	// forGood says that people put it there: ours is of this run of firewalld only.
	forGood bool
	asked   time.Time
}

// firewalld is asked to take the bridge into a zone: its tables are its own. It
// lets through by itself what comes to a published port. The assignment is of
// this run of firewalld only: what it keeps for ever is for people to say.
func (f *firewall) firewalld(c *nftables.Conn, chains []*nftables.Chain, tables []filterTable) ([]opening, error) {
	native := slices.ContainsFunc(chains, func(ch *nftables.Chain) bool {
		return ch.Table.Family == nftables.TableFamilyINet && ch.Table.Name == firewalldTable
	})
	if !native && !slices.ContainsFunc(tables, func(t filterTable) bool { return t.chains[firewalldChain] != nil }) {
		f.zone = zone{}
		return nil, nil
	}
	o := opening{
		where: "firewalld", needed: true,
		rule:   fmt.Sprintf("%s is in zone %s", f.cfg.Bridge, trustedZone),
		byHand: fmt.Sprintf("run \"firewall-cmd --permanent --zone=%s --add-interface=%s\" and \"firewall-cmd --reload\"", trustedZone, f.cfg.Bridge),
	}
	command, err := findProgram("firewall-cmd")
	if err != nil {
		return []opening{o}, nil
	}
	// firewall-cmd takes half a second: it is asked when the bridge's name has
	// come or gone, and now and then.
	const often = 30 * time.Second
	if !native || f.names(c, chains) != (f.zone.name != "") || time.Since(f.zone.asked) > often {
		z, err := f.askZone(command)
		if err != nil {
			return []opening{o}, err
		}
		f.zone = z
	}
	if z := f.zone; z.forGood || z.name != "" && z.name != trustedZone {
		return nil, nil // people put it there: they know what passes
	}
	o.stands = f.zone.name == trustedZone
	o.open = func() error { return f.setZone(command, "--change-interface=") }
	o.close = func() error { return f.setZone(command, "--remove-interface=") }
	return []opening{o}, nil
}

// askZone finds the zone that the bridge is in.
func (f *firewall) askZone(command string) (zone, error) {
	const noZone, no = 2, 1 // exit status
	name, err := firewallCmd(command, "--get-zone-of-interface="+f.cfg.Bridge)
	if exitStatus(err) == noZone {
		name, err = "", nil
	}
	z := zone{name: name, asked: time.Now()}
	if err != nil || name != trustedZone {
		return z, err
	}
	_, err = firewallCmd(command, "--permanent", "--zone="+trustedZone, "--query-interface="+f.cfg.Bridge)
	z.forGood = err == nil
	if exitStatus(err) == no {
		err = nil
	}
	return z, err
}

// exitStatus is that of a program that ended with an error; -1 = it did not.
func exitStatus(err error) int {
	if status := new(exec.ExitError); errors.As(err, &status) {
		return status.ExitCode()
	}
	return -1
}

func (f *firewall) setZone(command, verb string) error {
	_, err := firewallCmd(command, "--zone="+trustedZone, verb+f.cfg.Bridge)
	f.zone = zone{} // ask again
	return err
}

func firewallCmd(command string, args ...string) (string, error) {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	var fault bytes.Buffer
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("firewall-cmd %s: %w: %s", args[len(args)-1], err, trim(fault.Bytes()))
	}
	return trim(out), nil
}

// names reports whether firewalld's table has a rule for the bridge.
func (f *firewall) names(c *nftables.Conn, chains []*nftables.Chain) bool {
	name := append([]byte(f.cfg.Bridge), 0)
	for _, ch := range chains {
		if ch.Table.Family != nftables.TableFamilyINet || ch.Table.Name != firewalldTable {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			continue // the table is being replaced
		}
		for _, r := range rules {
			if slices.ContainsFunc(r.Exprs, func(e expr.Any) bool { cmp, ok := e.(*expr.Cmp); return ok && bytes.HasPrefix(cmp.Data, name) }) {
				return true
			}
		}
	}
	return false
}
