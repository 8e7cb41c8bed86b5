package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
)

// rules keeps our nftables table as wanted. Every change is one transaction:
// packets see the table before it or after it. Other tables are never touched.
type rules struct {
	cfg Config

	mu sync.Mutex
	// gen is the kernel's generation of all rules when ours were last known to
	// be whole, and published what they then held. While the generation stands
	// nobody changed anything. 0 = unknown.
	gen       uint32
	published fronts

	// Both sockets stay open: closing one makes the kernel wait, some 10 ms,
	// until all that was deleted is gone (net/netfilter/nf_tables_api.c,
	// nft_rcv_nl_event).
	tx  *nftables.Conn
	ask *nl.SocketHandle
}

// ensure restores the table if it is missing or was tampered with. What is
// published stays: after a restart of the agent it is read from the kernel.
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
		return fmt.Errorf("read nftables table %s: %w", r.cfg.Table, err)
	}
	if r.published == nil {
		r.published = have // what a former process published
	}
	if whole && maps.EqualFunc(have, r.published, slices.Equal) {
		r.gen = gen
		return nil
	}
	return r.replace(r.published)
}

// standing is what is published now, as last known.
func (r *rules) standing() fronts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.published
}

// publish makes exactly these fronts stand and returns what it had to change.
func (r *rules) publish(want fronts) (change, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ensureLocked(); err != nil {
		return change{}, err
	}
	c := diff(r.published, want)
	if c.empty() {
		return c, nil
	}
	return c, r.apply(c, want)
}

// apply changes what differs between published and want.
func (r *rules) apply(c change, want fronts) error {
	mark, err := sign(r.cfg)
	if err != nil {
		return err
	}
	had, need := r.published.spreads(), want.spreads()
	return r.commit(want, func(tx *nftables.Conn) error {
		table := r.table()
		for _, name := range slices.Sorted(maps.Keys(need)) {
			if _, ok := had[name]; !ok {
				addChain(tx, table, spreadChain(name, need[name]), mark)
			}
		}
		sets := newSets(table)
		if err := sets.remove(tx, c.del); err != nil {
			return err
		}
		if err := sets.add(tx, c.add); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(had)) {
			if _, ok := need[name]; !ok {
				tx.DelChain(&nftables.Chain{Name: name, Table: table})
			}
		}
		return nil
	})
}

// replace writes the whole table anew.
func (r *rules) replace(want fronts) error {
	return r.commit(want, func(tx *nftables.Conn) error { return r.write(tx, want) })
}

func (r *rules) write(tx *nftables.Conn, want fronts) error {
	chains := staticChains(r.cfg)
	mark, err := sign(r.cfg)
	if err != nil {
		return err
	}
	table := r.table()
	tx.AddTable(table) // so that there is one to delete
	tx.DelTable(table)
	tx.AddTable(table)
	sets := newSets(table)
	if err := sets.make(tx); err != nil {
		return err
	}
	need := want.spreads()
	for _, name := range slices.Sorted(maps.Keys(need)) {
		chains = append(chains, spreadChain(name, need[name]))
	}
	for _, c := range chains {
		addChain(tx, table, c, mark)
	}
	return sets.add(tx, diff(nil, want).add)
}

// commit runs one transaction, after which want stands.
func (r *rules) commit(want fronts, fill func(*nftables.Conn) error) error {
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
		return fmt.Errorf("write nftables table %s: %w", r.cfg.Table, explain(err))
	}
	r.published = want
	after, err := r.generation()
	if err != nil {
		return err
	}
	if after == before+1 {
		r.gen = after // ours was the only change
	}
	return nil
}

// read returns what the kernel's table publishes, and whether its rules are
// the ones we write. A table that is missing publishes nothing.
func (r *rules) read() (have fronts, whole bool, err error) {
	c, err := r.connect()
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			r.disconnect()
		}
	}()
	have = fronts{}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, false, explain(err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == r.cfg.Table }) {
		return have, false, nil
	}
	dispatched, err := r.readSets(c, have)
	if err != nil {
		return nil, false, err
	}
	whole, err = r.rulesStand(c, have)
	return have, whole && dispatched, err
}

