package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
)

// A packet must pass every table of the machine, so ours cannot overrule a
// firewall that drops what it does not know. Each has a place for rules of
// others: there, and nowhere else, we put one rule that lets through what
// carries our mark. People's own rules in these places come first.
//
// What is ours is known by its comment, which names the bridge. The others
// rewrite their tables when they please (a restart of Docker, "ufw reload"), so
// that Run looks again and again.

// opening is a place in another firewall where a rule of ours belongs.
type opening struct {
	where  string // for people: the program and the place
	rule   string // for people: what we put there
	byHand string // the command that does it
	needed bool   // something would drop what passes it
	stands bool
	// open puts the rule there, close removes it; nil where we know of no place
	// that is meant for it.
	open, close func() error
}

// firewall keeps our rules in other firewalls.
type firewall struct {
	cfg        Config
	generation func() (uint32, error) // of all nftables rules

	mu sync.Mutex
	// settled is what the tables looked like when all was last as wanted; nil =
	// unknown.
	settled *glance
	// programs are those of iptables that were found, without rules.
	programs []filterTable
	zone     zone
	// looked is when the old iptables was read last.
	looked time.Time
}

// glance is what tells cheaply that somebody may have changed a table. The old
// iptables tells nobody: where it has a table that table has to be read.
type glance struct {
	generation uint32
	legacy     bool
}

// Run keeps what other programs may take away, our table, and our rules in
// theirs, until ctx ends. Without it they come back with the next call that
// needs them.
func (n *Network) Run(ctx context.Context) error {
	const interval = time.Second
	tick := time.NewTicker(interval)
	defer tick.Stop()
	repeated := "" // a fault is told once
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		fault := ""
		if err := n.keep(ctx); err != nil {
			fault = err.Error()
		}
		if fault != "" && fault != repeated && ctx.Err() == nil {
			n.cfg.Log.Warn("the node's network is not whole", "err", fault)
		}
		repeated = fault
	}
}

// keep does nothing before there is a network, and little while nobody changed
// anything.
func (n *Network) keep(ctx context.Context) error {
	n.setup.Lock()
	made := n.bridgeIndex != 0
	n.setup.Unlock()
	if !made || !n.firewall.stirred() {
		return nil
	}
	if _, err := n.ensure(ctx); err != nil {
		return err
	}
	return n.firewall.ensure()
}

// ruleGeneration is a number that every change of any nftables rule raises.
func (n *Network) ruleGeneration() (uint32, error) {
	n.rules.mu.Lock()
	defer n.rules.mu.Unlock()
	return n.rules.generation()
}

// stirred reports whether somebody may have changed a table since all was as
// wanted.
func (f *firewall) stirred() bool {
	const often = 3 * time.Second // to read the old iptables takes some milliseconds
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.look()
	return err != nil || f.settled == nil || now != *f.settled || now.legacy && time.Since(f.looked) > often
}

func (f *firewall) look() (glance, error) {
	generation, err := f.generation()
	return glance{generation: generation, legacy: len(legacyTables()) > 0}, err
}

// ensure opens what must be open, or, where that is not allowed, closes what a
// former agent opened.
func (f *firewall) ensure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.look()
	if err == nil && f.settled != nil && now == *f.settled && !now.legacy {
		return nil
	}
	f.settled, f.looked = nil, time.Now()
	all, err := f.openings()
	faults := []error{err}
	for k := range all {
		o := &all[k]
		switch {
		case o.stands && f.cfg.NoForeignRules && o.close != nil:
			faults = append(faults, o.change(o.close, "taken back"))
		case o.needed && !o.stands && !f.cfg.NoForeignRules && o.open != nil:
			faults = append(faults, o.change(o.open, "not put"))
		default:
			continue
		}
		f.cfg.Log.Info("another firewall changed", "where", o.where, "rule", o.rule, "open", o.stands)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if now, err = f.look(); err != nil {
		return err
	}
	f.settled = &now
	return nil
}

