package network

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// read returns what the kernel's tables balance, by family, and whether they
// are the ones we write. A table that is missing balances nothing.
func (r *rules) read() (have []balance, whole bool, err error) {
	c, err := r.connect()
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			r.disconnect()
		}
	}()
	tables, err := c.ListTables()
	if err != nil {
		return nil, false, explain(err)
	}
	whole = !slices.ContainsFunc(tables, r.leftover)
	for _, f := range r.cfg.families() {
		there := slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == r.cfg.Table && t.Family == f.table })
		if !there {
			have, whole = append(have, balance{fronts: fronts{}}), false
			continue
		}
		b, sound, err := r.readBalance(c, f)
		if err != nil {
			return nil, false, err
		}
		stand, err := r.rulesStand(c, f, b)
		if err != nil {
			return nil, false, err
		}
		have, whole = append(have, b), whole && sound && stand
	}
	return have, whole, nil
}

// readBalance returns what a family's sets say, and whether they are as we write
// them. The kernel lists a set in pieces, counting, and moves its elements
// meanwhile when it has grown: some are listed twice then, and others not at
// all. What makes no sense is therefore believed only when it is read twice.
func (r *rules) readBalance(c *nftables.Conn, f family) (b balance, sound bool, err error) {
	const tries, pause = 20, 25 * time.Millisecond
	var before elements
	for range tries {
		got, all, err := r.readSets(c, f)
		if err != nil {
			return b, false, err
		}
		b, sound = f.balanceOf(got)
		if sound = sound && all && sameElements(got, f.diff(balance{}, b).add); sound || before != nil && sameListing(before, got) {
			break
		}
		before = got
		time.Sleep(pause)
	}
	return b, sound, nil
}

// sameListing reports whether two readings of the sets have the same elements.
func sameListing(a, b elements) bool {
	return maps.EqualFunc(a, b, func(a, b []nftables.SetElement) bool { return maps.Equal(listed(a), listed(b)) })
}

func listed(all []nftables.SetElement) map[string]string {
	m := make(map[string]string, len(all))
	for _, e := range all {
		m[elementKey(e)] = string(e.Val)
	}
	return m
}

// readSets returns the elements of all our sets; false if one is missing.
func (r *rules) readSets(c *nftables.Conn, f family) (elements, bool, error) {
	there, err := r.setsOf(c, f)
	if err != nil {
		return nil, false, err
	}
	got, all := elements{}, true
	for name, s := range newSets(f, r.table(f)) {
		if !there[name] {
			all = false
			continue
		}
		if s.Dynamic {
			continue
		}
		if got[name], err = c.GetSetElements(s); err != nil {
			return nil, false, fmt.Errorf("set %s: %w", name, err)
		}
	}
	return got, all, nil
}

// setsOf are the names of the sets that a family's table has: one of an older
// version has fewer.
func (r *rules) setsOf(c *nftables.Conn, f family) (map[string]bool, error) {
	sets, err := c.GetSets(r.table(f))
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	there := map[string]bool{}
	for _, s := range sets {
		there[s.Name] = true
	}
	return there, nil
}

// balanceOf is what elements mean; false if some mean nothing, which then is
// left out.
func (f family) balanceOf(got elements) (b balance, known bool) {
	b.fronts, known = fronts{}, true
	for name, kind := range map[string]runtime.FrontKind{setDispatch: runtime.FrontPublished, setServices: runtime.FrontService, setHosts: runtime.FrontHost} {
		for _, e := range got[name] {
			at, ok := f.frontOf(e.Key)
			s, leads := parseSpread(chainOf(e.Val))
			if !ok || !leads && chainOf(e.Val) != "" {
				known = false
				continue
			}
			b.fronts[at] = led{kind: kind, affinity: leads && s.over == byClient}
		}
	}
	for _, e := range got[setTargets] {
		at, ok := f.frontOf(e.Key[:max(0, len(e.Key)-4)])
		t, ok2 := f.targetOf(e.Val)
		if l, there := b.fronts[at]; ok && ok2 && there {
			l.targets = append(l.targets, t)
			b.fronts[at] = l
		} else {
			known = false
		}
	}
	for at, l := range b.fronts {
		slices.SortFunc(l.targets, netip.AddrPort.Compare)
		l.targets = slices.Compact(l.targets)
		b.fronts[at] = l
	}
	for _, e := range got[setFleet] {
		if a, ok := netip.AddrFromSlice(e.Key); ok {
			b.fleet = append(b.fleet, a)
		}
	}
	slices.SortFunc(b.fleet, netip.Addr.Compare)
	var sound bool
	b.services, sound = rangesOf(got[setRanges])
	return b, known && sound
}

// chainOf is the chain that a verdict goes to, "" = none.
func chainOf(verdict []byte) string {
	attrs, err := nl.ParseRouteAttr(verdict)
	if err != nil {
		return ""
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.NFTA_VERDICT_CHAIN {
			return strings.TrimRight(string(a.Value), "\x00")
		}
	}
	return ""
}

// sameElements reports whether the sets hold exactly what we would write.
func sameElements(got, want elements) bool {
	for _, name := range ourSets {
		if len(got[name]) != len(want[name]) {
			return false
		}
		have := make(map[string]nftables.SetElement, len(got[name]))
		for _, e := range got[name] {
			have[elementKey(e)] = e
		}
		for _, e := range want[name] {
			h, ok := have[elementKey(e)]
			switch {
			case !ok:
				return false
			case e.VerdictData != nil && chainOf(h.Val) != e.VerdictData.Chain:
				return false
			case e.VerdictData == nil && !bytes.Equal(h.Val, e.Val):
				return false
			}
		}
	}
	return true
}

func elementKey(e nftables.SetElement) string {
	if e.IntervalEnd {
		return "end " + string(e.Key)
	}
	return string(e.Key)
}

// rulesStand compares the comments of all rules, chain by chain: they name
// version and settings, and a rule that somebody else put there has none.
func (r *rules) rulesStand(c *nftables.Conn, f family, have balance) (bool, error) {
	mark, err := r.mark(f)
	if err != nil {
		return false, err
	}
	for _, want := range f.chains(have) {
		got, err := c.GetRules(r.table(f), &nftables.Chain{Name: want.name})
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
