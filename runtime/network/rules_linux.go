package network

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
)

// rules keeps our nftables tables as wanted. Every change is one transaction:
// packets see all tables before it or after it. Other tables are never touched.
type rules struct {
	cfg Config

	mu sync.Mutex
	// gen is the kernel's generation of all rules when ours were last known to
	// be whole, and stands what they then balanced, by family. While the
	// generation stands nobody changed anything. 0 = unknown; nil = unknown.
	gen    uint32
	stands []balance
	marks  []string // what sign says, by family; nil = not yet asked

	// Both sockets stay open: closing one makes the kernel wait, some 10 ms,
	// until all that was deleted is gone (net/netfilter/nf_tables_api.c,
	// nft_rcv_nl_event).
	tx  *nftables.Conn
	ask *nl.SocketHandle
}

// ensure restores the tables if they are missing or were tampered with. What is
// balanced stays: after a restart of the agent it is read from the kernel.
func (r *rules) ensure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ensureLocked()
}

func (r *rules) ensureLocked() error {
	gen, err := r.generation()
	if err != nil {
		return err
	}
	if r.gen != 0 && gen == r.gen {
		return nil
	}
	have, whole, err := r.read()
	if err != nil {
		return fmt.Errorf("read nftables tables %s: %w", r.cfg.Table, err)
	}
	if r.stands == nil {
		r.stands = have // what a former process balanced
	}
	if whole && slices.EqualFunc(have, r.stands, balance.equal) {
		r.gen = gen
		return nil
	}
	return r.replace(r.stands)
}

// balances is what is balanced now, as last known, by family.
func (r *rules) balances() []balance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stands
}

// standing are the fronts of all families, as last known.
func (r *rules) standing() fronts {
	all := fronts{}
	for _, b := range r.balances() {
		maps.Copy(all, b.fronts)
	}
	return all
}

// balance makes exactly this stand, one balance for each family, and reports
// what it had to change.
func (r *rules) balance(want []balance) (changes []change, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ensureLocked(); err != nil {
		return nil, err
	}
	changed := false
	for k, f := range r.cfg.families() {
		c := f.diff(r.stands[k], want[k])
		changes, changed = append(changes, c), changed || !c.empty()
	}
	if !changed {
		return changes, nil
	}
	return changes, r.commit(want, func(tx *nftables.Conn) error {
		for k, f := range r.cfg.families() {
			if changes[k].empty() {
				continue
			}
			if err := r.apply(tx, f, changes[k], r.stands[k].fronts.spreads(f), want[k].fronts.spreads(f)); err != nil {
				return err
			}
		}
		return nil
	})
}

// apply changes what differs in one family's table.
func (r *rules) apply(tx *nftables.Conn, f family, c change, had, need map[spread]bool) error {
	mark, err := r.mark(f)
	if err != nil {
		return err
	}
	table := r.table(f)
	for _, s := range missing(need, had) {
		addChain(tx, table, f.spreadChain(s), mark)
	}
	sets := newSets(f, table)
	if err := c.del.each(sets, tx.SetDeleteElements); err != nil {
		return err
	}
	if err := c.add.each(sets, tx.SetAddElements); err != nil {
		return err
	}
	for _, s := range missing(had, need) {
		tx.DelChain(&nftables.Chain{Name: s.name(), Table: table})
	}
	return nil
}

// missing are those of all that the others have not, by name.
func missing(all, others map[spread]bool) []spread {
	var found []spread
	for s := range all {
		if !others[s] {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, spread.compare)
	return found
}

// replace writes all tables anew.
func (r *rules) replace(want []balance) error {
	return r.commit(want, func(tx *nftables.Conn) error { return r.write(tx, want) })
}

// write fills a transaction with all tables. One of a family that the node has
// no more goes.
func (r *rules) write(tx *nftables.Conn, want []balance) error {
	families := r.cfg.families()
	for _, f := range families {
		tx.AddTable(r.table(f)) // so that there is one to delete
		tx.DelTable(r.table(f))
	}
	old, err := tx.ListTables()
	if err != nil {
		return explain(err)
	}
	for _, t := range old {
		if r.leftover(t) {
			tx.DelTable(t)
		}
	}
	for k, f := range families {
		if err := r.writeFamily(tx, f, want[k]); err != nil {
			return err
		}
	}
	return nil
}

// leftover reports whether a table is ours and of a family that the node has
// no more.
func (r *rules) leftover(t *nftables.Table) bool {
	return t.Name == r.cfg.Table && t.Family == nftables.TableFamilyIPv6 && !r.cfg.Subnet6.IsValid()
}

func (r *rules) writeFamily(tx *nftables.Conn, f family, want balance) error {
	mark, err := r.mark(f)
	if err != nil {
		return err
	}
	table := r.table(f)
	tx.AddTable(table)
	sets := newSets(f, table)
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		if err := tx.AddSet(sets[name], nil); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	for _, c := range f.chains(want) {
		addChain(tx, table, c, mark)
	}
	return f.diff(balance{}, want).add.each(sets, tx.SetAddElements)
}

// chains are all that a family's table has.
func (f family) chains(want balance) []chain {
	all := f.staticChains()
	for _, s := range missing(want.fronts.spreads(f), nil) {
		all = append(all, f.spreadChain(s))
	}
	return all
}

// commit runs one transaction, after which want stands.
func (r *rules) commit(want []balance, fill func(*nftables.Conn) error) error {
	before, err := r.generation()
	if err != nil {
		return err
	}
	r.gen = 0
	tx, err := r.connect()
	if err != nil {
		return err
	}
	err = fill(tx)
	if err == nil {
		err = tx.Flush()
	}
	if err != nil {
		r.disconnect() // it may hold messages, or answers nobody read
		return fmt.Errorf("write nftables tables %s: %w", r.cfg.Table, explain(err))
	}
	r.stands = want
	after, err := r.generation()
	if err != nil {
		return err
	}
	if after == before+1 {
		r.gen = after // ours was the only change
	}
	return nil
}

// remove deletes the tables.
func (r *rules) remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commit(nil, func(tx *nftables.Conn) error {
		tables, err := tx.ListTables()
		if err != nil {
			return explain(err)
		}
		for _, f := range r.cfg.families() {
			tx.AddTable(r.table(f))
			tx.DelTable(r.table(f))
		}
		for _, t := range tables {
			if r.leftover(t) {
				tx.DelTable(t)
			}
		}
		return nil
	})
}

func (r *rules) table(f family) *nftables.Table {
	return &nftables.Table{Name: r.cfg.Table, Family: f.table}
}

// mark is what every comment in a family's table carries.
func (r *rules) mark(f family) (string, error) {
	if r.marks == nil {
		for _, f := range r.cfg.families() {
			mark, err := f.sign()
			if err != nil {
				r.marks = nil
				return "", err
			}
			r.marks = append(r.marks, mark)
		}
	}
	k := slices.IndexFunc(r.cfg.families(), func(o family) bool { return o.table == f.table })
	return r.marks[k], nil
}

func (r rule) signed(mark string) string { return r.comment + " [" + mark + "]" }

func addChain(tx *nftables.Conn, table *nftables.Table, c chain, mark string) {
	made := &nftables.Chain{Name: c.name, Table: table}
	if c.hook != nil {
		made.Hooknum, made.Type, made.Priority = c.hook, c.kind, &c.priority
	}
	tx.AddChain(made)
	for _, rule := range c.rules {
		tx.AddRule(&nftables.Rule{Table: table, Chain: made, Exprs: rule.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, rule.signed(mark))})
	}
}