// readSets fills in the fronts, and reports whether the three sets agree.
func (r *rules) readSets(c *nftables.Conn, have fronts) (agree bool, err error) {
	sets := newSets(r.table())
	got := map[string][]nftables.SetElement{}
	for _, s := range []*nftables.Set{sets.dispatch, sets.targets, sets.refused} {
		got[s.Name], err = c.GetSetElements(s)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	for _, e := range got[setRefused] {
		if len(e.Key) == frontKeyLen {
			have[frontOf(e.Key)] = nil
		}
	}
	for _, e := range got[setTargets] {
		if len(e.Key) == targetKeyLen && len(e.Val) == targetLen {
			f := frontOf(e.Key)
			have[f] = append(have[f], targetOf(e.Val))
		}
	}
	for f := range have {
		slices.SortFunc(have[f], netip.AddrPort.Compare)
	}
	agree = len(got[setDispatch]) == len(have)
	for _, e := range got[setDispatch] {
		if len(e.Key) != frontKeyLen {
			return false, nil
		}
		_, known := have[frontOf(e.Key)]
		agree = agree && known
	}
	return agree, nil
}

// rulesStand compares the comments of all rules, chain by chain: they name
// version and settings, and a rule that somebody else put there has none.
func (r *rules) rulesStand(c *nftables.Conn, have fronts) (bool, error) {
	chains := staticChains(r.cfg)
	mark, err := sign(r.cfg)
	if err != nil {
		return false, err
	}
	for name, s := range have.spreads() {
		chains = append(chains, spreadChain(name, s))
	}
	for _, want := range chains {
		got, err := c.GetRules(r.table(), &nftables.Chain{Name: want.name})
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("chain %s: %w", want.name, err)
		}
		if len(got) != len(want.rules) {
			return false, nil
		}
		for i, rule := range want.rules {
			comment, _ := userdata.GetString(got[i].UserData, userdata.TypeComment)
			if comment != rule.signed(mark) {
				return false, nil
			}
		}
	}
	return true, nil
}

// remove deletes the table.
func (r *rules) remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commit(nil, func(tx *nftables.Conn) error {
		tx.AddTable(r.table())
		tx.DelTable(r.table())
		return nil
	})
}

func (r *rules) table() *nftables.Table {
	return &nftables.Table{Name: r.cfg.Table, Family: nftables.TableFamilyIPv4}
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

// sets are the three sets of the table.
type sets struct{ dispatch, targets, refused *nftables.Set }

func newSets(table *nftables.Table) sets {
	frontType := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	pickType := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark)
	targetType := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	return sets{
		dispatch: &nftables.Set{Table: table, Name: setDispatch, ID: 1, IsMap: true, Concatenation: true, KeyType: frontType, DataType: nftables.TypeVerdict},
		targets:  &nftables.Set{Table: table, Name: setTargets, ID: 2, IsMap: true, Concatenation: true, KeyType: pickType, DataType: targetType},
		refused:  &nftables.Set{Table: table, Name: setRefused, ID: 3, Concatenation: true, KeyType: frontType},
	}
}

func (s sets) make(tx *nftables.Conn) error {
	for _, set := range []*nftables.Set{s.dispatch, s.targets, s.refused} {
		if err := tx.AddSet(set, nil); err != nil {
			return fmt.Errorf("set %s: %w", set.Name, err)
		}
	}
	return nil
}

func (s sets) add(tx *nftables.Conn, e elements) error {
	return s.each(e, tx.SetAddElements)
}

func (s sets) remove(tx *nftables.Conn, e elements) error {
	return s.each(e, tx.SetDeleteElements)
}

func (s sets) each(e elements, do func(*nftables.Set, []nftables.SetElement) error) error {
	const perMessage = 256 // a message's attribute holds 64 KiB
	for _, part := range []struct {
		set *nftables.Set
		all []nftables.SetElement
	}{{s.targets, e.targets}, {s.refused, e.refused}, {s.dispatch, e.dispatch}} {
		for some := range slices.Chunk(part.all, perMessage) {
			if err := do(part.set, some); err != nil {
				return fmt.Errorf("set %s: %w", part.set.Name, err)
			}
		}
	}
	return nil
}