func (o *opening) change(do func() error, fault string) error {
	if err := do(); err != nil {
		return fmt.Errorf("rule %s into %s: %w", fault, o.where, err)
	}
	o.stands = !o.stands
	return nil
}

// remove closes everything, for a node that leaves.
func (f *firewall) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = nil
	all, err := f.openings()
	faults := []error{err}
	for k := range all {
		if o := &all[k]; o.stands && o.close != nil {
			faults = append(faults, o.change(o.close, "taken back"))
		}
	}
	return errors.Join(faults...)
}

// info says what stands, what people should know, and what is left for them to
// do. It changes nothing.
func (f *firewall) info() (rules, notes, blocking []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.openings()
	if err != nil {
		notes = append(notes, fmt.Sprintf("another firewall may drop what instances send: %v", err))
	}
	for _, o := range all {
		switch {
		case o.stands:
			rules = append(rules, o.where+": "+o.rule)
		case o.needed && (f.cfg.NoForeignRules || o.open == nil):
			blocking = append(blocking, fmt.Sprintf("%s drops what it does not know, also from and to instances: %s", o.where, o.byHand))
		case o.needed:
			notes = append(notes, fmt.Sprintf("%s drops what it does not know: our rule is put there with the first instance (%s)", o.where, o.rule))
		}
	}
	return rules, notes, blocking
}

// openings are all places that we know how to open, and chains that drop and
// have none.
func (f *firewall) openings() ([]opening, error) {
	c, err := openNFTables()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	all, tables, err := f.xtables(chains)
	faults := []error{err}
	zones, err := f.firewalld(c, chains, tables)
	all = append(all, zones...)
	faults = append(faults, err)
	all = append(all, f.unknown(c, chains)...)
	slices.SortStableFunc(all, func(a, b opening) int { return cmp.Compare(a.where, b.where) })
	return all, errors.Join(faults...)
}

// unknown are chains of nftables that drop by default, belong to nobody we know
// and were not told by people to let us pass.
func (f *firewall) unknown(c *nftables.Conn, chains []*nftables.Chain) []opening {
	var all []opening
	for _, ch := range chains {
		if ch.Hooknum == nil || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		forward := *ch.Hooknum == *nftables.ChainHookForward
		if !forward && *ch.Hooknum != *nftables.ChainHookInput || !f.sees(ch.Table.Family) {
			continue
		}
		if xtable(ch) || ch.Table.Name == firewalldTable && ch.Table.Family == nftables.TableFamilyINet || ch.Table.Name == f.cfg.Table {
			continue
		}
		// One that is gone by now says nothing.
		if rules, err := c.GetRules(ch.Table, ch); err == nil && slices.ContainsFunc(rules, nftAcceptsMarked) {
			continue
		}
		family := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}[ch.Table.Family]
		at := fmt.Sprintf("%s %s %s", family, ch.Table.Name, ch.Name)
		all = append(all, opening{
			where: "nftables, chain " + at, needed: true,
			byHand: fmt.Sprintf("let it accept what is marked, such as by \"nft insert rule %s meta mark and %#x == %#x accept\"", at, forwardMark, forwardMark),
		})
	}
	return all
}

// sees reports whether packets of instances pass tables of a family.
func (f *firewall) sees(family nftables.TableFamily) bool {
	switch family {
	case nftables.TableFamilyIPv4, nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv6:
		return f.cfg.Subnet6.IsValid()
	}
	return false
}

// comment is how a rule of ours is known again.
func (f *firewall) comment() string { return "orpheus " + f.cfg.Bridge }

// quoted is the comment as iptables prints it.
func (f *firewall) quoted() string { return "--comment \"" + f.comment() + "\"" }

// trim makes one line of what a program printed.
func trim(output []byte) string {
	return strings.Join(strings.Fields(string(output)), " ")
}
